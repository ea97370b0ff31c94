"""From an image to a table of fields: the stations joined.

Stages keep what they have finished in a work folder beside the output.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import selion
from selion import fields, prediction, store
from selion.classes import ClassScheme
from selion.cores import check_memory
from selion.errors import BadInput
from selion.labels import default_min_area, least_areas
from selion.models.refine.segmenter import load_exact, load_refined
from selion.pipeline.ahead import OBJECT_BLOCK, BegunObjects, ScoreFile, cut_beside, scores_beside
from selion.pipeline.choosing import chosen_model
from selion.pipeline.consistency import score_passes, with_consistency, write_consistency
from selion.pipeline.land_cover import LandCover, keep_cropland
from selion.pipeline.makers import as_made, is_like_published, made_by, maker_of
from selion.pipeline.opening import (
    acquired,
    check_unchanged,
    found_in,
    given_time,
    open_dates,
    planned,
)
from selion.pipeline.probabilities import (
    RunReport,
    block_map,
    check_output,
    check_scores_name,
    conclude,
    journal_in,
    on_blocks,
    score_blocks,
    work_folder,
    write_scores,
)
from selion.pipeline.unfit import check_fields
from selion.pipeline.watcher import MapWatcher
from selion.progress import OnStep, silent
from selion.raster import Source, image_gsd
from selion.runners import Runner, RunnerOptions, Serial, open_runner
from selion.segmenter import Card, LoadedModel

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

Refine = Callable[["GeoDataFrame"], "GeoDataFrame"]
"""What changes a table before it is written."""


@dataclass(frozen=True)
class MapOptions:
    """What a map run may choose; the defaults are the model's and the pipeline's."""

    predict: prediction.PredictOptions = field(default_factory=prediction.PredictOptions)
    method: str = "auto"
    """How probabilities become objects, see :func:`selion.fields.choose_method`."""
    instances: fields.InstanceOptions = field(default_factory=fields.InstanceOptions)
    outlines: fields.FieldOptions = field(default_factory=fields.FieldOptions)
    min_area: float | None = None
    """Smallest field in m2; None: what ``instances`` and ``outlines`` say, which unless told
    otherwise is :func:`selion.labels.default_min_area`, and for vote its own."""
    collection: str | None = None
    """fiboa collection id; None: the output's name."""
    datetime: str | None = None
    """ISO 8601 time of the last image; None: what the image's own tags say, if they say."""
    engine: str = "auto"
    fast: bool = False
    threads: int | None = None
    speaking: Mapping[str, Any] = field(default_factory=dict)
    """How a language model is asked, instead of as its card says, see
    :func:`selion.models.load_model`."""
    refiner: str | None = None
    cover: str = "mask"
    """A boundary network behind the model (EPOC), or "own" for its own boundary; and where objects
    then lie, see :class:`selion.fields.majority.Solid`."""
    runner: RunnerOptions = field(default_factory=RunnerOptions)
    """Who does the blocks."""
    work: Path | None = None
    """Where finished parts are kept, and stay: the next run with other outlines finds composites
    and probabilities there; None: a hidden folder beside the output, which goes when the run ends
    well."""
    scores: Path | None = None
    """Also write the class probabilities to this COG; :func:`selion.compare_years` wants them."""
    consistency: Path | None = None
    """Also write the consistency of each pixel to this COG, and that of each field to the table,
    see :mod:`selion.pipeline.consistency`."""
    journal: str | None = None
    """A prefix on an object store (s3, gs, az) for finished blocks of probabilities, for workers
    that share no disk; None: the work folder."""
    land_cover: LandCover | None = None
    """A raster as a second opinion: fields that lie on little crop are dropped, and how many is
    said."""

    def __post_init__(self) -> None:
        given_time(self.datetime)  # it is written last, hours later


@dataclass(frozen=True, eq=False)
class MapJob:
    """An image, a model and the plan of their prediction."""

    image: Path | str
    source: Source
    model: LoadedModel[Any]
    plan: prediction.PredictionPlan
    load: Callable[..., LoadedModel[Any]]
    """Loads the model again, elsewhere: ``load(threads=...)``."""
    chosen: str = ""
    """Why this model, in a sentence; empty where it was named or is the only one."""
    look: prediction.Look | None = None
    """What was found in the image before; None: nobody looked."""
    states: tuple[tuple[Path | str, Source, str], ...] = ()
    """The files as they were opened, see :func:`selion.pipeline.opening.check_unchanged`."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        card = self.model.card
        licence = card.licence or "no licence stated"
        model = f"Model {card.name} ({licence}), {self.model.engine}."
        found = () if self.look is None else self.look.said
        return (model, *filter(None, [self.chosen]), *found, *self.plan.notes, *self.warnings)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What may make the map wrong; it stands in the table's metadata too."""
        return () if self.look is None else tuple(f"Warning: {one}" for one in self.look.warnings)


