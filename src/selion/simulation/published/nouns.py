"""The nouns: what is asked for, a tile, and what was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from odc.geo.geobox import GeoBox

from selion.errors import BadInput

SCENES = ("plain", "seam", "zones", "equator", "norway", "strip")
"""One tile; four tiles of one zone, and none beside them; two tiles on either side of the border of
two zones, of the equator, of the border that zones 31 and 32 have in band V; and a tile stacked on
another so that a strip belongs to neither."""
PIXEL = 2.5
"""Metres."""
COARSE = 10.0
"""Metres of a pixel of the mosaics."""
YEARS = tuple(range(2017, 2026))
"""Of the second edition."""
UNDER_DETECTED = 2024
"""The year in which many fields are missed."""


@dataclass(frozen=True, slots=True)
class CopyOptions:
    """What a copy is made of."""

    scene: str = "seam"
    """One of :data:`SCENES`."""
    years: tuple[int, ...] = YEARS
    """Of the second edition, ascending."""
    tile: int = 1024
    """Edge of a tile in pixels of 2.5 m, a multiple of 64; the real one is 40032."""
    overlap_m: float = 80.0
    """Metres that neighbours have in common, a multiple of 20; the real ones have 40 to 120."""
    seed: int = 0
    mosaics: tuple[int, ...] | None = None
    """Years of quarterly mosaics; None: the last one."""

    def __post_init__(self) -> None:
        if self.scene not in SCENES:
            raise BadInput(
                f"The scene {self.scene!r} was asked for; there are {', '.join(SCENES)}."
            )
        if not self.years or tuple(sorted(set(self.years))) != tuple(self.years):
            raise BadInput(f"The years {self.years} were given; wanted are ascending years.")
        if self.tile < 128 or self.tile % 64 or self.overlap_m <= 0 or self.overlap_m % 20:
            raise BadInput(
                f"Tiles of {self.tile} px that share {self.overlap_m} m were asked for; wanted are "
                "a multiple of 64 px from 128 on and a multiple of 20 m."
            )
        if self.reach > 0.8 * self.step:
            raise BadInput(
                f"A field across a seam reaches {self.reach:.0f} m to either side, but tiles of "
                f"{self.tile} px are {self.step:.0f} m apart: ask for larger tiles or less overlap."
            )

    @property
    def edge(self) -> float:
        """Metres across a tile."""
        return self.tile * PIXEL

    @property
    def step(self) -> float:
        """Metres from tile to tile."""
        return self.edge - self.overlap_m

    @property
    def reach(self) -> float:
        """Metres that the wide fields at least reach beyond a seam.

        So far that what both halves share is less than a tenth of one of them.
        """
        return 10.5 * self.overlap_m


@dataclass(frozen=True, slots=True)
class CopiedTile:
    """A tile of the copy."""

    key: str
    """``10SFH_0_0``; well-formed, and no guide to the place."""
    grid: GeoBox
    """2.5 m, in the tile's UTM zone."""
    square: tuple[float, float, float, float]
    """West, south, east, north of what the tile owns, in metres of its CRS."""

    @property
    def epsg(self) -> int:
        """The code of its CRS."""
        return int(str(self.grid.crs).removeprefix("EPSG:"))

    @property
    def zone(self) -> int:
        """UTM zone."""
        return self.epsg % 100

    @property
    def place(self) -> str:
        """Its folder below ``raster/{year}``."""
        return f"zone={self.key[:2]}/gzd={self.key[:3]}/{self.key}"


@dataclass(frozen=True, slots=True)
class PublishedCopy:
    """A folder that holds both editions, the mosaics and the truth."""

    folder: Path
    options: CopyOptions
    address: Path
    """The second edition."""
    first: Path
    """The first edition."""
    mosaics: Path
    """Quarterly mosaics."""
    area: tuple[float, float, float, float]
    """West, south, east, north of what to ask for; beyond the tiles in the scene ``seam``."""
    tiles: tuple[CopiedTile, ...]
    truth: Mapping[int, Path]
    """Year -> GeoParquet in longitude and latitude: ``field`` (int64, the same through all years in
    which the outline stands), ``seam`` (where a wide field lies, else empty), ``looked`` (whether
    it lies on tiles as a whole), ``missed`` (whether the maps of this year leave it out),
    ``likely`` (the probability at which it was painted)."""
    lineage: Path
    """CSV: year_from, year_to, from, to, outcome; one row per pair of planted fields of two
    successive years, with the words of :data:`selion.change.OUTCOMES`."""
