"""A country: planned as jobs, mapped job by job, merged without seams, and asked.

python examples/country.py [AREA YEAR] [-o FOLDER]
python examples/country.py --two-years [--nodes 2] [-o FOLDER]

The second maps a simulated countryside across two UTM zones in two years between which fields were
merged, parted, moved, given up and newly broken: plans that share a mosaic, fields beyond the
cropland dropped, jobs on two Ray nodes of this machine of which one is lost midway, one map of each
year, what became of the fields beside what was planted (precision and recall of each outcome), a
sample that is judged by the truth, the area of fields with its interval, and the page.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas
import numpy as np
import pandas as pd
from pyproj import Transformer

import selion
from selion import country, store, survey
from selion.country import JobLimits
from selion.grid import whole
from selion.imagery import read_area
from selion.metrics import overlap_table
from selion.pipeline import AreaOptions
from selion.reports.change_imagery import kept_images
from selion.reports.change_maps import write_map_report
from selion.reports.survey import to_html
from selion.runners import RunnerOptions
from selion.simulation.archive import Archive, simulate_archive

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

PLANTED = {
    "same": "kept",
    "moved": "moved",
    "merged": "merged",
    "split": "split",
    "gone": "gone",
    "new": "appeared",
}
"""What was planted, and what it is called."""
YEARS = (2023, 2024)
CROPLAND, OTHER = 40, 10
"""Codes of the land cover, as ESA WorldCover has them."""
LIMITS = JobLimits(memory=4.0, scratch=2.0, hours=1.0)
"""Of each job: gigabytes, gigabytes, hours."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Map an area of any size; without one, a valley in a simulated archive."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("area", nargs="?", type=Path)
    parser.add_argument("year", nargs="?", type=int, default=2024)
    parser.add_argument("-o", "--out", type=Path, default=Path("example-country"))
    parser.add_argument(
        "--edge", type=float, help="Of a job, in metres [default: 51200; of two years 4000]."
    )
    parser.add_argument("--two-years", action="store_true", help="Map two years, and compare them.")
    parser.add_argument("--nodes", type=int, default=0, help="Ray nodes to start; one is lost.")
    parser.add_argument("--cloudy", action="store_true", help="Few clear days in both years.")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.two_years:
        compare_two_years(given.out, given.nodes, given.edge or 4000.0, cloudy=given.cloudy)
        return
    path, options = given.area, AreaOptions()
    edge, halo, km = given.edge or 51_200.0, 1000.0, 5.0
    if path is None:
        path, options = write_valley(given.out)
        edge, halo, km = 1000.0, 250.0, 1.0

    # The probe maps a small square and times each stage, so that the price of a plan is measured.
    area = read_area(path)
    probe = country.probe_pipeline(area, given.year, options, km=km)
    plan = country.make_plan(area, given.year, probe, country.read_prices(), edge=edge, halo=halo)
    folder = country.write_plan(plan, given.out / "plan", force=True)
    print(country.shown_plan(plan))

    # On a cluster each job is a line of plan/run.sh; here they run one after the other.
    tables = []
    for job in sorted((folder / "jobs").iterdir()):
        table = job / "fields.parquet"
        selion.map_fields(job / "area.geojson", table, year=given.year, area_options=options)
        tables.append(table)
    maps = country.merge_maps(tables, given.out / "maps", plan=folder, force=True)

    west, south, east, north = area.geometry.bounds
    asked = country.query(maps, (west, south, (west + east) / 2, north), clip=True)
    print(country.shown(country.count_fields(maps), ".md"))
    print(f"{len(asked.frame)} fields in the western half")


def compare_two_years(folder: Path, nodes: int, edge: float, *, cloudy: bool) -> None:
    """Plan, run, merge and compare two years, and hold the result against what was planted."""
    archives = [write_archive(folder, year, cloudy=cloudy) for year in YEARS]
    cover = write_cover(folder / "cover.tif", archives)
    plans = [
        write_plan(folder, archive, year, cover, edge)
        for archive, year in zip(archives, YEARS, strict=True)
    ]
    for plan in plans:
        run(plan, nodes)
    if nodes:
        print(same_alone(plans[0], folder / "alone"))
    merged = [
        Path(str(country.merge_maps([plan], folder / f"maps-{year}", force=True).folder))
        for plan, year in zip(plans, YEARS, strict=True)
    ]
    given = [f"{plan},{maps}" for plan, maps in zip(plans, merged, strict=True)]
    change = folder / "change"
    found = country.compare_plans(given[0], given[1], change, force=True, on_note=print)
    print(write_map_report(found, images=kept_images(given), force=True))
    print(found.summary.to_string(index=False))
    pixels = found.pixels or {}
    land = sum(pixels.values())
    print(f"{1 - pixels['unknown'] / land:.0%} of {land:,.0f} ha were seen in both years")
    print(held_against_truth(found, merged[0], archives).to_string(index=False))
    estimate_area(folder, archives[1], merged[1])


