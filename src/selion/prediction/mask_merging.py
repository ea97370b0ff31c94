"""Who gets a pixel.

Detections that belong together are one object, and objects take pixels in the order of their rank.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from selion.grid import CELL, Roi, inside, overlap, pixel_areas, roi_shape, tiles
from selion.labels import default_min_area
from selion.prediction.detections import Detection, Seen, edge_distance
from selion.prediction.planning import PredictionPlan
from selion.store.instancemap import InstanceMap, make_ids, save_table
from selion.store.npy import open_npy


@dataclass(frozen=True, eq=False, slots=True)
class Candidate:
    """One object before pixels are given out."""

    voters: tuple[Detection, ...]
    """One that saw it whole, or all that saw a part."""
    box: Roi
    """Smallest region that holds them all."""
    whole: bool
    score: float
    kind: int

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Whole ones first, then the higher score, then the first pixel."""
        return (
            not self.whole,
            -np.nan_to_num(self.score, nan=-1.0),
            min(one.first for one in self.voters),
        )


@dataclass(frozen=True, eq=False)
class Candidates:
    """All objects of an image."""

    seen: Seen
    detections: list[Detection]
    groups: list[list[int]]

    @cached_property
    def ranked(self) -> list[Candidate]:
        """The objects, the strongest first."""
        return sorted(
            (_candidate([self.detections[k] for k in group]) for group in self.groups),
            key=lambda candidate: candidate.rank,
        )

    @cached_property
    def boxes(self) -> np.ndarray:
        """(n, 4) int64: top, bottom, left and right of each ranked object."""
        return np.array(
            [(c.box[0].start, c.box[0].stop, c.box[1].start, c.box[1].stop) for c in self.ranked],
            np.int64,
        ).reshape(-1, 4)

    def touching(self, roi: Roi) -> np.ndarray:
        """Return the ranks (from 0) of objects that may have pixels in a region, ascending."""
        top, bottom, left, right = self.boxes.T
        return np.flatnonzero(
            (top < roi[0].stop)
            & (bottom > roi[0].start)
            & (left < roi[1].stop)
            & (right > roi[1].start)
        )


def _candidate(members: list[Detection]) -> Candidate:
    """Take the best of those that saw the object whole; else let all vote."""
    whole = [one for one in members if one.whole]
    if whole:
        members = [min(whole, key=lambda one: (-np.nan_to_num(one.score, nan=-1.0), one.position))]
    rows, columns = (
        slice(min(m.box[k].start for m in members), max(m.box[k].stop for m in members))
        for k in (0, 1)
    )
    told = [one for one in members if np.isfinite(one.score)]
    pixels = sum(one.pixels for one in told)
    score = sum(one.score * one.pixels for one in told) / pixels if pixels else np.nan
    return Candidate(tuple(members), (rows, columns), bool(whole), float(score), members[0].kind)


def paint(
    candidates: Candidates, plan: PredictionPlan, folder: Path, visible: float
) -> InstanceMap:
    """Give out the pixels, and number the objects in the order of first pixels.

    Parameters
    ----------
    candidates : Candidates
    plan : PredictionPlan
        Grid, blocks and classes.
    folder : path
        Gets the ids and the table.
    visible : float
        Objects that keep less than this share of what they ask for are dropped, and their pixels go
        to the next in rank.
    """
    shape = (int(plan.grid.shape[0]), int(plan.grid.shape[1]))
    path = make_ids(folder, shape)
    blocks = tiles(shape, plan.block)
    count = len(candidates.ranked)
    wanted, got = np.zeros(count, np.int64), np.zeros(count, np.int64)
    for roi in blocks:
        _write(path, roi, _paint_block(candidates, roi, np.ones(count, bool), wanted, got))
    kept = (got > 0) & (got >= visible * wanted)
    if not kept.all():
        for roi in blocks:
            if not kept[candidates.touching(roi)].all():
                _write(path, roi, _paint_block(candidates, roi, kept, wanted, got))
    table = _settle(candidates, plan, path, blocks)
    found = InstanceMap(path, plan.grid, table, default_min_area(plan.image_gsd))
    save_table(found)
    return found


