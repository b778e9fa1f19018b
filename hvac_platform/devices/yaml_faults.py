"""What is wrong with a YAML text, in the words of who writes it: where, and what to do, in place of the parser's terms."""

from __future__ import annotations

import re

import yaml

COLON = (
    "a colon that can't stand here: write 'key: value' with a space, here and on the line above; indent lines of one group "
    "alike; put a text with ': ' in it in quotes"
)
ADVICE = (
    (
        r"could not find expected ':'",
        "this line has no 'key: value': add the colon with a space behind it, or indent the line",
    ),
    (r"mapping values are not allowed", COLON),
    (r"character '\\t'", "a tab: indent with spaces"),
    (r"character '(.+)' that cannot", "a text can't begin with {0}: put it in quotes"),
    (r"unexpected end of stream|unexpected document", "the quote that opens here is never closed"),
    (r"expected ',' or '\]'", "the list that opens here with [ lacks a comma or its ]"),
    (r"expected ',' or '\}'", "what opens here with {{ lacks a comma, a space behind a colon, or its }}"),
    (
        r"expected <block end>",
        "this doesn't continue what is above: indent lines of one group alike, close what is in quotes",
    ),
    (r"node content", "a value is missing here"),
    (r"found another document", "a second document begins here: a file has one, so delete the line ---"),
    (r"unknown escape character '(.+)'", "\\{0} means nothing in double quotes: use single quotes"),
    (r"constructor for the tag '(.+)'", "{0} is a tag, and none is taken: delete it, or put the text in quotes"),
    (r"unhashable key", "a key can't be a list or a group of keys: put a text that begins with [ or {{ in quotes"),
    (r"undefined alias '(.+)'", "*{0} stands for nothing: put a text that begins with * in quotes"),
    (r"sequence entries are not allowed", "an item of a list, '- ', begins a line of its own"),
    (r"chomping or indentation", "a text can't begin with | or >: put it in quotes"),
)
"""By what the parser says, what is to be done; braces are for what it names."""
AT_BEGIN = ("could not find expected ':'", "unexpected end of stream", "unexpected document", "expected ',' or ")
"""Told at the place where what isn't complete begins."""


def fault_of(error: yaml.YAMLError, text: str) -> str:
    r"""One line about a text that is no YAML.

    >>> text = "price: 0.12\n\tcurrency: EUR"
    >>> try:
    ...     yaml.safe_load(text)
    ... except yaml.YAMLError as error:
    ...     fault_of(error, text)
    'line 2, column 1: a tab: indent with spaces'
    """
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        return f"line {line}, column {column}: a control character: delete it"
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    problem, mark = str(error.problem or error.context), error.problem_mark or error.context_mark
    if error.context_mark is not None and any(part in problem for part in AT_BEGIN):
        mark = error.context_mark
    said = next((advice.format(*found.groups()) for p, advice in ADVICE if (found := re.search(p, problem))), problem)
    return said if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {said}"