def prepare(
    image: Path | str | Source | list[Path | str | Source],
    model: str | Path | None,
    options: MapOptions,
) -> MapJob:
    """Open an image, look at it, load a model and plan the prediction; nothing is computed yet.

    Several images are one of several dates; one in memory is known by a hash of all of its pixels.

    Raises BadInput for options that a model of objects would ignore, and all that opening, loading
    and planning raise.
    """
    opened = open_dates(image if isinstance(image, list) else [image])
    choice = chosen_model(model, opened.source, options.predict.bands)
    load = partial(
        load_refined,
        choice.name,
        options.refiner,
        options.engine,
        fast=options.fast,
        speaking=options.speaking,
    )
    segmenter = load(threads=options.threads)
    refuse_unused(segmenter, options)
    source, plan, look = planned(opened, segmenter, options.predict)
    return MapJob(opened.name, source, segmenter, plan, load, choice.why, look, opened.states)


def predict_image(
    job: MapJob,
    out: Path,
    options: MapOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    report: RunReport | None = None,
) -> Path:
    """Write the class probabilities of an image as a COG.

    Raises OutputExists, OutputFailed, EmptyImage, Incomplete, and all that predicting raises.

    Blocks that could not be done are no data in it; they are told in ``report`` (else Incomplete is
    raised in the end), and tried again by the next run.
    """
    options, told, report = options or MapOptions(), report is not None, report or RunReport()
    check_scores_name(out)
    force = check_output(out, force)
    _refuse_objects(job)
    with work_folder(out, options.work, report) as folder, open_runner(options.runner) as runner:
        probabilities = score_blocks(
            _work(job, folder, options, runner), runner, report, on_blocks(on_step)
        )
        check_unchanged(job.states, probabilities.journal)
        write_scores(probabilities, out, _score_tags(job), report, force=force, on_step=on_step)
    conclude(out, report, told=told)
    return out


def _work(job: MapJob, folder: Path, options: MapOptions, runner: Runner) -> prediction.StripWork:
    """Put together what a worker needs."""
    journal = journal_in(folder, options.journal, "scores", job.plan)
    return prediction.StripWork(
        job.source, job.plan, journal, partial(job.load, threads=runner.threads), job.model
    )


def _score_tags(job: MapJob) -> dict[str, str]:
    model = json.dumps(job.model.card.to_dict(), sort_keys=True, default=str)
    return prediction.score_tags(job.plan) | {"model": model}


def map_image(
    job: MapJob,
    out: Path,
    options: MapOptions,
    *,
    watcher: MapWatcher | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    refine: Refine | None = None,
    report: RunReport | None = None,
) -> tuple[Path, GeoDataFrame]:
    """Turn an image into a table of fields.

    Parameters
    ----------
    job : MapJob
        From :func:`prepare`.
    out : path
        The table; its ending decides the format.
    options : MapOptions
    watcher : MapWatcher, optional
        Looks on, for example to draw the fields over the image.
    refine : callable, optional
        Changes the table before it is written.
    report : RunReport, optional
        Gets the seconds of each stage, and the blocks that could not be done.

    Returns
    -------
    (path, GeoDataFrame)
        The table as written, in the CRS of the image.

    Raises
    ------
    Incomplete
        Without ``report``: the table is written, but lacks what lies in blocks that could not be
        done.
    """
    told, report = report is not None, report or RunReport()
    force = check_output(out, force)
    refuse_unused(job.model, options, runner=False)
    fields.format_of(out, placed=job.plan.grid.crs is not None)
    check_rasters(options, job.plan, job.model, force=force)
    check_fields(options.outlines, options.land_cover, job.plan.grid)
    if watcher is not None:
        watched = watcher.watch(job.source)
        job = replace(job, source=watched) if options.runner.name == "serial" else job
    lacking = ""
    with work_folder(out, options.work, report) as folder:
        if job.model.gives == "objects":
            frame, method = _objects_to_table(job, folder, options, on_step, report), "objects"
        else:
            if job.plan.upsampling > 1:
                options = published_options(options)
            options = _with_method(options, job.plan.classes, job.model.card)
            frame, method = (
                _scores_to_table(job, folder, options, on_step, report, force=force),
                options.method,
            )
        frame = _refined(frame, options, refine, on_step)
        details = f"{job.model.card.name}, {method}, selion {selion.__version__}"
        with report.stages.during("table"):
            fields.write_fields(
                frame,
                out,
                _origin(out, options, job.source, details, _provenance(job)),
                force=force,
            )
        if watcher is not None:
            with report.stages.during("preview"):
                lacking = watcher.finish(frame)
    if lacking:
        report.on_note(lacking)
    conclude(out, report, told=told)
    return out, frame


