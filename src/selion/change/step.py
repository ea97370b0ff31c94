"""From one year to the next.

The table of overlaps, the outcomes, the maps, and what is remembered of fields that a cloud hid.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

import selion
from selion import store
from selion.change.lineage import Measures, Names, first_names, next_names
from selion.change.outcomes import (
    GONE,
    MOVED,
    OUTCOMES,
    UNKNOWN,
    Judged,
    OutcomeOptions,
    Side,
    judge,
)
from selion.change.pixels import CHANGES, EMPTY, PixelRule, Scale, classify, compare_pixels
from selion.change.sides import BLOCK, YearOnGrid, mean_pixel
from selion.change.years import Year
from selion.classes import IGNORE, ClassScheme
from selion.grid import Roi, pixel_metres, tiles
from selion.metrics.overlap import OverlapTable, overlap_of_blocks
from selion.store.npy import open_npy

COLOURS = ("#f2efe4", "#a9c9a0", "#e6ab02", "#7b3294", "#b35806", "#e78ac3", "#1f78b4", "#d7301f")
FATES = ClassScheme(OUTCOMES, (), None, COLOURS)
"""Classes of the map of outcomes; 255 is not known."""
OnBlock = Callable[[float, float], None]


@dataclass(frozen=True, eq=False)
class ChangeState:
    """What is known before a year is looked at.

    The fields of the year before, and those that it did not see.
    """

    mapped: YearOnGrid
    """The year before.  Its file of ids also holds the hidden fields, numbered after its own, where
    that year saw nothing."""
    names: Names
    """Of all fields, hidden ones last."""
    seen_in: np.ndarray
    """(n,) object: the label of the year that saw each field last."""
    rows: np.ndarray
    """(n,) int64: its row in that year's table."""
    years: Mapping[str, Year]
    """Label -> year, of all so far."""
    pixels: np.ndarray
    area: np.ndarray
    perimeter: np.ndarray
    centroid: np.ndarray
    """As in :class:`selion.change.sides.YearOnGrid`, hidden fields last."""

    @property
    def own(self) -> int:
        """Number of fields that the year before saw itself."""
        return len(self.mapped.names)

    def side(self, seen: np.ndarray, grid: GeoBox) -> Side:
        """Return what outcomes are told from."""
        return Side(self.pixels, self.perimeter / mean_pixel(grid), seen)


def first_state(mapped: YearOnGrid) -> ChangeState:
    """Begin with the first year."""
    names = first_names(mapped.names, mapped.year.label)
    labels = np.full(len(mapped.names), mapped.year.label, object)
    return ChangeState(
        mapped,
        names,
        labels,
        np.arange(len(mapped.names)),
        {mapped.year.label: mapped.year},
        mapped.pixels,
        mapped.area,
        mapped.perimeter,
        mapped.centroid,
    )


@dataclass(frozen=True, eq=False)
class Step:
    """One year compared with the one before."""

    before: ChangeState
    after: YearOnGrid
    names: Names
    """Of the later year's fields."""
    judged: Judged
    measures: Measures
    known_before: np.ndarray
    known_after: np.ndarray
    """(n,) float64 share of each field that both years saw."""
    scale: Scale
    pixels: np.ndarray
    """(256,) int64 pixels of each class of changed pixels."""


def compare(
    before: ChangeState,
    after: YearOnGrid,
    grid: GeoBox,
    rule: PixelRule,
    options: OutcomeOptions,
    pixel: float,
    on_block: OnBlock,
) -> Step:
    """Compare two years, without writing anything.

    The counts of changed pixels come with :func:`write_maps`.
    """
    seen = _Seen(before, after, grid, rule, on_block)
    table = overlap_of_blocks(seen.blocks())
    parts = [
        np.bincount(ids - 1, area, count)
        for ids, area, count in _areas(table, len(before.pixels), len(after.pixels))
    ]
    judged = judge(
        table, before.side(parts[0], grid), after.side(parts[1], grid), options, pixel=pixel
    )
    names = next_names(before.names, after.names, judged, after.year.label)
    shares = [
        seen / np.maximum(pixels, 1)
        for seen, pixels in zip(parts, (before.pixels, after.pixels), strict=True)
    ]
    scale = seen.scale if rule.scaled else Scale()
    return Step(
        before,
        after,
        names,
        judged,
        _measures(judged, before, after, parts, grid),
        shares[0],
        shares[1],
        scale,
        np.zeros(256, np.int64),
    )


def _areas(
    table: OverlapTable, earlier: int, later: int
) -> tuple[tuple[np.ndarray, np.ndarray, int], ...]:
    return (table.truth_ids, table.truth_area, earlier), (
        table.prediction_ids,
        table.prediction_area,
        later,
    )


def _measures(
    judged: Judged, before: ChangeState, after: YearOnGrid, seen: list[np.ndarray], grid: GeoBox
) -> Measures:
    """Measure each related pair on the ground."""
    pairs = judged.pairs
    one, other = pairs.one - 1, pairs.other - 1
    away = (after.centroid[other] - before.centroid[one]) * np.array(
        pixel_metres(grid) or (1.0, 1.0)
    )
    return Measures(
        pairs.shared / seen[0][one],
        pairs.shared / seen[1][other],
        pairs.edge * mean_pixel(grid),
        np.hypot(away[:, 0], away[:, 1]),
    )


