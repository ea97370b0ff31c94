"""Joining what was found block by block.

Basins that a seam cuts are one again, and basins that belong together become objects.

All of this works on tables (one row per basin, one per pass between two basins), never on pixels,
and every order in it comes from positions in the whole raster.  So it gives the same objects, with
the same ids, for any size and order of blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.fields.memory import give_back
from selion.grid import Roi

KIND, LOW, PIXELS, AREA, SURE, FIRST, EDGE = range(7)
"""Columns of a table of basins."""
ONE, OTHER, PASS, LENGTH, LINES = range(5)
"""Columns of a table of passes."""
CORE, RIM, Y, X, YY, XX, XY, FIELD, FIELD2, LINE, LINE2, STUFF, STUFF2 = range(EDGE + 1, EDGE + 14)
"""More columns of a table of basins, for the cut: pixels where the thing is likelier than not and
those on the raster's edge, sums of their rows and columns and of the products of these, sums of the
probabilities of thing, boundary and background and of their squares (over 65536)."""
STRENGTH, BESIDE, HISTOGRAM = range(LINES + 1, LINES + 4)
"""More columns of a table of passes, for the cut: sums of the strength of the border and of the
background along it; from HISTOGRAM on, how many of its pixels are how strong, in BINS steps."""
BINS = 4


@dataclass(frozen=True, eq=False)
class BasinBlock:
    """What one block knows about its basins."""

    roi: Roi
    """Where in the raster."""
    basins: np.ndarray
    """(n, 7) int64: class, lowest height, pixels, area, sum of shares, row-major index of the first
    pixel, whether it touches the raster's edge; for the cut (n, 20), CORE and further."""
    passes: np.ndarray
    """(m, 5) int64: two basins (0 .. n - 1), lowest pass between them
    (:func:`selion.fields.basins.name_pass`), pixels of contact, and those on a line; for the cut
    (m, 11), STRENGTH and further."""
    rims: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    """Pixels along the east, south, west and north side: (5, k) int64 basin, class, height, line,
    flow; for the cut (7, k), strength and background."""


