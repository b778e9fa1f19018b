"""What an incident looks like in units of the device's own normal: the same fault is found again, on sister devices too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

KNOWN = 0.9


@dataclass(frozen=True, slots=True)
class Match:
    """A past incident and how alike it is: cosine of the signatures, -1 to 1."""

    incident: str
    similarity: float

    @property
    def known(self) -> bool:
        """Whether the two are the same kind of fault, as far as signatures can tell."""
        return self.similarity >= KNOWN


def signature(sigmas: pd.DataFrame) -> pd.Series:
    """Direction of an incident: mean over its rows of asinh(conditional deviation), at unit length; one value a metric.

    The inverse hyperbolic sine is linear for small deviations and logarithmic for large ones, so that a broken sensor's
    -999 does not drown the metrics that moved with it, and a fault of twice the severity nearly keeps its signature.

    Args:
        sigmas: rows of the incident from :meth:`FittedDetector.sigmas`.

    Raises:
        ValueError: no row with readings.
    """
    mean = (
        pd.Series(np.arcsinh(sigmas.to_numpy(dtype=np.float64)).mean(axis=0), index=sigmas.columns)
        if len(sigmas)
        else None
    )
    if mean is None or not np.isfinite(mean).all() or not (length := float(np.linalg.norm(mean))):
        raise ValueError("an incident needs rows with readings")
    return mean / length


def most_similar(incident: pd.Series, past: Mapping[str, pd.Series], *, least_shared: int = 2) -> Sequence[Match]:
    """Past incidents by similarity, most alike first; metrics are compared by name.

    Incidents of devices that share fewer than ``least_shared`` metrics can't be compared and are left out. Nothing known
    among the matches means a novel fault.

    >>> a = pd.Series({"power": 0.8, "flow": 0.6})
    >>> [(m.incident, m.known) for m in most_similar(a, {"same": a, "opposite": -a})]
    [('same', True), ('opposite', False)]
    """
    matches = []
    for name, other in past.items():
        shared = incident.index.intersection(other.index)
        if len(shared) < least_shared:
            continue
        # Metrics that one device lacks count as dissimilar: the lengths are those of the whole signatures.
        product = float(incident[shared].to_numpy() @ other[shared].to_numpy())
        lengths = float(np.linalg.norm(incident) * np.linalg.norm(other))
        matches.append(Match(name, product / lengths))
    return sorted(matches, key=lambda match: -match.similarity)
