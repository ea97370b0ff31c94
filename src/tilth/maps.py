"""From an image to a table of fields: the stations joined.  Stages keep what they have finished in a work folder beside the output."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import tilth
from tilth import fields, models, picture, predict, store
from tilth.classes import ClassScheme
from tilth.errors import BadInput, BandMismatch, OutputFailed
from tilth.grid import Roi, ground_sampling_distance
from tilth.landcover import LandCover, keep_cropland
from tilth.models.refine import load_exact, load_refined
from tilth.raster import Source
from tilth.segmenter import gives_objects

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

OnStep = Callable[[str, float, float, str], None]
"""(stage, done, total, detail)."""
Refine = Callable[["GeoDataFrame"], "GeoDataFrame"]
"""What changes a table before it is written."""


def _silent(_stage: str, _done: float, _total: float, _detail: str) -> None:
    pass


@dataclass(frozen=True)
class MapOptions:
    """What a map run may choose; the defaults are the model's and the road's."""

    predict: predict.PredictOptions = field(default_factory=predict.PredictOptions)
    method: str = "watershed"
    instances: fields.InstanceOptions = field(default_factory=fields.InstanceOptions)
    outlines: fields.FieldOptions = field(default_factory=fields.FieldOptions)
    min_area: float | None = None
    """Smallest field in m2; None: 500 m2 or 20 pixels of the image, whichever is more, because less than that has no shape."""
    collection: str | None = None
    """fiboa collection id; None: the output's name."""
    datetime: str | None = None
    """ISO 8601 time of the last image; None: what the image's own tags say, if they say."""
    engine: str = "auto"
    fast: bool = False
    threads: int | None = None
    refiner: str | None = None
    cover: str = "mask"
    """A boundary network behind the model (EPOC), or "own" for its own boundary; and where objects then lie, see :class:`tilth.fields.majority.Solid`."""
    land_cover: LandCover | None = None
    """A raster as a second opinion: fields that lie on little crop are dropped, and how many is said."""


def choose_model(source: Source) -> str:
    """Return the packaged model of fields whose bands fit a source: by names first, then by number.

    Raises
    ------
    BandMismatch
        If none fits.
    """
    packaged = [card for card in models.packaged_models() if "field" in card.classes.names]
    named = [card for card in packaged if set(card.inputs.bands) <= set(source.bands)]
    counted = [card for card in packaged if len(card.inputs.bands) == len(source.bands)]
    fitting = sorted(named, key=lambda card: -len(card.inputs.bands)) or counted
    if not fitting:
        wanted = "; ".join(f"{card.name}: {len(card.inputs.bands)} ({', '.join(card.inputs.bands)})" for card in packaged)
        raise BandMismatch(f"No packaged model takes an image of {len(source.bands)} bands ({', '.join(source.bands)}): name one with --model ({wanted}).")
    return fitting[0].name


@contextmanager
def work_folder(out: Path, keep: Path | None = None) -> Iterator[Path]:
    """Give the folder of a run's finished parts; it goes when the run ends well and stays when it does not, or when it was given as ``keep``."""
    folder = keep or out.parent / f".{out.name}.tilth"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"The folder {folder} for finished parts cannot be made ({error.strerror}): give one that can be written.") from error
    yield folder
    if keep is None:
        shutil.rmtree(folder)


@dataclass(frozen=True, eq=False)
class Job:
    """An image, a model and the plan of their prediction."""

    image: Path | str
    source: Source
    model: Any
    plan: predict.Plan

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences that the user should read."""
        card = self.model.card
        return (f"Model {card.name} ({card.licence}), {self.model.engine}.", *self.plan.notes)


def prepare(image: Path | str, model: str | Path | None, options: MapOptions) -> Job:
    """Open an image, load a model and plan the prediction; nothing is computed yet."""
    source = store.open_raster(image)
    segmenter = load_refined(model or choose_model(source), options.refiner, options.engine, fast=options.fast, threads=options.threads)
    return Job(image, source, segmenter, predict.plan(source, segmenter, options.predict, store.fingerprint(image)))


def _progress(on_step: OnStep) -> Callable[[predict.Progress], None]:
    def listen(state: predict.Progress) -> None:
        pace = f"{state.km2_per_second:.2f} km2/s" if state.km2_per_second else ""
        on_step("predict", state.done, state.total, pace)

    return listen


class _Nowhere:
    """A sink for scores that the journal keeps anyway."""

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Drop them."""


