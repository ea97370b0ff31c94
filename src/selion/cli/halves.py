"""``selion predict`` and ``selion fields``: the two halves of ``selion map``."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from selion.cli import map_run, running
from selion.cli import options as opt
from selion.cli.map_choices import map_options
from selion.cli.progress import reporter


@click.command(
    "predict",
    help="Predict the class probabilities of an image, as a COG whose tags name its classes. "
    "Several images are one place on several dates.",
)
@click.argument("image", nargs=-1, required=True)
@running.out
@opt.model
@opt.window_options
@opt.model_options
@running.work
@running.options
@opt.run_options
def predict_command(
    image: tuple[str, ...], out: Path | str, model: str | None, **values: Any
) -> None:
    """Go from an image to class probabilities."""
    from selion.pipeline import maps, probabilities
    from selion.reports.preview import write_score_preview

    began, given = time.monotonic(), opt.taken(running.RunChoice, values)
    with (
        reporter(quiet=given.quiet, as_json=given.as_json) as say,
        running.placed(
            out, given.work, force=given.force or given.dry_run, dry=given.dry_run
        ) as place,
    ):
        if not given.dry_run:
            probabilities.check_output(place.out, given.force)
        options = replace(map_options(values), work=place.work, journal=place.journal)
        job = maps.prepare(list(image), model, options)
        if given.dry_run:
            map_run.print_plan(job, say, as_json=given.as_json)
            return
        for note in job.notes:
            say.note(note)
        report = probabilities.RunReport(on_note=say.note)
        path = maps.predict_image(
            job, place.out, options, force=given.force, on_step=say.step, report=report
        )
        if options.fast:
            say.note(map_run.compared(job))
        extra = {"preview": str(write_score_preview(path))} if given.preview else {}
        map_run.conclude(report, place, extra, began, given)


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
    if not given.preview:
        opt.refuse_given(["image"], "--no-preview draws nothing over it")
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
        preview = map_run.preview_place(path, wanted=given.preview)
        if preview is not None:
            write_preview(shown, frame, preview)
        extra = map_run.drawn(preview)
        map_run.conclude(report, place, maps.summarise(frame) | extra, began, given)
