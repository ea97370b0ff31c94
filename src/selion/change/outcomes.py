"""What became of each field, told from one sparse table of shared pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from selion.errors import BadInput
from selion.metrics.overlap import OverlapTable

NONE, KEPT, MOVED, SPLIT, MERGED, REDRAWN, APPEARED, GONE = range(8)
UNKNOWN = 255
OUTCOMES = ("none", "kept", "moved", "split", "merged", "redrawn", "appeared", "gone")
"""By number; 255 is "unknown".

kept      one field, the same outline but for what two looks at one field differ by
moved     one field whose boundary lies elsewhere
split     one field became several
merged    several fields became one
redrawn   several fields became several others, or ground that was field is now divided between
          others
appeared  field where there was none
gone      none where there was a field
unknown   one of the years did not see half of it
"""


@dataclass(frozen=True, slots=True)
class OutcomeOptions:
    """When two fields are related, and when one is the same."""

    related: float = 0.5
    """Two fields are related if they share more than this of the smaller one."""
    known: float = 0.5
    """Least share of a field that both years must have seen."""
    tolerance: float = 1.0
    """A boundary has moved if the two outlines are farther apart, on the mean, than this many
    pixels of the image."""

    def __post_init__(self) -> None:
        if (
            not 0.5 <= self.related < 1
            or not 0 <= self.known <= 1
            or not 0 <= self.tolerance < np.inf
        ):
            raise BadInput(
                f"related {self.related}, known {self.known}, tolerance {self.tolerance} were "
                "given; wanted are 0.5 to 1, 0 to 1, and pixels from 0 up."
            )


@dataclass(frozen=True, eq=False)
class Side:
    """The fields of one year, ids 1 .. n."""

    pixels: np.ndarray
    """(n,) float64: all pixels of each field on the common grid."""
    perimeter: np.ndarray
    """(n,) float64 in pixels."""
    seen: np.ndarray
    """(n,) float64: pixels that both years saw."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Fields of two years that are related."""

    one: np.ndarray
    """(k,) int64: ids of the earlier year; sorted, then by ``other``."""
    other: np.ndarray
    """(k,) int64: ids of the later year."""
    shared: np.ndarray
    """(k,) float64 pixels in common."""
    iou: np.ndarray
    """(k,) float64."""
    edge: np.ndarray
    """(k,) float64: mean distance between the two outlines in pixels: what is in one field only,
    over the mean perimeter."""
    same: np.ndarray
    """(k,) bool: the later one is the earlier one, and has its id."""
    outcome: np.ndarray
    """(k,) uint8."""


@dataclass(frozen=True, eq=False)
class Judged:
    """What became of all fields."""

    before: np.ndarray
    """(n,) uint8 outcome of each field of the earlier year."""
    after: np.ndarray
    """(m,) uint8 of the later year."""
    pairs: Pairs


def judge(
    table: OverlapTable,
    one: Side,
    other: Side,
    options: OutcomeOptions | None = None,
    *,
    pixel: float = 1.0,
) -> Judged:
    """Tell what became of each field.

    Parameters
    ----------
    table : OverlapTable
        Earlier fields as truth, later ones as prediction, known pixels only; ids 1 .. n and 1 .. m.
    one, other : Side
        Earlier and later.
    options : OutcomeOptions, optional
    pixel : float
        Pixels of the image, in pixels of the table: outlines are no finer than those.

    Returns
    -------
    Judged
        With years exchanged: the same, with "split" and "merged", "appeared" and "gone" exchanged.

    Notes
    -----
    Related fields form a graph between the two years.  Its connected parts decide: 1 to 1 is kept
    or moved, 1 to n split, n to 1 merged, n to m redrawn; a field without relatives is gone or has
    appeared, unless more than half of it is still (was already) field: then it was redrawn.  A part
    in which one field was not seen in both years is unknown as a whole: a cloud is no outcome.
    """
    options = options or OutcomeOptions()
    sides = (one, other)
    ids = table.truth_ids[table.truth_index], table.prediction_ids[table.prediction_index]
    linked = table.shared > options.related * np.minimum(
        one.seen[ids[0] - 1], other.seen[ids[1] - 1]
    )
    a, b, shared = ids[0][linked], ids[1][linked], table.shared[linked]
    part = parts_of_graph(a, b, len(one.seen), len(other.seen))
    parts = part[: len(one.seen)], part[len(one.seen) :]
    members = [np.bincount(mine, minlength=part.max(initial=-1) + 1) for mine in parts]
    union = one.seen[a - 1] + other.seen[b - 1] - shared
    edge = (union - shared) / np.maximum((one.perimeter[a - 1] + other.perimeter[b - 1]) / 2, 1)
    alone = (members[0] == 1) & (members[1] == 1)
    kind = np.select(
        [alone, members[0] == 1, members[1] == 1], [KEPT, SPLIT, MERGED], REDRAWN
    ).astype(np.uint8)
    at = parts[0][a - 1]
    kind[at[alone[at] & (edge > options.tolerance * pixel)]] = MOVED
    unseen = [(side.seen < options.known * side.pixels) | (side.seen <= 0) for side in sides]
    kind[part[np.concatenate(unseen)]] = UNKNOWN
    outcomes = [kind[mine] for mine in parts]
    lonely = members[0] + members[1] == 1
    for outcome, side, mine, own, hidden, fate in zip(
        outcomes, sides, parts, ids, unseen, (GONE, APPEARED), strict=True
    ):
        field = np.bincount(own - 1, table.shared, len(side.seen)) > 0.5 * side.seen
        chosen = lonely[mine] & ~hidden
        outcome[chosen] = np.where(field[chosen], REDRAWN, fate)
    same = (shared > 0.5 * union) | alone[at]
    return Judged(
        outcomes[0], outcomes[1], Pairs(a, b, shared, shared / union, edge, same, kind[at])
    )


def parts_of_graph(a: np.ndarray, b: np.ndarray, earlier: int, later: int) -> np.ndarray:
    """Return the connected part of the graph of related fields that each field is in.

    (earlier + later,) int64.
    """
    size = earlier + later
    graph = sparse.coo_array(
        (np.ones(len(a), np.int8), (a - 1, b - 1 + earlier)), shape=(size, size)
    )
    return sparse.csgraph.connected_components(graph, directed=False)[1].astype(np.int64)