def predict_image(job: Job, out: Path, *, force: bool = False, on_step: OnStep = _silent) -> Path:
    """Write the class probabilities of an image as a COG; raises OutputExists, OutputFailed, EmptyImage, and all that planning and predicting raise."""
    store.check_output(out, force)
    _refuse_objects(job)
    with work_folder(out) as folder:
        journal = predict.Journal(folder / "scores", job.plan.key)
        with _score_cog(job, out, force=force) as sink:
            predict.run_plan(job.source, job.model, job.plan, sink=sink, progress=_progress(on_step), journal=journal)
    return out


def _score_cog(job: Job, out: Path, *, force: bool) -> Any:
    gsd = _image_gsd(job.source)
    tags = predict.score_tags(job.plan) | ({} if gsd is None else {"image_gsd": repr(gsd)})
    tags |= {"model": json.dumps(job.model.card.to_dict(), sort_keys=True, default=str)}
    names = job.plan.classes.names
    return store.create_cog(out, job.plan.grid, names, np.uint8, nodata=predict.NODATA, tags=tags, overviews="average", force=force)


def map_image(
    job: Job,
    out: Path,
    options: MapOptions,
    *,
    scores: Path | None = None,
    force: bool = False,
    on_step: OnStep = _silent,
    refine: Refine | None = None,
    work: Path | None = None,
) -> tuple[Path, GeoDataFrame]:
    """Turn an image into a table of fields.

    Parameters
    ----------
    job : Job
        From :func:`prepare`.
    out : path
        The table; its ending decides the format.
    scores : path, optional
        Also write the class probabilities to this COG.
    refine : callable, optional
        Changes the table before it is written.
    work : path, optional
        Where finished parts are kept, and stay: the next run with other outlines finds the probabilities there.

    Returns
    -------
    (path, GeoDataFrame)
        The table as written, in the CRS of the image.
    """
    for target in (out, scores):
        if target is not None:
            store.check_output(target, force)
    fields.format_of(out)
    if scores is not None:
        _refuse_objects(job)
    with work_folder(out, work) as folder:
        if gives_objects(job.model):
            frame, method = _objects_to_table(job, folder, options, on_step), "objects"
        else:
            frame, method = _scores_to_table(job, folder, options, on_step, scores, force=force), options.method
        frame = _refined(frame, options, refine, on_step)
        details = f"{job.model.card.name}, {method}, tilth {tilth.__version__}"
        fields.write_fields(frame, out, _origin(out, options, job.source, details, _provenance(job)), force=force)
    return out, frame


def _refuse_objects(job: Job) -> None:
    """Refuse (BadInput) to write probabilities where the model answers with objects."""
    if gives_objects(job.model):
        message = f"{job.model.card.name} answers with objects, not with probabilities: run 'tilth map' without --scores, or choose another model."
        raise BadInput(message)


def _scores_to_table(job: Job, folder: Path, options: MapOptions, on_step: OnStep, scores: Path | None, *, force: bool) -> GeoDataFrame:
    """Probabilities, which may be written too, then objects and outlines."""
    journal = predict.Journal(folder / "scores", job.plan.key)
    predict.run_plan(job.source, job.model, job.plan, sink=_Nowhere(), progress=_progress(on_step), journal=journal)
    job.model.rest()
    probabilities = predict.JournalSource(journal, job.plan)
    if scores is not None:
        _copy_scores(probabilities, job, scores, force=force, on_step=on_step)
    return _to_table(probabilities, job.plan.classes, folder, options, _image_gsd(job.source), on_step)


def _objects_to_table(job: Job, folder: Path, options: MapOptions, on_step: OnStep) -> GeoDataFrame:
    """Objects as the model gives them, then outlines."""
    seen = predict.Journal(folder / "seen", job.plan.key)
    found = predict.predict_objects(job.source, job.model, job.plan, folder / "objects", journal=seen, progress=_progress(on_step))
    job.model.rest()
    on_step("objects", 1, 1, f"{len(found.table):,}")
    outlines = replace(options.outlines, min_area=least_area(options, _image_gsd(job.source)))
    with ThreadPoolExecutor(min(options.threads or os.cpu_count() or 1, 8)) as pool:
        return _outlined(found, outlines, pool, on_step)


