"""The layers as the page needs them, for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from selion.store.pmtiles import PMTilesFile
from selion.web.view.discovery import Discovery, FieldsLayer
from selion.web.view.paint import RAMP
from selion.web.view.place import EARTH, Box, around, from_degrees, project_boxes, to_degrees
from selion.web.view.rasters import RasterFile
from selion.web.view.renderings import Rendering

SHARES = ("confidence", "consistency", "probability", "score", "overlap", "iou")
"""Words in the names of columns whose numbers run from 0 to 1."""
SIZES = "metrics:area"
FIRST = ("confidence", SIZES, "change:outcome")
"""Columns by which fields are coloured most."""
FINEST = 17
"""Zoom of the finest tiles of fields that are cut; the browser enlarges them."""


def describe(found: Discovery) -> dict[str, Any]:
    """Return all layers, imagery first."""
    rasters = [
        raster_table(key, raster, rendering, found.names[key])
        for key, raster in found.rasters.items()
        for rendering in raster.renderings
    ]
    fields = [fields_table(key, layer, found.names[key]) for key, layer in found.fields.items()]
    archives = [
        archive_table(key, archive, found.names[key]) for key, archive in found.archives.items()
    ]
    called = [found.names[key] for key in found.albums]
    albums = [
        {
            "id": key,
            "label": name if called.count(name) == 1 else f"{album.folder.parent.name}/{name}",
            "count": len(album.photos),
            "measured": any(photo.cover is not None for photo in album.photos),
            "truth": album.truths is not None,
        }
        for (key, album), name in zip(found.albums.items(), called, strict=True)
    ]
    placed = [
        around(layer.fields.boxes) for layer in found.fields.values() if not layer.fields.flat
    ]
    # of one that crosses the antimeridian the larger side: both are as far apart as the map is wide
    sides = [max(r.sides, key=lambda box: box[2] - box[0]) for r in found.rasters.values() if r.crs]
    boxes = sides + [box for box in placed if box is not None]
    boxes = (
        boxes
        or [archive_box(a) for a in found.archives.values()]
        or [r.box for r in found.rasters.values()]
        or [(0.0, 0.0, 0.0, 0.0)]
    )
    whole = (
        min(b[0] for b in boxes),
        min(b[1] for b in boxes),
        max(b[2] for b in boxes),
        max(b[3] for b in boxes),
    )
    ramp = [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in RAMP]
    return {
        "bounds": to_degrees(whole),
        "rasters": rasters,
        "fields": [*fields, *archives],
        "albums": albums,
        "problems": found.problems[:20],
        "ramp": ramp,
    }


def raster_table(key: str, raster: RasterFile, rendering: Rendering, name: str) -> dict[str, Any]:
    """Return what the page must know of one rendering of a raster."""
    return {
        "id": f"{key}-{rendering.name}", "group": name, "label": rendering.label,
        "kind": rendering.kind,
        "bounds": to_degrees(raster.box), "flat": raster.crs is None, "minzoom": raster.minzoom,
        "maxzoom": raster.maxzoom, "tiles": f"raster/{key}/{rendering.name}/{{z}}/{{x}}/{{y}}",
        "legend": legend(rendering), "note": rendering.note,
    }  # fmt: skip


def legend(rendering: Rendering) -> list[list[str]]:
    """Return pairs of colour and word."""
    if rendering.kind == "classes" and rendering.words:
        return [
            [rendering.colours[k % len(rendering.colours)], word]
            for k, word in enumerate(rendering.words)
        ]
    return (
        [[rendering.colours[0], "the more opaque, the more probable"]]
        if rendering.kind == "share"
        else []
    )


def fields_table(key: str, layer: FieldsLayer, name: str) -> dict[str, Any]:
    """Return what the page must know of fields."""
    box: Box = around(layer.fields.boxes) or (-EARTH, -EARTH, EARTH, EARTH)
    rows = sum(place.rows for place in layer.fields.places)
    return {
        "id": key, "label": name, "kind": "fields", "rows": rows, "bounds": to_degrees(box),
        "flat": layer.fields.flat, "minzoom": 0, "maxzoom": FINEST, "detail": layer.zoom,
        "tiles": f"fields/{key}/{{z}}/{{x}}/{{y}}", "inner": "fields", "records": True,
        "colourings": colourings(layer.fields.columns, layer.fields.ranges),
        "ready": layer.overview is None or layer.overview.ready,
    }  # fmt: skip


def archive_box(archive: PMTilesFile) -> Box:
    """Return where the tiles of a PMTiles file lie, in metres of web mercator."""
    west, south, east, north = project_boxes(np.array([archive.box]), from_degrees)[0].tolist()
    return west, south, east, north


def archive_table(key: str, archive: PMTilesFile, name: str) -> dict[str, Any]:
    """Return what the page must know of a PMTiles file."""
    return {
        "id": key, "label": name, "kind": "fields", "rows": None,
        "bounds": to_degrees(archive_box(archive)),
        "flat": False, "minzoom": archive.zooms[0], "maxzoom": archive.zooms[1],
        "detail": archive.zooms[0], "tiles": f"fields/{key}/{{z}}/{{x}}/{{y}}",
        "inner": archive.fields_layer, "cells": archive.density_layer, "records": False,
        "colourings": colourings({c: k for c, k in archive.columns.items() if c != "id"}, {}),
        "ready": True,
    }  # fmt: skip


def colourings(
    columns: Mapping[str, str], ranges: Mapping[str, tuple[float, float]]
) -> list[dict[str, Any]]:
    """Return how fields can be coloured.

    By confidence first, by size, by change, then by what else the table holds.
    """
    found = [
        {"column": name, "label": column_label(name), **scale(name, kind, ranges.get(name))}
        for name, kind in columns.items()
    ]
    return sorted(
        found,
        key=lambda each: FIRST.index(each["column"]) if each["column"] in FIRST else len(FIRST),
    )


def column_label(column: str) -> str:
    """Return what a column is called on the page."""
    return {"metrics:area": "size", "metrics:perimeter": "perimeter"}.get(
        column, column.replace("_", " ").replace(":", " ")
    )


def scale(name: str, kind: str, known: tuple[float, float] | None) -> dict[str, Any]:
    """Return how the values of a column become colours."""
    if kind == "text":
        return {"kind": "words"}
    if any(word in name.lower() for word in SHARES) and (
        known is None or (known[0] >= 0 and known[1] <= 1)
    ):
        return {"kind": "numbers", "domain": [0, 1], "log": False}
    low, high = known or (0.0, 1.0)
    if name == SIZES:
        return {
            "kind": "numbers",
            "domain": [max(low, 1000.0), max(min(high, 300_000.0), 2000.0)]
            if known
            else [1000.0, 300_000.0],
            "log": True,
        }
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        high = low + 1
    return {"kind": "numbers", "domain": [low, high], "log": False}
