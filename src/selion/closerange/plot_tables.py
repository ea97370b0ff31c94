"""What a run over plots writes: a table, a layer for a GIS with styles, and how it was made."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import selion
from selion import store
from selion.classes import ClassScheme
from selion.closerange.components import LEAST, counted_classes
from selion.closerange.indices import NAMES
from selion.closerange.tables import write_table as write_rows
from selion.data.plots import GIVEN, TAKEN, Plot
from selion.errors import BadInput
from selion.fields.formats import write_layer
from selion.fields.style import graded_style
from selion.store.replaced import FolderKind

TABLE, LAYER, MASK, PICTURES, RUN = "plots.csv", "plots.gpkg", "mask.tif", "plots", "run.json"
PLOTS = FolderKind(
    "what 'crops plots' writes", (RUN,), (TABLE, LAYER, MASK, f"{PICTURES}/", "index.html")
)
LAYER_NAME = "plots"
FIRST = ("trust", "reasons", "cover", "cover_low", "cover_high", "cover_expected", "unsure")
LAST = (
    "nodata", "pixels", "ground_m2", "vegetation_m2", "components", "component_area_median_cm2",
    *NAMES, "picture",
)  # fmt: skip
OF_LAYERS = ("fid", "geom", "geometry")
"""Columns that a GeoPackage has itself; QGIS hands on the first, twice where layers were joined."""
STEPS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"""Of cover, in the style of the layer and on the page."""


@dataclass(frozen=True, slots=True)
class PlotOptions:
    """What a user may choose; None takes the model's own value."""

    name: str | None = None
    """Column of the plots' names; None: the first of ``plot_id``, ``plot``, ``name``, ``id``."""
    buffer: float = 0.0
    """Metres along the edge of each plot that are left out."""
    scale: float | None = None
    """Show the model the orthomosaic at this many times as many pixels along each axis."""
    window: int | None = None
    overlap: float | None = None
    flips: bool = False
    min_area: int = LEAST
    """Pixels of the smallest plant or leaf that is counted."""
    pictures: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.buffer < 1e4:
            raise BadInput(f"A buffer of {self.buffer:g} m was given; wanted is 0 or more.")
        if self.min_area < 1:
            raise BadInput(f"A least area of {self.min_area} px was given; wanted is 1 or more.")
        if self.scale is not None and not 0 < self.scale < 1e3:
            raise BadInput(f"A scale of {self.scale:g} was given; wanted is a number above 0.")


@dataclass(frozen=True, eq=False)
class PlotRun:
    """What a run gave."""

    rows: list[dict[str, Any]]
    """One per plot, in the order of the file; see :mod:`selion.closerange.plot_tables`."""
    plots: list[Plot]
    classes: ClassScheme
    model: str
    about: str
    image: str
    crs: str
    gsd: float
    """Metres a pixel."""
    options: PlotOptions
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def untrusted(self) -> int:
        """How many plots should be looked at."""
        return sum(row["trust"] != "yes" for row in self.rows)


def measured_columns(classes: ClassScheme) -> list[str]:
    """Return the columns that a run writes of every plot, after its name."""
    several = len(classes.names) > 2
    covers = [f"cover_{name}" for name in classes.names[1:] if several]
    kinds = [f"components_{classes.names[k]}" for k in counted_classes(classes)]
    measured = [*FIRST, *covers, *LAST]
    if len(kinds) > 1:
        after = measured.index("components") + 1
        measured[after:after] = kinds
    return measured


def with_own_names(plots: Sequence[Plot], classes: ClassScheme) -> list[Plot]:
    """Give columns of the plots that are called as one of ours is another name: ``cover_given``.

    The layer of one flight may be the plots of the next: what was measured then would be told of a
    plot that has nothing now.  Names differ whatever the case, as those of a GeoPackage must.
    """
    taken = {name.casefold() for name in (TAKEN, *OF_LAYERS, *measured_columns(classes))}
    names: dict[str, str] = {}
    for key in dict.fromkeys(key for plot in plots for key in plot.attributes):
        name = key
        while name.casefold() in taken:
            name = f"{name}{GIVEN}"
        names[key] = name
        taken.add(name.casefold())
    return [
        replace(plot, attributes={names[key]: value for key, value in plot.attributes.items()})
        for plot in plots
    ]


def columns(run: PlotRun) -> list[str]:
    """Return the columns of the table: name, measures, then what the plots brought themselves."""
    return [TAKEN, *measured_columns(run.classes), *_brought(run)]


def _brought(run: PlotRun) -> dict[str, None]:
    """Return the columns that the plots brought themselves, in their order."""
    return dict.fromkeys(key for plot in run.plots for key in plot.attributes)


def write_table(run: PlotRun, path: Path) -> None:
    """Write one row per plot as CSV; what the plots brought is written as it was."""
    write_rows(path, columns(run), run.rows, _brought(run))


def write_all(run: PlotRun, folder: Path) -> None:
    """Write the table, the layer with its styles, and what decided the numbers."""
    write_table(run, folder / TABLE)
    _write_layer(run, folder / LAYER)
    facts = {
        "image": run.image,
        "model": run.model,
        "engine": run.about,
        "gsd_m": run.gsd,
        "options": asdict(run.options),
        "plots": len(run.plots),
        "untrusted": run.untrusted,
        "notes": list(run.notes),
        "version": selion.__version__,
    }
    store.write_text(folder / RUN, json.dumps(facts, indent=1) + "\n")


def _write_layer(run: PlotRun, path: Path) -> None:
    names = columns(run)
    rows = [{name: _value(row.get(name)) for name in names} for row in run.rows]
    shares = [f"{low:.0%} to {high:.0%}" for low, high in pairwise(STEPS)]
    styles = {"cover": graded_style("cover", STEPS, shares)}
    outlines = [plot.outline for plot in run.plots]
    write_layer(rows, outlines, run.crs, path, LAYER_NAME, styles)


def _value(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
