"""How likely a node of the hierarchy is one field: boosted trees, learnt from drawn fields.

Trees were chosen over a network because their answer is a sum of a few hundred numbers that are
looked up by comparisons: the same on every machine, whatever its matrix library.
"""

from __future__ import annotations

import hashlib
import json
import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numba import njit

from selion.cores import usable_cores
from selion.errors import BadInput, ChecksumMismatch, UnreadableFile
from selion.fields import nodes

if TYPE_CHECKING:
    from selion.segmenter import Card

TOGETHER = 64
"""Nodes that go down a tree one after the other."""
CUT = "cut.safetensors"
"""The file beside a model's card."""


@dataclass(frozen=True)
class CutSettings:
    """How the hierarchy is built and cut that a score was learnt on."""

    smoothing: float = 2.0
    """Standard deviation, in metres and at least one pixel, of the Gaussian that smooths the relief
    whose basins are the leaves."""
    depth: float = 0.05
    """Leaves over whose border the interior falls by less are one."""
    price: float = 0.4
    """What choosing a node costs.  Half of the F1 that is reached at best is the price that reaches
    it (Lipton, Elkan and Naryanaswamy, ECML 2014)."""
    land: float = 0.2
    """What a hectare brings on which fields are certain: land that is surely farmed is not left out
    because it is not sure where its fields part."""
    floor: float = 0.25
    """Land counts for nodes of at least this probability: a whole village of gardens is farmed,
    too, and no field."""
    least: float = 100.0
    """m2 below which a node is no candidate.  Less than what a user may want as the smallest field,
    which is dropped after the choice: were it no candidate, its neighbourhood would be chosen."""
    size: float = 0.0
    """What ten times the area adds to the probability of a node where objects are chosen; below 0
    smaller fields are preferred.  Of a score that own polygons tuned; confidences stay as they
    are."""

    @property
    def usual(self) -> bool:
        """Whether these can be meant: metres, shares and areas that a field may have."""
        return (
            0 <= self.smoothing <= 100
            and 0 <= self.depth <= 1
            and all(0 <= value <= 10 for value in (self.price, self.land, self.floor))
            and -10 <= self.size <= 10
            and 0 <= self.least < math.inf
        )


@dataclass(frozen=True, eq=False)
class NodeScore:
    """Boosted regression trees over :data:`selion.fields.nodes.FEATURES`."""

    settings: CutSettings
    base: float
    """The answer before the first tree."""
    roots: np.ndarray
    """(t,) int32: where each tree begins."""
    feature: np.ndarray
    """(n,) int16 column of the features; -1 at a leaf."""
    threshold: np.ndarray
    """(n,) float64: what is not above goes left."""
    left: np.ndarray
    right: np.ndarray
    """(n,) int32."""
    missing_left: np.ndarray
    """(n,) uint8: whether NaN goes left."""
    value: np.ndarray
    """(n,) float64 of a leaf."""

    @classmethod
    def untrained(cls, settings: CutSettings) -> NodeScore:
        """Return one without trees: every node is as likely a field as not."""
        return cls(settings, 0.5, **{name: np.zeros(0, kind) for name, kind in TENSORS.items()})

    def __call__(self, tree: nodes.Tree, wanted: np.ndarray) -> np.ndarray:
        """Return (node,) float64 probabilities, 0 .. 1; 0 for those that are not ``wanted``."""
        said, described = np.zeros(tree.count), nodes.Features(tree)
        some = np.flatnonzero(wanted)
        parts = [some[k : k + nodes.STEP] for k in range(0, len(some), nodes.STEP)]
        with ThreadPoolExecutor(usable_cores()) as pool:
            found = pool.map(lambda part: self.predict(described(part)), parts)
            for part, values in zip(parts, found, strict=True):
                said[part] = values
        return said

    def predict(self, values: np.ndarray) -> np.ndarray:
        """Return (n,) float64 probabilities from (n, f) float32 features."""
        steps = self._steps
        total: np.ndarray = _sum_leaves(
            values, self.roots, steps.depth, steps.column, steps.most, steps.child,
            steps.missing_right, self.value,
        )  # fmt: skip
        return np.clip(total + self.base, 0.0, 1.0)

    @cached_property
    def _steps(self) -> Steps:
        """The trees as they are gone down."""
        return Steps.of(self)

    def save(self, path: Path) -> None:
        """Write a safetensors file; the same score always gives the same bytes."""
        from safetensors.numpy import save

        # one key: safetensors writes several in an order that changes from run to run
        settings = asdict(self.settings)
        if not self.settings.size:
            del settings["size"]  # older versions know nothing of it
        about = {"settings": settings, "base": self.base, "features": nodes.FEATURES}
        tensors = {name: getattr(self, name) for name in TENSORS}
        path.write_bytes(save(tensors, {"cut": json.dumps(about)}))