class _Seen:
    """Blocks of ids and of what is not known, and on the way the scale of the differences."""

    def __init__(
        self,
        before: ChangeState,
        after: YearOnGrid,
        grid: GeoBox,
        rule: PixelRule,
        on_block: OnBlock,
    ) -> None:
        self.before, self.after, self.rule, self.on_block = before, after, rule, on_block
        self.rois = tiles((int(grid.shape[0]), int(grid.shape[1])), BLOCK)
        self.scale = EMPTY

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for number, roi in enumerate(self.rois, 1):
            change = compare_pixels(self.before.mapped.read(roi), self.after.read(roi), self.rule)
            if self.rule.scaled:
                self.scale = self.scale.wider(change)
            one, other = self.before.mapped.read_ids(roi), self.after.read_ids(roi)
            yield one, other, ~_known(self.before, self.after, roi, one, change.known)
            self.on_block(number, len(self.rois))


def _known(
    before: ChangeState, after: YearOnGrid, roi: Roi, ids: np.ndarray, both: np.ndarray
) -> np.ndarray:
    """Return (y, x) bool: where fields can be compared.

    A hidden field was seen by an earlier year.
    """
    hidden = ids > before.own
    if not hidden.any():
        return both
    valid = after.scores.read(roi).valid
    return both | (hidden if valid is None else hidden & valid)


def write_maps(
    step: Step,
    grid: GeoBox,
    rule: PixelRule,
    paths: tuple[Path, Path],
    *,
    force: bool,
    on_block: OnBlock,
) -> Step:
    """Write the map of changed pixels and that of outcomes.

    Return the step with its pixels counted.
    """
    tags = {
        "years": json.dumps([step.before.mapped.year.label, step.after.year.label]),
        "selion": selion.__version__,
    }
    told = {
        "rule": rule.name,
        "threshold": rule.threshold,
        "scale": [step.scale.low, step.scale.high] if rule.scaled else None,
    }
    tagged = [tags | {"classes": json.dumps(scheme.to_dict())} for scheme in (CHANGES, FATES)]
    tagged[0] |= {"rule": json.dumps(told)}
    rois = tiles((int(grid.shape[0]), int(grid.shape[1])), BLOCK)
    counts = np.zeros(256, np.int64)
    with ExitStack() as stack:
        sinks = [
            stack.enter_context(
                store.create_cog(
                    path,
                    grid,
                    [name],
                    np.uint8,
                    nodata=IGNORE,
                    tags=tag,
                    colours=scheme.colours,
                    overviews="mode",
                    force=force,
                )
            )
            for path, name, tag, scheme in zip(
                paths, ("change", "outcome"), tagged, (CHANGES, FATES), strict=True
            )
        ]
        for number, roi in enumerate(rois, 1):
            change = compare_pixels(step.before.mapped.read(roi), step.after.read(roi), rule)
            classes = classify(change, rule, step.scale)
            counts += np.bincount(classes.ravel(), minlength=256)
            sinks[0].write(roi, classes[None])
            sinks[1].write(roi, _fates(step, roi, change.known)[None])
            on_block(number, len(rois))
    return Step(
        step.before,
        step.after,
        step.names,
        step.judged,
        step.measures,
        step.known_before,
        step.known_after,
        step.scale,
        counts,
    )


def _fates(step: Step, roi: Roi, both: np.ndarray) -> np.ndarray:
    """Return (y, x) uint8 outcomes.

    Of the later field where there is one, else of the earlier one if it left the ground.
    """
    one, other = step.before.mapped.read_ids(roi), step.after.read_ids(roi)
    left = np.where(np.isin(step.judged.before, (GONE, MOVED, UNKNOWN)), step.judged.before, 0)
    out = np.concatenate([[0], step.judged.after])[other].astype(np.uint8)
    out = np.where(other > 0, out, np.concatenate([[0], left])[one]).astype(np.uint8)
    out[~_known(step.before, step.after, roi, one, both)] = IGNORE
    return out


def next_state(step: Step) -> ChangeState:
    """Remember the later year.

    With it go the fields that it did not see and that nothing in it continues.
    """
    before, after = step.before, step.after
    lost = step.judged.before == UNKNOWN
    lost[step.judged.pairs.one[step.judged.pairs.same] - 1] = False
    hidden = np.flatnonzero(lost)
    _hide(before, after, hidden)

    def with_hidden(later: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        return np.concatenate([later, earlier[hidden]])

    names = Names(
        with_hidden(step.names.ids, before.names.ids),
        with_hidden(step.names.since, before.names.since),
        step.names.used,
    )
    labels = with_hidden(np.full(len(after.names), after.year.label, object), before.seen_in)
    arrays = [
        with_hidden(getattr(after, name), getattr(before, name))
        for name in ("pixels", "area", "perimeter", "centroid")
    ]
    rows = with_hidden(np.arange(len(after.names)), before.rows)
    years = {**before.years, after.year.label: after.year}
    return ChangeState(after, names, labels, rows, years, *arrays)


def _hide(before: ChangeState, after: YearOnGrid, hidden: np.ndarray) -> None:
    """Write hidden fields into the later year's file of ids where that year saw nothing."""
    if not len(hidden):
        return
    number = np.zeros(len(before.pixels) + 1, np.int32)
    number[hidden + 1] = len(after.names) + 1 + np.arange(len(hidden))
    file = open_npy(after.ids, "r+")
    for roi in tiles((file.shape[0], file.shape[1]), BLOCK):
        kept = number[before.mapped.read_ids(roi)]
        valid = after.scores.read(roi).valid
        if valid is None or not kept.any():
            continue
        ids = np.array(file[roi])
        file[roi] = np.where((ids == 0) & ~valid, kept, ids)
