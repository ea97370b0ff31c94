"""Plans whose jobs "ran": outlines in longitude and latitude become each job's table and
probabilities, on the job's own grid, and one map of the whole on a grid of its own.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import geopandas
import numpy as np
import pandas as pd
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion import fields, store
from selion.classes import FTW3
from selion.country import cut_area
from selion.country.lattice import to_feature
from selion.fields.table import geohash
from selion.grid import whole
from selion.imagery import read_area

CRS84 = "OGC:CRS84"
AREA = (11.973, 49.993, 12.029, 50.007)
"""4 km by 1.6 km across the border of zones 32 and 33."""
DOMAIN = shapely.box(*AREA)
PIXEL = 10.0


def parcels(seed=1, across=18, down=8):
    """Parcels of some 220 m that meet at their borders, with corners that jitter."""
    rng = np.random.default_rng(seed)
    x, y = np.linspace(AREA[0], AREA[2], across + 1), np.linspace(AREA[1], AREA[3], down + 1)
    nodes = np.stack(np.meshgrid(x, y), axis=-1)
    size = np.array([x[1] - x[0], y[1] - y[0]])
    nodes = nodes + rng.uniform(-0.15, 0.15, nodes.shape) * size
    rings = [nodes[:-1, :-1], nodes[:-1, 1:], nodes[1:, 1:], nodes[1:, :-1]]
    shapes = shapely.polygons(np.stack(rings, axis=2).reshape(-1, 4, 2))
    return shapely.transform(shapes, lambda xy: xy.round(7))


def named(shapes):
    middle = shapely.get_coordinates(shapely.point_on_surface(shapes))
    columns = {"id": geohash(*middle.T), "class": "field", "confidence": np.float32(0.9)}
    return geopandas.GeoDataFrame(columns, index=range(len(shapes)), geometry=shapes, crs=CRS84)


def write_map(folder, shapes, grid, year, *, unseen=None, scores="fields.scores.tif"):
    """Write the table and the probabilities of outlines, as a job on a grid would."""
    folder.mkdir(parents=True, exist_ok=True)
    mover = Transformer.from_crs(CRS84, str(grid.crs), always_xy=True)

    def flat(one):
        fine = shapely.segmentize(one, 0.001)
        return shapely.transform(fine, mover.transform, interleaved=False)

    here = flat(shapes)
    frame = shapely.box(*grid.extent.geom.bounds)
    near = shapely.area(shapely.intersection(here, frame)) > 0
    here, cut = here[near], ~shapely.covers(frame, here[near])
    inside = shapely.buffer(here, -PIXEL)
    values = np.full((3, *grid.shape), 10, np.uint8)
    kinds = store.burn(here, [2] * len(here), grid)
    core = store.burn(
        inside[~shapely.is_empty(inside)], [1] * (~shapely.is_empty(inside)).sum(), grid
    )
    kinds[core > 0] = 1
    for code in range(3):
        values[code][kinds == code] = 234
    if unseen is not None:
        values[:, store.burn([flat(unseen)], [1], grid) > 0] = 255
    tags = {"classes": json.dumps(FTW3.to_dict()), "image_gsd": repr(PIXEL)}
    if scores:
        with store.create_cog(
            folder / scores, grid, FTW3.names, np.uint8, nodata=255, tags=tags, force=True
        ) as sink:
            sink.write(whole(grid), values)
    # what the job's image does not reach it cannot draw
    back = Transformer.from_crs(str(grid.crs), CRS84, always_xy=True)
    drawn = shapes[near].copy()
    drawn[cut] = shapely.transform(
        shapely.intersection(here[cut], frame), back.transform, interleaved=False
    )
    table = named(shapely.orient_polygons(drawn))
    origin = fields.Origin(
        "job", datetime(year, 8, 1, tzinfo=UTC), provenance={"model": {"name": "m"}}
    )
    fields.write_fields(table, folder / "fields.parquet", origin, force=True)
    return folder


def grid_of(bounds, crs):
    x0, y0, x1, y1 = (np.array(bounds) / PIXEL).round().astype(int).tolist()
    shape = (y1 - y0, x1 - x0)
    return GeoBox(shape, Affine(PIXEL, 0, x0 * PIXEL, 0, -PIXEL, y1 * PIXEL), crs)


def cells_of(edge=2000.0, halo=400.0, area=AREA):
    return cut_area(read_area(area), edge, halo)


def write_plan(folder, shapes, cells, year, *, unseen=None, scores="fields.scores.tif", run=None):
    """Write a plan whose jobs ran (or those in ``run``)."""
    jobs = []
    for cell in cells:
        place = folder / "jobs" / cell.name
        place.mkdir(parents=True)
        (place / "area.geojson").write_text(json.dumps(to_feature(cell)))
        command = ["selion", "map", *(["--scores", f"jobs/{cell.name}/{scores}"] if scores else [])]
        jobs.append({"name": cell.name, "crs": cell.crs, "command": command})
        if run is None or cell.name in run:
            grid = grid_of(cell.bounds, cell.crs)
            write_map(place, shapes, grid, year, unseen=unseen, scores=scores)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    return folder


def whole_grid(margin=500.0, crs="EPSG:32633"):
    mover = Transformer.from_crs(CRS84, crs, always_xy=True)
    x0, y0, x1, y1 = mover.transform_bounds(*AREA)
    return grid_of((x0 - margin, y0 - margin, x1 + margin, y1 + margin), crs)


def table_of(found):
    """Return all rows of a comparison of maps."""
    frames = [geopandas.read_parquet(part.path) for part in found.maps.parts]
    return geopandas.GeoDataFrame(pd.concat(frames, ignore_index=True), crs=CRS84)