def rims_of(
    labels: np.ndarray, *others: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """East, south, west and north rim of a block, a row for the labels and for each other array."""
    sides: list[tuple[slice | int, slice | int]] = [
        (slice(None), -1),
        (-1, slice(None)),
        (slice(None), 0),
        (0, slice(None)),
    ]
    east, south, west, north = (
        np.stack(
            [labels[side].astype(np.int64) - 1, *(other[side].astype(np.int64) for other in others)]
        )
        for side in sides
    )
    return east, south, west, north


@dataclass(frozen=True, eq=False)
class Basins:
    """All basins of the raster, ordered by their first pixels."""

    rows: np.ndarray
    """(n, 7) or (n, 20) int64, as in :class:`BasinBlock`."""
    passes: np.ndarray
    """(m, 5) or (m, 11) int64, as in :class:`BasinBlock`."""
    pieces: np.ndarray
    """(k,) int64: the basin of each piece, the pieces of all blocks one after the other."""


def join(blocks: list[BasinBlock], width: int) -> Basins:
    """Join blocks that tile a raster of ``width`` px into one table of basins.

    Blocks are those of :func:`selion.grid.tiles`.  The list is emptied: what comes after is the
    most that a map has in memory, and needs them no more.
    """
    offsets = np.cumsum([0, *(len(block.basins) for block in blocks)])
    links, seams = _seams(blocks, offsets, width)
    rows = np.concatenate([block.basins for block in blocks])
    parts = [*(block.passes for block in blocks), *seams]
    blocks.clear()
    del seams
    give_back()  # what came of thousands of blocks, before the large tables are made
    groups = _groups(len(rows), links)
    pieces, rows = _gather(groups, rows)
    found = _all_passes(parts, offsets, pieces)
    give_back()
    return Basins(rows, sum_passes(found), pieces)


def _all_passes(parts: list[np.ndarray], offsets: np.ndarray, pieces: np.ndarray) -> np.ndarray:
    """Return the passes of all blocks and across all seams, between basins of the raster.

    ``parts`` are those of blocks, as many as ``offsets`` less one, then those of seams; each is let
    go when it is copied.
    """
    blocks = len(offsets) - 1
    found, at = np.empty((sum(map(len, parts)), parts[0].shape[1]), np.int64), 0
    parts.reverse()
    for k in range(len(parts)):
        part = parts.pop()
        here = found[at : at + len(part)]
        here[:] = part
        here[:, :2] = pieces[part[:, :2] + (offsets[k] if k < blocks else 0)]
        at += len(part)
    return found


def _seams(
    blocks: list[BasinBlock], offsets: np.ndarray, width: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return pairs of pieces that are one basin, and the passes across seams."""
    where = {(block.roi[0].start, block.roi[1].start): k for k, block in enumerate(blocks)}
    links, seams = [np.empty((0, 2), np.int64)], []
    for k, block in enumerate(blocks):
        rows, columns = block.roi
        for side, corner in ((0, (rows.start, columns.stop)), (1, (rows.stop, columns.start))):
            if corner in where:
                other = where[corner]
                link, seam = _across(
                    block.rims[side],
                    blocks[other].rims[side + 2],
                    side,
                    (offsets[k], offsets[other]),
                    _rim_pixels(block.roi, side, width),
                )
                links.append(link)
                seams.append(seam)
    return np.concatenate(links), seams


def _rim_pixels(roi: Roi, side: int, width: int) -> np.ndarray:
    """Return the pixels along the east (0) or south (1) side of a block.

    They are row-major indices in the raster.
    """
    rows, columns = roi
    pixels: np.ndarray
    if side == 0:
        pixels = np.arange(rows.start, rows.stop) * width + columns.stop - 1
    else:
        pixels = (rows.stop - 1) * width + np.arange(columns.start, columns.stop)
    return pixels


def _across(
    mine: np.ndarray, theirs: np.ndarray, side: int, offsets: tuple[int, int], pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Compare the pixels on both sides of one seam.

    ``side`` is the way from mine, which are ``pixels`` of the raster, to theirs (0 east, 1 south).
    """
    from selion.fields.basins import PLACE

    same = mine[1] == theirs[1]
    linked = same & (
        (mine[4] == side) | (theirs[4] == side + 2) | ((mine[2] == 0) & (theirs[2] == 0))
    )
    pairs = np.column_stack([mine[0] + offsets[0], theirs[0] + offsets[1]])
    height = np.where(same, np.maximum(mine[2], theirs[2]), 65535)
    line = np.where(same, np.where(mine[2] >= theirs[2], mine[3], theirs[3]), 1)
    columns = [pairs, (height << PLACE) | (2 * pixels + side), np.ones_like(height), line]
    if len(mine) > 5:
        columns.append(_border_values(np.maximum(mine[5:], theirs[5:])))
    return pairs[linked], np.column_stack(columns)


def _border_values(found: np.ndarray) -> np.ndarray:
    """Return the columns from STRENGTH on of (2, k) strengths and backgrounds.

    As :func:`selion.fields.nodes.sum_borders`, along a seam.
    """
    steps = np.arange(BINS) == (found[0] * BINS >> 16)[:, None]
    return np.column_stack([found.T, steps.astype(np.int64)])


def _groups(count: int, pairs: np.ndarray) -> np.ndarray:
    from selion.fields.basins import unite_pairs

    one, other = (np.ascontiguousarray(pairs[:, end]) for end in (ONE, OTHER))
    groups: np.ndarray = unite_pairs(count, one, other)
    return groups


def _gather(groups: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Add up the rows of each group.

    Return the place of each old row among the new ones, and the new ones, ordered by first pixel.
    """
    _, place = np.unique(groups, return_inverse=True)
    count = int(place.max(initial=-1)) + 1
    total = np.zeros((count, rows.shape[1]), np.int64)
    for column in (PIXELS, AREA, SURE, *range(CORE, rows.shape[1])):
        np.add.at(total[:, column], place, rows[:, column])
    total[:, LOW] = total[:, FIRST] = np.iinfo(np.int64).max
    for column in (LOW, FIRST):
        np.minimum.at(total[:, column], place, rows[:, column])
    np.maximum.at(total[:, EDGE], place, rows[:, EDGE])
    total[place, KIND] = rows[:, KIND]
    order = np.argsort(total[:, FIRST])
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    return rank[place], total[order]


def sum_passes(found: np.ndarray) -> np.ndarray:
    """Bring passes between the same two basins together: lowest pass, summed lengths.

    Within one basin there is no pass.

    Parameters
    ----------
    found : (m, 5) or (m, 11) int64 ndarray
        Passes in any order, basins in any order.
    """
    from selion.fields.basins import add_up

    if not len(found):
        return found
    total: np.ndarray = add_up(found)
    # pairs are unique, and a basin's number has 31 bits: one number sorts faster than two
    return total[np.argsort((total[:, ONE] << 32) | total[:, OTHER])]


def merge(basins: Basins, groups: np.ndarray) -> Basins:
    """Join basins whose entry in ``groups`` is the same."""
    place, rows = _gather(groups, basins.rows)
    ends = place[basins.passes[:, :2]]
    between = ends[:, 0] != ends[:, 1]
    found = basins.passes[between]
    found[:, :2] = ends[between]
    return Basins(rows, sum_passes(found), place[basins.pieces])


def keep_alone(basins: Basins) -> Basins:
    """Components: what touches is one already; nothing more belongs together."""
    return basins


def by_depth(
    basins: Basins, depth: int, small: int = 0, absorb: int = 0, shut: np.ndarray | None = None
) -> Basins:
    """Join lakes that are shallow where they meet, and small lakes.

    Shallow is less than ``depth``; those smaller than ``small`` go over passes lower than
    ``absorb``.

    The same as a watershed flooded from the h-minima of the relief, h = ``depth``.  ``shut`` says
    which basins are known whole (None: all); see :func:`selion.fields.basins.flood`.
    """
    from selion.fields.basins import flood

    rows = basins.rows
    shut = np.ones(len(rows), bool) if shut is None else shut
    groups = flood(
        rows[:, LOW].copy(), rows[:, AREA].copy(), shut, *_rising(basins), depth, small, absorb
    )
    return merge(basins, groups)


def _rising(basins: Basins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both ends and the name of each pass within a class, lowest first."""
    chosen = np.flatnonzero(_open(basins))
    chosen = chosen[np.argsort(basins.passes[chosen, PASS])]
    return basins.passes[chosen, ONE], basins.passes[chosen, OTHER], basins.passes[chosen, PASS]


def by_depth_inside(
    block: BasinBlock, shape: tuple[int, int], depth: int, small: int, absorb: int
) -> tuple[BasinBlock, np.ndarray]:
    """Join within a block what :func:`by_depth` would join whatever lies around it.

    So the table of the whole raster stays short.

    A pass once refused stays refused: later ones are higher and its lakes only grow and deepen, so
    deciding it again with the rest does no harm, and what is joined here is joined there.  The
    result of the whole is the same to the last bit.

    Parameters
    ----------
    block : BasinBlock
    shape : (int, int)
        Size of the raster (y, x): along its edge there is no neighbour.

    Returns
    -------
    BasinBlock
        With fewer basins.
    (n,) int64 ndarray
        Where each basin went.
    """
    shut = np.ones(len(block.basins), bool)
    (rows, columns), (height, width) = block.roi, shape
    for rim, seam in zip(
        block.rims,
        (columns.stop < width, rows.stop < height, columns.start > 0, rows.start > 0),
        strict=True,
    ):
        if seam:
            shut[rim[0]] = False
    joined = by_depth(
        Basins(block.basins, block.passes, np.arange(len(block.basins))), depth, small, absorb, shut
    )
    rims = tuple(np.concatenate([joined.pieces[rim[:1]], rim[1:]]) for rim in block.rims)
    return BasinBlock(block.roi, joined.rows, joined.passes, rims), joined.pieces  # type: ignore[arg-type]


def _open(basins: Basins) -> np.ndarray:
    kinds = basins.rows[:, KIND][basins.passes[:, :2]]
    same: np.ndarray = kinds[:, 0] == kinds[:, 1]
    return same


def settle(basins: Basins, least: int | np.ndarray, hole: int) -> np.ndarray:
    """Drop small objects, fill small holes, and number what is left in the order of first pixels.

    Parameters
    ----------
    basins : Basins
        One row per object, or piece of no object.
    least : int or (n,) int64 ndarray
        Objects of less area are dropped; one number for each row, or for all.
    hole : int
        Holes of at most this area are filled, if one object alone surrounds them and they are away
        from the edge and from nodata.

    Returns
    -------
    (n,) int64 ndarray
        Id of each row; 0 for none.
    """
    from selion.fields.basins import OUTSIDE

    rows = basins.rows
    kept = (rows[:, KIND] > 0) & (rows[:, KIND] < OUTSIDE) & (rows[:, AREA] >= least)
    ids = np.where(kept, np.cumsum(kept), 0)
    if hole > 0:
        ids = np.where(kept, ids, _holes(basins, ids, hole))
    return ids


def _holes(basins: Basins, ids: np.ndarray, hole: int) -> np.ndarray:
    """Return for each row that is no object the id of the one object that surrounds it, or 0."""
    from selion.fields.basins import OUTSIDE

    rows, pairs = basins.rows, basins.passes[:, :2]
    void = (ids == 0) & (rows[:, KIND] < OUTSIDE)
    groups = _groups(len(rows), pairs[void[pairs].all(axis=1)])
    area, shut = np.zeros(len(rows), np.int64), np.ones(len(rows), bool)
    np.add.at(area, groups[void], rows[void, AREA])
    shut[groups[rows[:, EDGE] > 0]] = False
    both = np.concatenate([pairs, pairs[:, ::-1]])
    both = both[void[both[:, 0]] & ~void[both[:, 1]]]
    least, most = np.full(len(rows), np.iinfo(np.int64).max), np.zeros(len(rows), np.int64)
    # OUTSIDE has id 0, so it never leaves least == most > 0
    np.minimum.at(least, groups[both[:, 0]], ids[both[:, 1]])
    np.maximum.at(most, groups[both[:, 0]], ids[both[:, 1]])
    filled = shut & (least == most) & (area <= hole)
    return np.where(void & filled[groups], most[groups], 0)
