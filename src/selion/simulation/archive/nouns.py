"""The nouns: what is asked for, what was written, and what is true about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from odc.geo.geobox import GeoBox

BANDS = ("red", "green", "blue", "nir")
"""Sentinel-2 B04, B03, B02 and B08."""
CLEAR = (2, 4, 5, 6, 11)
"""Codes of the scene classification where nothing lies between the ground and the satellite;
:data:`ArchiveOptions.snow` hides the ground under 11."""


@dataclass(frozen=True, slots=True)
class ArchiveSeason:
    """Days of acquisition, and the window in which they lie."""

    name: str
    """``window_a`` or ``window_b``."""
    start: date
    end: date
    """Included."""


@dataclass(frozen=True, slots=True)
class ArchiveOptions:
    """What a simulated archive may look like.

    The defaults are small, cloudy, and true where the scene classification says clear.
    """

    seed: int = 0
    centre: tuple[float, float] = (13.0, 51.0)
    """Longitude and latitude."""
    size_km: float | tuple[float, float] | None = None
    """(north-south, east-west) size of the area; None: a little more than a tile, round the nearest
    corner of four tiles."""
    gsd: float = 10.0
    """Metres; the scene classification has twice that."""
    tile_px: int = 264
    """Edge of a tile; 10980 is the real one, whose tiles then have their real names and places.  A
    multiple of 6 keeps 60 m pixels whole."""
    year: int = 2024
    """Of the second season, as in the search."""
    seasons: tuple[ArchiveSeason, ...] | None = None
    """None: months that lie within PRUE's windows for this latitude."""
    dates: Mapping[str, tuple[date, ...]] | None = None
    """Season's name -> days; None: ``n_dates`` over each season."""
    n_dates: int = 6
    clouds: tuple[float, float] = (0.15, 0.5)
    """Least and largest share of an acquisition that is under clouds."""
    cirrus: float = 0.08
    """Share under thin cirrus."""
    snow: float = 0.0
    """Share of the first acquisition of each season under snow, flagged 11: most maskings keep it,
    so there the truth is the median's to find."""
    orbits: int = 3
    """Relative orbits: the first sees everything, the others the east and the west, with a slanted
    edge.  1 to 3."""
    baselines: tuple[str, ...] = ("05.11", "03.01")
    """Processing baselines, in turn; from 04.00 on, 1000 is added to the digital numbers."""
    layout: str = "earth-search"
    """One of :data:`selion.simulation.archive.LAYOUTS`."""
    kept: float = 0.0
    """Earth Search: share of the acquisitions from baseline 04.00 on that still hold the 1000, with
    the flag that says so."""
    wrong_flags: float = 0.0
    """Share of the acquisitions from baseline 04.00 on whose flag, or declared offset, is wrong.
    The Planetary Computer declares none."""
    gain: float = 0.0
    """Standard deviation of the logarithm of each acquisition's gain."""
    orbit_gain: float = 0.0
    """The gain of neighbouring orbits differs by this share: seams to blend."""
    haze: float = 0.0
    """Largest reflectance x 10000 that an acquisition's haze adds to blue; less to longer waves."""
    noise: float = 0.0
    """Standard deviation of a pixel, relative to its value."""
    defects: bool = True
    """Whether some acquisitions have a saturated line, flagged 1."""
    style: str = "europe"
    """Of the landscape."""
    changed: bool = False
    """Whether it is the countryside of the same seed a year later: fields merged, parted, moved,
    given up and newly broken, which ``truth/changes.csv`` lists."""
    patch_px: int = 2048
    """Largest edge of the landscape that is simulated; beyond, it is mirrored."""
    faults: tuple[str, ...] = ()
    """Of :data:`selion.simulation.archive.FAULTS`: one more, broken, item each."""
    threads: int = 2


@dataclass(frozen=True, slots=True)
class Truth:
    """Files, and what they hold."""

    seasons: Mapping[str, Path]
    """Season -> red, green, blue, nir without clouds, uint16 reflectance x 10000, on the world's
    grid."""
    instances: Path
    """Field ids, int32, on the world's grid; where the landscape is mirrored, each copy has its
    own."""
    cover: Path
    """Land cover, uint8, :data:`selion.simulation.landscape.COVER`."""
    fields: Path | None
    """Their outlines, GeoParquet; None where nobody drew them or the landscape is mirrored."""
    tiles: Mapping[tuple[str, str], Path]
    """(tile, season) -> red, green, blue, nir as above, on the tile's grid."""
    clear: Mapping[tuple[str, str], Path]
    """(tile, season) -> number of acquisitions whose scene classification says :data:`CLEAR`,
    uint8, on the classification's grid."""


@dataclass(frozen=True, eq=False, slots=True)
class Archive:
    """A folder that holds a static STAC catalogue, its images and the truth."""

    folder: Path
    options: ArchiveOptions
    centre: tuple[float, float]
    """Longitude and latitude of the area; moved to a corner of tiles if no size was asked for."""
    area: Mapping[str, Any]
    """GeoJSON geometry, cut at the antimeridian."""
    bbox: tuple[float, float, float, float]
    """West, south, east, north of the area; west > east across the antimeridian."""
    seasons: tuple[ArchiveSeason, ...]
    collection: str
    tiles: Mapping[str, GeoBox]
    """Tile -> its grid."""
    world: GeoBox
    """The landscape's grid: equal-area round the centre."""
    truth: Truth
    items: tuple[dict[str, Any], ...]
    """STAC items; hrefs relative to the folder."""
    broken: Mapping[str, str] = field(default_factory=dict)
    """Item's id -> its fault."""
    offsets: Mapping[str, int] = field(default_factory=dict)
    """Item's id -> what its digital numbers really hold, 0 or 1000."""

    @property
    def catalogue(self) -> Path:
        """The root of the static catalogue."""
        return self.folder / "catalog.json"

    @property
    def sound(self) -> tuple[dict[str, Any], ...]:
        """The items that are not broken."""
        return tuple(item for item in self.items if item["id"] not in self.broken)

    def items_at(self, base: str, *, broken: bool = True) -> list[dict[str, Any]]:
        """Return the items with hrefs below ``base``: an address, or a folder's path.

        Addresses that are absolute already (what a provider offers besides, and we do not) stay.
        """
        return [moved(item, base) for item in (self.items if broken else self.sound)]


def moved(item: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return an item whose relative hrefs begin with ``base``."""
    head = base.rstrip("/")
    assets = {
        name: asset if "://" in asset["href"] else {**asset, "href": f"{head}/{asset['href']}"}
        for name, asset in item["assets"].items()
    }
    return {**item, "assets": assets}
