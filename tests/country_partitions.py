"""A simulated countryside on both sides of a zone border, whole and cut into the partitions that
jobs would make of it.
"""

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import geopandas
import numpy as np
import shapely
from pyproj import Transformer

from selion import fields
from selion.country import lattice
from selion.fields.schema import Origin
from selion.imagery import read_area
from selion.simulation.landscape import simulate

CRS84 = "OGC:CRS84"


@cache
def countryside(seed=3, size=420):
    """Fields around 12 E, 50 N, where zones 32 and 33 meet; longitude and latitude."""
    scene = simulate(
        seed,
        (size, size),
        style="smallholder",
        crs="EPSG:32633",
        origin=(285_000.0 - 5 * size, 5_543_000.0),
    )
    frame = fields.to_fields(scene.instances, fields.FieldOptions(min_area=500)).to_crs(CRS84)
    rng = np.random.default_rng(seed)
    return frame.assign(
        **{"confidence": rng.uniform(0.4, 1, len(frame)).astype(np.float32), "class": "field"}
    )


@dataclass(frozen=True)
class Partitions:
    paths: list[Path]
    cells: list


def write_partitions(
    frame, folder, edge=1500.0, halo=200.0, *, area=None, keep=lambda cell: True, moved=None
):
    """Write what each job of a plan would have seen of a countryside; ``moved`` changes the
    outlines of each.
    """
    area = area or read_area([float(v) for v in frame.total_bounds], name="valley")
    cells = [cell for cell in lattice.cut_area(area, edge, halo) if keep(cell)]
    paths = []
    for cell in cells:
        back = Transformer.from_crs(cell.crs, CRS84, always_xy=True)
        raster = shapely.segmentize(shapely.box(*cell.bounds), 50)
        raster = shapely.transform(
            raster, lambda xy, mover=back: np.stack(mover.transform(xy[:, 0], xy[:, 1]), axis=1)
        )
        seen = frame[frame.intersects(cell.seen)]
        seen = (
            seen if moved is None else seen.set_geometry(moved(cell, seen.geometry), crs=frame.crs)
        )
        inside = seen.geometry.within(raster)
        cut = (
            seen[~inside]
            .set_geometry(seen.geometry[~inside].intersection(raster), crs=frame.crs)
            .explode(index_parts=False)
        )
        cut = cut[cut.geom_type == "Polygon"]
        table = (
            geopandas.GeoDataFrame(
                geopandas.pd.concat([seen[inside], cut], ignore_index=True), crs=frame.crs
            )
            if len(cut)
            else seen
        )
        path = folder / "jobs" / cell.name / "fields.parquet"
        path.parent.mkdir(parents=True)
        write_table(table, path)
        path.with_name("area.geojson").write_text(json.dumps(lattice.to_feature(cell)))
        paths.append(path)
    return Partitions(paths, cells)


def write_table(frame, path, origin=None):
    """Write fields with their measures taken anew and ids that are each there once."""
    area, perimeter = fields.measure(frame.geometry.to_numpy(), CRS84)
    frame = frame.assign(
        **{
            "metrics:area": area.astype(np.float32),
            "metrics:perimeter": perimeter.astype(np.float32),
        }
    )
    frame = frame[frame["metrics:area"] > 0]
    again = frame.groupby("id").cumcount().to_numpy()
    frame = frame.assign(
        id=[f"{name}-{k + 1}" if k else name for name, k in zip(frame["id"], again, strict=True)]
    )
    return fields.write_fields(
        frame.set_geometry(shapely.orient_polygons(frame.geometry.to_numpy()), crs=frame.crs),
        path,
        origin or Origin("partition"),
    )


__all__ = ["CRS84", "Partitions", "countryside", "replace", "write_partitions", "write_table"]
