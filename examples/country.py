"""A country: planned as jobs, mapped job by job, merged without seams, and asked.

python examples/country.py [AREA YEAR] [-o FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import selion
from selion import country
from selion.imagery import read_area
from selion.pipeline import AreaOptions
from selion.simulation.archive import simulate_archive


def main(arguments: Sequence[str] | None = None) -> None:
    """Map an area of any size; without one, a valley in a simulated archive."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("area", nargs="?", type=Path)
    parser.add_argument("year", nargs="?", type=int, default=2024)
    parser.add_argument("-o", "--out", type=Path, default=Path("example-country"))
    parser.add_argument("--edge", type=float, help="Of a job, in metres [default: 51200].")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
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
