"""Samples become conversations.

Random patches with their image, the question about each, and the right answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from selion.classes import FTW2, FTW3, IGNORE, ClassScheme
from selion.errors import BadInput, BandMismatch
from selion.grid import Roi, photo_grid
from selion.labels import LabelMap, class_labels
from selion.models.language.chat import (
    Message,
    PatchPlace,
    coarsen,
    cut,
    detail,
    messages,
    picture,
)
from selion.prediction.band_names import read_names
from selion.prediction.bands import choose_bands
from selion.raster import Raster
from selion.sample import Sample
from selion.training.crops import filled
from selion.training.language_recipe import COUNTRYSIDE, LanguageRecipe, Simulated

if TYPE_CHECKING:
    from PIL.Image import Image

VALIDATION_SEEDS = 100_000
"""Simulated validation scenes have seeds that are this much larger."""


@dataclass(frozen=True, eq=False, slots=True)
class Talk:
    """One patch, asked about and answered."""

    images: tuple[Image, Image]
    """The whole image, and the patch."""
    question: list[Message]
    answer: str
    truth: np.ndarray
    """(grid, grid) uint8 class ids."""
    key: str
    """Of the sample."""
    place: PatchPlace

    @property
    def reply(self) -> list[Message]:
        """The right answer as a message."""
        return [{"role": "assistant", "content": [{"type": "text", "text": self.answer}]}]


@dataclass(frozen=True, eq=False)
class Talks:
    """Talks number 0, 1, 2 ....

    Each follows from the seed and its number alone, so that a run can be resumed anywhere.

    Parameters
    ----------
    samples : sequence of Sample
    recipe : LanguageRecipe
    count : int
    seed : int
        Of the draws; validation takes another one than training.
    hidden : float
        Share of the talks in which the patch is a blank; never of those by which a model is judged.
    """

    samples: Sequence[Sample]
    recipe: LanguageRecipe
    count: int
    seed: int = 0
    hidden: float = 0.0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Talk:
        """Draw one talk.

        Raises
        ------
        BadInput
            If in many draws no patch was found whose classes are all known.
        """
        if not 0 <= index < self.count:
            raise IndexError(index)
        rng = np.random.default_rng([self.recipe.seed, self.seed, index])
        wishes, best = self.recipe.draws, None
        for _ in range(wishes.tries):
            part, roi, truth = self._draw(rng)
            if (truth == IGNORE).any():
                continue
            worth = _worth(truth, len(self.recipe.classes), wishes.least_classes, wishes.most_share)
            if best is None or worth > best[0]:
                best = worth, part, roi, truth
            if worth >= 0:
                break
        if best is None:
            raise BadInput(
                f"In {wishes.tries} draws no patch was found whose classes are all known: give "
                "samples with fewer unknown pixels, or smaller patches."
            )
        turn = int(rng.integers(8)) if wishes.turn else 0
        return self._talk(*best[1:], turn, blank=bool(self.hidden) and rng.random() < self.hidden)

    def _draw(self, rng: np.random.Generator) -> tuple[KnownClasses, Roi, np.ndarray]:
        """Draw a sample, a piece of it that can be shown whole, and a patch in that."""
        prompt, step = self.recipe.language.prompt, self.recipe.draws.step
        known = _known(self.samples, int(rng.integers(len(self.samples))), self.recipe)
        piece = _square(rng, known.ids.shape, self.recipe.language.context, step)
        part = replace(known, pixels=known.pixels[:, *piece], ids=known.ids[piece])
        roi = _square(rng, part.ids.shape, prompt.patch, step)
        if part.ids[roi].shape != (prompt.patch, prompt.patch):
            raise BadInput(
                f"{known.key} has {known.ids.shape[1]} x {known.ids.shape[0]} pixels; wanted is at "
                f"least a patch of {prompt.patch}: take a smaller patch."
            )
        classes = self.recipe.classes
        line = classes.index(classes.boundary) if classes.boundary else None
        return part, roi, coarsen(part.ids[roi], prompt.grid, len(classes), line)

    def _talk(
        self, part: KnownClasses, roi: Roi, truth: np.ndarray, turn: int, *, blank: bool
    ) -> Talk:
        prompt, classes = self.recipe.language.prompt, self.recipe.classes
        pixels, truth = turned(part.pixels, turn), turned(truth, turn)
        roi = turned_roi(roi, part.ids.shape, turn)
        place = PatchPlace.of(roi, (pixels.shape[1], pixels.shape[2]))
        asked = replace(prompt, shown="blank") if blank else prompt
        patch = detail(_image(cut(pixels, roi, prompt.margin)), asked)
        return Talk(
            (_image(pixels), patch),
            messages(prompt, classes, place),
            prompt.answer(truth, classes.names),
            truth,
            part.key,
            place,
        )


@dataclass(frozen=True, eq=False, slots=True)
class KnownClasses:
    """A sample in memory."""

    key: str
    pixels: np.ndarray
    """(3, y, x) uint8, the recipe's bands as a model sees them: scaled once, whatever is drawn."""
    ids: np.ndarray
    """(y, x) uint8 class ids of the recipe, 255 not known."""


