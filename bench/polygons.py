"""Polygon stage: ids on a grid to a file of simplified fields, ours beside the way of ftw-tools,
like for like.

    python bench/polygons.py --size 10980 --rounds 3

The scene is a Voronoi diagram with ragged edges: fields of about 23 x 23 px at 10 m that touch each
other, a tenth of them not fields.  Both sides get the same ids in memory, simplify with 15 m
(theirs: Douglas-Peucker per polygon, as ftw-tools does; ours: Visvalingam-Whyatt per shared line),
drop what is smaller than 500 m2, and write FlatGeobuf with pyogrio.  Ours also gives every field a
stable id, its geodesic area and perimeter.  Theirs is rebuilt here from its way of working
(rasterio.features.shapes per 2048 px stride, a shapely polygon from each dictionary, one simplify
call per polygon).  Rounds are interleaved; times are CPU seconds of one process.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cc3d
import geopandas
import numpy as np
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from numba import njit
from odc.geo.geobox import GeoBox

from selion.fields import FieldOptions, to_fields, write_fields
from selion.fields.polygonise import polygonise
from selion.labels import Instances

STRIDE, SIMPLIFY, LEAST = 2048, 15.0, 500.0


@njit(cache=True)
def voronoi(size, cell, ragged, seed):
    np.random.seed(seed)
    n = size // cell + 4
    sy, sx = np.empty((n, n), np.float32), np.empty((n, n), np.float32)
    for i in range(n):
        for j in range(n):
            sy[i, j], sx[i, j] = (
                (i - 1 + np.random.random()) * cell,
                (j - 1 + np.random.random()) * cell,
            )
    out = np.empty((size, size), np.int32)
    for y in range(size):
        for x in range(size):
            v, u = y + ragged * np.random.normal(), x + ragged * np.random.normal()
            ci, cj, best, name = int(v // cell) + 1, int(u // cell) + 1, 1e9, 0
            for i in range(max(ci - 2, 0), min(ci + 3, n)):
                for j in range(max(cj - 2, 0), min(cj + 3, n)):
                    distance = (sy[i, j] - v) ** 2 + (sx[i, j] - u) ** 2
                    if distance < best:
                        best, name = distance, i * n + j
            out[y, x] = 0 if name % 10 == 3 else name + 1
    return out


def scene(size, ragged=0.6, seed=0):
    ids = cc3d.connected_components(voronoi(size, 23, ragged, seed), connectivity=4).astype(
        np.int32
    )
    return Instances(
        ids, GeoBox((size, size), Affine(10, 0, 600000, 0, -10, 5500000), "EPSG:32633")
    )


def theirs(instances, path):
    """One shapes call per window, one shapely polygon per dictionary, one simplify call per
    polygon.
    """
    rows = []
    for top in range(0, instances.ids.shape[0], STRIDE):
        for left in range(0, instances.ids.shape[1], STRIDE):
            part = instances.ids[top : top + STRIDE, left : left + STRIDE]
            transform = instances.grid.transform @ Affine.translation(left, top)
            for geometry, value in rasterio.features.shapes(
                part, mask=part > 0, connectivity=4, transform=transform
            ):
                polygon = shapely.geometry.shape(geometry).simplify(SIMPLIFY)
                if polygon.area >= LEAST:
                    rows.append({"id": str(int(value)), "area": polygon.area, "geometry": polygon})
    frame = geopandas.GeoDataFrame(rows, crs="EPSG:32633")
    frame.to_file(path, driver="FlatGeobuf", engine="pyogrio")
    return frame


def ours(instances, path):
    frame = to_fields(instances, FieldOptions(simplify=SIMPLIFY, min_area=LEAST))
    write_fields(frame, path)
    return frame


def seams(instances):
    """Count objects that cross a window seam of theirs and that are large enough."""
    ids = instances.ids
    lines = range(STRIDE, ids.shape[0], STRIDE)
    pairs = [(ids[k - 1], ids[k]) for k in lines] + [(ids[:, k - 1], ids[:, k]) for k in lines]
    crossing = np.unique(np.concatenate([[0], *(a[(a == b) & (a > 0)] for a, b in pairs)]))
    return crossing[np.bincount(ids.ravel())[crossing] * 100 >= 2 * LEAST][1:]


def split(instances, polygons, crossing):
    """Count crossing objects that more than one polygon lies in."""
    inside = shapely.get_coordinates(shapely.point_on_surface(polygons))
    x, y = ~instances.grid.transform @ (inside[:, 0], inside[:, 1])
    at = instances.ids[
        np.clip(np.floor(y), 0, None).astype(int), np.clip(np.floor(x), 0, None).astype(int)
    ]
    return int((np.bincount(at, minlength=instances.ids.max() + 1)[crossing] > 1).sum())


def rings_equal(instances):
    """Compare our raw rings with GDAL's on a window, as normalised WKB."""
    edge = min(STRIDE, instances.ids.shape[0])
    part = instances.read((slice(0, edge), slice(0, edge)))
    _, mine = polygonise(part)
    shapes = rasterio.features.shapes(
        part.ids, mask=part.ids > 0, connectivity=4, transform=part.grid.transform
    )
    gdal = np.array([shapely.geometry.shape(geometry) for geometry, _ in shapes])
    mine, gdal = (set(shapely.to_wkb(shapely.normalize(polygons))) for polygons in (mine, gdal))
    return len(mine & gdal), len(gdal)


def timed(function, *arguments):
    wall, cpu = time.perf_counter(), time.process_time()
    result = function(*arguments)
    return result, time.process_time() - cpu, time.perf_counter() - wall


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ragged", type=float, default=0.6)
    arguments = parser.parse_args()
    small = scene(256, arguments.ragged)
    instances = scene(arguments.size, arguments.ragged)
    crossing = seams(instances)
    print(
        f"{arguments.size} px, {instances.ids.max()} objects, "
        f"{(np.bincount(instances.ids.ravel())[1:] >= 5).sum()} of 500 m2 or more"
    )
    with tempfile.TemporaryDirectory() as folder:
        for function in (theirs, ours):
            function(small, Path(folder) / f"{function.__name__}_small.fgb")  # compiled and warm
        ratios = []
        for k in range(arguments.rounds):
            a, a_cpu, a_wall = timed(theirs, instances, Path(folder) / f"theirs{k}.fgb")
            b, b_cpu, b_wall = timed(ours, instances, Path(folder) / f"ours{k}.fgb")
            ratios.append(a_cpu / b_cpu)
            for name, cpu, wall, frame in (
                ("theirs", a_cpu, a_wall, a),
                ("ours", b_cpu, b_wall, b),
            ):
                print(
                    f"round {k} {name:6}: {cpu:6.1f} s cpu {wall:6.1f} s wall {len(frame)} fields",
                    flush=True,
                )
            print(f"round {k} ratio : {ratios[-1]:.2f}", flush=True)
    same, all_of_them = rings_equal(instances)
    print(f"ratio (median of {arguments.rounds}): {statistics.median(ratios):.2f}")
    print(f"raw rings equal to GDAL's: {same} of {all_of_them}")
    cut = [split(instances, frame.geometry.to_numpy(), crossing) for frame in (a, b)]
    print(
        f"crossing a {STRIDE} px seam: {len(crossing)}; split by theirs {cut[0]}, by ours {cut[1]}"
    )
    sound = [
        "no" if shapely.coverage_is_valid(frame.geometry.to_numpy()[:5000]) else "yes"
        for frame in (a, b)
    ]
    print(f"gaps or overlaps among the first 5000 fields: theirs {sound[0]}, ours {sound[1]}")


if __name__ == "__main__":
    main()
