"""Text from outside as people may see it, on a page and in a terminal: what can't be seen is written out."""

from __future__ import annotations

LONGEST_TEXT = 300


def visible(text: object, most: int | None = LONGEST_TEXT) -> str:
    r"""Text from outside with what can't be seen written out, and cut where it is long.

    Control characters and marks that turn the direction of writing become escapes.

    Args:
        text: of a message, a person or a file.
        most: characters of it that are shown; None for all.

    >>> visible("RTU\u202e-1\n"), visible("abcdef", 3)
    ('RTU\\u202e-1\\n', 'abc…')
    """
    whole = str(text)
    cut = whole[:most]
    if not cut.isprintable():
        cut = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return cut if most is None or len(whole) <= most else f"{cut}…"


def visible_lines(text: str) -> str:
    r"""The same of a text of several lines, uncut, which keeps its lines and tabs.

    >>> visible_lines("one\n\ttwo\u202e")
    'one\n\ttwo\\u202e'
    """
    if text.isprintable():
        return text
    return "\n".join("\t".join(visible(part, None) for part in line.split("\t")) for line in text.split("\n"))