def write_archive(folder: Path, year: int, *, cloudy: bool) -> Archive:
    """Write four tiles of an archive, two in each of two UTM zones."""
    days: dict[str, Any] = (
        {"n_dates": 3} if cloudy else {"n_dates": 2, "clouds": (0.0, 0.02), "cirrus": 0.0}
    )
    return simulate_archive(
        folder / f"archive-{year}",
        seed=3,
        centre=(12.0, 50.0),
        size_km=(3.6, 5.6),
        tile_px=372,
        orbits=1,
        style="europe",
        year=year,
        changed=year == YEARS[1],
        force=True,
        **days,
    )


def write_cover(path: Path, archives: Sequence[Archive]) -> Path:
    """Write a land cover: cropland is where either year has a field."""
    read = [store.open_raster(one.truth.instances) for one in archives]
    crop = np.any([source.read(whole(source.grid)).values[0] > 0 for source in read], axis=0)
    codes = np.where(crop, CROPLAND, OTHER).astype(np.uint8)[None]
    with store.create_cog(path, read[0].grid, ("cover",), np.uint8, force=True) as sink:
        sink.write(whole(read[0].grid), codes)
    return path


def write_plan(folder: Path, archive: Archive, year: int, cover: Path, edge: float) -> Path:
    """Plan a year: all that its jobs need stands in their commands."""
    catalogue, mosaic = str(archive.catalogue.resolve()), (folder / "mosaic").resolve()
    area, options = read_area(archive.area), AreaOptions(provider=catalogue, mosaic=mosaic)
    probe = country.probe_pipeline(area, year, AreaOptions(provider=catalogue), km=1.0)
    words = ["--provider", catalogue, "--mosaic", str(mosaic), "--model", "fields-s2-2season"]
    words += ["--land-cover", str(cover.resolve()), "--land-cover-crops", str(CROPLAND)]
    plan = country.make_plan(
        area,
        year,
        probe,
        country.read_prices(),
        edge=edge,
        halo=500.0,
        words=words,
        scores="fields.scores.tif",
        options=options,
    )
    costs = plan.costs()
    print(f"{year}: {costs['jobs']} jobs, {costs['core_hours']} core hours, ${costs['dollars']}")
    return country.write_plan(plan, folder / f"plan-{year}", force=True)


def run(plan: Path, nodes: int) -> None:
    """Do the jobs of a plan: here, or on Ray nodes of which one is lost in the middle of a job."""
    if not nodes:
        print(country.run_plan(plan, limits=LIMITS))
        return
    with ray_nodes(nodes) as cluster:
        lost = threading.Thread(target=lose_one, args=(cluster, plan))
        lost.start()
        done = country.run_plan(plan, RunnerOptions(f"ray://{cluster.address}", threads=1), LIMITS)
        lost.join()
    tries = {job.name: len(job.spans) for job in country.plan_standing(plan).jobs}
    print(f"{plan.name}: {len(done.done)} jobs on {nodes} nodes, one lost; tries of each: {tries}")


