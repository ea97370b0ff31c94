"""BoundaryVote: a flood proposes lines between fields, and the pixels on each line vote for it.

The floods of one block, and the tables that join blocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import cast

import numpy as np
from odc.geo.geobox import GeoBox

from selion.classes import ClassScheme
from selion.errors import BadInput, BandMismatch
from selion.fields.shares import shares_of
from selion.fields.vote_options import VoteOptions
from selion.grid import Roi, clip_roi, inside, overlap, pad_roi, pixel_areas, roi_shape, tiles
from selion.raster import Source

BARE, MISSING = -1, -2
"""Labels: foreground without a region, and no data."""
ONE_VOTE = 1 << 40
"""Votes are counted in whole numbers of this size, so that sums do not depend on their order."""
ONE_SHARE = 1 << 31
"""As votes: float32 probabilities in 255ths are whole numbers of this size."""
PART, MARGIN = 1024, 192
"""Pixels of a part of a block that is flooded at once, and around it; more where that leaves
doubt."""
ALIKE = (np.arange(256, dtype=np.float32) / np.float32(255)).astype(np.float32)
"""Levels as probabilities, with the rounding of float32."""


@dataclass(frozen=True, eq=False)
class VoteInput:
    """What all blocks of one raster have in common."""

    shape: tuple[int, int]
    """(y, x) pixels."""
    thing: int
    boundary: int
    """Class ids."""
    options: VoteOptions
    rules: tuple[str | float, ...]
    """Foregrounds: of the first flood, and of the second if there is one."""
    areas: np.ndarray
    """(Y, X) int64 area of a pixel in each cell of CELL px."""
    unit: float
    """m2 per unit of ``areas``."""
    min_area: float
    """Area of the smallest object in m2."""
    pixel: float | None
    """Area of a pixel of the grid as it is drawn, by which the reference counts; None where pixels
    differ."""


@dataclass(frozen=True, eq=False)
class FloodedBlock:
    """What one block knows about its regions."""

    roi: Roi
    names: np.ndarray
    """(n,) int64: the first pixel of the seed of each region, row-major in the raster, ascending.
    Region ``k`` of the block is name ``k - 1``."""
    pairs: np.ndarray
    """(m, 5) int64: two regions (0 .. n - 1), 0, pixels of the line between them, their votes."""
    strips: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """Regions of the two outermost pixels at the top, bottom, left and right."""
    low: int
    high: int
    """Least and largest height of the seeds' image."""


def prepare_vote(
    probs: Source, classes: ClassScheme, options: VoteOptions, min_area: float | None
) -> VoteInput:
    """Check classes and bands, and settle the areas of these probabilities' grid."""
    if len(classes.things) != 1 or classes.boundary is None:
        raise BadInput(
            f"Method 'vote' was asked for with the classes {', '.join(classes.names)}; wanted are "
            "a class of objects and one of the boundary between them: use --method watershed."
        )
    thing, boundary = classes.index(classes.things[0]), classes.index(classes.boundary)
    if len(probs.bands) <= max(thing, boundary):
        raise BandMismatch(
            f"{len(probs.bands)} bands of probabilities were given; the classes need at least "
            f"{max(thing, boundary) + 1}."
        )
    areas, unit = pixel_areas(probs.grid)
    second = options.refill_field_probability
    return VoteInput(
        shape=(int(probs.grid.shape[0]), int(probs.grid.shape[1])),
        thing=thing,
        boundary=boundary,
        options=options,
        rules=(options.foreground, second) if second else (options.foreground,),
        areas=areas,
        unit=unit,
        min_area=options.min_area_m2 if min_area is None else min_area,
        pixel=_drawn_area(probs.grid),
    )


def _drawn_area(grid: GeoBox) -> float | None:
    if grid.crs is None:
        return 1.0
    if grid.crs.projected and set(grid.crs.units) == {"metre"}:
        return abs(float(grid.resolution.x) * float(grid.resolution.y))
    return None


@dataclass(frozen=True, eq=False)
class _Planes:
    """Levels of a window."""

    field: np.ndarray
    edge: np.ndarray
    likeliest: np.ndarray

    def foreground(self, rule: str | float) -> np.ndarray:
        """Return (y, x) bool, see :attr:`VoteOptions.foreground`."""
        if rule == "argmax":
            found = self.likeliest == 1
        elif rule == "not_background":
            found = (self.likeliest == 1) | (self.likeliest == 2)
        else:
            found = (np.float32(rule) < ALIKE)[self.field] & (self.likeliest != 3)
        return cast(np.ndarray, found)


