"""A ``.qml`` beside a file, which QGIS takes by itself when the file is opened."""

from __future__ import annotations

from pathlib import Path

from selion import store
from selion.errors import BadInput, UnknownName
from selion.fields.style import field_styles, scores_style
from selion.prediction import NODATA

TABLES = (".parquet", ".gpkg", ".fgb", ".geojson", ".pmtiles")


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
        If the raster holds no probabilities.
    OutputExists, OutputFailed
        If it cannot be written.
    """
    target = path.with_suffix(".qml")
    store.check_output(target, force)
    text = _of_table(name) if path.suffix.lower() in TABLES else _of_scores(path, name)
    store.write_text(target, text, force=force)
    return target


def _of_table(name: str | None) -> str:
    known = field_styles()
    wanted = name or next(iter(known))
    if wanted not in known:
        raise UnknownName.among("style of fields", wanted, known)
    return known[wanted]


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
