"""Other outlines beside a history: which fields they are, and which they contradict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion.change.fusion import JoinedGround, rois_of
from selion.change.sides import burn_ids
from selion.grid import Roi
from selion.metrics.objects import match_objects
from selion.metrics.overlap import overlap_of_blocks
from selion.store.instancemap import make_ids
from selion.store.npy import open_npy

if TYPE_CHECKING:
    from geopandas import GeoDataFrame


def match_last(ground: JoinedGround, frame: GeoDataFrame, work: Path) -> np.ndarray:
    """Return which field of the history each outline is: (n,) int64 rows of the records, or -1.

    That with which it has more than half of their union in common, of those that are there in the
    end.

    Parameters
    ----------
    ground : JoinedGround
    frame : GeoDataFrame
        Outlines, for example of fields found in the fused probabilities.
    work : Path
        Gets a file of ids for the time being.
    """
    table = overlap_of_blocks(_beside(ground, frame, work, ground.read_last))
    rows = np.full(len(frame), -1, np.int64)
    same = table.iou > 0.5
    rows[table.prediction_ids[table.prediction_index[same]] - 1] = (
        table.truth_ids[table.truth_index[same]] - 1
    )
    return rows


def judge_by_reference(
    ground: JoinedGround,
    year: int,
    reference: tuple[GeoDataFrame, np.ndarray],
    work: Path,
    iou: float = 0.5,
) -> np.ndarray:
    """Tell fields that a reference knows from those that it contradicts.

    Parameters
    ----------
    ground : JoinedGround
    year : int
        Number of the year whose outlines are judged.
    reference : (GeoDataFrame, (m,) bool ndarray)
        Outlines, and whether each is a field in truth.
    work : Path
        Gets a file of ids for the time being.
    iou : float
        From which on two outlines are one.

    Returns
    -------
    (n,) float64 ndarray
        1 for a field that is a true one of the reference, 0 for one that is a false one, or that
        shares more than half of itself, or of a field of the reference, without being it; NaN where
        the reference says nothing.
    """
    frame, true = reference
    table = overlap_of_blocks(
        _beside(ground, frame, work, lambda roi: ground.read(year, roi), swap=True)
    )
    judged = np.full(len(ground.records.ids), np.nan)
    rows = table.prediction_ids[table.prediction_index] - 1
    areas = table.prediction_area[table.prediction_index], table.truth_area[table.truth_index]
    judged[rows[table.shared > 0.5 * np.minimum(*areas)]] = 0
    matched = match_objects(table, iou)
    hit = table.prediction_ids[matched.prediction_index] - 1
    judged[hit] = true[table.truth_ids[matched.truth_index] - 1]
    return judged


def _beside(
    ground: JoinedGround,
    frame: GeoDataFrame,
    work: Path,
    read: Callable[[Roi], np.ndarray],
    *,
    swap: bool = False,
) -> Iterator[tuple[np.ndarray, np.ndarray, None]]:
    """Yield blocks of rows of the records + 1 and of numbers of outlines, or the other way round.

    Outlines are burnt in the order of the table; of two on one pixel the later one has it.
    """
    grid = ground.joined.grid
    frame = frame if grid.crs is None else frame.to_crs(str(grid.crs))
    path = make_ids(work / "outlines", (int(grid.shape[0]), int(grid.shape[1])))
    burn_ids(frame, grid, path)
    ids = open_npy(path)
    for roi in rois_of(ground.joined):
        one, other = read(roi).astype(np.int64) + 1, np.array(ids[roi])
        yield (other, one, None) if swap else (one, other, None)