class Windows:
    """Levels of windows of one block; the block with its margin is read once."""

    def __init__(self, probs: Source, scene: VoteInput, roi: Roi) -> None:
        self.probs, self.scene, self.home = (
            probs,
            scene,
            pad_roi(roi, margin_of(scene), scene.shape),
        )
        self.planes = self._levels(self.home)
        self.last: tuple[Roi, _Planes] | None = None
        self.margin = margin_of(scene)
        """What was enough for the last part."""

    def read(self, roi: Roi) -> _Planes:
        """Read a window."""
        if clip_roi(roi, self.scene.shape) == overlap(roi, self.home):
            here = inside(roi, self.home)
            mine = self.planes
            return _Planes(mine.field[here], mine.edge[here], mine.likeliest[here])
        if self.last is None or self.last[0] != roi:
            self.last = None
            self.last = roi, self._levels(roi)
        return self.last[1]

    def _levels(self, roi: Roi) -> _Planes:
        from selion.fields.seeding import quantise

        part = self.probs.read(roi)
        shares, finite = shares_of(part.values)
        valid = finite if part.valid is None else finite & part.valid
        return _Planes(*quantise(shares, valid, self.scene.thing, self.scene.boundary))


def margin_of(scene: VoteInput) -> int:
    """Return how far around a part it is flooded at first."""
    return max(MARGIN, scene.options.support_radius + 2)


