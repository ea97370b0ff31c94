"""A ``.qml`` beside a file, which QGIS takes by itself when the file is opened."""

from __future__ import annotations

from pathlib import Path

from selion import store
from selion.errors import BadInput, UnknownName
from selion.fields.style import field_styles, scores_style
from selion.grid import LONLAT
from selion.prediction import NODATA
from selion.store.parquet import parquet_schema
from selion.store.vectors import read_metadata

TABLES = (".parquet", ".gpkg", ".fgb", ".geojson", ".pmtiles")
OUTLINES = "fields"
"""The style that needs no column."""
NOWHERE = (0.0, 0.0, 0.0, 0.0)
"""A box that holds no field: what is read is the table's head."""


def write_style(path: Path, name: str | None = None, *, force: bool = False) -> Path:
    """Write the style of a table of fields, or of a raster of probabilities, beside it.

    Parameters
    ----------
    path : path
        As ``selion map`` and ``selion predict`` write them.
    name : str, optional
        Of a table: "fields" (outlines), "confidence" or "size"; of a raster: the class that is
        drawn.  None: outlines, or the first class that comes as objects.
    force : bool
        Whether a style that is there is replaced.

    Returns
    -------
    Path
        ``path`` with the ending ``.qml``.

    Raises
    ------
    UnknownName
        If there is no such style, or no such class.
    BadInput
        If the raster holds no probabilities, or the table lacks what its fields are coloured by.
    UnreadableFile
        If it cannot be read.
    OutputExists, OutputFailed
        If it cannot be written.
    """
    target = path.with_suffix(".qml")
    store.check_output(target, force)
    text = _of_table(path, name) if path.suffix.lower() in TABLES else _of_scores(path, name)
    store.write_text(target, text, force=force)
    return target


def _of_table(path: Path, name: str | None) -> str:
    known = field_styles()
    wanted = name or next(iter(known))
    if wanted not in known:
        raise UnknownName.among("style of fields", wanted, known)
    if wanted == OUTLINES or path.suffix.lower() == ".pmtiles":
        return known[wanted]
    columns, placed = columns_of(path)
    column = {"confidence": "confidence", "size": "metrics:area"}[wanted]
    scored = wanted == "confidence" and column not in columns and "score" in columns
    if column not in columns and not scored:
        raise BadInput(
            f"{path} has no column {column!r}, so that QGIS would draw none of its fields: leave "
            "--colour-by out for outlines."
        )
    sure = '"score" / 100' if scored else column  # as published fields have it
    return field_styles(placed=placed, sure=sure)[wanted]


def columns_of(path: Path) -> tuple[set[str], bool]:
    """Return the columns of a table, and whether it lies on the globe."""
    if path.suffix.lower() != ".parquet":
        frame = store.read_polygons(path, NOWHERE)
        return set(frame.columns), frame.crs is not None
    geo = read_metadata(path)["geo"]
    place = geo["columns"][geo["primary_column"]]
    return set(parquet_schema(path).names), place.get("crs", LONLAT) is not None


def _of_scores(path: Path, name: str | None) -> str:
    """Find out from the tags what the bands mean."""
    import json

    from selion.classes import ClassScheme

    source = store.open_raster(path)
    noted = source.tags.get("classes")
    if not noted:
        raise BadInput(
            f"{path} holds no probabilities of selion (no tag 'classes'): QGIS has styles of its "
            "own for other rasters."
        )
    classes = ClassScheme.from_dict(json.loads(noted))
    shown = name or (classes.things or classes.names[1:])[0]
    if shown not in classes.names:
        raise UnknownName.among("class", shown, classes.names)
    return scores_style(classes.names, shown, NODATA - 1)
