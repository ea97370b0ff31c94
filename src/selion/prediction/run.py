"""From a source to a map of scores, block by block: any size, the same bytes, resumable."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import overload

import numpy as np

from selion.errors import BadInput, EmptyImage
from selion.grid import Roi, roi_shape
from selion.prediction.blend import LatticeWeights
from selion.prediction.block import Computation, Task, WindowCache, compute, tasks
from selion.prediction.journal import BlockJournal
from selion.prediction.planning import PredictionPlan, PredictOptions, plan
from selion.prediction.progress import Clock, OnProgress, unwatched
from selion.prediction.resample import read_frame
from selion.prediction.scores import NODATA, dequantise, prediction_tags, quantise
from selion.prediction.timing import READ, RESAMPLE, WAIT, WRITE, Stages, Timed
from selion.prediction.value_range import check_numbers
from selion.raster import Raster, Sink, Source
from selion.segmenter import LoadedModel, Segmenter, as_model


@overload
def predict(
    source: Source,
    model: Segmenter,
    *,
    sink: None = None,
    options: PredictOptions | None = None,
    progress: OnProgress = unwatched,
    journal: BlockJournal | None = None,
    fingerprint: str = "",
) -> Raster: ...
@overload
def predict(
    source: Source,
    model: Segmenter,
    *,
    sink: Sink,
    options: PredictOptions | None = None,
    progress: OnProgress = unwatched,
    journal: BlockJournal | None = None,
    fingerprint: str = "",
) -> None: ...
def predict(
    source: Source,
    model: Segmenter,
    *,
    sink: Sink | None = None,
    options: PredictOptions | None = None,
    progress: OnProgress = unwatched,
    journal: BlockJournal | None = None,
    fingerprint: str = "",
) -> Raster | None:
    """Predict class probabilities for a whole source.

    Parameters
    ----------
    source : Source
        The image.
    model : Segmenter
        Any model.
    sink : Sink, optional
        Where blocks are written as they are done, as (class, y, x) uint8 (see
        :func:`selion.prediction.quantise`); nothing is then held in memory.  It must lie on the
        plan's working grid.
    options : PredictOptions, optional
        Window, overlap, resampling, flips ...
    progress : callable, optional
        Called with a :class:`Progress` after every few windows.
    journal : BlockJournal, optional
        Blocks that an interrupted run has finished; made with the key of :func:`plan`.  The caller
        removes it once the output is whole.
    fingerprint : str
        Stands for the source's content in the key.

    Returns
    -------
    Raster or None
        Without a sink: float32 probabilities on the working grid whose bands are the classes, in
        steps of 1/254, exactly what a reader of the sink would get.  With a sink: None.

    Raises
    ------
    BandMismatch, GridMismatch, BadInput
        As :func:`plan`; BadInput also if the image's numbers cannot be on the model's scale.
    EmptyImage
        If no pixel is valid.
    """
    if not isinstance(source, Source):
        raise BadInput(
            f"A {type(source).__name__} was given, and wanted is an opened image: "
            "selion.open_raster(path), or selion.as_raster(array)."
        )
    return run_plan(
        source,
        model,
        plan(source, model, options, fingerprint),
        sink=sink,
        progress=progress,
        journal=journal,
    )


def run_plan(
    source: Source,
    model: Segmenter,
    decided: PredictionPlan,
    *,
    sink: Sink | None = None,
    progress: OnProgress = unwatched,
    journal: BlockJournal | None = None,
) -> Raster | None:
    """Do what a plan says; parameters and result as :func:`predict`.

    Raises
    ------
    BadInput
        If the journal was made for another plan, or the model answers with objects.
    EmptyImage
        If no pixel is valid; what the sink got by then is nodata throughout.
    """
    loaded = as_model(model)
    if loaded.gives == "objects":
        raise BadInput(
            "This model returns objects, not probabilities: map with it ('selion map'), "
            "and compare the table with the truth."
        )
    if journal is not None and journal.key != decided.key:
        raise BadInput(
            f"The journal in {journal.folder} belongs to another run (key {journal.key[:12]}, not "
            f"{decided.key[:12]}): make it with this plan's key."
        )
    memory = (
        _Memory(np.full((len(decided.classes), *decided.lattice.shape), NODATA, np.uint8))
        if sink is None
        else None
    )
    run = PredictionRun(source, loaded, decided, memory or sink, journal, progress)  # type: ignore[arg-type]
    if not run.all_blocks():
        raise EmptyImage("The image holds nothing but nodata: there is nothing to predict.")
    if memory is None:
        return None
    scores, valid = dequantise(memory.stored)
    tags = prediction_tags(decided)
    return Raster(scores, decided.grid, decided.classes.names, valid, tags)


@dataclass(frozen=True, eq=False)
class _Memory:
    """A sink that keeps the bytes."""

    stored: np.ndarray

    def write(self, roi: Roi, values: np.ndarray) -> None:
        self.stored[:, *roi] = values


@dataclass(frozen=True)
class _Nowhere:
    """A sink for scores that the journal keeps anyway."""

    def write(self, roi: Roi, values: np.ndarray) -> None:
        """Drop them."""


NOWHERE: Sink = _Nowhere()


@dataclass
class PredictionRun:
    """One run through the blocks of a plan, or through some of them.

    Three things go on at once: the model is asked about as many groups of windows as it takes at
    once; this thread blends the group before and cuts out the one after; another writes the block
    before and reads the block after, one thing at a time.  A model that does not say that other
    threads may call it is called by this one.  Blocks are written in their order, and who is faster
    decides nothing.
    """

    source: Source
    model: LoadedModel[np.ndarray]
    plan: PredictionPlan
    sink: Sink
    journal: BlockJournal | None
    listener: OnProgress
    something: bool = False
    """Whether any pixel was valid."""
    judged: bool = False
    """Whether the image's numbers were compared with the model's scaling."""
    rois: Sequence[Roi] | None = None
    """The blocks, in the plan's order; None: all."""
    stages: Stages = field(default_factory=Stages)
    """Where the seconds go."""
    finishing: list[Future[None]] = field(default_factory=list)

    def all_blocks(self) -> bool:
        """Predict or resume every block; say whether any pixel was valid."""
        pending = [
            roi
            for roi in self._rois
            if self.journal is None or not self.journal.has(roi, self._shape(roi))
        ]
        todo = tasks(self.plan, pending)
        clock = Clock(self.plan, sum(task.windows for task in todo), self.listener)
        working = self.plan.working(Timed(self.source, self.stages))
        clock(0)
        with (
            _background("blocks") as worker,
            _background("network", max(self.model.at_once, 1)) as network,
        ):
            computation = Computation(
                self.model,
                self.plan,
                working,
                LatticeWeights(self.plan.lattice, self.plan.blend),
                clock,
                {},
                self.stages,
                network,
            )
            self._in_order(computation, todo, worker)
            self._settle(0)
        return self.something

    def _in_order(
        self, computation: Computation, todo: list[Task], worker: ThreadPoolExecutor
    ) -> None:
        cache, scaling = (
            WindowCache(self.plan),
            self.model.inputs.scaling_of(len(self.plan.bands)),
        )
        fresh = {_corner(task.roi): k for k, task in enumerate(todo)}
        ahead = worker.submit(self._read, computation.working, todo[0]) if todo else None
        for roi in self._rois:
            k = fresh.get(_corner(roi))
            if k is None or ahead is None:
                self._resume(roi, worker)
                continue
            with self.stages.during(WAIT):
                part = ahead.result()
            ahead = (
                worker.submit(self._read, computation.working, todo[k + 1])
                if k + 1 < len(todo)
                else None
            )
            self.judged = self.judged or (
                part is not None and check_numbers(part, self.plan.bands, scaling)
            )
            stored = quantise(*compute(computation, todo[k], part, cache))
            self._finish(roi, stored, worker, new=True)

    def _resume(self, roi: Roi, worker: ThreadPoolExecutor) -> None:
        stored = self.journal.load(roi, self._shape(roi)) if self.journal else None
        if stored is None:
            raise BadInput(
                "A finished block vanished from the journal while it was in use (row "
                f"{roi[0].start}, column {roi[1].start}): run the same command again."
            )
        self._finish(roi, stored, worker, new=False)

    def _finish(
        self, roi: Roi, stored: np.ndarray, worker: ThreadPoolExecutor, *, new: bool
    ) -> None:
        """Hand a block to the background, at most two at a time.

        So a slow disk slows the run instead of filling memory.
        """
        self.something = self.something or bool((stored != NODATA).any())
        self._settle(1)
        self.finishing.append(worker.submit(self._write, roi, stored, new=new))

    def _write(self, roi: Roi, stored: np.ndarray, *, new: bool) -> None:
        with self.stages.during(WRITE):
            if new and self.journal is not None:
                self.journal.save(roi, stored)
            self.sink.write(roi, stored)

    def _read(self, working: Source, task: Task) -> Raster | None:
        """Read what a task needs; what a read takes beyond the source's own time is resampling."""
        if task.frame is None:
            return None
        before, begin = self.stages.seconds.get(READ, 0.0), time.perf_counter()
        part = read_frame(working, task.frame)
        if self.plan.scale is not None:
            self.stages.add(
                RESAMPLE, time.perf_counter() - begin - (self.stages.seconds[READ] - before)
            )
        return part

    @property
    def _rois(self) -> Sequence[Roi]:
        return self.plan.blocks if self.rois is None else self.rois

    def _settle(self, left: int) -> None:
        """Wait until at most ``left`` blocks are being written.

        Errors of the background come out here.
        """
        while len(self.finishing) > left:
            self.finishing.pop(0).result()

    def _shape(self, roi: Roi) -> tuple[int, int, int]:
        return (len(self.plan.classes), *roi_shape(roi))


def _corner(roi: Roi) -> tuple[int, int]:
    return roi[0].start, roi[1].start


@contextmanager
def _background(name: str, threads: int = 1) -> Iterator[ThreadPoolExecutor]:
    """Threads; what they have not begun when the run fails or is stopped is dropped."""
    worker = ThreadPoolExecutor(threads, thread_name_prefix=f"selion-{name}")
    try:
        yield worker
    finally:
        worker.shutdown(wait=True, cancel_futures=True)
