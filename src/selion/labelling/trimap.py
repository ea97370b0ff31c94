"""Trimap: where two label maps agree the label stays, where they do not it is not known.

One rule for photographs and for fields: DepthCropSeg++'s second stage and self-training on
satellite scenes share it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion import metrics, store
from selion.classes import IGNORE, ClassScheme
from selion.errors import BadInput, UnreadableFile
from selion.grid import same_grid
from selion.labelling.masks import ENDINGS
from selion.labels import LabelMap

AGREEMENT = "agreement.csv"


@dataclass(frozen=True, eq=False)
class TrimapAgreement:
    """How much two label maps have in common; adds up over images."""

    confusion: metrics.Confusion
    """Pixels by class of the first and of the second, where both are known; the others are its
    ``ignored``."""

    def __add__(self, other: TrimapAgreement) -> TrimapAgreement:
        """Join the counts of two images."""
        return TrimapAgreement(self.confusion + other.confusion)

    @property
    def pixels(self) -> int:
        """All pixels."""
        return self.confusion.counted + self.confusion.ignored

    @property
    def share(self) -> float:
        """Share of the pixels known to both on which they agree; NaN if there are none."""
        counts = self._square()
        return float(np.trace(counts) / counts.sum()) if counts.sum() else float("nan")

    def by_class(self) -> dict[str, float]:
        """Return, class by class, the pixels that both call so as a share.

        It is of those that either calls so (their IoU); NaN for a class of neither.
        """
        counts = self._square()
        both = np.diag(counts)
        either = counts.sum(0) + counts.sum(1) - both
        return {
            name: float(b / e) if e else float("nan")
            for name, b, e in zip(self.confusion.names, both, either, strict=True)
        }

    def _square(self) -> np.ndarray:
        return self.confusion.counts[:, : len(self.confusion.names)]


def agree(one: LabelMap, other: LabelMap) -> LabelMap:
    """Keep what two label maps agree on.

    Parameters
    ----------
    one, other : LabelMap
        On one grid, with classes of the same names in the same order.

    Returns
    -------
    LabelMap
        255 where they differ, and where either does not know; symmetric, and ``agree(a, a)`` is
        ``a``.

    Raises
    ------
    GridMismatch
        If the grids differ.
    BadInput
        If the classes differ.

    Notes
    -----
    DepthCropSeg++, section on two-stage self-training: "agreement keeps its label, disagreement is
    ignored".
    """
    _check(one, other)
    ids = np.where(one.ids == other.ids, one.ids, IGNORE).astype(np.uint8)
    return LabelMap(ids, one.grid, one.classes)


def measure_agreement(one: LabelMap, other: LabelMap) -> TrimapAgreement:
    """Count on what two label maps agree; refusals as :func:`agree`."""
    _check(one, other)
    known = (one.ids != IGNORE) & (other.ids != IGNORE)
    return TrimapAgreement(
        metrics.confusion(np.where(known, one.ids, IGNORE).astype(np.uint8), other.ids, one.classes)
    )


def _check(one: LabelMap, other: LabelMap) -> None:
    same_grid(one.grid, other.grid, ("the first label map", "the second"))
    if one.classes.names != other.classes.names:
        raise BadInput(
            f"The first label map has the classes {', '.join(one.classes.names)}, the second "
            f"{', '.join(other.classes.names)}: bring both to one scheme."
        )


def pair_masks(one: Path, other: Path) -> dict[str, tuple[Path, Path]]:
    """Pair two masks, or the masks of two folders by their place and name below them; key -> both.

    Raises
    ------
    UnreadableFile
        If one is not there.
    BadInput
        If a folder is given with a file, or the folders have nothing in common.
    """
    for path in (one, other):
        if not path.exists():
            raise UnreadableFile(f"{path} does not exist: check the name.")
    if one.is_file() and other.is_file():
        return {one.stem: (one, other)}
    if one.is_file() or other.is_file():
        raise BadInput(
            f"{one} and {other} are a file and a folder: give two masks, or two folders of masks."
        )
    first, second = masks_of(one), masks_of(other)
    shared = [key for key in first if key in second]
    if not shared:
        raise BadInput(
            f"{one} ({len(first)} masks) and {other} ({len(second)} masks) have no mask of the "
            "same name: name them alike."
        )
    return {key: (first[key], second[key]) for key in shared}


def masks_of(folder: Path) -> dict[str, Path]:
    """Return the masks of a folder, key -> path.

    Those in ``masks`` if it has such a folder (as ``selion label depth`` leaves them), else all in
    it.
    """
    root = folder / "masks" if (folder / "masks").is_dir() else folder
    paths = sorted(p for p in store.files_below(root) if p.suffix.lower() in ENDINGS)
    return {p.relative_to(root).with_suffix("").as_posix(): p for p in paths}


def total(
    found: Mapping[str, TrimapAgreement] | Sequence[TrimapAgreement], classes: ClassScheme
) -> TrimapAgreement:
    """Add up agreements; zero counts for none."""
    result = TrimapAgreement(
        metrics.Confusion(np.zeros((len(classes), len(classes) + 1), np.int64), classes.names)
    )
    for item in found.values() if isinstance(found, Mapping) else found:
        result = result + item
    return result


def write_agreement(found: dict[str, TrimapAgreement], names: Sequence[str], path: Path) -> None:
    """Write shares agreed, image by image and class by class."""
    rows = []
    for key, agreement in found.items():
        shares = [agreement.share, *agreement.by_class().values()]
        rows.append([key, *("" if math.isnan(v) else f"{v:.6f}" for v in shares)])
    store.write_csv(path, ["key", "agreed", *names], rows)


def read_agreement(path: Path) -> list[dict[str, str]]:
    """Read what :func:`write_agreement` wrote."""
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
