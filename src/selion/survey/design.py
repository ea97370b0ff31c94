"""The design of a sample: strata, their sizes, how many units of each were drawn, and why.

A unit is a square of the ground on a grid of equal areas, so that the population is a known number
of units, strata have exact sizes, and every unit has a known chance to be drawn: what a probability
sample asks for (Olofsson et al. 2014, section 2).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from selion import store
from selion.errors import BadInput, UnreadableFile
from selion.pipeline.land_cover import LandCover
from selion.store.address import Place
from selion.store.replaced import FolderKind

KIND = "selion sample 1"
DESIGN, POINTS, PLACES, KEY, QUEUE = (
    "design.json",
    "points.csv",
    "points.geojson",
    "key.csv",
    "queue.parquet",
)
"""Files of a sample: the design; what people fill in, as a table and for a GIS; what they must not
see; squares for ``selion review``."""
SAMPLED = FolderKind("a sample of 'selion sample'", (DESIGN,), (POINTS, PLACES, KEY, QUEUE))
CLASSES = ("other", "field")


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What is drawn, and from which strata."""

    size: int = 500
    """Units of the sample."""
    least: int = 50
    """Of each stratum at least (Olofsson et al. advise 50 to 100 for rare ones)."""
    breaks: tuple[float, ...] = (0.6, 0.8)
    """Confidences that part fields into strata; none: all fields are one."""
    near: float = 0.0
    """Metres: what lies so near to a field is a stratum of its own, because there most omissions
    are; 0: it is not."""
    districts: Place | None = None
    """Polygons; each is stratified, and estimated, by itself."""
    district_column: str | None = None
    land_cover: LandCover | None = None
    """Cropland and the rest become strata."""
    unit: float = 10.0
    """Edge of a unit in metres."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 2 or self.least < 2 or self.unit <= 0 or self.near < 0:
            raise BadInput(
                f"A sample of {self.size} units of {self.unit} m, at least {self.least} a stratum, "
                f"and a margin of {self.near} m was given; wanted are at least 2 units, 2 a "
                "stratum, and lengths that are not negative."
            )
        if list(self.breaks) != sorted(set(self.breaks)) or any(
            not 0 < value < 1 for value in self.breaks
        ):
            raise BadInput(
                f"Confidences {list(self.breaks)} were given to part fields by; wanted are values "
                "between 0 and 1, ascending."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return what the design says of them; addresses without their keys."""
        return {
            **{
                name: getattr(self, name)
                for name in ("size", "least", "near", "unit", "seed", "district_column")
            },
            "breaks": list(self.breaks),
            "districts": None if self.districts is None else store.shown(str(self.districts)),
            "land_cover": None
            if self.land_cover is None
            else {
                "rasters": [store.shown(str(path)) for path in self.land_cover.rasters],
                "crops": sorted(self.land_cover.crops),
            },
        }


@dataclass(frozen=True, slots=True)
class Stratum:
    """One stratum."""

    name: str
    mapped: int
    """Position in :data:`CLASSES` of what the map says there."""
    district: str
    """Empty where there are none."""
    units: int
    """In the population."""
    drawn: int


@dataclass(frozen=True)
class Design:
    """How a sample was drawn."""

    map: str
    """Address of the map, without its keys."""
    crs: str
    """Of the units: equal areas."""
    origin: tuple[float, float]
    """x and y of the upper left corner of unit 0, 0."""
    shape: tuple[int, int]
    """Rows and columns of units."""
    area_km2: float
    """Of the area on the ellipsoid, by its outline."""
    strata: tuple[Stratum, ...]
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def unit_hectares(self) -> float:
        """Size of a unit."""
        return float(self.options["unit"]) ** 2 / 1e4

    @property
    def units(self) -> int:
        """Of the population."""
        return sum(stratum.units for stratum in self.strata)

    @property
    def drawn(self) -> int:
        """Of the sample."""
        return sum(stratum.drawn for stratum in self.strata)

    @property
    def districts(self) -> tuple[str, ...]:
        """Names in the order of the strata; empty where there are none."""
        return tuple(dict.fromkeys(s.district for s in self.strata if s.district))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {"kind": KIND, **asdict(self), "strata": [asdict(s) for s in self.strata]}


def read_design(folder: Path) -> Design:
    """Read the design of a sample.

    Parameters
    ----------
    folder : path
        What :func:`draw_sample` wrote.

    Raises
    ------
    UnreadableFile
        If it is none.
    """
    path = folder / DESIGN
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        _check_kind(table.pop("kind"))
        strata = tuple(Stratum(**row) for row in table.pop("strata"))
        for name in ("origin", "shape", "notes"):
            table[name] = tuple(table[name])
        return Design(strata=strata, **table)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder} cannot be read as a sample ({error}): give the folder that 'selion sample' "
            "wrote."
        ) from error


def _check_kind(kind: object) -> None:
    if kind != KIND:
        raise ValueError(f"it says it is {kind!r}, and this selion reads {KIND!r}")
