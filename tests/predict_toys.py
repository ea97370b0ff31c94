"""Lazy images and small models with known answers, for the tests of the room ``predict``."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.classes import FTW3, ClassScheme
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling

UINT16 = np.dtype(np.uint16)


def utm_grid(shape, gsd=10.0):
    return GeoBox(shape, Affine(gsd, 0, 600000, 0, -gsd, 5300000), "EPSG:32633")


@dataclass
class Procedural:
    """An image whose pixels are computed from their global coordinates when they are read."""

    grid: GeoBox
    bands: tuple[str, ...] = ("red", "green")
    dtype: np.dtype = UINT16
    holes: int = 0
    """Edge of the squares of a chessboard-like pattern of nodata; 0: none.  -1: everything."""
    pixels_read: int = 0
    tags: dict = field(default_factory=dict)

    def read(self, roi):
        y = np.arange(roi[0].start, roi[0].stop, dtype=np.int64)[:, None]
        x = np.arange(roi[1].start, roi[1].stop, dtype=np.int64)[None, :]
        assert 0 <= roi[0].start < roi[0].stop <= self.grid.shape[0], roi
        assert 0 <= roi[1].start < roi[1].stop <= self.grid.shape[1], roi
        self.pixels_read += y.size * x.size
        planes = [
            ((y * 7919 + x * 104729 + y * x * 31 + k * 911) % 1000 + 40 * ((y // 17 + x // 23) % 9))
            for k in range(len(self.bands))
        ]
        values = np.stack(planes).astype(self.dtype)
        return Raster(values, self.grid[roi], self.bands, self._valid(values, y, x))

    def _valid(self, values, y, x):
        if self.holes == 0:
            return None
        hole = np.broadcast_to(
            True if self.holes < 0 else ((y // self.holes) % 3 == 0) & ((x // self.holes) % 2 == 0),
            values.shape[1:],
        )
        if np.issubdtype(self.dtype, np.floating):
            values[:, hole] = np.nan
            return None
        values[:, hole] = 0
        return ~hole


@dataclass
class Toy:
    """Answers differently at each place of a window, for each content, for each place of the window
    and for each size of the batch.
    """

    window: int = 64
    gsd: tuple[float, float] | None = None
    bands: tuple[str, ...] = ("red", "green")
    gain: float = 1.0
    overlap: float = 0.25
    multiple: int = 1
    context: int | None = None
    classes: ClassScheme = FTW3
    finer: float = 1.0
    calls: list[int] = field(default_factory=list, repr=False)
    seen: list = field(default_factory=list, repr=False)

    @property
    def inputs(self):
        return InputSpec(
            self.bands,
            Scaling((1000.0,)),
            self.gsd,
            self.window,
            self.overlap,
            self.multiple,
            self.context,
            finer=self.finer,
        )

    def __call__(self, views):
        self.calls.append(len(views))
        return np.stack([self._one(view, len(views)) for view in views])

    def _one(self, view, company):
        assert view.pixels.shape == (len(self.bands), self.window, self.window)
        assert view.pixels.dtype == np.float32
        assert np.isfinite(view.pixels).all()
        self.seen.append((view.roi[0].start, view.roi[1].start))
        scaled = self.inputs.scaling(view.pixels) * np.float32(self.gain)
        ramp = np.linspace(0, 1, self.window, dtype=np.float32)
        place = np.float32((view.roi[0].start * 13 + view.roi[1].start * 7) % 29 / 29)
        logits = np.stack(
            [
                scaled[0] + ramp,
                scaled[-1] * ramp[:, None] + place,
                np.full_like(scaled[0], company / 7) + scaled.mean(),
            ]
        )
        if view.context is not None:
            logits[0] += view.context.values.mean() / 1000
        power = np.exp(logits - logits.max(0))
        return (power / power.sum(0)).astype(np.float32)


@dataclass
class Constant:
    """The same probabilities everywhere."""

    window: int = 64
    overlap: float = 0.25
    classes: ClassScheme = FTW3
    answer: tuple[float, ...] = (0.2, 0.7, 0.1)

    @property
    def inputs(self):
        return InputSpec(("red", "green"), Scaling(), None, self.window, self.overlap, 1)

    def __call__(self, views):
        scores = np.asarray(self.answer, np.float32)[:, None, None]
        return np.broadcast_to(
            scores, (len(views), len(self.answer), self.window, self.window)
        ).copy()


@dataclass
class ListSink:
    """Remembers the order and checks that each pixel is written once."""

    shape: tuple[int, int, int]
    order: list = field(default_factory=list)

    def __post_init__(self):
        self.stored = np.zeros(self.shape, np.uint8)
        self.times = np.zeros(self.shape[1:], np.int64)

    def write(self, roi, values):
        assert values.dtype == np.uint8
        self.order.append((roi[0].start, roi[1].start))
        self.stored[:, *roi] = values
        self.times[roi] += 1