@dataclass(frozen=True, eq=False)
class Steps:
    """Trees in which all nodes take as many steps, so that none waits for a guess of the processor.

    Who has come to a leaf stays there: it is a child of its own.
    """

    depth: np.ndarray
    """(t,) int32: steps to the deepest leaf of each tree."""
    column: np.ndarray
    """(n,) int32 of the features; 0 at a leaf."""
    most: np.ndarray
    """(n,) float32: what is not above goes left.  The largest one that is not above the threshold,
    by which numbers of this kind are parted as by the threshold itself."""
    child: np.ndarray
    """(2 n,) int32: left and right of each node."""
    missing_right: np.ndarray
    """(n,) int32: 1 where NaN goes right."""

    @classmethod
    def of(cls, score: NodeScore) -> Steps:
        """Return the steps of a score, whose children lie behind their parents."""
        leaf = score.feature < 0
        own = np.arange(len(leaf), dtype=np.int32)
        left, right = (np.where(leaf, own, side) for side in (score.left, score.right))
        below = [0] * len(leaf)
        for at in np.flatnonzero(~leaf)[::-1].tolist():
            below[at] = 1 + max(below[left[at]], below[right[at]])
        with np.errstate(over="ignore"):
            near = score.threshold.astype(np.float32)
        lower = np.nextafter(near, np.float32(-np.inf))
        return cls(
            np.array(below, np.int32)[score.roots] if len(below) else np.zeros(0, np.int32),
            np.where(leaf, 0, score.feature).astype(np.int32),
            np.where(near > score.threshold, lower, near),
            np.stack([left, right], axis=1).ravel().astype(np.int32),
            (score.missing_left == 0).astype(np.int32),
        )


TENSORS = {
    "roots": "i4",
    "feature": "i2",
    "threshold": "f8",
    "left": "i4",
    "right": "i4",
    "missing_left": "u1",
    "value": "f8",
}
"""Arrays of a file and their kinds."""


def read_node_score(path: Path) -> NodeScore:
    """Read what :meth:`NodeScore.save` wrote.

    Raises
    ------
    UnreadableFile
        If it is no such file, or was learnt on other features than this version computes.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as found:
            about = json.loads((found.metadata() or {})["cut"])
            tensors = {name: found.get_tensor(name) for name in TENSORS}
        settings = CutSettings(**{name: float(value) for name, value in about["settings"].items()})
        base, learnt_on = float(about["base"]), tuple(about["features"])
    except (
        OSError,
        SafetensorError,
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
        RecursionError,
    ) as error:
        raise UnreadableFile(
            f"{path} cannot be read as the score of a cut ({error}): fetch or export the model "
            "again, or use --method watershed."
        ) from error
    usual = settings.usual and math.isfinite(base)
    if learnt_on != nodes.FEATURES or not usual or not _sound(tensors):
        raise UnreadableFile(
            f"{path} was made for another version of selion: fetch the model again, or use "
            "--method watershed."
        )
    return NodeScore(settings, base, **tensors)


def _sound(tensors: dict[str, np.ndarray]) -> bool:
    """Whether these are trees of the right kind of numbers.

    None leaves its table, and none comes back, since children lie behind their parents.
    """
    if any(tensors[name].dtype != np.dtype(kind) for name, kind in TENSORS.items()):
        return False
    lengths = {tensors[name].shape for name in TENSORS if name != "roots"}
    if len(lengths) != 1 or tensors["feature"].ndim != 1 or tensors["roots"].ndim != 1:
        return False
    here, count = np.flatnonzero(tensors["feature"] >= 0), len(tensors["feature"])
    ends = [tensors[side][here] for side in ("left", "right")]
    return (
        all(((side > here) & (side < count)).all() for side in ends)
        and bool((tensors["feature"] < len(nodes.FEATURES)).all())
        and bool(((tensors["roots"] >= 0) & (tensors["roots"] < count)).all())
        and bool(np.isfinite(tensors["threshold"]).all() and np.isfinite(tensors["value"]).all())
    )


# Compiled: two million nodes go down some hundred trees each; a few at a time, so that they and the
# tree stay in the fastest memory, and without a branch, of which half would be guessed wrong.  The
# sums of a node are added in the order of the trees.
@njit(cache=True, nogil=True)
def _sum_leaves(values, roots, depth, column, most, child, missing_right, value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Return (n,) float64 sums of the leaves that the rows of ``values`` reach."""
    out = np.zeros(values.shape[0])
    at = np.empty(TOGETHER, np.int32)
    turned = np.empty(values.shape[1] * TOGETHER, np.float32)
    for first in range(0, values.shape[0], TOGETHER):
        some = min(TOGETHER, values.shape[0] - first)
        for k in range(some):
            for c in range(values.shape[1]):
                turned[c * TOGETHER + k] = values[first + k, c]
        for t in range(roots.size):
            at[:] = roots[t]
            for _ in range(depth[t]):
                for k in range(some):
                    i = at[k]
                    x = turned[column[i] * TOGETHER + k]
                    over = np.int32(x > most[i]) | (np.int32(x != x) & missing_right[i])  # noqa: PLR0124 - NaN
                    at[k] = child[2 * i + over]
            for k in range(some):
                out[first + k] += value[at[k]]
    return out


def score_of(card: Card) -> NodeScore:
    """Read the score that lies beside a model's card.

    Raises
    ------
    BadInput
        If the model has none.
    UnreadableFile, ChecksumMismatch
        If it is no score, or another one than the card says.
    """
    if CUT not in card.files or card.folder is None:
        raise BadInput(
            f"Method 'cut' was asked for, but {card.name} has no learnt score of fields: use "
            "--method watershed, or a model whose card names a cut.safetensors."
        )
    score, path = read_node_score(card.folder / CUT), card.folder / CUT
    if hashlib.sha256(path.read_bytes()).hexdigest() != card.files[CUT]:
        raise ChecksumMismatch(
            f"{path} is not the file that the card of {card.name} describes: it was changed or "
            "damaged; fetch or export the model again."
        )
    return score