@contextmanager
def ray_nodes(count: int) -> Iterator[Any]:
    """Start nodes of a Ray cluster on this machine, a core each."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster()
    try:
        for _ in range(count):
            cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def lose_one(cluster: Any, plan: Path) -> None:
    """Kill the last node once two jobs are begun, so that it has one in work."""
    while len(list(plan.glob("jobs/*/job.times"))) < 2:
        time.sleep(0.2)
    time.sleep(2.0)
    cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)


def same_alone(plan: Path, other: Path) -> str:
    """Run a job that was tried twice once more, alone; say whether its table is the same."""
    jobs = sorted(country.plan_standing(plan).jobs, key=lambda job: -len(job.spans))
    name = jobs[0].name
    (other / "jobs" / name).mkdir(parents=True)
    listed = json.loads((plan / "jobs.json").read_text("utf-8"))
    one = [job for job in listed if job["name"] == name]
    (other / "jobs.json").write_text(json.dumps(one), "utf-8")
    place = Path("jobs", name)
    (other / place / "area.geojson").write_bytes((plan / place / "area.geojson").read_bytes())
    country.run_plan(other, limits=LIMITS)
    sums = {
        hashlib.sha256((folder / place / "fields.parquet").read_bytes()).hexdigest()
        for folder in (plan, other)
    }
    return (
        f"{name}, on the nodes and alone: {'the same bytes' if len(sums) == 1 else 'NOT THE SAME'}"
    )


def estimate_area(folder: Path, archive: Archive, maps: Path) -> None:
    """Draw a sample of the later map, judge it by the truth, and estimate the area of fields."""
    area, place = read_area(archive.area), folder / "sample"
    survey.draw_sample(maps, area, place, survey.SampleOptions(size=500), force=True)
    source = store.open_raster(archive.truth.instances)
    truth = source.read(whole(source.grid)).values[0] > 0
    rows = pd.read_csv(place / survey.design.POINTS, dtype=str)
    mover = Transformer.from_crs("OGC:CRS84", str(source.grid.crs), always_xy=True)
    x, y = mover.transform(rows["longitude"].astype(float), rows["latitude"].astype(float))
    column, row = ~source.grid.transform * (np.asarray(x), np.asarray(y))
    said = truth[row.astype(int), column.astype(int)]
    rows["reference"] = np.where(said, "field", "other")
    rows.to_csv(place / survey.design.POINTS, index=False, quoting=csv.QUOTE_MINIMAL)
    found = survey.estimate_sample(place)
    survey.write_estimates(found, folder / "accuracy", {"report.html": to_html(found)}, force=True)
    hectares = found.hectares()
    field = found.whole.by_class["field"]
    inside = store.burn([area_in(archive, str(source.grid.crs))], [1], source.grid) > 0
    pixel = abs(source.grid.transform.a * source.grid.transform.e) / 1e4
    print(
        f"area of fields: {field.area.value * hectares:,.0f} ± "
        f"{field.area.half_width * hectares:,.0f} ha; true: {truth[inside].sum() * pixel:,.0f} ha; "
        f"on the map: {field.mapped * hectares:,.0f} ha"
    )


def area_in(archive: Archive, crs: str) -> BaseGeometry:
    """Return the outline of the country in another CRS."""
    outline = geopandas.GeoSeries([read_area(archive.area).geometry], crs="OGC:CRS84")
    return outline.segmentize(0.001).to_crs(crs).iloc[0]


def held_against_truth(
    found: country.MapChange, before: Path, archives: Sequence[Archive]
) -> pd.DataFrame:
    """Return precision and recall of each outcome, of the fields whose outline was found.

    A mapped field is a true one if they share more than half of their union.
    """
    changes = pd.read_csv(archives[1].truth.instances.with_name("changes.csv"))
    rows = pd.concat([geopandas.read_parquet(one.path) for one in found.maps.parts])
    later = rows[rows["change:outcome"] != "gone"]
    line = pd.read_parquet(found.folder / "lineage.parquet").dropna(subset="from_id")
    earlier = pd.concat(
        [geopandas.read_parquet(one.path) for one in country.open_maps(before).parts]
    )
    told = dict(zip(line["from_id"], line["outcome"], strict=True))
    sides = (
        ("before", earlier, earlier["id"].map(told)),
        ("after", later, later["change:outcome"]),
    )
    pairs = []
    for archive, (side, frame, outcomes) in zip(archives, sides, strict=True):
        source = store.open_raster(archive.truth.instances)
        truth = source.read(whole(source.grid)).values[0]
        placed = frame.to_crs(str(source.grid.crs)).geometry.to_numpy()
        ids = store.burn(placed, range(1, len(placed) + 1), source.grid)
        overlap = overlap_table(truth, ids)
        true = changes[changes[side] > 0].drop_duplicates(side).set_index(side)["change"]
        same = overlap.iou > 0.5
        numbers = overlap.truth_ids[overlap.truth_index[same]]
        mapped = overlap.prediction_ids[overlap.prediction_index[same]]
        pairs += [
            (PLANTED.get(str(true.get(number)), "redrawn"), outcomes.iloc[one - 1])
            for number, one in zip(numbers, mapped, strict=True)
        ]
    table = pd.DataFrame(pairs, columns=["planted", "told"])
    table = table[table["told"] != "unknown"]
    right = table["planted"] == table["told"]
    lines = [
        {
            "outcome": name,
            "planted": int((table["planted"] == name).sum()),
            "told": int((table["told"] == name).sum()),
            "precision": right[table["told"] == name].mean(),
            "recall": right[table["planted"] == name].mean(),
        }
        for name in PLANTED.values()
    ]
    every = {"outcome": "all", "planted": len(table), "told": len(table)}
    lines.append(every | {"precision": right.mean(), "recall": right.mean()})
    return pd.DataFrame(lines).round(3)


def write_valley(folder: Path) -> tuple[Path, AreaOptions]:
    """Write a Sentinel-2 archive of a valley that does not exist, and the valley's outline."""
    archive = simulate_archive(
        folder / "archive",
        seed=3,
        centre=(12.9, 50.0),
        size_km=(1.1, 0.9),
        n_dates=2,
        patch_px=192,
        force=True,
    )
    outline = folder / "valley.geojson"
    outline.write_text(json.dumps(archive.area))
    return outline, AreaOptions(provider=str(archive.catalogue))


if __name__ == "__main__":
    main()