def _outlined(found: fields.InstanceMap, outlines: fields.FieldOptions, pool: ThreadPoolExecutor, on_step: OnStep) -> GeoDataFrame:
    on_step("outlines", 0, 1, "")
    frame = fields.to_fields(found, outlines, run=pool.map)
    on_step("outlines", 1, 1, f"{len(frame):,}")
    return frame


def _refined(frame: GeoDataFrame, options: MapOptions, refine: Refine | None, on_step: OnStep) -> GeoDataFrame:
    """Change a table before it is written: what the caller wants, then the land cover."""
    frame = refine(frame) if refine else frame
    if options.land_cover is not None:
        frame, note = keep_cropland(frame, options.land_cover, on_step)
        on_step("land cover", 1, 1, note)
    return frame


def _provenance(job: Job) -> dict[str, object]:
    """Return what a map is made from: versions, the model and its hash, and what the image says about its own making."""
    noted = getattr(job.source, "tags", {}).get("provenance")
    card = job.model.card
    return {"tilth": tilth.__version__, "model": {"name": card.name, "files": dict(card.files)}, "image": json.loads(noted) if noted else str(job.image)}


def _copy_scores(probabilities: predict.JournalSource, job: Job, scores: Path, *, force: bool, on_step: OnStep) -> None:
    with _score_cog(job, scores, force=force) as sink:
        for number, roi in enumerate(job.plan.blocks, 1):
            sink.write(roi, probabilities.stored(roi))
            on_step("scores", number, len(job.plan.blocks), "")


def fields_from_scores(path: Path | str, out: Path, options: MapOptions, *, force: bool = False, on_step: OnStep = _silent) -> tuple[Path, GeoDataFrame]:
    """Turn a score raster into a table of fields; no model is needed, the classes are in its tags (else BadInput)."""
    source = store.open_raster(path)
    classes = score_classes(source, str(path))
    store.check_output(out, force)
    fields.format_of(out)
    with work_folder(out) as folder:
        frame = _to_table(predict.ScoreSource(source), classes, folder, options, _image_gsd(source), on_step)
        frame = _refined(frame, options, None, on_step)
        fields.write_fields(frame, out, _origin(out, options, source, f"{options.method}, tilth {tilth.__version__}"), force=force)
    return out, frame


def score_classes(source: Source, name: str) -> ClassScheme:
    """Return the classes of a score raster.

    Raises
    ------
    BadInput
        If its tags do not hold them, or do not fit its bands.
    """
    text = getattr(source, "tags", {}).get("classes")
    if not text:
        raise BadInput(f"{name} does not say what its bands mean (no tag 'classes'): write it with 'tilth predict' or 'tilth map --scores'.")
    classes = ClassScheme.from_dict(json.loads(text))
    if len(classes) != len(source.bands):
        raise BandMismatch(f"{name} has {len(source.bands)} bands, but its tags name {len(classes)} classes: it is not a score raster of tilth.")
    return classes


def least_area(options: MapOptions, gsd: float | None) -> float:
    """Return the area of the smallest field to keep, in m2, for an image of ``gsd`` metres; a photograph's unit is the pixel."""
    if options.min_area is not None:
        return options.min_area
    return SMALLEST if gsd is None else max(SMALLEST, SMALLEST_PIXELS * gsd**2)


def _image_gsd(source: Source) -> float | None:
    """Return the ground sampling distance of the image; a score raster tells that of the image it came from."""
    noted = getattr(source, "tags", {}).get("image_gsd")
    return float(noted) if noted else ground_sampling_distance(source.grid)


def _to_table(probabilities: Source, classes: ClassScheme, folder: Path, options: MapOptions, gsd: float | None, on_step: OnStep) -> GeoDataFrame:
    """Objects, outlines, measures.  A photograph has them too, in pixels."""
    least = least_area(options, gsd)
    instances, outlines = replace(options.instances, min_area=least), replace(options.outlines, min_area=least)
    with ThreadPoolExecutor(min(options.threads or os.cpu_count() or 1, 8)) as pool:  # numba's loops let go of the GIL; the order of results is kept
        on_step("objects", 0, 1, "")
        found = fields.map_objects(probabilities, classes, folder / "objects", options.method, instances, cover=options.cover, block=OBJECT_BLOCK, run=pool.map)
        on_step("objects", 1, 1, f"{len(found.table):,}")
        return _outlined(found, outlines, pool, on_step)


def _origin(out: Path, options: MapOptions, source: Source, details: str, provenance: dict[str, object] | None = None) -> fields.Origin:
    return fields.Origin(options.collection or out.stem, _acquired(options.datetime, source), details, provenance=provenance)


