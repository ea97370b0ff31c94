"""The protocol: whatever turns windows of an image into class probabilities is a Segmenter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, overload, runtime_checkable

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput, UnknownName
from selion.grid import Roi
from selion.labels import Instances
from selion.raster import Raster


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """One window of an image, as it lies in the source.

    Not scaled, not padded away from the window's size.
    """

    pixels: np.ndarray
    """(band, y, x) in the source's numbers, or stretched to those of bytes where the model's
    ``inputs`` ask for it; the segmenter applies its own scaling.  Finite: nodata is already
    filled.  Only for a model of any number of dates they are (dates x bands, y, x), and NaN stands
    for what is not there."""
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
            raise BadInput(
                f"A scaling that divides by {self.divide} was given; wanted are values other than "
                "0."
            )

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Scale (..., band, y, x) pixels of any number type to float32."""
        divide = np.asarray(self.divide, np.float32)[:, None, None]
        subtract = np.asarray(self.subtract, np.float32)[:, None, None]
        scaled = pixels.astype(np.float32)  # a copy, worked on in place: a temporary costs as much
        scaled -= subtract
        scaled /= divide
        return np.clip(scaled, *self.clip, out=scaled) if self.clip else scaled


BLENDS = ("gaussian", "hann")
"""How overlapping windows share a pixel: by a Gaussian, or by a Hann window that is positive
everywhere."""
FILLS = ("mean", "quarters")
"""What stands for a missing number: the mean of the window's valid pixels, or what
:class:`selion.prediction.filling.QuarterFilled` says for quarterly mosaics."""