def _square(rng: np.random.Generator, shape: tuple[int, ...], edge: int, step: int) -> Roi:
    """Draw a square of at most ``edge`` pixels that begins at a multiple of ``step``."""
    starts = [int(rng.integers(max(size - edge, 0) // step + 1)) * step for size in shape[-2:]]
    return slice(starts[0], min(starts[0] + edge, shape[-2])), slice(
        starts[1], min(starts[1] + edge, shape[-1])
    )


def _worth(truth: np.ndarray, classes: int, least: int, share: float) -> float:
    """Return 0 if a patch is as wished, and less the further it is from it."""
    counts = np.bincount(truth.ravel(), minlength=classes)
    return min(np.count_nonzero(counts) - least, 0) + min(share - counts.max() / truth.size, 0.0)


def turned(values: np.ndarray, turn: int) -> np.ndarray:
    """Turn (..., y, x) values by ``turn % 4`` quarters.

    From 4 on they are mirrored left to right, too.
    """
    rotated = np.rot90(values, turn % 4, (-2, -1))
    return rotated[..., ::-1] if turn >= 4 else rotated


def turned_roi(roi: Roi, shape: tuple[int, ...], turn: int) -> Roi:
    """Return where a region of an image of ``shape`` (y, x) lies after :func:`turned`."""
    rows, columns = roi
    height, width = shape[-2:]
    for _ in range(turn % 4):
        rows, columns = slice(width - columns.stop, width - columns.start), rows
        height, width = width, height
    return (
        (rows, slice(width - columns.stop, width - columns.start)) if turn >= 4 else (rows, columns)
    )


def _known(samples: Sequence[Sample], index: int, recipe: LanguageRecipe) -> KnownClasses:
    return _opened(_Handle(samples, recipe), index)


@dataclass(frozen=True, slots=True)
class _Handle:
    """Samples and recipe as one key of the cache.

    The samples by identity, which the handle keeps alive.
    """

    samples: Sequence[Sample]
    recipe: LanguageRecipe

    def __hash__(self) -> int:
        return id(self.samples)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Handle)
            and self.samples is other.samples
            and self.recipe is other.recipe
        )


@lru_cache(maxsize=64)
def _opened(handle: _Handle, index: int) -> KnownClasses:
    """Read a sample whole: patches are drawn from it again and again."""
    return read_known(handle.samples[index], handle.recipe)


def read_known(sample: Sample, recipe: LanguageRecipe) -> KnownClasses:
    """Read a sample's pixels and classes as a recipe wants them, the pixels as a model sees them.

    What is not there is filled as on maps, and teaches nothing.

    Raises
    ------
    BandMismatch
        If it lacks a band.
    BadInput
        If it has no truth of these classes.
    """
    chosen = _bands(sample, recipe)
    height, width = sample.image.grid.shape
    read = sample.image.read((slice(0, height), slice(0, width)))
    pixels, known = filled(read, chosen)  # as on maps, where a model is asked
    ids = np.where(known, true_classes(sample, recipe), IGNORE).astype(np.uint8)
    seen = picture(pixels, recipe.spec().scaling)
    return KnownClasses(sample.key, np.moveaxis(np.asarray(seen), -1, 0), ids)


def _bands(sample: Sample, recipe: LanguageRecipe) -> list[int]:
    """Return the places of the recipe's bands: by name, by what names mean, else the first ones."""
    have, wanted = sample.image.bands, recipe.bands
    if set(wanted) <= set(have):
        return [have.index(band) for band in wanted]
    told = f"{sample.key} has the bands {', '.join(have)}; the recipe wants {', '.join(wanted)}: "
    meant = all(name.is_known for name in read_names(wanted))
    if meant and any(name.is_known for name in read_names(have)):
        try:  # as on maps: B02, B03, B04 are no red, green, blue
            return list(choose_bands(have, wanted)[0])
        except BandMismatch as error:
            raise BandMismatch(f"{told}correct 'bands', or take other images.") from error
    if len(have) < len(wanted):
        raise BandMismatch(f"{told}correct 'bands'.")
    return list(range(len(wanted)))


def _image(values: np.ndarray) -> Image:
    """Return (3, y, x) uint8 as a picture."""
    from PIL.Image import fromarray

    return fromarray(np.ascontiguousarray(np.moveaxis(values, 0, -1)))


def true_classes(sample: Sample, recipe: LanguageRecipe) -> np.ndarray:
    """Return (y, x) uint8 class ids of the recipe.

    They come from masks, or from objects where the classes are field and boundary.

    Raises
    ------
    BadInput
        If neither is there, or a class of the masks is not among the recipe's.
    """
    classes, wanted = recipe.classes, recipe.data.truth
    fields = classes.names in (FTW2.names, FTW3.names)
    if sample.instances is not None and wanted != "labels" and (fields or sample.labels is None):
        labels = class_labels(
            sample.instances, recipe.data.boundary_pixels if classes.boundary else 0, sample.ignore
        )
        if not fields and not {"others", "field"} <= set(classes.names):
            raise BadInput(
                f"{sample.key} has objects but no classes, and the recipe's are "
                f"{', '.join(classes.names)}: wanted are 'others' and 'field' among them."
            )
        return (
            labels.ids
            if fields
            else _moved(labels.ids, ("others", "field", "field"), classes, sample.key)
        )
    if sample.labels is None:
        raise BadInput(
            f"{sample.key} has neither masks nor objects: there is nothing to learn from it."
        )
    return _moved(sample.labels.ids, sample.labels.classes.names, classes, sample.key)


def _moved(ids: np.ndarray, names: tuple[str, ...], classes: ClassScheme, key: str) -> np.ndarray:
    table = np.full(256, IGNORE, np.uint8)
    for old, name in enumerate(names):
        if name in classes.names:
            table[old] = classes.index(name)
        elif (ids == old).any():
            raise BadInput(
                f"{key} holds the class {name!r}, which is not among the recipe's "
                f"{', '.join(classes.names)}: add it to the classes, or merge the masks."
            )
    return table[ids]


def simulated(spec: Simulated) -> tuple[list[Sample], list[Sample]]:
    """Return training and validation samples of simulated landscapes.

    Their classes are :data:`~selion.training.language_recipe.COUNTRYSIDE`.
    """
    return [_scene(spec, spec.seed + k) for k in range(spec.scenes)], [
        _scene(spec, spec.seed + VALIDATION_SEEDS + k) for k in range(spec.validation)
    ]


def _scene(spec: Simulated, seed: int) -> Sample:
    from selion.simulation.landscape import simulate

    land = simulate(seed, (spec.edge, spec.edge), spec.gsd, spec.style, bands="rgb")
    merged = (name if name in COUNTRYSIDE.names else "others" for name in land.cover.classes.names)
    merge = np.array([COUNTRYSIDE.index(name) for name in merged], np.uint8)
    grid = photo_grid((spec.edge, spec.edge))
    image = Raster(land.image.values, grid, land.image.bands)
    return Sample(f"scene-{seed}", image, LabelMap(merge[land.cover.ids], grid, COUNTRYSIDE))