def parts_of(roi: Roi, scene: VoteInput) -> list[tuple[Roi, Roi]]:
    """Cut a block where cells meet, and into parts that fit into a processor's cache.

    Each comes with the window that decides about it: its cell and what is around that.  Cells lie
    on the raster's own lattice, whatever blocks are.
    """
    size, (height, width) = scene.options.core, scene.shape
    found = []
    for top in range(roi[0].start // size * size, roi[0].stop, size):
        for left in range(roi[1].start // size * size, roi[1].stop, size):
            cell = (slice(top, min(top + size, height)), slice(left, min(left + size, width)))
            limit, here = pad_roi(cell, scene.options.halo, scene.shape), overlap(roi, cell)
            assert here is not None
            for rows, columns in tiles(roi_shape(here), PART):
                part = (
                    slice(rows.start + here[0].start, rows.stop + here[0].start),
                    slice(columns.start + here[1].start, columns.stop + here[1].start),
                )
                found.append((part, limit))
    return found


def flood_block(
    probs: Source, scene: VoteInput, roi: Roi
) -> tuple[list[np.ndarray], np.ndarray, tuple[FloodedBlock, ...]]:
    """Flood one block, under each rule of foreground.

    Returns
    -------
    labels : list of (y, x) int32 ndarrays
        Regions of the block, BARE, MISSING or 0.
    field : (y, x) uint8 ndarray
        Level of the probability of field.
    tuple of FloodedBlock
    """
    from selion.fields.basins import add_up

    windows, places = Windows(probs, scene, roi), parts_of(roi, scene)
    parts = [[_flood_part(windows, *place, rule) for rule in scene.rules] for place in places]
    shape, all_labels, blocks = roi_shape(roi), [], []
    for k in range(len(scene.rules)):
        labels = np.zeros(shape, np.int32)
        names = np.unique(np.concatenate([part[k].names for part in parts]))
        found, low, high = [], 255, 0
        for (core, _), several in zip(places, parts, strict=True):
            part = several[k]
            lut = np.searchsorted(names, part.names).astype(np.int32) + 1
            lut = np.concatenate([[MISSING, BARE, 0], lut]).astype(np.int32)
            labels[inside(core, roi)] = lut[part.labels - MISSING]
            part.pairs[:, :2] = lut[part.pairs[:, :2] - MISSING] - 1
            found.append(part.pairs)
            low, high = min(low, part.low), max(high, part.high)
        sides = (np.s_[:2], np.s_[-2:], np.s_[:, :2], np.s_[:, -2:])
        strips = tuple(labels[side].copy() for side in sides)
        pairs = add_up(np.concatenate(found))
        blocks.append(FloodedBlock(roi, names, pairs, strips, low, high))  # type: ignore[arg-type]
        all_labels.append(labels)
    return all_labels, windows.read(roi).field, tuple(blocks)


@dataclass(frozen=True, eq=False)
class _Part:
    """A flooded part of a block."""

    labels: np.ndarray
    """(y, x) int32."""
    names: np.ndarray
    pairs: np.ndarray
    low: int
    high: int
    """As in :class:`FloodedBlock`."""


def _flood_part(windows: Windows, core: Roi, limit: Roi, rule: str | float) -> _Part:
    """Flood a part of a cell, in a window as large as it takes to leave no doubt."""
    from selion.fields import flooding

    options, shape = windows.scene.options, windows.scene.shape
    needed = pad_roi(core, 2, shape)
    while True:
        window = overlap(pad_roi(core, windows.margin, shape), limit)
        assert window is not None
        sides = np.array(
            [
                window[0].start > limit[0].start,
                window[0].stop < limit[0].stop,
                window[1].start > limit[1].start,
                window[1].stop < limit[1].stop,
            ]
        )
        planes = windows.read(window)
        ground = planes.foreground(rule)
        labels, first, doubtful = _flood(planes, ground, options.seed_depth, sides)
        if not doubtful[inside(needed, window)].any():
            break
        windows.margin *= 2
    width = labels.shape[1]
    rim = _rimmed(labels, core, window)
    used = np.flatnonzero(np.bincount(np.maximum(rim, 0).ravel(), minlength=len(first)))
    used = used[used > 0]
    lut = np.zeros(len(first) - MISSING, np.int32)
    lut[:3] = MISSING, BARE, 0
    lut[used - MISSING] = np.arange(1, len(used) + 1)
    rim = lut[rim - MISSING]
    here = inside(core, window)
    field, edge = planes.field[here], planes.edge[here]
    near = _near(planes, options)
    pairs = flooding.line_pairs(
        rim, field, edge, _worth(options.line_score), near[here] if near.size else near
    )
    own, seen = rim[1:-1, 1:-1], np.where(ground[here], 255 - edge, np.uint8(0))
    own[planes.likeliest[here] == 3] = MISSING
    rows, columns = first[used] // width - 1, first[used] % width - 1
    names = (rows + window[0].start) * shape[1] + columns + window[1].start
    return _Part(own, names, pairs, int(seen.min()), int(seen.max()))


def _rimmed(labels: np.ndarray, core: Roi, window: Roi) -> np.ndarray:
    """Cut a core and one pixel around it out of the labels of a window, which have a rim."""
    top, left = core[0].start - window[0].start, core[1].start - window[1].start
    height, width = roi_shape(core)
    return labels[top : top + height + 2, left : left + width + 2]


def _flood(
    planes: _Planes, ground: np.ndarray, depth: float, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return regions (with a rim), the first pixels of their seeds, and where they are in doubt."""
    from selion.fields import flooding, seeding

    edge, mask = np.pad(planes.edge, 1), np.pad(ground, 1).astype(np.uint8)
    image = np.where(mask > 0, 255 - edge, np.uint8(0))
    lift = max(int(np.ceil(depth * 255 - 1e-9)), 1)
    if not depth:  # a plateau of height 0 is a maximum, too, if nothing beside it is higher
        image = np.pad(image[1:-1, 1:-1].astype(np.uint16) + 1, 1)
    seeds = seeding.find_seeds(image, lift, sides)
    seeds[mask == 0] = 0
    labels, first = seeding.name_seeds(seeds)
    when = flooding.flood_levels(edge, labels, mask)
    if not sides.any():
        return labels, first, np.zeros(ground.shape, np.uint8)
    return labels, first, flooding.doubt(edge, mask, when, seeds, sides)[1:-1, 1:-1]


@cache
def _worth(line_score: str) -> np.ndarray:
    """Return (256, 256) int64: what a pixel with these levels of boundary and field votes."""
    edge, field = ALIKE.astype(np.float64)[:, None], ALIKE.astype(np.float64)[None]
    if line_score == "fraction":
        share = (edge >= field).astype(np.float64)
    elif line_score == "probability_share":
        total = edge + field
        share = np.divide(edge, total, out=np.full(total.shape, 0.5), where=total > 0)
    elif line_score == "mean_boundary":
        share = np.broadcast_to(edge, (256, 256))
    else:
        share = (edge - field + 1) / 2
    return np.rint(share * ONE_VOTE).astype(np.int64)


def _near(planes: _Planes, options: VoteOptions) -> np.ndarray:
    """Return where boundary is as likely as field nearby; (0, 0) if pixels vote by themselves."""
    from scipy import ndimage

    radius = options.support_radius
    if not radius or options.line_score not in ("fraction", "probability_share"):
        return np.zeros((0, 0), np.uint8)
    likely = (planes.edge >= planes.field).astype(np.uint8)
    near = ndimage.maximum_filter(likely, 2 * radius + 1, mode="constant", cval=0)
    return cast(np.ndarray, near)


def join_regions(
    blocks: list[FloodedBlock], options: VoteOptions
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Join the regions of all blocks over the lines that their pixels do not vote for.

    Returns
    -------
    names : (n,) int64 ndarray
        All regions, ascending.
    groups : (n,) int64 ndarray
        The smallest member of each region's group.
    bool
        Whether there is no seed in all the raster.
    """
    from selion.fields.basins import add_up, unite_pairs

    lift = np.ceil(options.seed_depth * 255 - 1e-9) if options.seed_depth else 1
    names = np.unique(np.concatenate([block.names for block in blocks]))
    rise = max(block.high for block in blocks) - min(block.low for block in blocks)
    if not len(names) or rise < lift:
        return names, np.arange(len(names)), True
    rows = []
    for block in blocks:
        pairs = block.pairs.copy()
        pairs[:, :2] = np.searchsorted(names, block.names)[pairs[:, :2]]
        rows.append(pairs)
    total = add_up(np.concatenate(rows))
    support = total[:, 4] / ONE_VOTE / total[:, 3]
    stays = (support >= options.min_line_support) & (total[:, 3] >= options.min_line_length)
    ends = total[~stays]
    groups = unite_pairs(
        len(names), np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1])
    )
    return names, cast(np.ndarray, groups), False