DATES = ("", "any")
"""How many dates a model looks at: those that its bands name, or any number in any order."""


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
    any_order: bool = field(default=False, repr=False)
    """Whether its dates may be exchanged: it was trained on both orders.  Where an image does not
    say which of its dates is which, a model that minds refuses it.  It decides no pixel once bands
    are chosen, so it is no part of what names a run."""
    upsampling: int = field(default=1, repr=False)
    """How many of the network's pixels lie along the edge of one pixel of the image that it was
    trained on: each window is cut out at that many times the working pixel size and interpolated
    by itself, bilinearly with pixel centres aligned.  1: nothing of the kind."""
    blend: str = field(default="gaussian", repr=False)
    """The weight of a window's pixels where windows overlap: :data:`BLENDS`."""
    fill: str = field(default="mean", repr=False)
    """What a missing number is replaced by before the network sees it: :data:`FILLS`."""
    named: bool = field(default=False, repr=False)
    """Whether bands are found by their names only, never by their place in a file."""
    stretch: tuple[float, float] | None = field(default=None, repr=False)
    """Percentiles of the whole image, band by band, that become 0 and 255 before ``scaling``, as a
    model wants them that was trained on bytes; an image of bytes stays as it is.  None: numbers are
    what they are."""
    dates: str = field(default="", repr=False)
    """``"any"``: ``bands`` are those of one date, and the model takes one date or many, in any
    order, with pixels missing from some of them.  Empty: ``bands`` are all that it takes."""
    optional: tuple[str, ...] = field(default=(), repr=False)
    """Bands of a date that an image may lack; only where ``dates`` says any."""
    byte_divide: float | None = field(default=None, repr=False)
    """What colours in bytes are divided by, in the place of ``scaling``'s divisor; only where
    ``dates`` says any.  None: bytes are numbers like others."""
    finer: float = field(default=1.0, repr=False)
    """How many times finer than an image's pixels it looks at them, within ``gsd``: small fields
    and thin borders need more of the network's pixels than the image has.  1: as they are."""

    def __post_init__(self) -> None:
        for what, value, known in (
            ("blend", self.blend, BLENDS),
            ("fill", self.fill, FILLS),
            ("way of dates", self.dates, DATES),
        ):
            if value not in known:
                raise UnknownName.among(what, value, known)
        self._check_dates()
        if not (math.isfinite(self.finer) and self.finer >= 1):
            raise BadInput(
                f"Pixels {self.finer:g} times finer than the image's were given; wanted is a "
                "number of 1 and above."
            )
        if self.finer != 1 and self.gsd is None:
            raise BadInput(
                f"Pixels {self.finer:g} times finer than the image's were given, but no ground "
                "sampling distances that they are to keep to: add gsd, or leave finer out."
            )
        if self.stretch is not None and not 0 <= self.stretch[0] < self.stretch[1] <= 100:
            raise BadInput(
                f"A stretch between the percentiles {self.stretch} was given; wanted are two from "
                "0 to 100, the lower one first."
            )
        if self.upsampling < 1 or self.window % self.upsampling:
            raise BadInput(
                f"A window of {self.window} px with an upsampling of {self.upsampling} was given; "
                "wanted is a window that is a whole multiple of it."
            )
        if self.upsampling > 1 and self.context is not None:
            raise BadInput(
                "Both an upsampling and a context were given: a model that is shown upsampled "
                "windows sees its window only."
            )

    def _check_dates(self) -> None:
        """Refuse what only a set of dates has without one, and what one cannot have."""
        if not self.dates:
            if self.optional:
                raise BadInput(
                    f"Bands that may be missing ({', '.join(self.optional)}) were given for a "
                    "model of fixed bands: add dates = 'any', or leave them out."
                )
            if self.byte_divide is not None:
                raise BadInput(
                    "A divisor of bytes was given for a model of fixed bands: write it in scaling, "
                    "or add dates = 'any'."
                )
            return
        strange = [name for name in self.optional if name not in self.bands]
        if strange or set(self.bands) <= set(self.optional):
            raise BadInput(
                f"Bands that may be missing were given as {', '.join(self.optional)}; wanted are "
                f"some of {', '.join(self.bands)}, and no band would be left without them."
            )
        if self.byte_divide is not None and self.byte_divide <= 0:
            raise BadInput(
                f"A divisor of bytes of {self.byte_divide:g} was given; wanted is a number above 0."
            )
        unlike = {
            "an upsampling": self.upsampling > 1,
            "a stretch": self.stretch is not None,
            "a context": self.context is not None,
            "the fill 'quarters'": self.fill != "mean",
            "a scaling that subtracts (numbers of 0 and above are there, others are not)": any(
                self.scaling.subtract
            ),
        }
        for what, given in unlike.items():
            if given:
                raise BadInput(
                    f"A model of any number of dates was given {what}: leave one of them out."
                )

    def takes(self, channels: int) -> bool:
        """Say whether a window of so many bands can be shown to the model."""
        if not self.dates:
            return channels == len(self.bands)
        return channels > 0 and channels % len(self.bands) == 0

    def scaling_of(self, channels: int) -> Scaling:
        """Return the scaling of a window of so many bands: that of one date, again for each."""
        scaling, dates = self.scaling, channels // len(self.bands)
        if not self.dates or dates < 2:
            return scaling
        divide, subtract = (
            values * dates if len(values) > 1 else values
            for values in (scaling.divide, scaling.subtract)
        )
        return Scaling(divide, subtract, scaling.clip)

    def working_gsd(self, native: float | None) -> float | None:
        """Return the ground sampling distance, in metres, at which an image is to be fed.

        The image is of ``native`` metres; None: as it is.
        """
        if self.gsd is None or native is None:
            return None
        return min(max(native / self.finer, self.gsd[0]), self.gsd[1])


class Segmenter(Protocol):
    """A U-Net, a language model that writes masks, a refiner, a depth threshold: one call.

    That is all that the public functions want.  What they use beyond it is in :class:`LoadedModel`;
    a model that says no more gets the usual values from :func:`as_model`.
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
    """A model that answers with objects and skips the stage of probabilities."""

    @property
    def inputs(self) -> InputSpec:
        """What it expects to be fed."""
        ...

    @property
    def classes(self) -> ClassScheme:
        """What its objects can be."""
        ...

    def __call__(self, views: Sequence[View]) -> list[Instances]:
        """Return the objects of each view, ids local to the view."""
        ...


Answers = Literal["probabilities", "objects"]
Answer_co = TypeVar("Answer_co", covariant=True)


class Card(Protocol):
    """What others than the models read in a model card, see :class:`selion.models.ModelCard`."""

    @property
    def name(self) -> str:
        """Name of the model."""
        ...

    @property
    def summary(self) -> str:
        """One sentence for lists."""
        ...

    @property
    def licence(self) -> str:
        """What may be done with the weights."""
        ...

    @property
    def files(self) -> Mapping[str, str]:
        """File name -> sha256 of the weights."""
        ...

    @property
    def folder(self) -> Path | None:
        """Where these files lie; None: nowhere."""
        ...

    def to_dict(self) -> dict[str, object]:
        """Plain values, for tags."""
        ...


@runtime_checkable
class LoadedModel(Protocol[Answer_co]):
    """A model that is ready to run, and all that a prediction has to know of it.

    ``LoadedModel[np.ndarray]`` is a :class:`Segmenter`, ``LoadedModel[list[Instances]]`` an
    :class:`InstanceSegmenter`; where it is only known at run time, ``gives`` tells which.
    """

    @property
    def inputs(self) -> InputSpec:
        """What it expects to be fed."""
        ...

    @property
    def classes(self) -> ClassScheme:
        """What it answers."""
        ...

    @property
    def card(self) -> Card:
        """Where it comes from and what may be done with it."""
        ...

    @property
    def engine(self) -> str:
        """What runs it, and why that: a sentence for people, which decides nothing."""
        ...

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that decides its answers, as plain values for JSON; part of the key of a run.

        ``type`` is a name that stays, wherever the class moves.  The number of threads is not
        among it: a run may go on with more or fewer of them.
        """
        ...

    @property
    def batch(self) -> int:
        """How many views a call is best made with."""
        ...

    @property
    def at_once(self) -> int:
        """How many calls other threads than the caller's may make at once.

        0: none, it is called by the caller's thread, where Ctrl-C reaches it.
        """
        ...

    @property
    def gives(self) -> Answers:
        """Whether it answers with class probabilities or with objects."""
        ...

    def rest(self) -> None:
        """Let go of memory that the next call would make again."""
        ...

    def __call__(self, views: Sequence[View]) -> Answer_co:
        """Answer for each view."""
        ...


