"""Pages over tables, seasons, years and a scene, whose every word from outside is markup."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import shapely

from hostile_pages import FILE, MARK, trial, write_photo

SHORT = "<b onclick=a()>"
"""Drawn onto a plot, where a longer name has no room."""
HOST = "<img/src=x/onerror=alert(4)>"
"""A machine: a name without blanks."""


def demo(folder: Path) -> Path:
    from selion import fields, store
    from selion.reports.demo import FILES, write_report
    from selion.simulation.landscape import simulate

    scene = simulate(3, (48, 64), 10.0, "europe")
    with store.create_cog(
        folder / f"{FILE}.tif", scene.image.grid, (MARK, *scene.image.bands[1:]), np.uint16
    ) as sink:
        sink.write((slice(0, 48), slice(0, 64)), scene.image.values)
    frame = fields.to_fields(scene.instances).assign(confidence=0.9)
    frame["class"] = MARK
    (folder / FILES[0]).write_bytes(b"")
    job = SimpleNamespace(
        source=scene.image, image=str(folder / f"{FILE}.tif"),
        model=SimpleNamespace(card=SimpleNamespace(name=MARK)),
    )  # fmt: skip
    real = replace_source(job, store.open_raster(folder / f"{FILE}.tif"))
    made = SimpleNamespace(
        folder=folder, scene=scene, mapped=SimpleNamespace(job=job, frame=frame), seconds=1.0,
        scores={MARK: {MARK: 0.5}}, real=SimpleNamespace(job=real, frame=frame),
    )  # fmt: skip
    return write_report(made)


def replace_source(job: SimpleNamespace, source: object) -> SimpleNamespace:
    return SimpleNamespace(**(vars(job) | {"source": source}))


def rasters_compared(folder: Path) -> Path:
    """Maps in folders of that name, compared for real, with their imagery and a note."""
    from change_scenes import boxes, write_picture, write_year
    from selion.change.run import compare_years
    from selion.reports.change import write_report

    years, images = [], []
    for year, place in ((2023, (1, 10, 10, 40, 40)), (2024, (1, 10, 10, 40, 60))):
        years.append(write_year(folder / f"{FILE}{year}", boxes(place), year=year))
        images.append(write_picture(folder / f"{FILE}{year}.tif", year))
    made = compare_years(years, folder / "out")
    return write_report(replace(made, notes=(*made.notes, MARK)), images=images)


def written(path: Path, columns: Iterable[str], *rows: dict[str, str]) -> None:
    """Write a table of a paper whose words are markup and whose numbers are numbers."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)


def prue(folder: Path) -> Path:
    from selion.papers import countries, figures
    from selion.papers.writing import COLUMNS
    from selion.reports.reproduction import write_report

    names = "row backbone model stand_in missing country measure year map note"
    words = dict.fromkeys(names.split(), MARK)
    scored = words | {
        "ours": "0.5", "low": "0.4", "high": "0.6", "paper": MARK, "holds_paper": MARK,
        "minus_reference": "0.1", "paper_minus_reference": "0.1",
    }  # fmt: skip
    for number in (1, 2, 4, 5, 6):
        lines = [scored, scored | {"country": "mean"}]
        written(folder / f"table-{number}.csv", COLUMNS, *(chosen(one, COLUMNS) for one in lines))
    for name, columns in (
        ("table-3", countries.COLUMNS), ("census", countries.CENSUS_COLUMNS),
        ("throughput", ("model", "weights", "stand_in", MARK)),
    ):  # fmt: skip
        written(folder / f"{name}.csv", columns, dict.fromkeys(columns, MARK))
    shares = words | {"consistency": "0.5", "object_f1": "0.5", "r2": "0.5", "paper_r2": MARK}
    for number, columns in ((6, figures.SWEEP_COLUMNS), (7, figures.POINT_COLUMNS)):
        lines = [
            chosen(shares | {"overlap_px": str(k), "consistency": f"0.{k}"}, columns)
            for k in (4, 8)
        ]
        written(folder / f"figure-{number}.csv", columns, *lines)
    return write_report(folder)


def chosen(line: dict[str, str], columns: Iterable[str]) -> dict[str, str]:
    return {name: line[name] for name in columns if name in line}


