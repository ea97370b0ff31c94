"""How often the interval of ``selion estimate`` holds the true area of fields.

    python bench/country_interval.py [--countries 100] [--count 300] [--json rows.json]

Each simulated country has a countryside of its own (all styles in turn, an octagon of 5 km2), and a
map that is wrong as maps are: fields missed, fields that are none, outlines moved and shrunk,
neighbours joined, and a confidence that knows something of it.  ``draw_sample`` draws units, the
truth judges them, ``estimate_sample`` gives the area with its interval of 95 %; counted is in how
many countries it holds the true area, which is that of all pixels of the truth.  Beside it: how far
off the area on the map is, and how wide the interval.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import shapely
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion import fields, store, survey
from selion.imagery import read_area
from selion.labels import Instances
from selion.simulation.landscape import STYLES, field_ids
from table import Row, save

SECTION = "Country: the interval of the area"
EDGE = 250
"""Pixels of 10 m along the edge of a countryside."""
UTM = "EPSG:32633"
MISSED, INVENTED, JOINED = 0.12, 0.06, 0.08
"""Shares of the fields."""


def one_country(seed: int, count: int, folder: Path) -> tuple[float, float, float, float]:
    """Return hectares: true, estimated, half of the interval, on the map."""
    style = sorted(STYLES)[seed % len(STYLES)]
    ids = field_ids(seed, (EDGE, EDGE), 10.0, style)
    rng = np.random.default_rng(seed)
    grid = GeoBox.from_bbox((3e5, 5.4e6, 3e5 + 10 * EDGE, 5.4e6 + 10 * EDGE), UTM, resolution=10)
    truth = ids > 0
    true = fields.to_fields(Instances(ids, grid), fields.FieldOptions(simplify=0))
    mapped = wrong_map(true.to_crs(UTM), grid.extent.geom.bounds, rng)
    path = folder / f"{seed}.parquet"
    fields.write_fields(mapped.to_crs("OGC:CRS84"), path, fields.Origin("map"), force=True)
    x0, y0, x1, y1 = grid.extent.geom.bounds
    cut = (x1 - x0) / 4
    octagon = shapely.buffer(shapely.box(x0, y0, x1, y1), -30).difference(
        shapely.union_all([shapely.Point(x, y).buffer(cut, 1) for x in (x0, x1) for y in (y0, y1)])
    )
    outline = geopandas.GeoSeries([octagon], crs=UTM).to_crs("OGC:CRS84").iloc[0]
    area = read_area(shapely.geometry.mapping(outline))
    options = survey.SampleOptions(size=count, seed=seed)
    sample = folder / str(seed)
    survey.draw_sample(path, area, sample, options)
    judge(sample, truth, grid)
    found = survey.estimate_sample(sample)
    field, hectares = found.whole.by_class["field"], found.hectares()
    inside = store.burn([octagon], [1], grid) > 0
    right = truth[inside].mean() * hectares
    figures = right, field.area.value * hectares, field.area.half_width * hectares
    return *figures, field.mapped * hectares


def wrong_map(
    true: geopandas.GeoDataFrame, box: tuple[float, ...], rng: np.random.Generator
) -> geopandas.GeoDataFrame:
    """Return fields as a model might map them, with their confidence."""
    shapes = true.geometry.to_numpy()
    kept = shapes[rng.random(len(shapes)) > MISSED]
    first, second = shapely.STRtree(kept).query(kept, "touches")
    pairs = np.flatnonzero((first < second) & (rng.random(len(first)) < JOINED))
    kept, gone = kept.copy(), set()
    for k in pairs:
        if not {first[k], second[k]} & gone:
            kept[first[k]] = shapely.union(kept[first[k]], kept[second[k]])
            gone |= {second[k]}
    kept = np.delete(kept, sorted(gone))
    moved = shapely.transform(shapely.buffer(kept, -4.0), lambda xy: xy + rng.normal(0, 5, 2))
    x, y = (rng.uniform(box[k], box[k + 2], int(INVENTED * len(shapes)) + 1) for k in (0, 1))
    free = shapely.box(x, y, x + 90, y + 70)
    free = free[~shapely.intersects(free, shapely.union_all(shapes))]
    every = np.concatenate([moved, free])
    sure = np.concatenate([rng.beta(6, 1.5, len(moved)), rng.beta(3, 3, len(free))])
    good = (shapely.get_type_id(every) == 3) & (shapely.area(every) > 500)
    columns = {"class": "field", "confidence": sure[good].astype(np.float32)}
    frame = geopandas.GeoDataFrame(columns, geometry=every[good], crs=true.crs)
    middle = frame.geometry.representative_point().to_crs("OGC:CRS84")
    frame["id"] = fields.table.geohash(middle.x.to_numpy(), middle.y.to_numpy())
    return frame.drop_duplicates("id")


def judge(folder: Path, truth: np.ndarray, grid: GeoBox) -> None:
    """Write what the ground is into the table that people fill in."""
    path = folder / "points.csv"
    rows = pd.read_csv(path, dtype=str)
    mover = Transformer.from_crs("OGC:CRS84", UTM, always_xy=True)
    x, y = mover.transform(rows["longitude"].astype(float), rows["latitude"].astype(float))
    column, row = ~grid.transform * (np.asarray(x), np.asarray(y))
    rows["reference"] = np.where(truth[row.astype(int), column.astype(int)], "field", "other")
    rows.to_csv(path, index=False)


def main() -> None:
    """Simulate countries, and count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--countries", type=int, default=100)
    parser.add_argument("--count", type=int, default=300, help="Units of a sample.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = np.array(
            [one_country(seed, given.count, Path(folder)) for seed in range(given.countries)]
        )
    true, estimate, half, mapped = found.T
    off = np.abs(estimate - true)
    held = int((off <= half).sum())
    deviation = np.sqrt(given.countries * 0.95 * 0.05)
    print(f"{held} of {given.countries} hold the true area (deviation of 95 %: {deviation:.1f})")
    rows = [
        Row(
            SECTION,
            "intervals of 95 % that hold the true area",
            held / given.countries,
            "of 1",
            note=f"{given.countries} countries, {given.count} units each; a deviation is "
            f"{deviation / given.countries:.3f}",
        ),
        Row(SECTION, "half width over the true area, mean", float((half / true).mean()), ""),
        Row(SECTION, "error of the estimate, mean of the absolute", float((off / true).mean()), ""),
        Row(
            SECTION,
            "error of the area on the map, mean of the absolute",
            float((np.abs(mapped - true) / true).mean()),
            "",
            note=f"on the mean {float(((mapped - true) / true).mean()):+.3f}",
        ),
        Row(SECTION, "error of the estimate, mean", float(((estimate - true) / true).mean()), ""),
    ]
    for row in rows:
        print(f"{row.what}: {row.value:.4f} {row.unit} {row.note}")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