@dataclass(frozen=True, slots=True)
class PlainCard:
    """The card of a model that has none."""

    name: str
    summary: str = ""
    licence: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the name."""
        return {"name": self.name}


@dataclass(frozen=True, eq=False, slots=True)
class PlainModel(Generic[Answer_co]):
    """A bare segmenter with the usual values of all that a loaded model says."""

    segmenter: Any
    """Has ``inputs``, ``classes`` and a call."""
    gives: Answers = "probabilities"
    batch: int = 4
    at_once: int = 0

    @property
    def inputs(self) -> InputSpec:
        """As the segmenter's."""
        inputs: InputSpec = self.segmenter.inputs
        return inputs

    @property
    def classes(self) -> ClassScheme:
        """As the segmenter's."""
        classes: ClassScheme = self.segmenter.classes
        return classes

    @property
    def card(self) -> PlainCard:
        """Nothing but the name of the segmenter's type."""
        return PlainCard(type(self.segmenter).__name__)

    @property
    def engine(self) -> str:
        """Nothing is known."""
        return ""

    @property
    def identity(self) -> dict[str, Any]:
        """Type, inputs and classes, and the values of a dataclass."""
        kind = type(self.segmenter)
        found = {
            "type": f"{kind.__module__}.{kind.__qualname__}",
            "inputs": repr(self.inputs),
            "classes": self.classes.to_dict(),
            "name": "",
            "sha256": "",
            "engine": "",
        }
        return found | ({"values": repr(self.segmenter)} if is_dataclass(self.segmenter) else {})

    def rest(self) -> None:
        """Nothing is known that could be let go of."""

    def __call__(self, views: Sequence[View]) -> Answer_co:
        """Answer as the segmenter does."""
        answer: Answer_co = self.segmenter(views)
        return answer


def on_gpu(engine: str) -> bool:
    """Say whether an engine, as a loaded model names it, leaves the processor's cores alone."""
    return any(name in engine.partition(";")[0].lower() for name in ("cuda", "mps"))


@overload
def as_model(
    model: Segmenter, gives: Literal["probabilities"] = ...
) -> LoadedModel[np.ndarray]: ...
@overload
def as_model(
    model: InstanceSegmenter, gives: Literal["objects"]
) -> LoadedModel[list[Instances]]: ...
@overload
def as_model(
    model: Segmenter | InstanceSegmenter | LoadedModel[Any], gives: Answers = ...
) -> LoadedModel[Any]: ...
def as_model(
    model: Segmenter | InstanceSegmenter | LoadedModel[Any], gives: Answers = "probabilities"
) -> LoadedModel[Any]:
    """Return a loaded model as it is, and a bare segmenter with the usual values.

    Called where users hand in a model; behind that everything is a :class:`LoadedModel`.

    Parameters
    ----------
    model : Segmenter, InstanceSegmenter or LoadedModel
    gives : {"probabilities", "objects"}
        What a bare segmenter answers with; a loaded model says it itself.
    """
    return model if isinstance(model, LoadedModel) else PlainModel(model, gives)
