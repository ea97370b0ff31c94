"""``selion map``: from an image, or an area and a year, to a table of fields."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from selion.cli import imagery as area
from selion.cli import map_run, running
from selion.cli import options as opt
from selion.cli.map_choices import map_options
from selion.cli.progress import reporter
from selion.cli.world import PublishedChoice
from selion.cli.world import options as published_options

AREAS = (".geojson", ".json", ".parquet", ".geoparquet", ".fgb", ".shp")
"""Endings of files that hold polygons, and never pixels."""
MAP_HELP = """Map the fields of an image (GeoTIFF, COG, VRT, Zarr, photo or URL) as polygons:
.parquet (fiboa), .gpkg, .fgb, .geojson or .pmtiles. Several images are several dates of one place.

With --year IMAGE is an area (polygons in a file, or west,south,east,north): its Sentinel-2 scenes
are searched, chosen and composed first; with --imagery quarterly mosaics are read instead; with
--from a published map of the world is read there, without a model."""


@click.command("map", cls=area.AreaCommand, help=MAP_HELP)
@click.argument("image", nargs=-1, required=True)
@running.out
@opt.model
@click.option(
    "--year", type=int, default=None, help="IMAGE is an area: map it in this year (of the harvest)."
)
@area.imagery
@opt.scores
@opt.save_scores
@opt.consistency
@opt.field_options
@opt.land_cover_options
@opt.window_options
@opt.model_options
@area.search_options
@area.grid_options
@area.mosaic
@running.work
@running.options
@area.price
@published_options
@opt.page
@opt.run_options
def map_command(
    image: tuple[str, ...],
    out: Path | str,
    model: str | None,
    year: int | None,
    imagery: str | None,
    scores: Path | None,
    save_scores: bool,
    consistency: Path | None,
    price: float,
    **values: Any,
) -> None:
    """Go from an image, or from an area and a year, to a table of fields."""
    began, given = time.monotonic(), opt.taken(running.RunChoice, values)
    with (
        reporter(quiet=given.quiet, as_json=given.as_json) as say,
        running.placed(
            out, given.work, force=given.force or given.dry_run, dry=given.dry_run
        ) as place,
    ):
        if not given.dry_run:
            opt.refuse_given(["price"], area.NO_PRICE)
        if values["refiner"] is None:
            opt.refuse_given(["cover"], "no --refine draws outlines")
        scores = scores or (
            place.out.with_name(f"{place.out.stem}.scores.tif") if save_scores else None
        )
        options = replace(
            map_options(values),
            scores=scores,
            consistency=consistency,
            work=place.work,
            journal=place.journal,
        )
        run = map_run.MapRun(place, model, options, given, say, began)
        published = opt.taken(PublishedChoice, values)
        place_name = image[0]
        if len(image) > 1 and (year is not None or published.edition is not None):
            raise click.UsageError(
                f"{len(image)} images were given with --year or --from, which want one area: give "
                "the images alone, or one area."
            )
        if published.edition is not None:
            _map_published(place_name, year, run, published, str(values["crs"]))
            return
        opt.refuse_given(["least_confidence"], "no --from ftw-1e:fields was given")
        if year is None:
            if imagery is not None:
                raise click.UsageError(
                    f"--imagery {imagery} needs the year to map, for example --year 2024."
                )
            for one in image:
                _refuse_area(one)
            _map_image(image, run)
        elif imagery is not None:
            _map_mosaics(place_name, year, imagery, run, opt.taken(area.SearchChoice, values))
        else:
            _map_area(place_name, year, run, opt.taken(area.SearchChoice, values), price)


def _map_image(image: tuple[str, ...], run: map_run.MapRun) -> None:
    """Map an image."""
    from selion import fields
    from selion.pipeline import maps, probabilities

    given, say, out = run.given, run.say, run.place.out
    if not given.dry_run:
        probabilities.check_output(out, given.force)
        fields.format_of(out)
    job = maps.prepare(list(image), run.model, run.options)
    if given.dry_run:
        map_run.print_plan(job, say, as_json=given.as_json, consistency=run.consistent)
        return
    for note in job.notes:
        say.note(note)
    if run.options.fast:  # first: later the second network would stand beside a table of all fields
        say.note(map_run.compared(job))
    preview = map_run.preview_place(out, wanted=given.preview)
    _, frame = maps.map_image(
        job,
        out,
        run.options,
        watcher=map_run.watcher(preview),
        force=given.force,
        on_step=say.step,
        report=run.report,
    )
    run.finish(
        frame, map_run.drawn(preview) | map_run.with_page(job, frame, out, wanted=given.page)
    )


def _refuse_area(image: str) -> None:
    """Refuse an area without a year, and wishes for scenes where there is an image already."""
    from selion.imagery.item import is_item

    said = opt.located(image).suffix.lower() in AREAS
    if area.BOX.fullmatch(image) or (said and not is_item(image) and "_MTL." not in image):
        raise click.UsageError(
            f"{opt.located(image)} is an area, not an image: give the year to map, for "
            "example --year 2024."
        )
    opt.refuse_given(
        area.AREA_ONLY, "IMAGE is an image; with --year it is an area whose scenes are searched"
    )


def _map_area(
    place: str, year: int, run: map_run.MapRun, search: area.SearchChoice, price: float
) -> None:
    """Map an area in a year."""
    from selion import fields
    from selion.pipeline import areas, probabilities
    from selion.pipeline.cost import estimate_area
    from selion.pipeline.run import AreaMap, map_area

    given, say, out, kept = run.given, run.say, run.place.out, run.place.work
    if not given.dry_run:
        probabilities.check_output(out, given.force)
        fields.format_of(out)
    work = None if given.dry_run else areas.work_folder(out, kept)
    survey = areas.survey_area(place, year, search.area_options(), work=work, on_step=say.step)
    if not given.quiet or given.dry_run:
        area.print_survey(survey, say, as_json=given.as_json)
    if given.dry_run:
        area.print_cost(
            estimate_area(survey, run.model, run.options, price),
            as_json=given.as_json,
        )
        return
    extra: dict[str, Any] = {}
    preview = map_run.preview_place(out, wanted=given.preview)

    def use(result: AreaMap) -> None:
        extra.update(
            map_run.with_page(result.job, result.frame, out, wanted=given.page, survey=survey)
        )
        if run.options.fast:
            say.note(map_run.compared(result.job))

    result = map_area(
        survey,
        out,
        run.model,
        run.options,
        watcher=map_run.watcher(preview),
        force=given.force,
        on_step=say.step,
        use=use,
        report=run.report,
    )
    run.finish(result.frame, map_run.drawn(preview) | extra)


def _map_published(
    place: str, year: int | None, run: map_run.MapRun, published: PublishedChoice, crs: str
) -> None:
    """Map an area from a published map of the world."""
    from selion.cli.map_published import PublishedRun

    edition = published.found()
    if year is None:
        raise click.UsageError(
            f"--from {edition.name} needs the year to map, for example --year {edition.years[-1]}."
        )
    done = PublishedRun(
        edition,
        place,
        year,
        run.place.out,
        run.options,
        run.given,
        run.say,
        run.report,
        crs,
        published.least_confidence,
    )()
    if done is not None:
        _, facts = done
        map_run.conclude(run.report, run.place, facts, run.began, run.given)


def _map_mosaics(
    place: str, year: int, edition: str, run: map_run.MapRun, search: area.SearchChoice
) -> None:
    """Map an area in a year from quarterly mosaics."""
    from selion import fields
    from selion.pipeline import probabilities
    from selion.world.imagery_map import MosaicMap, map_prepared, prepare_mosaics
    from selion.world.quarters import is_quarterly

    given, say, out = run.given, run.say, run.place.out
    opt.refuse_given(area.SCENES_ONLY, area.MADE_ALREADY)
    if not given.dry_run:
        probabilities.check_output(out, given.force)
        fields.format_of(out)
    job, found = prepare_mosaics(
        edition, place, year, run.model, run.options, search.mosaic_options()
    )
    if is_quarterly(job.model.inputs):
        opt.refuse_given(area.SEASONS_ONLY, f"{job.model.card.name} looks at all quarters")
    if given.dry_run:
        for note in found.notes:
            say.note(note)
        map_run.print_plan(
            job,
            say,
            as_json=given.as_json,
            consistency=run.consistent,
            more={"compressed_bytes": found.bytes_read},
        )
        return
    for note in (*found.notes, *job.notes):
        say.note(note)
    if run.options.fast:
        say.note(map_run.compared(job))
    preview, extra = map_run.preview_place(out, wanted=given.preview), dict[str, Any]()

    def use(result: MosaicMap) -> None:
        extra.update(result.facts())
        extra.update(map_run.with_page(job, result.frame, out, wanted=given.page))

    result = map_prepared(
        job,
        found,
        out,
        run.options,
        watcher=map_run.watcher(preview),
        force=given.force,
        on_step=say.step,
        use=use,
        report=run.report,
    )
    run.finish(result.frame, map_run.drawn(preview) | extra)
