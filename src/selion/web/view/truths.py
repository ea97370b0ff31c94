"""Photographs beside a truth: how well each was told, and where it was not.

The score of a photograph is the intersection of the crop that was told and the crop that is, over
their union, among the pixels whose truth is known.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from selion.classes import CROP, IGNORE
from selion.errors import BadInput, SelionError
from selion.grid import photo_grid
from selion.web.pictures import edge_of, png_bytes, read_photo
from selion.web.view.paint import encode

if TYPE_CHECKING:
    from selion.closerange.given_masks import Read

MISSED, TOO_MUCH, TRUE = (255, 45, 149), (0, 229, 255), (255, 255, 255)
"""Colours of crop that was not told, of what was told and is none, and of the outline of the truth:
the first two are apart for those who see no red or green, and on soil and leaves alike."""


class ToldPhoto(Protocol):
    """What is asked of a photograph."""

    @property
    def name(self) -> str:
        """Its path below the folder of the photographs."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        ...

    @property
    def picture(self) -> Path | None:
        """The photograph; None where it is not in a given folder."""
        ...

    @property
    def mask(self) -> Path | None:
        """What was told of it."""
        ...


@dataclass(eq=False)
class PhotoTruths:
    """The truth of some photographs of an album; safe to be asked by several threads."""

    photos: Sequence[ToldPhoto]
    reads: Mapping[int, Read]
    """Number of a photograph -> what reads its truth."""
    notes: tuple[str, ...] = ()
    scores: dict[int, float | None] = field(default_factory=dict)
    """Of those that were compared so far; None: there is no crop in either, or it cannot be
    read."""
    _stop: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Begin to compare all."""
        threading.Thread(target=self.compare_all, name="truths", daemon=True).start()

    def stop(self) -> None:
        """Stop comparing soon."""
        self._stop.set()

    def compare_all(self) -> None:
        """Compare what was not compared yet."""
        for number in self.reads:
            if self._stop.is_set():
                return
            try:
                self.scores[number] = score(*self.classes(number))
            except (SelionError, OSError, ValueError):  # drawn, it says why
                self.scores[number] = None

    def rank(self, number: int) -> tuple[bool, float]:
        """Return what sorts the worst first; what has no score comes last."""
        found = self.scores.get(number)
        return found is None, found or 0.0

    def classes(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what was told of a photograph, and its truth.

        Returns
        -------
        told : (y, x) bool ndarray
        truth : (y, x) uint8 ndarray
            1 is crop, 255 not known.

        Raises
        ------
        BadInput
            If it has no truth or no mask.
        GridMismatch
            If they differ in size.
        """
        from selion.data.values import read_mask

        photo = self.photos[number]
        if number not in self.reads or photo.mask is None:
            raise BadInput(f"{photo.name} has no mask, or no truth of the same name.")
        grid = photo_grid((photo.size[1], photo.size[0]))
        return read_mask(photo.mask, grid)[0] == 1, self.reads[number](grid)

    def drawn(self, number: int, kind: str, edge: int) -> tuple[bytes, str]:
        """Return a layer over a photograph, or a small picture with the difference in it.

        Raises
        ------
        BadInput, GridMismatch
            As :meth:`classes`.
        """
        told, truth = (smaller(values, edge) for values in self.classes(number))
        if kind == "truth":
            layer = np.zeros((*told.shape, 4), np.uint8)
            layer[edge_of((truth == 1).astype(np.uint8) * 255)] = (*TRUE, 255)
            return png_bytes(layer), "image/png"
        layer = difference(told, truth)
        if kind == "difference":
            return png_bytes(layer), "image/png"
        photo = self.photos[number]
        below = read_photo(photo.picture, edge) if photo.picture else np.zeros((*told.shape, 3))
        rows, columns = (
            np.arange(size) * old // size
            for size, old in zip(below.shape[:2], told.shape, strict=True)
        )
        over = layer[rows][:, columns]
        shown = np.where(over[..., 3:] > 0, over[..., :3], below).astype(np.uint8)
        return encode(shown, "RGB", "JPEG", quality=85), "image/jpeg"


def score(told: np.ndarray, truth: np.ndarray) -> float | None:
    """Return the IoU of the crop among pixels of known truth; None where neither has any.

    Parameters
    ----------
    told : (y, x) bool ndarray
    truth : (y, x) uint8 ndarray
        1 is crop, 255 not known.
    """
    known = truth != IGNORE
    both, either = ((told & (truth == 1)) & known).sum(), ((told | (truth == 1)) & known).sum()
    return float(both / either) if either else None


def difference(told: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (y, x, 4) uint8: what was missed and what was told too much, clear elsewhere."""
    layer = np.zeros((*told.shape, 4), np.uint8)
    layer[~told & (truth == 1)] = (*MISSED, 255)
    layer[told & (truth != 1) & (truth != IGNORE)] = (*TOO_MUCH, 255)
    return layer


def smaller(values: np.ndarray, edge: int) -> np.ndarray:
    """Take every so-manieth pixel, so that the longest edge has at most ``edge``."""
    step = max(1, -(-max(values.shape) // edge))
    return values[::step, ::step]


def find_truths(folder: Path, photos: Sequence[ToldPhoto]) -> PhotoTruths:
    """Pair masks of a folder with photographs that were measured, by name.

    Raises
    ------
    UnreadableFile
        If there is no such folder.
    BadInput
        If no mask belongs to a photograph.
    """
    from selion.closerange.given_masks import find_masks
    from selion.data.photos import PhotoFile

    files = [
        PhotoFile(Path(photo.name), photo.name, str(number)) for number, photo in enumerate(photos)
    ]
    found = find_masks(folder, files, CROP)
    return PhotoTruths(photos, {int(key): read for key, read in found.reads.items()}, found.notes)