def _acquired(given: str | None, source: Source) -> datetime | None:
    """Return when the last image was taken: as given, or as the image's tags say; None if nobody says."""
    if given is not None:
        try:
            return datetime.fromisoformat(given)
        except ValueError:
            raise BadInput(f"The time {given!r} was given for --datetime; wanted is ISO 8601, for example 2024-08-17T10:20:00Z.") from None
    tags: dict[str, str] = getattr(source, "tags", {})
    for name, form in (("datetime", None), ("ACQUISITIONDATETIME", None), ("TIFFTAG_DATETIME", "%Y:%m:%d %H:%M:%S")):
        try:
            if name in tags:
                return datetime.strptime(tags[name], form).replace(tzinfo=UTC) if form else datetime.fromisoformat(tags[name])
        except ValueError:
            continue
    return None


def write_preview(source: Source, frame: GeoDataFrame, path: Path) -> Path:
    """Draw the fields over the image; a large image is shown whole and, beside it, its middle at full size."""
    image, step = picture.thumbnail(source)
    shown = picture.draw_outlines(image, frame, source.grid, step)
    if step == 1 and max(image.shape[:2]) <= 700:
        shown = picture.draw_outlines(picture.enlarge(image, 2), frame, picture.zoomed(source.grid, 2))
    with store.whole_file(path, force=True) as temporary:
        picture.save_png(shown, temporary)
    return path


def summarise(frame: GeoDataFrame) -> dict[str, float | int | None]:
    """Return count, total and median area in hectares, and mean confidence; areas are None for a photograph."""
    facts: dict[str, float | int | None] = {"fields": len(frame), "total_ha": None, "median_ha": None, "mean_confidence": None}
    if len(frame):
        facts["mean_confidence"] = round(float(frame["confidence"].mean()), 4)
    if len(frame) and frame.crs is not None:
        hectares = frame["metrics:area"].astype(float) / 10_000
        facts |= {"total_ha": round(float(hectares.sum()), 2), "median_ha": round(float(hectares.median()), 4)}
    return facts


def write_score_preview(path: Path) -> Path:
    """Draw the probabilities of a score raster as colours: the first three classes are red, green and blue."""
    source = store.open_raster(path)
    last = len(source.bands) - 1
    image, _ = picture.thumbnail(source, bands=(0, min(1, last), min(2, last)))
    target = path.with_name(f"{path.stem}.preview.png")
    with store.whole_file(target, force=True) as temporary:
        picture.save_png(image, temporary)
    return target


SMALLEST, SMALLEST_PIXELS = 500.0, 20
"""Smallest field by default: m2, and pixels of the image."""
PROBES = 4
"""Windows on which the fast engine is compared with float32."""
OBJECT_BLOCK = 1024
"""Edge in pixels of the blocks in which objects are found: several threads have some at once."""


def _core(plan: predict.Plan, row: int, column: int) -> Roi:
    """Return the middle of a window, which no other window touches as long as they overlap by less than half."""
    rows, columns = plan.lattice_roi(row, column)
    margin = min(plan.lattice.window - plan.lattice.stride, plan.lattice.window // 2 - 1)
    trim = [min(margin, (side.stop - side.start - 1) // 2) for side in (rows, columns)]
    return slice(rows.start + trim[0], rows.stop - trim[0]), slice(columns.start + trim[1], columns.stop - trim[1])


def compare_precision(job: Job) -> str:
    """Say what share of pixels changes its class between the fast engine and float32, on a few windows spread over the image."""
    if gives_objects(job.model):
        return f"--fast: {job.model.card.name} answers with objects, which are not compared with float32."
    exact = load_exact(job.model)
    changed = total = 0
    rows, columns = (len(starts) for starts in job.plan.lattice.starts)
    for k in range(PROBES):
        roi = _core(job.plan, int(rows * (k + 0.5) / PROBES), int(columns * (k + 0.5) / PROBES))
        fast, valid = predict.predict_block(job.source, job.model, job.plan, roi)
        slow, _ = predict.predict_block(job.source, exact, job.plan, roi)
        changed += int((fast.argmax(0) != slow.argmax(0))[valid].sum())
        total += int(valid.sum())
    share = changed / total if total else 0.0
    return f"--fast changes the class of {share:.2%} of the pixels against float32 ({total:,} pixels of {PROBES} places compared)."