def check_rasters(
    options: MapOptions,
    plan: prediction.PredictionPlan,
    model: LoadedModel[Any],
    *,
    force: bool,
) -> None:
    """Refuse rasters beside the table that cannot be written, or a model that has none.

    Raises OutputExists, OutputFailed, BadInput.
    """
    given = [path for path in (options.scores, options.consistency) if path is not None]
    for path in given:
        store.check_output(path, force)
        check_scores_name(path)
    if len({path.absolute() for path in given}) < len(given):
        raise BadInput(f"--scores and --consistency were both to be written to {given[0]}.")
    if options.consistency is not None:
        prediction.consistency_passes(plan, model)


def probability_options(options: MapOptions) -> dict[str, str]:
    """Return the options that were set and act on probabilities only, with the reason of each."""
    return {
        name: why
        for name, given, usual, why in (
            ("--method", options.method, "auto", "its objects are not looked for"),
            ("--vote", options.instances, fields.InstanceOptions(), "its objects are its own"),
            ("--scores (or --save_scores)", options.scores, None, "it has no probabilities"),
            ("--consistency", options.consistency, None, "they have no classes to compare"),
        )
        if given != usual
    }


def refuse_unused(model: LoadedModel[Any], options: MapOptions, *, runner: bool = True) -> None:
    """Refuse options that a model of objects would ignore; a model of probabilities takes all.

    Parameters
    ----------
    model : LoadedModel
    options : MapOptions
    runner : bool
        Whether nothing else than the model is run by ``options.runner``.

    Raises
    ------
    BadInput
        Naming the first such option.
    """
    if model.gives != "objects":
        return
    unused = probability_options(options)
    if runner and options.runner.name != RunnerOptions().name:
        unused["--runner"] = "its objects are found in one process"
    for name, why in unused.items():
        raise BadInput(
            f"{name} has no effect, because {model.card.name} returns objects, not "
            f"probabilities, and {why}: omit it, or choose another model."
        )


def _refuse_objects(job: MapJob) -> None:
    """Refuse (BadInput) to write probabilities where the model answers with objects."""
    if job.model.gives == "objects":
        raise BadInput(
            f"{job.model.card.name} returns objects, not probabilities: run 'selion map' "
            "without --scores, or choose another model."
        )


def _scores_to_table(
    job: MapJob,
    folder: Path,
    options: MapOptions,
    on_step: OnStep,
    report: RunReport,
    *,
    force: bool,
) -> GeoDataFrame:
    """Probabilities, which may be written too, then objects and outlines."""
    with open_runner(options.runner) as runner:
        work = _work(job, folder, options, runner)
        with cut_beside(
            work,
            BegunObjects(
                folder / "objects",
                options.method,
                _sized(options, job.plan.image_gsd, job.plan.classes)[0],
                OBJECT_BLOCK,
            ),
            options.threads,
            runner,
            report,
        ) as begun:
            probabilities = score_blocks(work, runner, report, on_blocks(on_step))
        check_unchanged(job.states, probabilities.journal)
        consistency = None
        if options.consistency is not None:
            consistency = score_passes(work, folder, options.journal, runner, report, on_step)
            check_unchanged(job.states, probabilities.journal)
            write_consistency(consistency, options.consistency, report, force=force)
        job.model.rest()
        with scores_beside(
            probabilities,
            ScoreFile(options.scores, _score_tags(job), force),
            options.threads,
            report,
            on_step,
        ):
            frame = _to_table(
                probabilities,
                job.plan.classes,
                folder,
                options,
                on_step,
                runner,
                report,
                begun,
            )
        return frame if consistency is None else with_consistency(frame, consistency)


