"""From a source to objects, for models that answer with objects instead of probabilities.

Seen window by window, joined without seams.

Windows are those of the plan's lattice, so neighbours see a strip twice.  What they say there is
compared: two objects that agree in the strip are one.  Nothing depends on the order of windows:
agreements are settled best first, ties by place, and pixels are given out by rank.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from selion.errors import BadInput, EmptyImage, GridMismatch
from selion.grid import roi_shape, whole
from selion.labels import Instances
from selion.prediction.block import Group, group_frame, group_of
from selion.prediction.detections import Seen, SeenWindow, join, list_detections
from selion.prediction.journal import BlockJournal
from selion.prediction.mask_merging import Candidates, paint
from selion.prediction.planning import PredictionPlan, PredictOptions
from selion.prediction.planning import plan as plan_of
from selion.prediction.progress import Clock, OnProgress, unwatched
from selion.prediction.resample import read_frame
from selion.prediction.value_range import check_numbers
from selion.prediction.windows import Position, Window, add_context, cut_window
from selion.raster import Raster, Source
from selion.segmenter import InstanceSegmenter
from selion.store.instancemap import InstanceMap

PLANES = 7
"""A finished window in a journal: four bytes of id, two of score, one of class, for each pixel;
equal neighbours pack to nearly nothing."""
UNTOLD = 65535
"""Stored score of an object whose score the model did not tell; others are round(65534 s)."""


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """How what windows saw becomes objects."""

    agreement: float = 0.5
    """Two objects of two windows are one if their intersection over union, where both windows look,
    is more than this."""
    margin: int = 2
    """An object this near (px) to a window's side, where the image goes on, counts as cut."""
    visible: float = 0.5
    """An object of which better ones leave less than this share is dropped."""

    def __post_init__(self) -> None:
        if not 0.5 <= self.agreement < 1 or not 0 <= self.visible <= 1 or self.margin < 1:
            raise BadInput(
                f"{self} was given; wanted are an agreement from 0.5 to below 1, a margin from 1 "
                "px and a visible share from 0 to 1."
            )


def predict_objects(
    source: Source,
    model: InstanceSegmenter,
    plan: PredictionPlan,
    folder: str | Path,
    *,
    journal: BlockJournal,
    options: ObjectOptions | None = None,
    progress: OnProgress = unwatched,
) -> InstanceMap:
    """Find the objects of a source of any size.

    Parameters
    ----------
    source : Source
        The image.
    model : InstanceSegmenter
        The model that the plan was made for.
    plan : PredictionPlan
        Its lattice decides which windows there are.
    folder : path
        Gets ``ids.npy`` and the table, see :func:`selion.store.open_instances`.
    journal : BlockJournal
        Windows that are done, made with the plan's key: what a window saw is kept there, and an
        interrupted run goes on from it.
    options : ObjectOptions, optional
    progress : callable, optional

    Returns
    -------
    InstanceMap
        On the plan's working grid; ids 1 .. n in the order of first pixels; table with ``id``,
        ``class``, ``score`` (NaN where the model told none), ``pixels`` and ``area`` (m2; px2 for a
        photograph).

    Raises
    ------
    BadInput
        If the journal was made for another plan, or the model's ids and table do not fit each
        other.
    GridMismatch
        If the model answers for another shape.
    EmptyImage
        If no pixel is valid.

    Notes
    -----
    An object that a window sees whole (it touches no side of the window beyond which the image goes
    on) is taken as that window saw it: of several windows that agree on it, from the one with the
    highest score.  An object that every window cuts is put together by vote: each window speaks for
    a pixel with the pixel's distance to the window's sides as its weight, and the pixel belongs to
    the object if those who say so have half of the weight.  Where two objects want one pixel, whole
    ones come before cut ones, then the higher score, then the first in place.
    """
    options = options or ObjectOptions()
    if journal.key != plan.key:
        raise BadInput(
            f"The journal in {journal.folder} belongs to another run (key {journal.key[:12]}, not "
            f"{plan.key[:12]}): make it with this plan's key."
        )
    _look(source, model, plan, journal, progress)
    seen = Seen(plan.lattice, lambda position: _load(plan, journal, position))
    detections = [
        one
        for position in _positions(plan)
        for one in list_detections(seen, position, options.margin)
    ]
    if not detections and not any(seen[position].any_valid for position in _positions(plan)):
        raise EmptyImage("The image holds nothing but nodata: there is nothing to predict.")
    groups = join(seen, detections, options.agreement)
    return paint(Candidates(seen, detections, groups), plan, Path(folder), options.visible)


