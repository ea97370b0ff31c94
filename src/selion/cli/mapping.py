"""``selion map``, ``selion predict``, ``selion fields``: the pipeline and its two halves."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import imagery as area
from selion.cli import options as opt
from selion.cli import running
from selion.cli.map_choices import map_options
from selion.cli.progress import Reporter, reporter
from selion.cli.world import PublishedChoice
from selion.cli.world import options as published_options

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.pipeline.maps import MapJob, MapOptions
    from selion.pipeline.probabilities import RunReport
    from selion.reports.preview import Preview


def _print_plan(
    job: MapJob, say: Reporter, *, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    from selion import prediction
    from selion.grid import ground_sampling_distance
    from selion.models.language.network import LanguageSegmenter

    cost = prediction.estimate(job.source, job.model, job.plan)
    height, width = job.plan.grid.shape
    gsd = ground_sampling_distance(job.plan.grid)
    facts = {
        "image": str(opt.located(job.image)),
        "model": job.model.card.name,
        **({"chosen": job.chosen} if job.chosen else {}),
        "engine": job.model.engine,
        "working_pixels": [int(height), int(width)],
        "working_gsd_m": None if gsd is None else round(gsd, 3),
        "windows": cost.windows,
        "blocks": cost.blocks,
        "gigabytes_read": round(cost.gigabytes_read, 3),
        **(more or {}),
        "seconds": round(cost.seconds, 1),
        **(
            job.model.price(cost.windows).facts(cost.seconds)
            if isinstance(job.model, LanguageSegmenter)
            else {}
        ),
        "notes": list(job.notes),
    }
    if as_json:
        click.echo(json.dumps({"event": "plan", **facts}))
        return
    for note in job.notes:
        say.note(note)
    for name, value in facts.items():
        if name != "notes":
            click.echo(f"{name:<16} {value}")


def _preview(out: Path, *, wanted: bool) -> Path | None:
    from selion.reports.preview import preview_of

    return preview_of(out) if wanted else None


def _watcher(path: Path | None) -> Preview | None:
    from selion.reports.preview import Preview

    return None if path is None else Preview(path)


def _drawn(path: Path | None) -> dict[str, str]:
    """Return the preview as a fact, if there is one."""
    return {"preview": str(path)} if path is not None and path.is_file() else {}


def _with_page(job: MapJob, frame: Any, out: Path, *, wanted: bool) -> dict[str, str]:
    from selion.pipeline import maps
    from selion.reports import maps as mapped

    if not wanted:
        return {}
    target = out.with_name(f"{out.stem}.report.html")
    made = {
        "image": str(opt.located(job.image)),
        "model": f"{job.model.card.name}: {job.model.card.summary}",
        "licence": job.model.card.licence,
    }
    return {
        "page": str(
            mapped.write_report(
                job.source,
                frame,
                target,
                facts=maps.summarise(frame),
                notes=job.notes,
                details=made,
            )
        )
    }


AREAS = (".geojson", ".json", ".parquet", ".geoparquet", ".fgb", ".shp")
"""Endings of files that hold polygons, and never pixels."""
MAP_HELP = """Map the fields of an image (GeoTIFF, COG, VRT, Zarr, photo or URL) as polygons:
.parquet (fiboa), .gpkg, .fgb, .geojson or .pmtiles.

