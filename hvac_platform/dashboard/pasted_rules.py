"""Rules of a device type that somebody pastes into a page: small, checked, and shown to begin with."""

from __future__ import annotations

from functools import lru_cache

import yaml

from hvac_platform.dashboard.front import LONGER_TEXTS
from hvac_platform.devices.registry import DeviceType, DeviceTypeError, parse_other_rules
from hvac_platform.monitoring.what_if import Limits, OfScores
from hvac_platform.visible_text import visible

FIELD = "what-if-rules"
"""Element that they are pasted into."""
MOST_CHARACTERS = LONGER_TEXTS[FIELD] - 1
MOST_RULES, MOST_QUANTITIES = 60, 80
"""Rules, and derived quantities with conditions, of a pasted type: each is computed for every window."""
MOST_WINDOWS = 70_000
"""Windows of a device that they are computed for at once."""


class PastedRulesError(ValueError):
    """What was pasted can't be tried; the message says why in one line."""


@lru_cache(maxsize=16)
def parse_pasted(text: str) -> DeviceType | None:
    """The type with the rules of a text, see :func:`~hvac_platform.devices.registry.parse_other_rules`; None of a blank one.

    Raises:
        PastedRulesError: the text is wrong, or there is more of it than a page computes.
    """
    if not text.strip():
        return None
    if len(text) > MOST_CHARACTERS:
        raise PastedRulesError(
            f"the rules are over {MOST_CHARACTERS:,} characters long; hvac replay --rules takes more"
        )
    try:
        found = parse_other_rules(text, "the rules")
    except DeviceTypeError as error:
        raise PastedRulesError(visible(error, 400)) from None
    if len(found.rules) > MOST_RULES:
        raise PastedRulesError(f"{len(found.rules)} rules; a page tries {MOST_RULES}, hvac replay --rules any number")
    quantities = len(found.derived) + len(found.conditions)
    if quantities > MOST_QUANTITIES:
        raise PastedRulesError(f"{quantities} derived quantities and conditions; a page computes {MOST_QUANTITIES}")
    return found


def require_few_windows(tried: OfScores, span_ms: int, window_ms: int) -> None:
    """Refuse to compute other rules or fixed limits for more windows than a page does.

    Raises:
        PastedRulesError: there are more.
    """
    if (tried.rules is not None or tried.fixed != Limits()) and span_ms // window_ms > MOST_WINDOWS:
        raise PastedRulesError(
            f"{span_ms // window_ms:,} windows, and a page computes rules and fixed limits for {MOST_WINDOWS:,}: "
            "choose a shorter range"
        )


def rules_as_text(kind: DeviceType) -> str:
    """Parameters and rules of a type as YAML that may be changed and pasted; what is left out stays as it is.

    >>> from hvac_platform.devices.registry import device_type
    >>> rules_as_text(device_type("chiller")).splitlines()[1:3]
    ['name: chiller', 'parameters:']
    """
    lines = ["# Change what is to be tried. Lines that you delete stay as they are.", f"name: {kind.name}"]
    if kind.parameters:
        lines.append("parameters:")
    for one in kind.parameters.values():
        told = "; ".join(part for part in (one.unit, one.note) if part)
        lines.append(f"  {one.name}: {one.value:.15g}{_comment(told)}")
    if kind.rules:
        lines.append("rules:")
    for rule in kind.rules:
        lines += [
            f"- id: {_scalar(rule.id)}{_comment(rule.title)}",
            f"  when: {_scalar(rule.when)}",
            f"  for: {rule.for_minutes:g}  # minutes",
            f"  level: {rule.level}",
        ]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """A text as a YAML value on one line."""
    dumped: str = yaml.safe_dump(text, width=10_000, allow_unicode=True)
    return dumped.removesuffix("\n...\n").removesuffix("\n")


def _comment(text: str) -> str:
    words = " ".join(text.split())
    return f"  # {visible(words, 100)}" if words else ""
