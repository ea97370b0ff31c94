"""The socket: whatever turns windows of an image into class probabilities is a Segmenter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput
from selion.grid import Roi
from selion.labels import Instances
from selion.raster import Raster


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """One window of an image, as it lies in the source.

    Not scaled, not padded away from the window's size.
    """

    pixels: np.ndarray
    """(band, y, x) in the source's numbers; the segmenter applies its own scaling.  Finite: nodata
    is already filled."""
    roi: Roi
    """Where in the source."""
    context: Raster | None = None
    """The wider image, for models that look around."""
    context_roi: Roi | None = None
    """Where in the source the wider image lies; None if there is none, or if that is not known."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """From the source's numbers to what the network was trained on.

    ``(value - subtract) / divide``, then clipped.

    One value for all bands, or one per band.  This is the only place where scaling is written down,
    and it travels with the weights.
    """

    divide: tuple[float, ...] = (1.0,)
    subtract: tuple[float, ...] = (0.0,)
    clip: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if any(v == 0 for v in self.divide):
            message = (
                f"A scaling that divides by {self.divide} was given; wanted are values other than "
                "0."
            )
            raise BadInput(message)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Scale (..., band, y, x) pixels of any number type to float32."""
        divide = np.asarray(self.divide, np.float32)[:, None, None]
        subtract = np.asarray(self.subtract, np.float32)[:, None, None]
        scaled = (pixels.astype(np.float32) - subtract) / divide
        return np.clip(scaled, *self.clip) if self.clip else scaled


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a model expects to be fed; part of every model card."""

    bands: tuple[str, ...]
    """Band names in the order of the network's channels."""
    scaling: Scaling = Scaling()
    gsd: tuple[float, float] | None = None
    """Finest and coarsest ground sampling distance in metres that it was trained at; finer imagery
    is averaged down to the first, coarser imagery is upsampled to the second.  None: pixels are
    pixels."""
    window: int = 256
    """Edge of a window in pixels."""
    overlap: float = 0.25
    """Share of a window shared with its neighbour."""
    multiple: int = 32
    """Windows must be a multiple of this many pixels."""
    context: int | None = None
    """Edge in pixels of the wider image that the model looks at; None: it sees its window only."""

    def working_gsd(self, native: float | None) -> float | None:
        """Return the ground sampling distance, in metres, at which an image is to be fed.

        The image is of ``native`` metres; None: as it is.
        """
        if self.gsd is None or native is None:
            return None
        return min(max(native, self.gsd[0]), self.gsd[1])


class Segmenter(Protocol):
    """A U-Net, a language model that writes masks, a refiner, a depth threshold: one call.

    It may say more: ``parallel``, how many views a call is best made with, and ``at_once``, how
    many calls other threads than the caller's may make at once.
    """

    @property
    def inputs(self) -> InputSpec:
        """What it expects to be fed."""
        ...

    @property
    def classes(self) -> ClassScheme:
        """What it answers."""
        ...

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities that sum to one over the classes."""
        ...


class InstanceSegmenter(Protocol):
    """A model that answers with objects and skips the station of probabilities."""

    @property
    def inputs(self) -> InputSpec:
        """What it expects to be fed."""
        ...

    @property
    def classes(self) -> ClassScheme:
        """What its objects can be."""
        ...

    @property
    def answers(self) -> Literal["objects"]:
        """How it is told from a Segmenter, see :func:`gives_objects`."""
        ...

    def __call__(self, views: Sequence[View]) -> list[Instances]:
        """Return the objects of each view, ids local to the view."""
        ...


def gives_objects(model: Any) -> bool:
    """Say whether a model answers with objects.

    One that does not say what it answers gives probabilities.
    """
    return getattr(model, "answers", "probabilities") == "objects"
