"""What is known of a sensor's products: bands, pixel size, mask, tiles, numbers.

The table is ``sensors.toml``; everything else in this package asks a :class:`Sensor`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from selion.errors import UnknownName

SENTINEL_2 = "sentinel-2"
"""The sensor of scenes that name none."""
UNNAMED = "e582e48f529afe39e8b10f14639bf4ab9f90ebad57fdcd41e01a7cbd3977e323"
"""Digest of Sentinel-2's table as it was when keys of kept work named no sensor."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The band of a product that says which pixels show the ground."""

    band: str
    """Its name among the scene's bands: ``scl``."""
    name: str
    """What the product calls it: ``SCL``."""
    title: str
    """What it is called in messages."""
    kind: Literal["codes", "bits"]
    """``codes``: a pixel has one class.  ``bits``: class k is bit k, and a pixel has several."""
    gsd: float
    """Edge of a pixel in metres."""
    classes: Mapping[int, str]
    """Code, or number of a bit -> what it means."""
    excluded: frozenset[int]
    """Classes that are not clear by default."""
    cloudy: frozenset[int]
    """Cloud, shadow of cloud, and what may be either: what a margin is laid around."""
    fill: int = 0
    """Value of pixels that were not delivered."""
    ground: tuple[int, ...] = ()
    """Classes that show the ground, for messages."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A kind of product: the same bands, pixels, mask and tiles in every catalogue."""

    name: str
    title: str
    gsd: float
    """Edge in metres of the pixels of all ``bands``."""
    bands: Mapping[str, str]
    """Bands of a composite, in their order -> what the product calls them."""
    mask: Mask
    tiling: str
    """What its tiles are called in messages: ``MGRS``, ``WRS-2``."""
    tile: str
    """Regular expression that finds a tile's name in a property or an id, in groups."""
    tile_width: int
    """Characters of a tile's name; zeros are put before a shorter one."""
    tile_step: float
    """Kilometres from one tile to the next."""
    tile_edge: float
    """Edge of a tile in kilometres."""
    first_year: int
    """The first with scenes."""
    tile_properties: tuple[str, ...] = ()
    """Properties that hold the parts of the tile's name, where no single one does."""
    fixed_tiles: bool = True
    """Whether all scenes of a tile share one grid.  Where they do not, the first scene's grid is
    the tile's, scenes may reach beyond it, and no tile is left out as covered by others."""
    scale: float | None = None
    """Reflectance per digital number; None: every scene decides
    (:mod:`selion.imagery.radiometry`)."""
    offset: float = 0.0
    """Reflectance of the digital number 0."""

    @property
    def assets(self) -> Mapping[str, str]:
        """All files of a scene that are read -> what the product calls them; the mask is last."""
        return {**self.bands, self.mask.band: self.mask.name}

    @property
    def overlap(self) -> float:
        """How often a place is seen in one pass, on the mean: by every tile that it lies in."""
        return (self.tile_edge / self.tile_step) ** 2

    @property
    def key(self) -> str:
        """Stands for all of the table that decides scenes and pixels, in keys of kept work.

        Empty for Sentinel-2 as it was before keys named the sensor, so that they stay what they
        were.
        """
        mask = self.mask
        decides = [
            [self.name, self.gsd, list(self.bands.items()), self.scale, self.offset],
            [self.tile, self.tile_width, self.tile_properties, self.fixed_tiles],
            [mask.band, mask.name, mask.kind, mask.gsd, mask.fill],
            [sorted(codes) for codes in (mask.classes, mask.excluded, mask.cloudy)],
        ]
        digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
        return "" if digest == UNNAMED else digest

    def coarser(self, band: str) -> float:
        """Return how many pixels of the bands lie along the edge of one of ``band``'s."""
        return self.mask.gsd / self.gsd if band == self.mask.band else 1.0


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(
        files("selion.imagery").joinpath("sensors.toml").read_text(encoding="utf-8")
    )


@cache
def find_sensor(name: str = SENTINEL_2) -> Sensor:
    """Return a sensor by its name in ``sensors.toml``.

    Raises
    ------
    UnknownName
        If there is none.

    Examples
    --------
    >>> find_sensor().bands["nir"]
    'B08'
    """
    if name not in _table():
        raise UnknownName.among("sensor", name, tuple(_table()))
    return read_sensor(name, _table()[name])


def read_sensor(name: str, table: Mapping[str, Any]) -> Sensor:
    """Make a sensor of a table of ``sensors.toml``."""
    mask = table["mask"]
    return Sensor(
        **{
            **table,
            "name": name,
            "tile_properties": tuple(table.get("tile_properties", ())),
            "mask": Mask(
                **{
                    **mask,
                    "classes": {int(code): title for code, title in mask["classes"].items()},
                    "excluded": frozenset(mask["excluded"]),
                    "cloudy": frozenset(mask["cloudy"]),
                    "ground": tuple(mask.get("ground", ())),
                }
            ),
        }
    )
