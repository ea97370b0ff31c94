"""The object at a point: what a person clicks on, as Segment Anything sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from selion.models.sam.network import load_prompted

if TYPE_CHECKING:
    from selion.models.sam.network import EncodedImage, Prompted


class ClickedObject:
    """A network that is asked with points; it looks at an image once.

    Parameters
    ----------
    folder : path
        A checkpoint, see :func:`selion.models.sam.network.load_prompted`.
    read : callable
        The path of a photograph -> its (3, y, x) uint8 red, green and blue: what its numbers mean
        (16 bits, a palette, one gray band) is not for a network to say.
    """

    def __init__(self, folder: Path, read: Callable[[Path], np.ndarray]) -> None:
        self.network: Prompted = load_prompted(folder)
        self._read = read
        self._seen: tuple[Path, EncodedImage] | None = None

    def __call__(self, image: Path, points: np.ndarray) -> np.ndarray:
        """Return the (y, x) bool object at (point, 2) x and y in pixels of a photograph."""
        if self._seen is None or self._seen[0] != image:
            pixels = self._read(image).astype(np.float32) / 255
            self._seen = image, self.network.encode(pixels)
        encoded = self._seen[1]
        on = np.ones((1, len(points)), np.int64)
        logits, quality = self.network.ask(encoded, points[None], on, several=len(points) == 1)
        best = int(quality[0].argmax())
        found: np.ndarray = (
            (self.network.enlarge(encoded, logits[0, best : best + 1])[0] > 0).cpu().numpy()
        )
        return found