def _write(path: Path, roi: Roi, values: np.ndarray) -> None:
    open_npy(path, "r+")[roi] = values


def _paint_block(
    candidates: Candidates, roi: Roi, kept: np.ndarray, wanted: np.ndarray, got: np.ndarray
) -> np.ndarray:
    """Return (y, x) int32 ranks from 1 of a block.

    What objects ask for and receive is counted into ``wanted`` and ``got``.
    """
    out = np.zeros(roi_shape(roi), np.int32)
    total = _Total(candidates.seen, roi)
    for rank in candidates.touching(roi):
        if not kept[rank]:
            continue
        box = overlap(candidates.ranked[rank].box, roi)
        if box is None:
            continue
        mask, place = _mask(candidates, candidates.ranked[rank], box, total), inside(box, roi)
        free = mask & (out[place] == 0)
        out[place][free] = rank + 1
        wanted[rank] += int(mask.sum())
        got[rank] += int(free.sum())
    return out


@dataclass
class _Total:
    """The weight of all windows over a block; worked out when the first vote asks."""

    seen: Seen
    roi: Roi

    @cached_property
    def weight(self) -> np.ndarray:
        """(y, x) int32."""
        total = np.zeros(roi_shape(self.roi), np.int32)
        for position in self.seen.lattice.touching(self.roi):
            shared = overlap(self.seen.roi(position), self.roi)
            if shared is not None:
                total[inside(shared, self.roi)] += edge_distance(self.seen, position, shared)
        return total


def _mask(candidates: Candidates, candidate: Candidate, box: Roi, total: _Total) -> np.ndarray:
    """Return (y, x) bool: which pixels of a region an object asks for."""
    votes = np.zeros(roi_shape(box), np.int32)
    for voter in candidate.voters:
        shared = overlap(voter.box, box)
        if shared is not None:
            said = (
                candidates.seen[voter.position].ids[
                    inside(shared, candidates.seen.roi(voter.position))
                ]
                == voter.local
            )
            votes[inside(shared, box)] += (
                said
                if candidate.whole
                else said * edge_distance(candidates.seen, voter.position, shared)
            )
    return (
        votes > 0
        if candidate.whole
        else (votes > 0) & (2 * votes >= total.weight[inside(box, total.roi)])
    )


def _settle(
    candidates: Candidates, plan: PredictionPlan, path: Path, blocks: list[Roi]
) -> pd.DataFrame:
    """Replace ranks by ids in the order of first pixels, in place, and return the table."""
    count, width = len(candidates.ranked), int(plan.grid.shape[1])
    pixels, area, first = (
        np.zeros(count + 1, np.int64),
        np.zeros(count + 1),
        np.full(count + 1, np.iinfo(np.int64).max),
    )
    cells, unit = pixel_areas(plan.grid)
    for roi in blocks:
        ranks = open_npy(path)[roi]
        found, at, number = np.unique(ranks.ravel(), return_index=True, return_counts=True)
        pixels[found] += number
        rows, columns = (np.arange(side.start, side.stop) // CELL for side in roi)
        area += np.bincount(
            ranks.ravel(),
            weights=cells[np.ix_(rows, columns)].ravel().astype(np.float64),
            minlength=count + 1,
        )
        here = (roi[0].start + at // ranks.shape[1]) * width + roi[1].start + at % ranks.shape[1]
        first[found] = np.minimum(first[found], here)
    order = np.argsort(first[1:], kind="stable")[: int((pixels[1:] > 0).sum())] + 1
    lut = np.zeros(count + 1, np.int32)
    lut[order] = np.arange(1, len(order) + 1)
    for roi in blocks:
        _write(path, roi, lut[open_npy(path)[roi]])
    chosen = [candidates.ranked[rank - 1] for rank in order]
    return pd.DataFrame(
        {
            "id": np.arange(1, len(order) + 1, dtype=np.int64),
            "class": pd.array(
                [plan.classes.names[candidate.kind] for candidate in chosen], dtype="string"
            ),
            "score": np.array([candidate.score for candidate in chosen], np.float32),
            "pixels": pixels[order],
            "area": area[order] * unit,
        }
    )
