"""Reasons as a person reads them: whether the numbers and words of one contradict each other."""

from __future__ import annotations

import re

NUMBER = r"[-+]?(?:\d[\d,]*\.?\d*(?:e[-+]?\d+)?)"
BOTH = re.compile(rf"({NUMBER})(?: \S+)? where (?:the other metrics imply )?({NUMBER})")
SIGMAS = re.compile(rf"\(({NUMBER}) sigma\)")
BELOW = re.compile(rf"({NUMBER}) is below ({NUMBER})")


def contradictions(reason: str) -> list[str]:
    """What in a reason can't be true together; empty where it reads well."""
    found = []
    for part in reason.split("; "):
        if (both := BOTH.search(part)) is not None:
            observed, expected = (float(text.replace(",", "")) for text in both.groups())
            if both[1] == both[2]:
                found.append("it reads what was expected")
            if (sigmas := SIGMAS.search(part)) is not None and (observed - expected) * float(sigmas[1]) < 0:
                found.append("sign of sigma and values differ")
        if (sigmas := SIGMAS.search(part)) is not None and not 2.0 <= abs(float(sigmas[1])) <= 100.0:
            found.append("a sigma that tells nothing")
        if (below := BELOW.search(part)) is not None and below[1] == below[2]:
            found.append("it is below itself")
    if "nan" in reason or "inf" in reason.split():
        found.append("it has no number where one should be")
    return found
