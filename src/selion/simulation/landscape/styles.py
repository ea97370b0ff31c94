"""The kinds of countryside, as numbers.

The parcel sizes are learnt from the statistics of real parcels (5, 25, 50, 75, 95 % of the area in
hectares; no shape is copied):

====================================  =====  ===========================  ================  =======
source                                    n  hectares                     length / width    style
====================================  =====  ===========================  ================  =======
Uganda 2017 survey                      234  .09 .12 .16 .33 .63          1.4 (1.2 - 1.8)
                                             smallholder, hamlets
India 10k (fiboa)                       100  .14 .23 .41 .72 1.6          1.6 (1.2 - 2.3)
                                             smallholder, hamlets
Vietnam ai4sf (fiboa)                   100  .04 .22 .48 .71 1.2          2.9 (2.0 - 4.5)
                                             smallholder, delta
Senegal, Debi-Tiguet scheme            5505  .11 .24 .38 .55 .94          1.7 (1.3 - 2.4)   delta
France LPIS, dense block of 4 km        193  .12 .70 1.9 3.8 12           2.0 (1.5 - 3.1)   europe
Catalonia DUN 2023 (fiboa)              100  .09 .50 1.5 3.0 8.5          2.1 (1.5 - 2.7)   europe
Finland GSAA (fiboa)                    100  .22 .77 1.6 2.9 6.8          2.0 (1.5 - 3.4)   europe
Estonia LPIS, Tartu                     157  .17 .53 1.7 4.8 14           1.7 (1.2 - 2.2)   europe
Ireland GSAA (fiboa)                    100  .29 1.5 2.7 4.5 7.9          1.6 (1.3 - 2.4)   bocage
US Midwest NAIP, drawn by hand          942  .07 .30 .88 2.2 8.4          1.9 (1.3 - 2.8)   prairie
                                             (cut at 1 km)
Western Bahia, LEM+                    1960  4.7 41 97 179 357            2.0 (1.4 - 2.9)   pivots
====================================  =====  ===========================  ================  =======

``estate`` follows no source: fields of tens of hectares with wide verges, belts and meadows, which
are no fields, between them.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from selion.errors import UnknownName

HECTARE = 10_000.0


@dataclass(frozen=True, slots=True)
class Style:
    """What makes one countryside different from another.  Areas in hectares, lengths in metres."""

    block: float
    """Area enclosed by roads."""
    furlong: float
    """Area of a group of parallel parcels."""
    parcel: float
    """Median target area of a parcel."""
    spread: float
    """Standard deviation of log target area between furlongs."""
    slender: float
    """Median length / width."""
    slender_spread: float
    """Standard deviation of log length / width between furlongs."""
    jitter: float
    """Standard deviation of the direction of a cut, radian."""
    survey: float
    """1: cut along a survey grid of 1609.34 m sections."""
    edge_none: float
    """Share of parcel boundaries with nothing between the neighbours; the next four follow on."""
    edge_grass: float
    edge_hedge: float
    edge_track: float
    edge_ditch: float
    edge_width: float
    """Mean width of what lies between parcels."""
    wood: float
    """Share of land under woods."""
    rough: float
    """Share of parcels left rough: natural grass, scrub, abandoned."""
    village: float
    """Villages per 10 square kilometres."""
    farms: float
    """Chance that a parcel larger than a hectare carries a farmstead in a corner."""
    warp: float
    """Bend of lines at the scale of kilometres, metres."""
    pivot: float
    """Chance that a quarter section is watered by a pivot."""
    grass: float
    """Share of cultivated parcels that are managed grass."""
    village_cell: float = 2000.0
    """Metres of the lattice of which each cell holds at most one village, as large as it allows."""
    yards: float = 0.0
    """0: paved lanes, lawns and gardens; 1: small houses in yards of earth, lanes of earth."""
    ponds: float = 0.0
    """Share of parcels under a pond, beside the few that all styles have."""
    banks: float = 0.0
    """Width of bare or grassy banks along water, metres."""
    groves: float = 0.0
    """Share of parcels under rows of trees."""
    verges: float = 0.0
    """Metres of grass on either side of a road, beside the two that all styles have."""


STYLES: dict[str, Style] = {
    "smallholder": Style(
        45,
        7.0,
        0.56,
        0.60,
        1.7,
        0.35,
        0.09,
        0,
        0.62,
        0.22,
        0.10,
        0.04,
        0.02,
        1.6,
        0.20,
        0.10,
        2.2,
        0.05,
        170,
        0,
        0.08,
    ),
    "europe": Style(
        85,
        26,
        5.8,
        0.90,
        2.0,
        0.5,
        0.06,
        0,
        0.56,
        0.22,
        0.09,
        0.09,
        0.04,
        3.0,
        0.27,
        0.07,
        1.7,
        0.06,
        190,
        0,
        0.25,
    ),
    "prairie": Style(
        259,
        62,
        11.0,
        1.0,
        1.9,
        0.45,
        0.005,
        1,
        0.52,
        0.26,
        0.12,
        0.06,
        0.04,
        6.0,
        0.16,
        0.08,
        0.35,
        0.12,
        14,
        0.03,
        0.15,
    ),
    "pivots": Style(
        259,
        95,
        60.0,
        0.55,
        1.6,
        0.3,
        0.01,
        1,
        0.50,
        0.25,
        0.03,
        0.20,
        0.02,
        7.0,
        0.06,
        0.16,
        0.15,
        0.04,
        8,
        0.7,
        0.08,
    ),
    "bocage": Style(
        60,
        22,
        6.0,
        0.6,
        1.6,
        0.3,
        0.07,
        0,
        0.14,
        0.10,
        0.66,
        0.06,
        0.04,
        5.0,
        0.16,
        0.09,
        1.2,
        0.12,
        210,
        0,
        0.6,
    ),
    "hamlets": Style(
        34,
        6.0,
        0.66,
        0.55,
        1.8,
        0.40,
        0.12,
        0,
        0.50,
        0.28,
        0.06,
        0.14,
        0.02,
        1.1,
        0.06,
        0.12,
        2.0,
        0.05,
        120,
        0,
        0.05,
        700.0,
        1.0,
        0.012,
        12.0,
        0.04,
    ),
    "delta": Style(
        30,
        6.0,
        0.60,
        0.45,
        2.6,
        0.40,
        0.05,
        0,
        0.62,
        0.22,
        0.01,
        0.05,
        0.10,
        1.0,
        0.05,
        0.06,
        2.0,
        0.03,
        60,
        0,
        0.03,
        560.0,
        1.0,
        0.06,
        26.0,
        0.05,
    ),
    "estate": Style(
        330,
        150,
        48.0,
        0.55,
        1.9,
        0.35,
        0.03,
        0,
        0.10,
        0.42,
        0.24,
        0.12,
        0.12,
        32.0,
        0.13,
        0.05,
        1.6,
        0.35,
        110,
        0,
        0.10,
        1400.0,
        0.0,
        0.0,
        55.0,
        0.02,
        9.0,
    ),
}
"""The styles by name; ``"mixed"`` draws one of them per region."""

NAMES = (*STYLES, "mixed")
MIXED = 5
"""So many of the first styles are what ``"mixed"`` draws from."""
VILLAGE_CELL, YARDS, PONDS, BANKS, GROVES, VERGES = range(21, 27)
"""Columns of what :func:`style_table` returns."""


def style_table(rng: np.random.Generator) -> np.ndarray:
    """Return all styles as (style, parameter) float64.

    Each is varied a little so that no two landscapes share them.
    """
    table = np.array([astuple(style) for style in STYLES.values()], np.float64)
    varied = np.ones_like(table)
    # The styles that came later draw from a stream of their own: landscapes of the first stay.
    own = rng.spawn(1)[0]
    for rows, source in ((slice(MIXED), rng), (slice(MIXED, None), own)):
        part = varied[rows, :VILLAGE_CELL]
        part[:] = np.exp(source.normal(0, 0.14, part.shape))
        # The area of parcels follows the real statistics more closely than the rest.
        part[:, 2] = np.exp(source.normal(0, 0.06, len(part)))
    varied[:, 7:13] = 1.0
    return table * varied


def style_index(name: str) -> int:
    """Return the row of a style in the table, -1 for ``"mixed"``.

    Raises
    ------
    UnknownName
        If there is no such style.
    """
    if name not in NAMES:
        raise UnknownName.among("style", name, NAMES)
    return -1 if name == "mixed" else NAMES.index(name)
