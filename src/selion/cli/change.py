"""``selion change``: compares maps of two or more years."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter

if TYPE_CHECKING:
    import pandas as pd

    from selion.change import OutcomeOptions, PixelRule
    from selion.country import MapSeries
    from selion.store import Place

TABLES_ONLY = "the years are maps of a country, which are compared by their tables alone"
WITH_SCORES = "the years are maps with probabilities; add --tables to compare their tables alone"
PIXEL_OF_SCORES = (
    "the probabilities that the jobs kept say what the pixel of their images is; where they kept "
    "none add --tables"
)
NO_SCORES = (
    "not all years are plans whose jobs kept their probabilities (selion plan --scores "
    "fields.scores.tif), so that they are compared by their tables alone"
)

tolerance = click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    help=(
        "Pixels of the image that an outline may lie elsewhere, on the mean, before its boundary "
        "has moved."
    ),
)


@click.command(
    "change",
    help=(
        "Compare the fields of two or more years. YEARS, the earliest first: folders "
        "that 'selion map --scores' wrote to, or tables with their probabilities beside them "
        "(fields.parquet, fields.scores.tif), or both as SCORES,FIELDS. Writes maps of changed "
        "pixels and of outcomes, a table of fields under ids that follow them through the years, "
        "their lineage, a summary and a page. Folders of 'selion plan' whose jobs ran with "
        "--scores (or PLAN,MAPS where they are merged) are compared job by job; folders "
        "of 'selion merge' (or hive folders of tables, or --tables) by their tables alone, in the "
        "memory of one cell."
    ),
)
@click.argument("years", nargs=-1, required=True)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the results."
)
@click.option(
    "--rule",
    type=click.Choice(["fixed", "paper"]),
    default="fixed",
    show_default=True,
    help=(
        "When a pixel has changed: on a scale that is the same for all maps, or on that of the "
        "largest difference in the map (PRUE)."
    ),
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=None,
    help="Of the rule [default: fixed 0.75, paper 0.5].",
)
@tolerance
@click.option(
    "--tables",
    is_flag=True,
    help="Compare tables alone, also where probabilities lie beside them. Merged maps always are.",
)
@click.option(
    "--pixel",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    help="Of tables: metres of a pixel of the images they were made from, for --tolerance.",
)
@click.option(
    "--districts",
    type=opt.place,
    default=None,
    help="Of tables: polygons of districts, to count outcomes by.",
)
@click.option(
    "--district-column",
    default=None,
    help="Column of the districts' names [default: name, NAME or the like].",
)
@click.option(
    "--cell",
    type=click.IntRange(2, 4),
    default=3,
    show_default=True,
    help="Of tables: size of a partition of the result, geohash of 2, 3 or 4 characters.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path),
    default=None,
    help="Of tables: folder for finished parts [default: hidden beside the output].",
)
@click.option(
    "--images",
    multiple=True,
    help=(
        "Imagery of a year for the page: a raster (GeoTIFF, GTI, VRT) or a folder of rasters; once "
        "for each year, the earliest first. It is shown under the fields, with a line to pull "
        "[default: the composites that the jobs of plans kept, the images that tables name]."
    ),
)
@opt.geoparquet
@opt.force
@opt.as_json
@opt.quiet
def change_command(
    years: tuple[str, ...],
    out: Path,
    rule: str,
    threshold: float | None,
    tolerance: float,
    *,
    tables: bool,
    **values: Any,
) -> None:
    """Compare years."""
    from selion import change
    from selion.country import has_scores, is_map, is_plan
    from selion.reports.change import write_report
    from selion.reports.change_imagery import find_images, kept_images

    images: tuple[str, ...] = values["images"]
    if not images:
        values["images"] = kept_images(years)
    else:
        find_images(images, years)
    outcomes = change.OutcomeOptions(tolerance=tolerance)
    planned = any(is_plan(year) for year in years)
    if tables or planned or any(is_map(year) for year in years):
        chosen = None
        if tables or not planned:
            opt.refuse_given(("rule", "threshold"), TABLES_ONLY)
        else:
            opt.refuse_given(("pixel",), PIXEL_OF_SCORES)
            if not all(map(has_scores, years)):
                opt.refuse_given(("rule", "threshold"), NO_SCORES)
            chosen = change.RULES[rule].at(threshold)
        _compare_tables(years, out, outcomes, chosen, values)
        return
    opt.refuse_given(("pixel", "districts", "district_column", "cell", "work"), WITH_SCORES)
    given = opt.taken(opt.VerbChoice, values)
    began = time.monotonic()
    options = change.ChangeOptions(rule, threshold, outcomes, values["geoparquet"])
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        result = change.compare_years(
            years, out, options, force=given.force, on_step=say.step, on_note=say.note
        )
        path = write_report(result, images=images, force=given.force)
    facts = {"steps": [step.facts() for step in result.steps]}
    _conclude(path, facts, [(step.years, step.summary) for step in result.steps], given, began)


def _compare_tables(
    years: tuple[str, ...],
    out: Path,
    outcomes: OutcomeOptions,
    rule: PixelRule | None,
    values: dict[str, Any],
) -> None:
    from selion.country import (
        MapChangeOptions,
        compare_maps,
        compare_plans,
        compare_series,
        is_plan,
        read_units,
    )
    from selion.reports.change_maps import write_map_report

    if len(years) < 2:
        raise click.UsageError(
            f"{len(years)} map was given to compare; wanted are two or more, the earliest first: "
            "selion change maps-2023/ maps-2024/ -o change/"
        )
    districts: Place | None = values["districts"]
    if districts is None:
        opt.refuse_given(("district_column",), "no districts are given; add --districts FILE")
    given = opt.taken(opt.VerbChoice, values)
    began = time.monotonic()
    units = None if districts is None else read_units(districts, values["district_column"])
    options = MapChangeOptions(outcomes, values["pixel"], values["cell"], values["geoparquet"])
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        shared: dict[str, Any] = {
            "districts": units,
            "work": values["work"],
            "force": given.force,
            "on_step": say.step,
            "on_note": say.note,
        }
        if len(years) > 2:
            series = compare_series(years, out, options, rule=rule, **shared)
            _conclude_series(series, values["images"], given, began)
            return
        if any(map(is_plan, years)):
            found = compare_plans(years[0], years[1], out, options, rule=rule, **shared)
        else:
            found = compare_maps(years[0], years[1], out, options, **shared)
        path = write_map_report(found, images=values["images"], force=given.force)
    facts: dict[str, Any] = {"years": found.years, "fields": found.summary.to_dict("records")}
    if found.pixels is not None:
        facts |= {"rule": found.rule, "pixels_ha": found.pixels}
    _conclude(path, facts, [(found.years, found.summary)], given, began)


def _conclude_series(
    series: MapSeries, images: tuple[str, ...], given: opt.VerbChoice, began: float
) -> None:
    from selion.reports.change_series import write_series_report

    path = write_series_report(series, images=images, force=given.force)
    steps = [
        {"years": step.years, "fields": step.summary.to_dict("records")}
        | ({} if step.pixels is None else {"rule": step.rule, "pixels_ha": step.pixels})
        for step in series.steps
    ]
    summaries = [(step.years, step.summary) for step in series.steps]
    _conclude(path, {"steps": steps}, summaries, given, began)


def _conclude(
    path: Path,
    facts: dict[str, Any],
    summaries: list[tuple[tuple[str, str], pd.DataFrame]],
    given: opt.VerbChoice,
    began: float,
) -> None:
    """Print what was found, and last the path."""
    if given.as_json:
        seconds = round(time.monotonic() - began, 1)
        click.echo(json.dumps({"event": "done", "path": str(path), **facts, "seconds": seconds}))
        return
    if not given.quiet:
        for years, summary in summaries:
            _tell(years, summary)
    click.echo(str(path))


def _tell(years: tuple[str, str], summary: pd.DataFrame) -> None:
    click.echo(f"{years[0]} to {years[1]}", err=True)
    for row in summary.to_dict("records"):
        if row["fields_before"] or row["fields_after"]:
            counts = f"{row['fields_before']:>9,} -> {row['fields_after']:>9,} fields"
            click.echo(
                (
                    f"  {row['outcome']:<10}{counts}{row['ha_before']:>13,.1f} -> "
                    f"{row['ha_after']:>13,.1f} ha"
                ),
                err=True,
            )