With --year IMAGE is an area (polygons in a file, or west,south,east,north): its Sentinel-2 scenes
are searched, chosen and composed first; with --imagery quarterly mosaics are read instead; with
--from a published map of the world is read there, without a model."""


def _compared(job: MapJob) -> str:
    """Say how much --fast changes.

    Where a place of the image cannot be read, that is not what stops a map.
    """
    from selion.errors import UnreadableFile
    from selion.pipeline import maps

    try:
        return maps.compare_precision(job)
    except UnreadableFile as error:
        return f"--fast was not compared with float32: {error}"


@click.command("map", cls=area.AreaCommand, help=MAP_HELP)
@click.argument("image")
@running.out
@opt.model
@click.option(
    "--year", type=int, default=None, help="IMAGE is an area: map it in this year (of the harvest)."
)
@click.option(
    "--imagery",
    default=None,
    metavar="NAME[@ADDRESS]",
    help="With --year: map from quarterly cloudless mosaics instead of scenes: ftw-mosaics (open), "
    "cdse-mosaics (your keys), or a copy of them at a folder or address.",
)
@opt.scores
@opt.save_scores
@opt.field_options
@opt.land_cover_options
@opt.window_options
@opt.model_options
@area.search_options
@area.grid_options
@running.work
@running.options
@area.price
@published_options
@opt.page
@opt.run_options
def map_command(
    image: str,
    out: Path | str,
    model: str | None,
    year: int | None,
    imagery: str | None,
    scores: Path | None,
    save_scores: bool,
    price: float,
    **values: Any,
) -> None:
    """Go from an image, or from an area and a year, to a table of fields."""
    began, given = time.monotonic(), opt.taken(running.RunChoice, values)
    with (
        reporter(quiet=given.quiet, as_json=given.as_json) as say,
        running.placed(out, given.work, force=given.force or given.dry_run) as place,
    ):
        if not given.dry_run:
            opt.refuse_given(["price"], area.NO_PRICE)
        if values["refiner"] is None:
            opt.refuse_given(["cover"], "no --refine draws outlines")
        scores = scores or (
            place.out.with_name(f"{place.out.stem}.scores.tif") if save_scores else None
        )
        options = replace(
            map_options(values), scores=scores, work=place.work, journal=place.journal
        )
        run = MapRun(place, model, options, given, say, began)
        published = opt.taken(PublishedChoice, values)
        if published.edition is not None:
            _map_published(image, year, run, published, str(values["crs"]))
            return
        opt.refuse_given(["least_confidence"], "no --from ftw-1e:fields was given")
        if year is None:
            if imagery is not None:
                raise click.UsageError(
                    f"--imagery {imagery} needs the year to map, for example --year 2024."
                )
            _refuse_area(image)
            _map_image(image, run)
        elif imagery is not None:
            _map_mosaics(image, year, imagery, run, opt.taken(area.SearchChoice, values))
        else:
            _map_area(image, year, run, opt.taken(area.SearchChoice, values), price)


@dataclass(frozen=True)
class MapRun:
    """One run of ``selion map``: what was asked for, and what it has to say."""

    place: running.OutputPlace
    model: str | None
    options: MapOptions
    given: running.RunChoice
    say: Reporter
    began: float

    @cached_property
    def report(self) -> RunReport:
        """What the run has to say."""
        from selion.pipeline.probabilities import RunReport

        return RunReport(on_note=self.say.note)

    def finish(self, frame: GeoDataFrame, extra: dict[str, Any]) -> None:
        """Send the result where it was wanted, and print what there is to say."""
        from selion.pipeline import maps

        scores = self.options.scores
        facts = maps.summarise(frame) | extra | ({"scores": str(scores)} if scores else {})
        _conclude(self.report, self.place, facts, self.began, self.given)


def _conclude(
    report: RunReport,
    place: running.OutputPlace,
    facts: dict[str, Any],
    began: float,
    given: running.RunChoice,
) -> None:
    seconds = time.monotonic() - began
    facts |= running.tell(report, place, seconds, given) | {"seconds": round(seconds, 1)}
    if report.failed:
        facts |= {"missing_blocks": len(report.failed), "listed_in": str(report.listed)}
    opt.print_result(place.publish(report), facts, given, width=16)
    running.settle(report, place)


def _map_image(image: str, run: MapRun) -> None:
    """Map an image."""
    from selion import fields
    from selion.pipeline import maps, probabilities

    given, say, out = run.given, run.say, run.place.out
    if not given.dry_run:
        probabilities.check_output(out, given.force)
        fields.format_of(out)
    job = maps.prepare(image, run.model, run.options)
    if given.dry_run:
        _print_plan(job, say, as_json=given.as_json)
        return
    for note in job.notes:
        say.note(note)
    if run.options.fast:  # first: later the second network would stand beside a table of all fields
        say.note(_compared(job))
    preview = _preview(out, wanted=given.preview)
    _, frame = maps.map_image(
        job,
        out,
        run.options,
        watcher=_watcher(preview),
        force=given.force,
        on_step=say.step,
        report=run.report,
    )
    run.finish(frame, _drawn(preview) | _with_page(job, frame, out, wanted=given.page))


def _refuse_area(image: str) -> None:
    """Refuse an area without a year, and wishes for scenes where there is an image already."""
    if area.BOX.fullmatch(image) or opt.located(image).suffix.lower() in AREAS:
        raise click.UsageError(
            f"{opt.located(image)} is an area, not an image: give the year to map, for "
            "example --year 2024."
        )
    opt.refuse_given(
        area.AREA_ONLY, "IMAGE is an image; with --year it is an area whose scenes are searched"
    )


def _map_area(place: str, year: int, run: MapRun, search: area.SearchChoice, price: float) -> None:
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
    preview = _preview(out, wanted=given.preview)

    def use(result: AreaMap) -> None:
        extra.update(_with_page(result.job, result.frame, out, wanted=given.page))
        if run.options.fast:
            say.note(_compared(result.job))

    result = map_area(
        survey,
        out,
        run.model,
        run.options,
        watcher=_watcher(preview),
        force=given.force,
        on_step=say.step,
        use=use,
        report=run.report,
    )
    run.finish(result.frame, _drawn(preview) | extra)


def _map_published(
    place: str, year: int | None, run: MapRun, published: PublishedChoice, crs: str
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
        _conclude(run.report, run.place, facts, run.began, run.given)


SCENES_ONLY = ("provider", "cloud", "target", "limit", "excluded", "balance", "price")
"""Names of the options that choose scenes, of which a mosaic is made already, or price them."""
SEASONS_ONLY = ("dates", "season_rule", "calendar", "crop")


def _map_mosaics(
    place: str, year: int, edition: str, run: MapRun, search: area.SearchChoice
) -> None:
    """Map an area in a year from quarterly mosaics."""
    from selion import fields
    from selion.pipeline import probabilities
    from selion.world.imagery_map import MosaicMap, map_prepared, prepare_mosaics
    from selion.world.quarters import is_quarterly

    given, say, out = run.given, run.say, run.place.out
    opt.refuse_given(SCENES_ONLY, "with --imagery the mosaics are made already")
    if not given.dry_run:
        probabilities.check_output(out, given.force)
        fields.format_of(out)
    job, found = prepare_mosaics(
        edition, place, year, run.model, run.options, search.mosaic_options()
    )
    if is_quarterly(job.model.inputs):
        opt.refuse_given(SEASONS_ONLY, f"{job.model.card.name} looks at all quarters")
    if given.dry_run:
        for note in found.notes:
            say.note(note)
        _print_plan(job, say, as_json=given.as_json, more={"compressed_bytes": found.bytes_read})
        return
    for note in (*found.notes, *job.notes):
        say.note(note)
    if run.options.fast:
        say.note(_compared(job))
    preview, extra = _preview(out, wanted=given.preview), dict[str, Any]()

    def use(result: MosaicMap) -> None:
        extra.update(result.facts())
        extra.update(_with_page(job, result.frame, out, wanted=given.page))

    result = map_prepared(
        job,
        found,
        out,
        run.options,
        watcher=_watcher(preview),
        force=given.force,
        on_step=say.step,
        use=use,
        report=run.report,
    )
    run.finish(result.frame, _drawn(preview) | extra)


@click.command(
    "predict",
    help="Predict the class probabilities of an image, as a COG whose tags name its classes.",
)
@click.argument("image")
@running.out
@opt.model
@opt.window_options
@opt.model_options
@running.work
@running.options
@opt.run_options
def predict_command(image: str, out: Path | str, model: str | None, **values: Any) -> None:
    """Go from an image to class probabilities."""
    from selion.pipeline import maps, probabilities
    from selion.reports.preview import write_score_preview

    began, given = time.monotonic(), opt.taken(running.RunChoice, values)
    with (
        reporter(quiet=given.quiet, as_json=given.as_json) as say,
        running.placed(out, given.work, force=given.force or given.dry_run) as place,
    ):
        if not given.dry_run:
            probabilities.check_output(place.out, given.force)
        options = replace(map_options(values), work=place.work, journal=place.journal)
        job = maps.prepare(image, model, options)
        if given.dry_run:
            _print_plan(job, say, as_json=given.as_json)
            return
        for note in job.notes:
            say.note(note)
        report = probabilities.RunReport(on_note=say.note)
        path = maps.predict_image(
            job, place.out, options, force=given.force, on_step=say.step, report=report
        )
        if options.fast:
            say.note(_compared(job))
        extra = {"preview": str(write_score_preview(path))} if given.preview else {}
        _conclude(report, place, extra, began, given)


@click.command(
    "fields",
    help=(
        "Turn class probabilities (from 'selion predict' or 'selion map --scores') "
        "into a table of fields."
    ),
)
@click.argument("scores")
@running.out
@opt.field_options
@opt.land_cover_options
@running.options
@opt.force
@opt.as_json
@opt.quiet
@opt.preview
@click.option("--image", default=None, help="Draw the preview over this image.")
def fields_command(scores: str, out: Path | str, image: str | None, **values: Any) -> None:
    """Go from class probabilities to a table of fields."""
    from selion import store
    from selion.pipeline import maps, probabilities
    from selion.reports.preview import write_preview

    began, given = time.monotonic(), opt.taken(running.RunChoice, values)
    with (
        reporter(quiet=given.quiet, as_json=given.as_json) as say,
        running.placed(out, None, force=given.force) as place,
    ):
        # now: a name that is wrong is said before the work
        report, shown = (
            probabilities.RunReport(on_note=say.note),
            store.open_raster(image or scores),
        )
        path, frame = maps.fields_from_scores(
            scores,
            place.out,
            map_options(values),
            force=given.force,
            on_step=say.step,
            report=report,
        )
        preview = _preview(path, wanted=given.preview)
        if preview is not None:
            write_preview(shown, frame, preview)
        extra = _drawn(preview)
        _conclude(report, place, maps.summarise(frame) | extra, began, given)
