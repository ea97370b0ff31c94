"""The tables of a run.

One row per photograph, one per component, one per photograph that failed.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from selion import store
from selion.closerange.components import AREAS, COLUMNS, LENGTHS
from selion.closerange.indices import NAMES

PHOTOS, COMPONENTS, FAILED = "crops.csv", "components.csv", "failed.csv"
SIZES = (*(f"{name}_cm2" for name in AREAS), *(f"{name}_cm" for name in LENGTHS))
PHOTO_COLUMNS = (
    "file", "time", "latitude", "longitude", "camera", "width", "height", "trust", "reasons",
    "cover", "cover_low", "cover_high", "cover_expected", "unsure", "rule_cover", "rule_overlap",
    "vegetation_px", "vegetation_cm2", "ground_cm2", "gsd_mm", "scale_from", "components",
    "component_area_median", "least_area", "specks", *NAMES, "sharpness", "brightness",
    "clipped_dark", "clipped_bright", "notes", "mask", "overlay",
)  # fmt: skip
COMPONENT_COLUMNS = ("file", "class", *COLUMNS, *SIZES)
PLACES = ("latitude", "longitude")
"""Columns that are no measures: six digits of a longitude are a hundred metres, or a plot's
neighbours."""


def write_tables(
    rows: Sequence[dict[str, Any]],
    components: Iterable[dict[str, Any]],
    failed: Sequence[tuple[str, str]],
    folder: Path,
) -> None:
    """Write ``crops.csv``, ``components.csv`` and ``failed.csv``.

    The last has a head only where nothing failed.  What is there is replaced.
    """
    after = PHOTO_COLUMNS.index("unsure") + 1
    classes = [
        name
        for name in (rows[0] if rows else ())
        if name.startswith(("cover_", "components_")) and name not in PHOTO_COLUMNS
    ]
    write_table(folder / PHOTOS, (*PHOTO_COLUMNS[:after], *classes, *PHOTO_COLUMNS[after:]), rows)
    write_table(folder / COMPONENTS, COMPONENT_COLUMNS, components)
    write_table(
        folder / FAILED, ("file", "why"), ({"file": file, "why": why} for file, why in failed)
    )


def write_table(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[dict[str, Any]],
    exact: Collection[str] = PLACES,
) -> None:
    """Write rows as CSV (RFC 4180, UTF-8); what is not known is empty.

    Measures have six digits; what stands in the columns ``exact`` is written as it is.
    """
    cells = ([_cell(row.get(name), exact=name in exact) for name in columns] for row in rows)
    store.write_csv(path, columns, cells)


def _cell(value: object, *, exact: bool) -> object:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    return (
        value
        if exact
        else f"{value:.6g}"
        if isinstance(value, float) and abs(value) < 1e6
        else f"{value:.1f}"
        if isinstance(value, float)
        else value
    )