def find_own_objects(
    source: Source, model: InstanceSegmenter, options: PredictOptions | None = None
) -> Instances:
    """Find the objects of a source that fits in memory, keeping nothing on disk.

    Parameters
    ----------
    source : Source
    model : InstanceSegmenter
        Answers with objects.
    options : PredictOptions, optional

    Returns
    -------
    Instances
        Of the whole working grid; ids and table as :func:`predict_objects` has them.

    Raises
    ------
    BadInput, GridMismatch, EmptyImage
        As :func:`predict_objects` and :func:`selion.prediction.plan`.
    """
    decided = plan_of(source, model, options)
    with TemporaryDirectory() as folder:
        journal = BlockJournal(Path(folder) / "seen", decided.key)
        return predict_objects(
            source, model, decided, Path(folder) / "objects", journal=journal
        ).read(whole(decided.grid))


def _positions(plan: PredictionPlan) -> Iterator[Position]:
    rows, columns = plan.lattice.starts
    return ((row, column) for row in range(len(rows)) for column in range(len(columns)))


def _look(
    source: Source,
    model: InstanceSegmenter,
    plan: PredictionPlan,
    journal: BlockJournal,
    progress: OnProgress,
) -> None:
    """Show the model every window that the journal does not have."""
    groups = list(dict.fromkeys(group_of(plan, position) for position in _positions(plan)))
    open_groups = [
        group
        for group in groups
        if not all(journal.has(plan.lattice_roi(*p), _shape(plan, p)) for p in group.positions)
    ]
    clock = Clock(plan, sum(len(group.positions) for group in open_groups), progress)
    clock(0)
    working, judged = plan.working(source), False
    scaling = model.inputs.scaling_of(len(plan.bands))
    for group in open_groups:
        frame = group_frame(plan, [group])
        part = read_frame(working, frame)
        judged = judged or check_numbers(part, plan.bands, scaling)
        for position, planes in segment_group(working, model, plan, group, part).items():
            journal.save(
                plan.lattice_roi(*position),
                np.zeros(_shape(plan, position), np.uint8) if planes is None else planes,
            )
        clock(len(group.positions))


def segment_group(
    working: Source, model: InstanceSegmenter, plan: PredictionPlan, group: Group, part: Raster
) -> dict[Position, np.ndarray | None]:
    """Segment a group of windows that was read as ``part``.

    Returns
    -------
    dict
        Position -> (plane, y, x) uint8, see :data:`PLANES`; None: the window holds nothing but
        nodata.

    Raises
    ------
    GridMismatch, BadInput
        If the answer does not fit the windows.
    """
    frame = group_frame(plan, [group])
    windows = [
        window for p in group.positions if (window := cut_window(part, frame, p, plan)) is not None
    ]
    answers = (
        model([add_context(window, working, plan).view for window in windows]) if windows else []
    )
    if len(answers) != len(windows):
        raise GridMismatch(
            f"The model answered {len(answers)} of {len(windows)} windows: it must answer each."
        )
    told: dict[Position, np.ndarray | None] = dict.fromkeys(group.positions)
    return told | {
        window.position: _planes(window, found, plan)
        for window, found in zip(windows, answers, strict=True)
    }


def _shape(plan: PredictionPlan, position: Position) -> tuple[int, int, int]:
    return (PLANES, *roi_shape(plan.lattice_roi(*position)))