def seasons(folder: Path) -> Path:
    """A tile, its seasons and why, on the page of a map and as a drawing of its own."""
    from selion import imagery, store
    from selion.country.lattice import cut_area
    from selion.country.planning import _square
    from selion.pipeline import AreaOptions
    from selion.pipeline.tile_seasons import expected_seasons
    from selion.reports import page
    from selion.reports.seasons import seasons_figure, write_seasons

    land = imagery.read_area((31.0, 6.0, 31.2, 6.4), name=MARK)
    squares = [_square(cell, 100_000.0) for cell in cut_area(land, 100_000.0, 100.0)]
    tiles = [
        replace(
            tile, name=MARK,
            seasons=tuple(replace(one, name=MARK, why=MARK) for one in tile.seasons),
        )
        for tile in expected_seasons(squares, 2024, AreaOptions())
    ]  # fmt: skip
    write_seasons(tiles, folder / "seasons.svg")
    drawn = (folder / "seasons.svg").read_text("utf-8")
    text = page.page(MARK, MARK, [page.section(MARK, seasons_figure(tiles), drawn)], MARK)
    store.write_text(folder / "index.html", text)
    return folder / "index.html"


def plots_by_name(folder: Path) -> Path:
    """Plots as large as the map, so that their names are drawn onto it."""
    from selion.reports.plots import write_page

    row = {"plot": SHORT, "trust": "yes", "reasons": "", "picture": f"{FILE}.jpg", "cover": 0.4,
           "cover_low": 0.3, "cover_high": 0.5, "components": 3}  # fmt: skip
    write_photo(folder / f"{FILE}.jpg")
    write_photo(folder / f"{FILE}_bare.jpg")
    run = SimpleNamespace(
        rows=[row, row | {"plot": MARK}], image=MARK, model=MARK, about=MARK, gsd=0.004,
        plots=[SimpleNamespace(outline=shapely.box(k, 0, k + 1, 1)) for k in range(2)],
        untrusted=1, notes=[MARK], options=SimpleNamespace(buffer=0.1),
    )  # fmt: skip
    return write_page(run, folder)


def growth(folder: Path) -> Path:
    """Curves of plots that were told by the codes in the photographs, some of them none."""
    from selion.closerange import TrialOptions, read_trial
    from selion.closerange.codes import Code, CodedPhoto
    from selion.reports.trial import write_page

    trial(folder)
    found = read_trial(folder / "run", TrialOptions(pattern="{plot}_{date}_*"))
    read = CodedPhoto((Code(MARK, MARK, 1.0, 1.0),), (MARK,))
    coded = {f"{FILE}1": read, f"{FILE}2": CodedPhoto(error=MARK)}
    return write_page(replace(found, coded=coded), folder, folder)


FIGURES: dict[str, Callable[[Path], Path]] = {
    "demo": demo,
    "change of rasters": rasters_compared,
    "reproduce prue": prue,
    "seasons": seasons,
    "plots by name": plots_by_name,
    "growth": growth,
}


def plan(folder: Path) -> Path:
    """A plan whose area, jobs, hosts and logs are markup."""
    names = [f"{FILE}{k}" for k in range(4)]
    for k, name in enumerate(names):
        place = folder / "jobs" / name
        place.mkdir(parents=True)
        ring = [[11 + k, 48], [12 + k, 48], [12 + k, 49], [11 + k, 49], [11 + k, 48]]
        core = {"type": "Polygon", "coordinates": [ring]}
        about = {"properties": {"core": core, "name": MARK}}
        (place / "area.geojson").write_text(json.dumps(about))
        ended = f"end 1700000100 {HOST} 9 2\n" if k == 1 else ""
        if k < 3:
            (place / "job.times").write_text(f"begin 1700000000 {HOST} 9\n{ended}")
            (place / "job.log").write_text(f"Error: {MARK}\n")
    (folder / "jobs.json").write_text(json.dumps([
        {"name": name, "km2": 100.0, "seconds": 1000.0, "gigabytes": 2.0} for name in names
    ]))  # fmt: skip
    (folder / "plan.json").write_text(json.dumps({
        "area": MARK, "year": MARK, "costs": {"dollars": 20.0}, "prices": {MARK: MARK}
    }))  # fmt: skip
    return folder
