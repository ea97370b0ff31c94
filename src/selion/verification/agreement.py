"""Whether the files of a result tell the same: table, probabilities, report, picture, tiles."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields, prediction, store
from selion.errors import SelionError, counted
from selion.store.pmtiles import open_archive
from selion.store.vectors import read_metadata
from selion.verification.checks import Check, judged

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

SCORES, REPORT, PICTURES, TILES = (".tif", ".zarr"), ".report.html", (".png", ".jpg"), ".pmtiles"
NEAR = 2e-3
"""Largest relative difference of an area that is measured again: it is kept as float32, and a table
in another CRS than the image's has rounded coordinates."""
PLACES = 6
"""Digits of coordinates that two boxes may differ in, as a share of their size."""


def check_agreement(
    table: Path, frame: GeoDataFrame, files: Mapping[str, Path], where: str
) -> Check:
    """Compare a table with itself and with what was written beside it.

    Parameters
    ----------
    table : path
    frame : GeoDataFrame
        What is in it.
    files : mapping
        The other files of the result by name.
    where : str
        Name of the table.
    """
    faults, looked = list(_own_faults(table, frame)), ["itself"]
    for name, path in files.items():
        examine = _examiner(path, table)
        if examine is not None:
            looked.append(name)
            try:
                faults += [f"{name}: {text}" for text in examine(path, frame, table)]
            except (SelionError, OSError, ValueError) as error:
                faults.append(f"{name} cannot be read: {error}")
    text = f"{counted(len(frame), 'field')}: the table agrees with {', '.join(looked)}."
    return judged("agreement", faults, text, where)


def _examiner(path: Path, table: Path) -> Any:
    if path == table or path.name.endswith(".json"):
        return None
    if path.name.endswith(REPORT):
        return _report_faults
    if path.suffix in PICTURES:
        return _picture_faults
    return _score_faults if path.suffix in SCORES else None


def _own_faults(table: Path, frame: GeoDataFrame) -> Iterator[str]:
    """Yield what of a table contradicts its own outlines."""
    named = ["id", *(["year"] if "year" in frame else [])]
    if "id" in frame and (more := int(frame.duplicated(named).sum())):
        yield f"{more} values of id occur more than once."
    crs = None if frame.crs is None else frame.crs.to_wkt()
    if "metrics:area" in frame and len(frame):
        said = frame["metrics:area"].to_numpy(np.float64, na_value=np.nan)
        found, _ = fields.measure(frame.geometry.to_numpy(), crs)
        wrong = np.abs(found - said) > np.maximum(NEAR * found, 1.0)
        if wrong.any():
            k = int(np.flatnonzero(wrong)[0])
            yield (
                f"{wrong.sum()} areas are not those of their outlines, the first one says "
                f"{said[k]:,.0f} and measures {found[k]:,.0f}."
            )
    if table.suffix == ".parquet" and len(frame):
        box = read_metadata(table)["geo"]["columns"]["geometry"].get("bbox")
        if box is not None and not _same_box(box, frame.total_bounds):
            yield "The extent in the metadata is not that of the outlines."


def _same_box(one: Sequence[float], other: Sequence[float]) -> bool:
    size = float(np.ptp(np.asarray(other)[[0, 2]]) + np.ptp(np.asarray(other)[[1, 3]]))
    return bool(np.allclose(one, other, rtol=0, atol=max(size, 1.0) * 10.0**-PLACES))


def _score_faults(path: Path, frame: GeoDataFrame, table: Path) -> Iterator[str]:
    source = store.open_raster(path)
    if "classes" not in source.tags:
        return
    names = set(prediction.score_classes(source, str(path)).names)
    if "class" in frame and (others := set(frame["class"].dropna()) - names):
        yield f"it has no class {', '.join(sorted(map(str, others)))}, the table has."
    crs = None if source.grid.crs is None else source.grid.crs.to_wkt()
    if (crs is None) != (frame.crs is None):
        yield "only one of it and the table has a place on the globe."
    elif len(frame):
        shapes = frame.geometry if crs is None else frame.geometry.to_crs(crs)
        west, south, east, north = shapes.total_bounds
        box, edge = source.grid.boundingbox, abs(source.grid.affine.a)
        inside = box.left - edge <= west and east <= box.right + edge
        low, high = sorted((box.bottom, box.top))
        if not (inside and low - edge <= south and north <= high + edge):
            yield "fields of the table lie outside of it."
    model = _model_of(source.tags.get("model", "{}"))
    if table.suffix == ".parquet":
        made = fields.read_origin(table).provenance or {}
        wanted = made.get("model")
        if isinstance(wanted, Mapping) and model and dict(wanted).get("files") != model:
            yield "it was made by another model than the table."


def _model_of(text: str) -> dict[str, str]:
    try:
        return dict(json.loads(text).get("files", {}))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _report_faults(path: Path, frame: GeoDataFrame, _table: Path) -> Iterator[str]:
    """Yield what a report says otherwise: number and area of the fields."""
    text = path.read_text("utf-8", "replace")
    said = dict(re.findall(r'<th scope="row">([^<]+)</th><td[^>]*>([^<]*)</td>', text))
    if "fields" in said and said["fields"].replace(",", "") != str(len(frame)):
        yield f"it tells of {said['fields']} fields, the table has {len(frame):,}."
    if "hectares in all" in said and "metrics:area" in frame:
        total = f"{round(float(frame['metrics:area'].astype(float).sum()) / 10_000, 2):,.2f}"
        if said["hectares in all"] != total:
            yield f"it tells of {said['hectares in all']} hectares, the table has {total}."


def _picture_faults(path: Path, _frame: GeoDataFrame, _table: Path) -> Iterator[str]:
    from PIL import Image

    with Image.open(path) as picture:
        picture.verify()
        if min(picture.size) < 2:
            yield f"it has {picture.size[0]} x {picture.size[1]} pixels."


def check_tiles(path: Path, where: str, boxes: Mapping[str, Sequence[float]]) -> Check:
    """Open an archive of tiles, and compare its extent with that of the map it was drawn from.

    Parameters
    ----------
    path : path
    where : str
    boxes : mapping
        Name of a map that it may be drawn from, and (west, south, east, north) in degrees.
    """
    try:
        archive = open_archive(path)
    except SelionError as error:
        return Check("agreement", "differs", (f"The tiles cannot be read: {error}",), where)
    faults = [
        f"They cover {_said(archive.box)}, but {name} {_said(box)}."
        for name, box in boxes.items()
        if not np.allclose(archive.box, box, atol=1e-4)
    ]
    low, high = archive.zooms
    more = f" as {', '.join(boxes)}" if boxes else ""
    looked = f"Tiles of zoom {low} to {high} of {', '.join(archive.layers)}, {_said(archive.box)}"
    return judged("agreement", faults, f"{looked}{more}.", where)


def _said(box: Sequence[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in box)
