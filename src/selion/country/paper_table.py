"""Table 3 of the paper (PRUE, arXiv 2603.27101) beside what this machine would take.

Areas are on the ellipsoid.

The paper's areas are those of Web Mercator, where a country is larger by one over the cosine of its
latitude, squared: with the known areas of the countries the factor comes out at what their
latitudes ask for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Country:
    """One row of Table 3."""

    name: str
    million_km2: float
    """As printed."""
    dollars: float
    """As printed: inference alone, mosaics not included."""
    fields: tuple[float, float]
    """Millions, in 2023 and 2024, as printed."""
    median_ha: tuple[float, float]
    """As printed."""
    true_km2: float
    """Land and inland water on the ellipsoid."""

    @property
    def factor(self) -> float:
        """By how much the printed area is too large."""
        return self.million_km2 * 1e6 / self.true_km2


TABLE_3 = (
    Country("Rwanda", 0.02, 3.23, (0.18, 0.26), (0.05, 0.06), 26_338),
    Country("Switzerland", 0.09, 5.11, (0.36, 0.36), (0.32, 0.28), 41_285),
    Country("Japan", 0.65, 7.59, (1.55, 1.61), (0.20, 0.19), 377_975),
    Country("South Africa", 1.60, 8.03, (2.99, 2.70), (0.08, 0.07), 1_221_037),
    Country("Mexico", 2.39, 8.26, (5.90, 6.57), (0.09, 0.09), 1_964_375),
)
MEXICO = {
    "minutes": 14.23,
    "gpu_hours": 4.8,
    "core_hours": 77.9,
    "kg_co2": 0.25,
    "mosaic_minutes": 49.3,
    "gpus": 256,
}
"""What the paper says of its largest run, both years together; the mosaics are of two seasons'
pairs."""
