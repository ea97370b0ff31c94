"""Orbits of different brightness.

How much brighter one relative orbit shows a tile than the others, so that no swath ends in a
visible edge.

Neighbouring orbits look at a place from opposite sides, and most ground is brighter from one of
them (BRDF).  Where a swath ends, the set of scenes under the median changes, and with it the
brightness: with orbits 5 % apart by 1.2 to 2.5 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

LEAST = 200
"""Coarse pixels, times bands, that two scenes must both show clearly to be compared."""
DEAD = 0.005
"""Differences below this are noise and are left alone, so that an archive without them is not
touched."""
MOST = 0.10
"""Larger differences are no orbit's (a wrong offset, snow): such an orbit is left alone."""


@dataclass(frozen=True, eq=False, slots=True)
class Glance:
    """What the coarse look at a scene saw."""

    orbit: int | None
    """Relative orbit; scenes that do not know theirs are not compared."""
    values: np.ndarray
    """(band, y, x) float32 reflectance on the tile's coarse grid; NaN where it is not clear."""


def orbit_gains(glances: Sequence[Glance]) -> dict[int, float]:
    """Return how much brighter each orbit is than the tile's scenes on the whole.

    Parameters
    ----------
    glances : sequence of Glance
        Of the scenes of one tile and season, on one grid.

    Returns
    -------
    dict of int to float
        Relative orbit -> factor, 1 where nothing is known or the difference is below :data:`DEAD`
        or above :data:`MOST`.  Divide reflectances by it.

    Notes
    -----
    Two scenes are compared by the median of the logarithm of their ratio over all pixels and bands
    that both show; two orbits by the median over their pairs of scenes.  Orbits pass in turn every
    few days, so growth between two dates brightens one orbit as often as the other.  The orbits'
    values are the least-squares solution of these differences, weighted by pixels, with a mean of
    zero over the scenes; as in the gain compensation of panoramas (Brown and Lowe, IJCV 2007), but
    by orbit, because a gain of each scene would take the season out of the median.
    """
    orbits = sorted({glance.orbit for glance in glances if glance.orbit is not None})
    rows, wanted = [], []
    for one, other in combinations(range(len(orbits)), 2):
        pairs = [
            _difference(a.values, b.values)
            for a in glances
            if a.orbit == orbits[one]
            for b in glances
            if b.orbit == orbits[other]
        ]
        known = [(difference, count) for difference, count in pairs if count >= LEAST]
        if known:
            weight = float(np.sqrt(sum(count for _, count in known)))
            row = np.zeros(len(orbits))
            row[one], row[other] = weight, -weight
            rows.append(row)
            wanted.append(weight * float(np.median([difference for difference, _ in known])))
    if not rows:
        return dict.fromkeys(orbits, 1.0)
    shares = np.array([sum(glance.orbit == orbit for glance in glances) for orbit in orbits], float)
    solution = np.linalg.lstsq(
        np.array([*rows, shares / shares.sum()]), np.array([*wanted, 0.0]), rcond=None
    )[0]
    solution[(np.abs(solution) < np.log1p(DEAD)) | (np.abs(solution) > np.log1p(MOST))] = 0.0
    return {orbit: float(np.exp(value)) for orbit, value in zip(orbits, solution, strict=True)}


def _difference(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """Return the median of the logarithm of the ratio of two looks.

    Also on how many values it rests.
    """
    both = np.isfinite(one) & np.isfinite(other) & (one > 0) & (other > 0)
    count = int(both.sum())
    return (float(np.median(np.log(one[both] / other[both]))), count) if count else (0.0, 0)