def _objects_to_table(
    job: MapJob, folder: Path, options: MapOptions, on_step: OnStep, report: RunReport
) -> GeoDataFrame:
    """Objects as the model gives them, then outlines."""
    if options.runner.name != "serial":
        report.on_note(
            f"{job.model.card.name} returns objects, which are found in this process only: "
            "--runner is for models of probabilities."
        )
    seen = prediction.BlockJournal(folder / "seen", job.plan.key, job.plan.former_key)
    with report.stages.during("network"):
        found = prediction.predict_objects(
            job.source,
            job.model,
            job.plan,
            folder / "objects",
            journal=seen,
            progress=on_blocks(on_step),
        )
    check_unchanged(job.states, seen)
    job.model.rest()
    on_step("objects", 1, 1, f"{len(found.table):,}")
    _, outlines = _sized(options, job.plan.image_gsd, None)
    with block_map(Serial(options.threads)) as run:
        return _outlined(found, outlines, run, on_step, report)


def _outlined(
    found: store.InstanceMap,
    outlines: fields.FieldOptions,
    run: Any,
    on_step: OnStep,
    report: RunReport,
) -> GeoDataFrame:
    on_step("outlines", 0, 1, "")
    check_memory(
        len(found.table) * OUTLINE,
        f"Drawing {len(found.table):,} fields into one table",
        "map the area in jobs ('selion plan', then 'selion merge'), or larger fields only "
        "(--min-area)",
    )
    with report.stages.during("polygons"):
        frame = fields.to_fields(found, outlines, run=run)
    on_step("outlines", 1, 1, f"{len(frame):,}")
    return frame


def _refined(
    frame: GeoDataFrame, options: MapOptions, refine: Refine | None, on_step: OnStep
) -> GeoDataFrame:
    """Change a table before it is written: what the caller wants, then the land cover."""
    frame = refine(frame) if refine else frame
    if options.land_cover is not None:
        frame, note = keep_cropland(frame, options.land_cover, on_step)
        on_step("land cover", 1, 1, note)
    return frame


def _provenance(job: MapJob) -> dict[str, object]:
    """Return what a map is made from.

    Versions, the model and its hash, and what the image says about its own making.
    """
    noted = job.source.tags.get("provenance")
    return {
        "selion": selion.__version__,
        "model": made_by(job.model.card, job.chosen),
        "image": json.loads(noted) if noted else store.shown(str(job.image)),
    } | ({} if job.look is None else found_in(job.look))


def fields_from_scores(
    path: Path | str,
    out: Path,
    options: MapOptions,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    report: RunReport | None = None,
) -> tuple[Path, GeoDataFrame]:
    """Turn a score raster into a table of fields.

    No model is needed, the classes are in its tags (else BadInput).
    """
    source = store.open_raster(path)
    classes = prediction.score_classes(source, str(path))
    store.check_output(out, force)
    fields.format_of(out, placed=source.grid.crs is not None)
    report = report or RunReport()
    card = maker_of(source, report) if options.method in ("auto", "cut") else None
    if prediction.is_published(source) or is_like_published(source):
        options = published_options(options)
    options = replace(options, instances=as_made(source, classes, options.instances))
    with work_folder(out) as folder:
        return out, map_scores(
            prediction.ScoreSource(source),
            classes,
            out,
            replace(options, work=folder),
            card=card,
            force=force,
            on_step=on_step,
            report=report,
        )


def published_options(options: MapOptions) -> MapOptions:
    """Return how objects are found in probabilities as Fields of The World publishes them.

    And in those of its network when it is run here, or of another that is shown upsampled windows.

    Their network answers at 2.5 m and its lines between fields are two to four pixels wide, one at
    10 m: smoothing, which is for noisy probabilities, would close them.  Where ``options`` asks for
    another smoothing than the default, that holds; all else that it asks for does in any case.
    """
    if options.instances.smoothing != fields.InstanceOptions().smoothing:
        return options
    return replace(options, instances=replace(options.instances, smoothing=0.0))


def map_scores(
    probabilities: Source,
    classes: ClassScheme,
    out: Path,
    options: MapOptions,
    *,
    card: Card | None = None,
    provenance: dict[str, object] | None = None,
    refine: Refine | None = None,
    force: bool = False,
    on_step: OnStep = silent,
    report: RunReport | None = None,
) -> GeoDataFrame:
    """Turn probabilities, wherever they come from, into a table of fields; no model is needed.

    Parameters
    ----------
    probabilities : Source
        (class, y, x) float32.
    classes : ClassScheme
        What its bands mean.
    out : path
        The table; its ending decides the format.
    options : MapOptions
        With ``work``, a folder that is there.
    card : Card, optional
        Of the model that made them.
    provenance : dict, optional
        What the table says it was made from; plain values.
    refine : callable, optional
        Changes the table before it is written.
    """
    report, folder = report or RunReport(), options.work
    if folder is None:
        raise ValueError("map_scores needs a work folder: give MapOptions(work=...).")
    check_fields(options.outlines, options.land_cover, probabilities.grid)
    options = _with_method(options, classes, card)
    with open_runner(options.runner) as runner:
        frame = _to_table(probabilities, classes, folder, options, on_step, runner, report)
    frame = _refined(frame, options, refine, on_step)
    details = f"{options.method}, selion {selion.__version__}"
    if provenance and "edition" in provenance:
        details = f"{provenance['edition']}, {details}"
    origin = _origin(out, options, probabilities, details, provenance)
    fields.write_fields(frame, out, origin, force=force)
    return frame


