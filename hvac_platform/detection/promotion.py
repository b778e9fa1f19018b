"""Whether a new profile may take the place of the present one: false alarms and recall, on days that neither has seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

FREE_SHARE = 0.005
"""So small a share of flagged windows is no reason against a candidate, whatever the present one has."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What one profile said of the held-out windows and the labelled incidents.

    Attributes:
        alarms: false alarms on the held-out normal windows, those less than ten minutes apart counting as one.
        share: share of those windows that it flags.
        found: labelled incidents of which it flags a quarter of the windows.
    """

    alarms: int
    share: float
    found: int


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether the candidate is promoted, and why, in a sentence."""

    promoted: bool
    said: str


def judge_candidate(present: Trial, candidate: Trial, *, days: float, incidents: int, budget_per_day: float) -> Ruling:
    """Compare a candidate with the present profile.

    It is no worse where it has no more false alarms (what the budget allows in that time is never too many), flags no larger
    share of the windows (half a per cent is never too much), and finds every labelled incident that the present one finds.

    Args:
        present: the present profile's trial.
        candidate: the candidate's.
        days: length of the held-out span.
        incidents: labelled incidents that both were tried on.
        budget_per_day: false alarms a day that the profile is calibrated to.

    >>> judge_candidate(Trial(5, 0.2, 2), Trial(1, 0.01, 2), days=1, incidents=2, budget_per_day=1).said
    'false alarms 5 -> 1 and flagged windows 20.0% -> 1.0% in 1 held-out days, labelled incidents found 2 -> 2 of 2'
    """
    allowed = math.ceil(budget_per_day * days)
    worse = []
    if candidate.alarms > max(present.alarms, allowed):
        worse.append("more false alarms")
    if candidate.share > max(present.share, FREE_SHARE):
        worse.append("more flagged windows")
    if candidate.found < present.found:
        worse.append("labelled incidents missed")
    figures = (
        f"false alarms {present.alarms} -> {candidate.alarms} and flagged windows {present.share:.1%} -> "
        f"{candidate.share:.1%} in {days:.2g} held-out days, labelled incidents found {present.found} -> "
        f"{candidate.found} of {incidents}"
    )
    return Ruling(not worse, f"{' and '.join(worse)}: {figures}" if worse else figures)