def _planes(window: Window, found: Instances, plan: PredictionPlan) -> np.ndarray:
    """Return (plane, y, x) uint8 of a window, cut to the grid.

    Class 255 says that a pixel is valid and holds no object, class 0 that it is not valid.

    Raises
    ------
    GridMismatch, BadInput
        If the answer's shape, ids or table do not fit.
    """
    edge = plan.lattice.window
    if found.ids.shape != (edge, edge):
        raise GridMismatch(
            f"The model returned ids of shape {found.ids.shape}; wanted is (y, x) = "
            f"{(edge, edge)}: check its card."
        )
    height, width = window.valid.shape
    ids, local = np.unique(
        np.where(window.valid, found.ids[:height, :width], 0), return_inverse=True
    )
    local = local.reshape(height, width)
    score, kind = _told(found, ids, plan)
    planes = np.zeros((PLANES, height, width), np.uint8)
    planes[:4] = _bytes(np.where(ids > 0, np.cumsum(ids > 0), 0)[local], "<i4")
    planes[4:6] = _bytes(score[local], "<u2")
    planes[6] = np.where(window.valid, kind[local], 0)
    return planes


def _told(found: Instances, ids: np.ndarray, plan: PredictionPlan) -> tuple[np.ndarray, np.ndarray]:
    """Return stored score and class of each of some ids.

    What the table leaves open is untold, and the first class of things.
    """
    things = plan.classes.things or plan.classes.names[1:]
    score, kind = (
        np.where(ids > 0, UNTOLD, 0),
        np.where(ids > 0, plan.classes.index(things[0]), 255),
    )
    if not len(found.table):
        return score, kind
    table = found.table.set_index("id")
    missing = np.setdiff1d(ids[ids > 0], table.index.to_numpy())
    if ids[0] < 0 or len(missing):
        raise BadInput(
            f"The model returned the object id {int(min(ids[0], *missing[:1]))}, which is not in "
            "its table: check the model."
        )
    rows = table.loc[ids[ids > 0]]
    if "score" in rows:
        told = rows["score"].to_numpy(np.float64, na_value=np.nan)
        score[ids > 0] = np.where(
            np.isfinite(told), np.round(np.clip(np.nan_to_num(told), 0, 1) * (UNTOLD - 1)), UNTOLD
        )
    if "class" in rows:
        kind[ids > 0] = [plan.classes.index(str(name)) for name in rows["class"]]
    if not kind.all():
        raise BadInput(
            f"The model returned objects of the class {plan.classes.names[0]!r}, which is the "
            "background: check the model."
        )
    return score, kind


def _bytes(values: np.ndarray, dtype: str) -> np.ndarray:
    """(y, x) whole numbers -> (byte, y, x) uint8."""
    small = np.ascontiguousarray(values.astype(dtype))
    return small.view(np.uint8).reshape(*values.shape, -1).transpose(2, 0, 1)


def _numbers(planes: np.ndarray, dtype: str) -> np.ndarray:
    """Inverse of :func:`_bytes`."""
    return np.ascontiguousarray(planes.transpose(1, 2, 0)).view(dtype)[..., 0]


def _load(plan: PredictionPlan, journal: BlockJournal, position: Position) -> SeenWindow:
    """Read what a window saw."""
    planes = journal.load(plan.lattice_roi(*position), _shape(plan, position))
    if planes is None:
        raise BadInput(
            f"A finished window vanished from the journal while it was in use (row {position[0]}, "
            f"column {position[1]}): run the same command again."
        )
    ids, score = _numbers(planes[:4], "<i4").astype(np.int32), _numbers(planes[4:6], "<u2")
    count = int(ids.max(initial=0))
    scores, kinds = np.full(count + 1, np.nan), np.zeros(count + 1, np.int64)
    numbers, first = np.unique(ids.ravel(), return_index=True)
    stored = score.ravel()[first].astype(np.float64)
    scores[numbers] = np.where((stored == UNTOLD) | (numbers == 0), np.nan, stored / (UNTOLD - 1))
    kinds[numbers] = planes[6].ravel()[first]
    return SeenWindow(ids, scores, kinds, bool(planes[6].any()))
