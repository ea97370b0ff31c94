"""Pixel scores: one confusion matrix, and everything that can be read from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, GridMismatch, UnknownName

Absent = Literal["skip", "zero", "one"]
ABSENT = ("skip", "zero", "one")
Over = Literal["union", "truth", "foreground", "paper", "all"]
OVER = ("union", "truth", "foreground", "paper", "all")
STRAY = 0.01
"""Share of the pixels below which a class that the truth lacks counts in part: :func:`mean_dice`
over "foreground"."""
PIECE = 1 << 22
"""Pixels counted at a time: what is in between takes some 30 bytes each."""
MEASURES = ("iou", "precision", "recall", "f1", "dice", "accuracy")


@dataclass(frozen=True, eq=False, slots=True)
class Confusion:
    """Pixels counted by what they are and what they were called.

    Confusions of one scheme add up.
    """

    counts: np.ndarray
    """(class, class + 1) int64, row: truth, column: prediction; the last column holds pixels for
    which the prediction gave no answer."""
    names: tuple[str, ...]
    ignored: int = 0
    """Pixels left out because their truth is not known."""

    def __add__(self, other: Confusion) -> Confusion:
        if self.names != other.names:
            raise BadInput(
                f"Confusions of classes {self.names} and {other.names} cannot be added: score both "
                "with one scheme."
            )
        return Confusion(self.counts + other.counts, self.names, self.ignored + other.ignored)

    @property
    def counted(self) -> int:
        """Pixels that were scored."""
        return int(self.counts.sum())

    @property
    def unanswered(self) -> int:
        """Known pixels for which the prediction was IGNORE.

        They are misses of their class and false alarms of none.
        """
        return int(self.counts[:, -1].sum())

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: truth to prediction to pixels."""
        columns = (*self.names, "no answer")
        rows = {
            name: dict(zip(columns, row, strict=True))
            for name, row in zip(self.names, self.counts.tolist(), strict=True)
        }
        return {"pixels": rows, "ignored": self.ignored}


def confusion(
    truth: np.ndarray,
    prediction: np.ndarray,
    classes: ClassScheme | int,
    mask: np.ndarray | None = None,
) -> Confusion:
    """Count pixels by truth and prediction.

    Parameters
    ----------
    truth : (...) integer ndarray
        Class ids; 255 (IGNORE) is not counted.
    prediction : (...) integer ndarray
        Class ids, same shape; 255 is "no answer" and counts as a miss.
    classes : ClassScheme or int
        The scheme, or the number of classes.
    mask : (...) bool ndarray, optional
        True where pixels count; the rest is treated as IGNORE.

    Raises
    ------
    GridMismatch
        If the shapes differ.
    BadInput
        If an id is neither a class nor IGNORE.
    """
    names = tuple(str(k) for k in range(classes)) if isinstance(classes, int) else classes.names
    if truth.shape != prediction.shape:
        raise GridMismatch(
            f"Truth of shape {truth.shape} and prediction of shape {prediction.shape} cannot be "
            "compared: bring both to one grid."
        )
    size = len(names)
    _check_ids(truth, size, "truth")
    _check_ids(prediction, size, "prediction")
    seen = None if mask is None else mask.reshape(-1)
    counts = np.zeros(size * (size + 1), np.int64)
    for part in _pieces(truth.size):
        counts += _count(
            truth.reshape(-1)[part],
            prediction.reshape(-1)[part],
            size,
            None if seen is None else seen[part],
        )
    return Confusion(counts.reshape(size, size + 1), names, truth.size - int(counts.sum()))


def _pieces(pixels: int) -> Iterator[slice]:
    return (slice(first, first + PIECE) for first in range(0, pixels, PIECE))


def _count(
    truth: np.ndarray, prediction: np.ndarray, size: int, mask: np.ndarray | None
) -> np.ndarray:
    known = truth != IGNORE if mask is None else (truth != IGNORE) & mask
    # IGNORE, 255, becomes the last column
    column = np.minimum(prediction[known].astype(np.int64), size)
    return np.bincount(
        truth[known].astype(np.int64) * (size + 1) + column, minlength=size * (size + 1)
    )


def _check_ids(ids: np.ndarray, size: int, what: str) -> None:
    wrong: set[int] = set()
    for part in _pieces(ids.size):
        piece = ids.reshape(-1)[part]
        strange = (piece < 0) | ((piece >= size) & (piece != IGNORE))
        wrong.update(int(v) for v in np.unique(piece[strange]))
    if wrong:
        raise BadInput(
            f"The {what} holds class ids {sorted(wrong)[:5]}; "
            f"wanted are 0 to {size - 1}, or {IGNORE} for not known."
        )


@dataclass(frozen=True, eq=False, slots=True)
class PixelScores:
    """What a confusion says."""

    table: pd.DataFrame
    """One row per class (index: name); columns iou, precision, recall, f1, dice, accuracy (0..1 or
    NaN) and truth, prediction (pixels)."""
    mean: dict[str, float]
    """Unweighted mean over classes of each measure, without NaN; NaN if no class is left."""
    accuracy: float
    """Share of counted pixels that were called what they are."""
    counted: int
    ignored: int
    unanswered: int

    @property
    def iou(self) -> np.ndarray:
        """(class,) float64 intersection over union."""
        return self.table["iou"].to_numpy()

    @property
    def dice(self) -> np.ndarray:
        """(class,) float64 Dice, which is F1."""
        return self.table["dice"].to_numpy()

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "classes": {
                str(name): {str(k): float(v) for k, v in row.items()}
                for name, row in self.table.to_dict("index").items()
            },
            "mean": self.mean,
            "accuracy": self.accuracy,
            "counted": self.counted,
            "ignored": self.ignored,
            "unanswered": self.unanswered,
        }


