"""Which packaged model an image is mapped with where none is named: by its bands and its size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

from selion import models, prediction
from selion.errors import BandMismatch
from selion.models import ModelCard
from selion.models.sizes import size_pairs
from selion.prediction.band_names import read_names
from selion.raster import Source, image_gsd


def composite_bands(bands: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a composite's bands: those of a sensor, in two seasons."""
    return tuple(f"{season}:{band}" for season in ("window_a", "window_b") for band in bands)


@dataclass(frozen=True, slots=True)
class ImageSize:
    """How much there is to look at."""

    pixels: float
    gsd: float | None = None
    """Edge of a pixel in metres; None for a photograph."""

    @classmethod
    def of(cls, source: Source) -> ImageSize:
        """Return the size of an image; none of its pixels is read."""
        return cls(float(prod(source.grid.shape)), image_gsd(source))

    @classmethod
    def of_land(cls, km2: float, gsd: float) -> ImageSize:
        """Return the size of so much land at pixels of ``gsd`` metres."""
        return cls(km2 * 1e6 / gsd**2, gsd)

    def megapixels(self, card: ModelCard) -> float:
        """Return the megapixels that a model looks at: of its own ground sampling distance."""
        working = card.inputs.working_gsd(self.gsd)
        finer = 1.0 if working is None or self.gsd is None else self.gsd / working
        return self.pixels * finer**2 / 1e6


@dataclass(frozen=True, slots=True)
class ChosenModel:
    """A model, and why it was taken."""

    name: str | Path
    why: str = ""
    """A sentence; empty where there was nothing to choose between."""


def chosen_model(
    named: str | Path | None, source: Source, asked: Sequence[int | str] | None = None
) -> ChosenModel:
    """Return the model that was named, or else the packaged one for an image; errors as there.

    Bands that were asked for by number decide by how many they are.
    """
    if named:
        return ChosenModel(named)
    if asked is not None:
        with suppress(BandMismatch):
            many = tuple(f"band{k + 1}" for k in range(len(asked)))
            return choose_model(many, ImageSize.of(source))
    return choose_model(source.bands, ImageSize.of(source))


def choose_model(bands: Sequence[str], size: ImageSize) -> ChosenModel:
    """Return the packaged model of fields whose bands an image has.

    By name or meaning, the one that looks at most of them; else by number.  Of a model in two
    sizes the one that :mod:`selion.models.sizes` says.

    Parameters
    ----------
    bands : sequence of str
        Band names of the image.
    size : ImageSize
        Of the whole image, or of all that one map is made of: parts of a map are not to be made by
        different models.

    Raises
    ------
    BandMismatch
        If none fits.
    """
    bands = tuple(bands)
    packaged = [card for card in models.packaged_models() if "field" in card.classes.names]
    fitting = [card for card in packaged if prediction.has_bands(bands, card.inputs)]
    counted = [card for card in packaged if prediction.has_number(len(bands), card.inputs)]
    fitting = sorted(fitting, key=lambda card: -_looked_at(bands, card)) or counted
    if not fitting:
        wanted = "; ".join(
            f"{card.name}: {len(card.inputs.bands)} ({', '.join(card.inputs.bands)})"
            for card in packaged
        )
        raise BandMismatch(
            f"No packaged model takes an image of {len(bands)} band{'s' * (len(bands) != 1)} "
            f"({', '.join(bands)}): name one with --model ({wanted})."
        )
    most = _looked_at(bands, fitting[0])
    return _sized([card for card in fitting if _looked_at(bands, card) == most], size)


def _looked_at(bands: tuple[str, ...], card: ModelCard) -> int:
    """Return how many of an image's bands a model looks at."""
    if not card.inputs.dates:
        return len(card.inputs.bands)
    wanted = {name.colour for name in read_names(card.inputs.bands)}
    said = read_names(bands)
    known = [name for name in said if name.is_known]
    return sum(name.colour in wanted for name in known) if known else len(bands)


def _sized(fitting: Sequence[ModelCard], size: ImageSize) -> ChosenModel:
    """Return of some cards that fit alike one that comes in two sizes, else the first."""
    equal = {card.name for card in fitting}
    for pair in size_pairs():
        if set(pair.names) <= equal:
            small = next(card for card in fitting if card.name == pair.small.name)
            megapixels = size.megapixels(small)
            return ChosenModel(pair.for_size(megapixels).name, pair.reason(megapixels))
    return ChosenModel(fitting[0].name)