def _with_method(options: MapOptions, classes: ClassScheme, card: Card | None) -> MapOptions:
    """Decide how objects are found, before the first pixel is looked at."""
    method, instances = fields.choose_method(options.method, options.instances, classes, card)
    return replace(options, method=method, instances=instances)


def _sized(
    options: MapOptions, gsd: float | None, classes: ClassScheme | None
) -> tuple[fields.InstanceOptions, fields.FieldOptions]:
    """Return how objects are found and outlines drawn, the smallest field filled in.

    What contradicts itself is refused (BadInput) before the first object is looked for.
    """
    instances, outlines = options.instances, options.outlines
    if options.min_area is not None:
        instances = replace(instances, min_area=options.min_area)
        outlines = replace(outlines, min_area=options.min_area)
    voted = options.method == "vote"
    least = instances.min_area
    if least is None and classes and classes.least_area and classes.things and not voted:
        least = min(least_areas(classes, None, gsd).values())  # objects are sifted class by class
    elif least is None:
        least = instances.vote.min_area_m2 if voted else default_min_area(gsd)
        instances = replace(instances, min_area=least)
    if outlines.min_area is None:
        outlines = replace(outlines, min_area=least)
    return instances, outlines


def _to_table(
    probabilities: Source,
    classes: ClassScheme,
    folder: Path,
    options: MapOptions,
    on_step: OnStep,
    runner: Runner,
    report: RunReport,
    begun: fields.BlockCutter | None = None,
) -> GeoDataFrame:
    """Objects, outlines, measures.  A photograph has them too, in pixels."""
    instances, outlines = _sized(options, image_gsd(probabilities), classes)
    with block_map(runner) as run:
        on_step("objects", 0, 1, "")
        with report.stages.during("instances"):
            found = fields.map_instances(
                probabilities,
                classes,
                folder / "objects",
                options.method,
                instances,
                cover=options.cover,
                block=OBJECT_BLOCK,
                run=run,
                begun=begun,
            )
        on_step("objects", 1, 1, f"{len(found.table):,}")
        return _outlined(found, outlines, run, on_step, report)


def _origin(
    out: Path,
    options: MapOptions,
    source: Source,
    details: str,
    provenance: dict[str, object] | None = None,
) -> fields.Origin:
    return fields.Origin(
        options.collection or out.stem,
        acquired(options.datetime, source),
        details,
        provenance=provenance,
    )


def summarise(frame: GeoDataFrame) -> dict[str, float | int | None]:
    """Return count, total and median area in hectares, and mean confidence.

    Areas are None for a photograph.  Mean consistency, where it was measured.
    """
    facts: dict[str, float | int | None] = {
        "fields": len(frame),
        "total_ha": None,
        "median_ha": None,
        "mean_confidence": None,
    }
    if len(frame):
        facts |= {
            f"mean_{name}": round(float(frame[name].mean()), 4)
            for name in ("confidence", "consistency")
            if name in frame
        }
    if len(frame) and frame.crs is not None:
        hectares = frame["metrics:area"].astype(float) / 10_000
        facts |= {
            "total_ha": round(float(hectares.sum()), 2),
            "median_ha": round(float(hectares.median()), 4),
        }
    return facts


OUTLINE = 1000
"""Bytes of memory that a field takes in a table and its file, beside the 0.6 GB of a run: measured
on simple outlines, those of many points take more."""


def compare_precision(job: MapJob) -> str:
    """Say what share of pixels changes its class between the fast engine and float32.

    It is measured on a few windows spread over the image.
    """
    if job.model.gives == "objects":
        return (
            f"--fast: {job.model.card.name} returns objects, which are not compared with float32."
        )
    changed, total, places = prediction.changed_pixels(
        job.source, job.model, load_exact(job.model), job.plan
    )
    share = changed / total if total else 0.0
    return (
        f"--fast changes the class of {share:.2%} of the pixels against float32 ({total:,} pixels "
        f"of {places} places compared)."
    )