def pixel_scores(
    counts: Confusion, absent: Absent = "skip", absent_from: Literal["both", "truth"] = "both"
) -> PixelScores:
    """Read IoU, precision, recall, F1, Dice and accuracy from a confusion.

    With TP, FP, FN of a class against all others: IoU = TP / (TP + FP + FN), precision = TP / (TP +
    FP), recall = TP / (TP + FN), F1 = Dice = 2 TP / (2 TP + FP + FN), accuracy = (TP + TN) / all.
    (Some tools call the recall of a class its accuracy.)

    Parameters
    ----------
    counts : Confusion
        Of one image, or the sum over a dataset: dataset-level and per-image scores differ, so say
        which you print.
    absent : {"skip", "zero", "one"}
        What 0 / 0 is: NaN and left out of the mean, 0, or 1.
    absent_from : {"both", "truth"}
        "both": a class is absent if neither truth nor prediction has it, so that a single false
        pixel gives IoU 0.  "truth": a class without truth is absent whatever was predicted, and all
        its measures follow the policy.  The DepthCropSeg++ score of 99.86 on images that are all
        crop is only possible with "truth" and "skip" (or without the background class).

    Notes
    -----
    Everingham et al., "The Pascal visual object classes challenge", IJCV 88, 2010, section 4.4
    (IoU); Dice, "Measures of the amount of ecologic association between species", Ecology 26, 1945.
    """
    for value, known in ((absent, ABSENT), (absent_from, ("both", "truth"))):
        if value not in known:
            raise UnknownName.among("policy for absent classes", value, known)
    square = counts.counts[:, :-1]
    hit, truth, prediction = (
        np.diag(square).astype(float),
        counts.counts.sum(1).astype(float),
        square.sum(0).astype(float),
    )
    fill = {"skip": np.nan, "zero": 0.0, "one": 1.0}[absent]
    total = float(counts.counted)
    parts = {
        "iou": (hit, truth + prediction - hit),
        "precision": (hit, prediction),
        "recall": (hit, truth),
        "f1": (2 * hit, truth + prediction),
        "dice": (2 * hit, truth + prediction),
        "accuracy": (total - truth - prediction + 2 * hit, np.full(len(hit), total)),
    }
    gone = truth == 0 if absent_from == "truth" else np.zeros(len(hit), bool)
    columns = {
        name: np.where(gone, fill, divide(over, under, fill))
        for name, (over, under) in parts.items()
    }
    table = pd.DataFrame(
        {**columns, "truth": truth.astype(np.int64), "prediction": prediction.astype(np.int64)},
        index=pd.Index(counts.names, name="class"),
    )
    mean = {name: finite_mean(values) for name, values in columns.items()}
    right = float(hit.sum() / total) if total else float("nan")
    return PixelScores(table, mean, right, counts.counted, counts.ignored, counts.unanswered)


def divide(over: np.ndarray, under: np.ndarray, fill: float = np.nan) -> np.ndarray:
    """Divide arrays of one length; ``fill`` where ``under`` is not positive."""
    ratio: np.ndarray = np.divide(over, under, out=np.full(len(over), fill), where=under > 0)
    return ratio


def finite_mean(values: np.ndarray) -> float:
    """Average what is finite; NaN where nothing is."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if kept.size else float("nan")


def mean_dice(
    truth: np.ndarray,
    prediction: np.ndarray,
    classes: ClassScheme | int,
    over: Over = "union",
    smooth: float = 1.0,
) -> float:
    """Return the mean Dice of hard masks: a score, and the reward of MAgSeg's reinforcement step.

    ``mean_c (2 |P_c & G_c| + smooth) / (|P_c| + |G_c| + smooth)``.

    Parameters
    ----------
    truth, prediction : (...) integer ndarray
        Class ids; truth 255 is not counted.
    classes : ClassScheme or int
        The scheme, or the number of classes.
    over : {"union", "truth", "foreground", "paper", "all"}
        Over which classes the mean runs: those that truth or prediction has; those that the truth
        has; those of them that are not the background, class 0; all but the background, which is
        how equation 4 lists them ("fields, ponds, trees"); or all.  The last two pay an absent
        class with 1, so that a constant answer of the commonest class scores high.

        "foreground": a class that the truth lacks counts in full once it is said on
        :data:`STRAY` of the pixels, and by its share of that before: one stray pixel does not
        cost what a lost class costs.  Where the truth is background alone, that is what is
        scored.
    smooth : float
        The paper's epsilon, whose value it does not print.

    Notes
    -----
    MAgSeg (arXiv 2605.16179), reward of the policy step.
    """
    if over not in OVER:
        raise UnknownName.among("set of classes", over, OVER)
    counts = confusion(truth, prediction, classes).counts
    real, said, hit = counts.sum(1), counts[:, :-1].sum(0), np.diag(counts)
    dice = (2 * hit + smooth) / np.maximum(real + said + smooth, 1e-12)
    weights = _dice_weights(over, real, said)
    return float((dice * weights).sum() / weights.sum()) if weights.any() else float("nan")


def _dice_weights(over: Over, real: np.ndarray, said: np.ndarray) -> np.ndarray:
    """Return the (class,) float64 weights of a mean Dice, from true and predicted pixels."""
    if over == "foreground":
        few = max(STRAY * float(real.sum()), 1e-12)
        weights: np.ndarray = np.where(real > 0, 1.0, np.minimum(1.0, said / few))
        weights[0] = float(real[0] > 0 and not real[1:].any())
        return weights
    kept = {
        "all": np.ones(len(real), bool),
        "paper": np.arange(len(real)) > 0,
        "truth": real > 0,
        "union": (real + said) > 0,
    }[over]
    return np.asarray(kept, float)
