"""The stage of probabilities of a run.

Done by a runner, kept in a journal, blocks that cannot be done are listed.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import prediction, store
from selion.cores import usable_cores
from selion.errors import BadInput, Incomplete, OutputFailed
from selion.progress import OnNote, OnStep, unsaid
from selion.runners import Runner, in_order
from selion.store.former import take_over
from selion.store.manifest import named

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

FAILED = ".aside.json"


def on_blocks(on_step: OnStep) -> prediction.OnProgress:
    """Tell of blocks of probabilities as of any step."""

    def listen(state: prediction.Progress) -> None:
        pace = f"{state.km2_per_second:.2f} km2/s" if state.km2_per_second else ""
        on_step("predict", state.done, state.total, pace)

    return listen


@dataclass
class RunReport:
    """What a run has to say beside its result.

    Whoever gives one to a run is not raised :class:`selion.errors.Incomplete` but finds it here.
    """

    stages: prediction.Stages = field(default_factory=prediction.Stages)
    """Where the seconds went."""
    failed: list[dict[str, Any]] = field(default_factory=list)
    """Blocks that could not be done: ``rows``, ``columns``, ``bounds``, ``why``, ``tries``."""
    on_note: OnNote = unsaid
    listed: Path | None = None
    """Where they are listed."""

    def incomplete(self, out: Path) -> Incomplete:
        """Return the error of an output that lacks blocks."""
        first = self.failed[0]
        rows, columns = first["rows"], first["columns"]
        message = (
            f"{out} is written, but {len(self.failed)} of its blocks could not be done and are "
            f"missing (the first, rows {rows[0]} to {rows[1]}, columns {columns[0]} to "
            f"{columns[1]}: {first['why']}): they are listed in {self.listed}; the same command "
            "tries them again."
        )
        return Incomplete(message)


def check_output(out: Path, force: bool) -> bool:
    """Refuse an output that must not be written (OutputExists, OutputFailed).

    One that lacks blocks is not refused: the same command completes it.

    Returns
    -------
    bool
        Whether what is there may be replaced.
    """
    force = force or list_of(out).is_file()
    store.check_output(out, force)
    return force


def check_scores_name(out: Path) -> None:
    """Refuse a name for class probabilities that says another format (BadInput): a COG it is."""
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise BadInput(
            f"Class probabilities were to be written to {out}; they are a COG (GeoTIFF): give a "
            "name that ends in .tif."
        )


def list_of(out: Path) -> Path:
    """Return the name of the list of blocks that an output lacks."""
    return out.with_name(named(out.name, FAILED))


def conclude(out: Path, report: RunReport, *, told: bool) -> None:
    """Leave the list of what an output lacks beside it, or take an older list away.

    Raises
    ------
    Incomplete
        If something is missing and nobody asked for a report.
    """
    target = list_of(out)
    if not report.failed:
        target.unlink(missing_ok=True)
        return
    store.write_text(
        target,
        json.dumps({"output": out.name, "missing": report.failed}, indent=1) + "\n",
        force=True,
    )
    report.listed = target
    if not told:
        raise report.incomplete(out)


@contextmanager
def work_folder(
    out: Path, keep: Path | None = None, report: RunReport | None = None
) -> Iterator[Path]:
    """Give the folder of a run's finished parts.

    It goes when the run ends well and lacks nothing, or finished nothing; what was given as
    ``keep`` stays.
    """
    folder = keep or take_over(out.parent / f".{out.name}.selion")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(
            f"The folder {folder} for finished parts cannot be made ({error.strerror}): give one "
            "that can be written."
        ) from error
    try:
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # only an empty folder can go so
            if keep is None:
                folder.rmdir()
        raise
    if keep is None and not (report and report.failed):
        # a worker of a run that was killed may still write there: what is left does no harm
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def block_map(runner: Runner) -> Iterator[Callable[..., Any]]:
    """Give what does blocks like ``map``, for stages whose blocks share files.

    A runner of this process does them in threads, because numba's loops let go of the GIL; so does
    one of a cluster, whose workers may not see the files.
    """
    if runner.place == "machine":
        yield in_order(runner)
        return
    threads = (runner.threads if runner.place == "here" else None) or usable_cores()
    with ThreadPoolExecutor(min(threads, 8)) as pool:  # the order of results is kept
        yield pool.map


def journal_in(
    folder: Path, place: str | None, name: str, plan: prediction.PredictionPlan
) -> prediction.BlockJournal:
    """Open the journal of a run.

    In its work folder, or on the object store that was given for it.
    """
    where = folder / name if place is None else f"{place.rstrip('/')}/{name}"
    return prediction.BlockJournal(where, plan.key, plan.former_key)


def score_blocks(
    work: prediction.StripWork,
    runner: Runner,
    report: RunReport,
    progress: prediction.OnProgress = prediction.unwatched,
) -> prediction.JournalSource:
    """Predict all blocks of a plan.

    Those that cannot be done are noted in the report and read as no data.
    """
    if runner.place == "cluster" and not store.is_object_url(work.journal.folder):
        report.on_note(
            f"The cluster's workers write finished blocks to {work.journal.folder}: if they do "
            "not see it, give --work s3://BUCKET/PREFIX."
        )
    failed = prediction.run_blocks(
        work, runner, progress=progress, stages=report.stages, on_note=report.on_note
    )
    report.failed += list_failed(failed, work.plan.grid)
    return prediction.JournalSource(
        work.journal, work.plan, frozenset((one.roi[0].start, one.roi[1].start) for one in failed)
    )


def list_failed(failed: Iterable[prediction.FailedBlock], grid: GeoBox) -> list[dict[str, Any]]:
    """Return what a report says of blocks that could not be done."""
    return [_listed(one, grid) for one in failed]


def _listed(one: prediction.FailedBlock, grid: GeoBox) -> dict[str, Any]:
    rows, columns = one.roi
    bounds = list(grid[one.roi].boundingbox.bbox) if grid.crs is not None else None
    return {
        "rows": [rows.start, rows.stop],
        "columns": [columns.start, columns.stop],
        "bounds": bounds,
        "why": one.why,
        "tries": one.tries,
    }


def write_scores(
    probabilities: prediction.JournalSource,
    path: Path,
    tags: Mapping[str, str],
    report: RunReport,
    *,
    force: bool,
    on_step: Callable[..., None],
) -> None:
    """Write probabilities as a COG."""
    plan = probabilities.plan
    with (
        report.stages.during("write"),
        store.create_cog(
            path,
            plan.grid,
            plan.classes.names,
            np.uint8,
            nodata=prediction.NODATA,
            tags=tags,
            overviews="average",
            force=force,
        ) as sink,
    ):
        for number, roi in enumerate(plan.blocks, 1):
            sink.write(roi, probabilities.stored(roi))
            on_step("scores", number, len(plan.blocks), "")
