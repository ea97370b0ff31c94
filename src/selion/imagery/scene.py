"""The nouns of imagery.

A scene of the archive, a season of the year, and what was chosen for one tile in one season.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from types import MappingProxyType

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput
from selion.grid import Roi
from selion.imagery.reflectance import Radiometry
from selion.imagery.sensors import SENTINEL_2, Sensor, find_sensor

BANDS = tuple(find_sensor().bands)
"""Red, green, blue and nir of Sentinel-2, in the order of Fields of The World."""
ANEW = ("s2:product_uri", "s2:generation_time", "updated", "created", "scales", "offsets")
"""Of what an item says, that which changes when its files do."""


@dataclass(frozen=True, slots=True)
class Season:
    """A stretch of days, both ends included, in which scenes are looked for."""

    name: str
    """``window_a`` (planting, the earlier date) or ``window_b`` (harvest): the prefix of the
    composite's bands."""
    start: date
    end: date
    why: str = ""
    """One clause for the log: latitude rule, crop calendar, or given."""

    def facts(self) -> dict[str, str]:
        """Return it as plans and composites write it."""
        return {
            "name": self.name,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class Scene:
    """One product of one tile, as a catalogue tells of it."""

    id: str
    tile: str
    """Name of the tile without a prefix: ``33UUP`` in MGRS."""
    time: datetime
    """Acquisition, UTC."""
    provider: str
    """Name of the provider (:mod:`selion.imagery.providers`), which decides signing and
    radiometry."""
    hrefs: Mapping[str, str]
    """Bands of the sensor and its mask (``red, green, blue, nir, scl``) -> address, not signed."""
    footprint: Mapping[str, object]
    """GeoJSON geometry in longitude and latitude."""
    cloud: float | None = None
    """Cloud cover of the whole scene in percent; None when the catalogue does not say."""
    baseline: str | None = None
    """Processing baseline, ``05.09``; None when the catalogue does not say."""
    orbit: int | None = None
    """Relative orbit."""
    platform: str = ""
    properties: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """All that the item said, for the radiometry to look at (``earthsearch:boa_offset_applied``,
    ``raster:bands`` offsets under ``offsets``)."""
    sensor: str = SENTINEL_2
    """Name of the sensor (:mod:`selion.imagery.sensors`), which decides bands, pixels and mask."""

    def facts(self) -> dict[str, object]:
        """Return what of it is another where an archive has made it anew."""
        made = {name: self.properties.get(name) for name in ANEW if name in self.properties}
        return {"time": self.time.isoformat(), "baseline": self.baseline, **made}


@dataclass(frozen=True, eq=False, slots=True)
class TilePlan:
    """What one tile contributes in one season.

    Where, from which scenes, and how deep the view is before a band is read at full resolution.
    """

    tile: str
    season: Season
    grid: GeoBox
    """The part of the tile's grid that the area touches (cut on multiples of 6 px, so that 20 m and
    60 m pixels of Sentinel-2 are whole)."""
    roi: Roi
    """Where ``grid`` lies in the tile's full grid."""
    scenes: tuple[Scene, ...]
    """Chosen, in the order in which they were chosen."""
    radiometry: tuple[Radiometry, ...]
    """One per scene."""
    candidates: tuple[Scene, ...] = ()
    """All that were looked at."""
    depth: np.ndarray | None = None
    """(y, x) uint8, clear views per coarse pixel of the chosen scenes."""
    notes: tuple[str, ...] = ()
    """Sentences for the user: what was refused and why."""
    shares: tuple[float, ...] = ()
    """Shares of the area's pixels in this tile with 0, 1, ... and with the target number of clear
    views or more."""

    @property
    def sensor(self) -> Sensor:
        """What took its scenes."""
        return sensor_of(self.scenes)


def sensor_of(scenes: Iterable[Scene]) -> Sensor:
    """Return the sensor of some scenes; of none, the default.

    Raises
    ------
    BadInput
        If they are of several sensors.
    """
    names = sorted({scene.sensor for scene in scenes})
    if len(names) > 1:
        raise BadInput(
            f"Scenes of {', '.join(names)} were given together; a composite is made of one sensor: "
            "plan each by itself."
        )
    return find_sensor(*names)
