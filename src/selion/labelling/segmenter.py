"""The depth pseudo-labeller as a segmenter.

It turns photographs into probabilities of soil and crop, so that it predicts, is scored and is
mapped like any model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from selion.classes import CROP, ClassScheme
from selion.labelling.choosing import choose_mask
from selion.labelling.threshold import ThresholdOptions
from selion.segmenter import InputSpec, Segmenter, View

WINDOW, MULTIPLE = 518, 14
"""Of Depth Anything V2; its patches have 14 px."""
WHOLE = 1 << 20
"""Context in pixels that no photograph exceeds."""


@dataclass(frozen=True, eq=False)
class DepthSegmenter:
    """Depth and threshold as a Segmenter.

    Depth is relative: that of one window says nothing about that of the next.  So each window comes
    with the whole photograph as its context, which is looked at once and remembered; the answer is
    cut out of that.
    """

    network: Callable[[np.ndarray], np.ndarray]
    """(3, y, x) uint8 -> (y, x) depth, larger is nearer; see
    :func:`selion.models.depth.network.load_depth`."""
    options: ThresholdOptions = field(default_factory=ThresholdOptions)
    inputs: InputSpec = field(
        default_factory=lambda: InputSpec(
            ("red", "green", "blue"), window=WINDOW, overlap=0.0, multiple=MULTIPLE, context=WHOLE
        )
    )
    classes: ClassScheme = CROP
    _last: dict[str, np.ndarray] = field(default_factory=dict, repr=False)

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities.

        A photograph without a step of depth gets a half for both classes.
        """
        crop = np.stack([self._window(view) for view in views])
        return np.stack([1 - crop, crop], 1).astype(np.float32)

    def _window(self, view: View) -> np.ndarray:
        """Return (y, x) probabilities of crop of one view."""
        shape = view.pixels.shape[1:]
        if view.context is None:
            return self._whole(view.pixels)
        plane = self._whole(view.context.values)
        rows, columns = (
            np.clip(np.arange(s.start, s.start + size), 0, have - 1)
            for s, size, have in zip(view.roi, shape, plane.shape, strict=True)
        )
        found: np.ndarray = plane[np.ix_(rows, columns)]
        return found

    def _whole(self, pixels: np.ndarray) -> np.ndarray:
        """Return (y, x) probabilities of crop of a whole photograph; the last one is remembered."""
        image = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        key = hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest()
        if key not in self._last:
            found = choose_mask(self.network(image), image, self.options)
            plane = np.full(image.shape[1:], 0.5, np.float32)
            if found.mask is not None and found.depth is not None and found.sigmoid is not None:
                plane = (
                    1
                    / (
                        1
                        + np.exp(
                            -np.clip(found.sigmoid.k * (found.depth - found.threshold), -30, 30)
                        )
                    )
                ).astype(np.float32)
            self._last.clear()
            self._last[key] = plane
        return self._last[key]


_: type[Segmenter] = DepthSegmenter
