"""The jobs of a country for two models, with and without a mosaic of whole tiles that they share:
time until the composites are there, bytes and requests.

    python bench/shared_tiles.py [--tile 528] [--edge 2000] [--json rows.json]

A simulated archive is served over HTTP.  Its area is cut into jobs as ``selion plan`` cuts it; each
job searches, chooses, composes and joins what ``selion map`` would then map.  A second model has
the same jobs again.  Tiles are smaller than real ones, and so are jobs: what counts is how many
jobs look at a tile.  The same mosaic is filled and read on an object store (moto), too.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from selion import country, imagery, store
from selion.country.lattice import to_feature
from selion.grid import whole
from selion.pipeline import areas, composites
from selion.simulation.archive import simulate_archive
from table import Row, markdown, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from faulty_store import FaultyStore
from stac_server import StacServer

NAME = "Jobs that share the composites of whole tiles"


class Spent:
    """Seconds, bytes and requests of a pass over all jobs."""

    def __init__(self, server: StacServer | FaultyStore) -> None:
        self.server = server
        self.before = (time.perf_counter(), *self.counted())

    def counted(self) -> tuple[int, int]:
        return sum(self.server.sent.values()), sum(self.server.asked.values())

    def now(self) -> tuple[float, float, float]:
        after = (time.perf_counter(), *self.counted())
        return tuple(b - a for a, b in zip(self.before, after, strict=True))


def compose_all(jobs, options, folder: Path, server) -> tuple[tuple[float, float, float], list]:
    """Compose what each job maps; return what it took, and the composites."""
    spent, made = Spent(server), []
    for number, job in enumerate(jobs):
        work = folder / f"{number}"
        survey = areas.survey_area(job, 2024, options, work=work)
        made.append(composites.join_composites(survey, work))
    return spent.now(), made


def same(ours: list, theirs: list) -> float:
    """Return the share of equal values of all jobs."""
    equal = count = 0
    for one, other in zip(ours, theirs, strict=True):
        a, b = store.open_raster(one), store.open_raster(other)
        found = a.read(whole(a.grid)).values == b.read(whole(b.grid)).values
        equal, count = equal + int(np.sum(found)), count + found.size
    return equal / count


def on_a_store(jobs, options, folder: Path, wanted: list) -> list[Row]:
    """Fill a mosaic on an object store, and read it with a second model."""
    with FaultyStore() as store_, pytest.MonkeyPatch.context() as patch:
        for name, value in store_.environment.items():
            patch.setenv(name, value)
        far = replace(options, mosaic=store.locate("s3://bucket/mosaic"))
        first, made = compose_all(jobs, far, folder / "store-1", store_)
        size = sum(store.ObjectFolder("s3://bucket/mosaic").names().values())
        puts = store_.asked["PUT"]
        second, again = compose_all(jobs, far, folder / "store-2", store_)
        told = f"{len(jobs)} jobs; the mosaic has {size / 1e6:.1f} MB"
        warm = "in the process of the first, whose blocks are in its cache"
        return [
            Row(NAME, "on a store: requests of the first model", first[2], "", note=told),
            Row(NAME, "on a store: requests of the second", second[2], "", note=warm),
            Row(NAME, "on a store: bytes that the second reads", second[1] / 1e6, "MB", note=warm),
            Row(
                NAME,
                "on a store: writes of the second",
                store_.asked["PUT"] - puts,
                "",
                0,
                at_most=True,
            ),
            Row(
                NAME,
                "values on a store that are those of the folder form",
                100 * min(same(made, wanted), same(again, wanted)),
                "%",
                100,
            ),
        ]


def rows(folder: Path, tile: int, edge: float) -> list[Row]:
    archive = simulate_archive(
        folder / "archive", seed=3, tile_px=tile, n_dates=4, clouds=(0.1, 0.3), patch_px=512
    )
    area = imagery.read_area(dict(archive.area), name="valley")
    jobs = [
        imagery.read_area(to_feature(cell), name=cell.name)
        for cell in country.cut_area(area, edge, edge / 10)
    ]
    found, made = {}, {}
    with StacServer(list(archive.items), archive.folder) as server:
        plain = areas.AreaOptions(provider=server.url)
        kept = replace(plain, mosaic=folder / "mosaic")
        compose_all(jobs[:1], plain, folder / "warm", server)  # compile
        for what, options in (("alone", plain), ("mosaic", kept)):
            for model in (1, 2):
                place = folder / f"{what}-{model}"
                found[what, model], made[what, model] = compose_all(jobs, options, place, server)
        far_rows = on_a_store(jobs, plain, folder, made["mosaic", 1])
    told = f"{len(jobs)} jobs, {len(archive.tiles)} tiles of {tile} px"
    out = []
    for k, (what, unit, scale) in enumerate(
        (("time", "s", 1.0), ("bytes read", "MB", 1e6), ("requests", "", 1.0))
    ):
        first, both = (
            [sum(found[how, model][k] for model in models) / scale for how in ("alone", "mosaic")]
            for models in ((1,), (1, 2))
        )
        for words, (alone, shared) in (("one model", first), ("two models", both)):
            note = f"{alone:.1f} {unit} against {shared:.1f} {unit}; {told}".replace("  ", " ")
            out.append(
                Row(NAME, f"{what}, {words}: alone against shared", alone / shared, note=note)
            )
    second = found["mosaic", 2]
    return [
        *out,
        Row(NAME, "requests of the second model with the mosaic", second[2], "", 0, at_most=True),
        Row(NAME, "its time", second[0], "s", note="reading and joining the tiles"),
        Row(
            NAME,
            "values that are the same with and without",
            100 * same(made["alone", 1], made["mosaic", 1]),
            "%",
            note="others: scenes chosen for the whole tile, and where tiles fade into each other",
        ),
        *far_rows,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tile", type=int, default=528, help="Edge of a tile in pixels.")
    parser.add_argument("--edge", type=float, default=2000.0, help="Edge of a job in metres.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it says each request
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as folder:
        found = rows(Path(folder), given.tile, given.edge)
    if given.json:
        save(found, given.json)
    print(markdown(found))


if __name__ == "__main__":
    main()
