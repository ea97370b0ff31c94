"""An area over several tiles and two UTM zones, end to end from served scenes: is there a seam, and
what did it take?

    python bench/areas.py [--tile 528] [--json rows.json]

A simulated archive without clouds is served over HTTP and mapped from its area and a year.  The
same countryside on one grid, which never was in tiles, is mapped with the same model; every field
that crosses the edge of a tile is looked for in the other map.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import geopandas
import numpy as np
import shapely

from selion import imagery, store
from selion.imagery.mosaic import MosaicLayer
from selion.pipeline import areas, maps, run
from selion.simulation.archive import simulate_archive
from table import Row, markdown, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from stac_server import StacServer

NAME = "Area and year to fields, served scenes"


def one_grid(archive, season: str) -> MosaicLayer:
    """Return the truth of a season as one sheet."""
    source = store.open_raster(archive.truth.seasons[season])
    return MosaicLayer(source.path, source.grid, "world", season, tuple(range(len(source.bands))))


def edges(archive, crs: object) -> object:
    """Return the outlines of all tiles."""
    lines = [
        geopandas.GeoSeries([grid.extent.geom.boundary.segmentize(200)], crs=str(grid.crs))
        .to_crs(crs)
        .iloc[0]
        for grid in archive.tiles.values()
    ]
    return shapely.unary_union(lines)


def matches(frame, others) -> tuple[np.ndarray, np.ndarray]:
    """Return for each field the IoU with the one of the others that is most like it, and how large
    that one is beside it.
    """
    same, area = np.zeros(len(frame)), np.zeros(len(frame))
    for mine, theirs in others.sindex.query(frame.geometry.to_numpy(), predicate="intersects").T:
        one, other = frame.geometry.iloc[mine], others.geometry.iloc[theirs]
        iou = one.intersection(other).area / one.union(other).area
        if iou > same[mine]:
            same[mine], area[mine] = iou, other.area / one.area
    return same, area


def measure(work: Path, tile: int) -> list[Row]:
    """Map twice and compare."""
    archive = simulate_archive(
        work / "a",
        seed=3,
        centre=(12.0, 50.0),
        tile_px=tile,
        n_dates=3,
        clouds=(0.0, 0.0),
        cirrus=0.0,
        defects=False,
    )
    with StacServer(list(archive.items), archive.folder) as server:
        began = time.perf_counter()
        survey = areas.survey_area(
            dict(archive.area), archive.options.year, areas.AreaOptions(provider=server.url)
        )
        options = maps.MapOptions(work=work / "work")
        found = run.map_area(survey, work / "found.parquet", options=options).frame
        spent, sent = time.perf_counter() - began, sum(server.sent.values()) / 1e6
    grid = store.open_raster(next((work / "work").glob("area-*/mosaic-*.zarr"))).grid
    imagery.write_mosaic(
        imagery.Mosaic([one_grid(archive, season) for season in ("window_a", "window_b")], grid),
        work / "truth.zarr",
    )
    wanted = run.map_fields(work / "truth.zarr", work / "wanted.parquet")
    wanted = wanted[wanted.geometry.intersects(shapely.union_all(survey.area.on(grid)))]
    crossing = wanted[wanted.geometry.intersects(edges(archive, found.crs))]
    same, area = matches(crossing, found)
    inside, _ = matches(wanted.drop(crossing.index), found)
    tiles = sorted({plan.tile for plan in survey.plans})
    where = (
        f"{len(tiles)} tiles, zones {', '.join(sorted({name[:2] for name in tiles}))}, "
        f"{survey.area.km2:.0f} km2"
    )
    return [
        Row(
            NAME,
            "fields over a tile's edge that are one polygon (IoU > 0.5)",
            100 * float((same > 0.5).mean()),
            "%",
            note=f"{len(crossing)} cross one; {where}",
        ),
        Row(
            NAME,
            "the same of fields inside of tiles",
            100 * float((inside > 0.5).mean()),
            "%",
            note=f"{len(inside)} fields",
        ),
        Row(
            NAME,
            "area of a field over an edge, median difference",
            100 * float(np.median(np.abs(area[same > 0.5] - 1))),
            "%",
            1.0,
            at_most=True,
        ),
        Row(
            NAME,
            "area of all fields, difference",
            100 * float(abs(found["metrics:area"].sum() / wanted["metrics:area"].sum() - 1)),
            "%",
            1.0,
            at_most=True,
        ),
        Row(NAME, "time, area to table", spent, "s", note=f"{sent:.0f} MB from the server"),
    ]


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tile", type=int, default=528, help="Pixels of a tile's edge.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as folder:
        rows = measure(Path(folder), given.tile)
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
