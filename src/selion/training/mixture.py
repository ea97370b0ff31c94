"""Several datasets in one run.

Each gives its share of the windows of every epoch, under its own settings, reproducibly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from selion.errors import BadInput
from selion.sample import Sample
from selion.training.draws import PURPOSES, generator
from selion.training.recipe import Recipe
from selion.training.sources import DatasetShare

if TYPE_CHECKING:
    from selion.data.dataset import Dataset


@dataclass(frozen=True, eq=False)
class Mixture(Sequence[Sample]):
    """Datasets one after the other, and how often each is drawn."""

    parts: tuple[Dataset, ...]
    recipes: tuple[Recipe, ...]
    """What each part is read by."""
    shares: tuple[float, ...]
    """Of the windows of an epoch; they add up to 1."""

    @cached_property
    def starts(self) -> np.ndarray:
        """(part + 1,) int64: where each part begins, and the end."""
        return np.cumsum([0, *(len(part) for part in self.parts)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]  # no slices: a part of a mixture is none
        """Open a sample; its key begins with the name of its dataset."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = self.part_of(index)
        part = self.parts[number]
        sample = part[int(index - self.starts[number])]
        return replace(sample, key=f"{part.name}/{sample.key}")

    def part_of(self, index: int) -> int:
        """Return which part a sample is of."""
        return int(np.searchsorted(self.starts, index, "right")) - 1

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the samples."""
        return tuple(f"{part.name}/{key}" for part in self.parts for key in part.keys)

    @property
    def name(self) -> str:
        """The parts with their shares."""
        return " + ".join(
            f"{share:.0%} {part.name}" for part, share in zip(self.parts, self.shares, strict=True)
        )

    @property
    def licence(self) -> str:
        """The licences of all parts."""
        return "; ".join(dict.fromkeys(part.licence for part in self.parts if part.licence))

    @property
    def citation(self) -> str:
        """What all parts want to be cited."""
        return "; ".join(dict.fromkeys(part.citation for part in self.parts if part.citation))

    @property
    def problems(self) -> tuple[str, ...]:
        """What was found wrong in any part."""
        return tuple(problem for part in self.parts for problem in part.problems)

    def order(self, seed: int, epoch: int, length: int) -> np.ndarray:
        """Return which sample each window of an epoch is cut from, (window,) int64.

        There are ``length`` windows.

        Every epoch has the same number of windows of each part (shares are rounded to whole
        windows), and within a part every sample comes equally often.
        """
        counts = whole_counts(self.shares, length)
        which = generator(seed, epoch, 3, PURPOSES.index("part")).permutation(
            np.repeat(np.arange(len(counts)), counts)
        )
        chosen = np.empty(length, np.int64)
        for number, (part, count) in enumerate(zip(self.parts, counts, strict=True)):
            rounds = -(-int(count) // len(part))
            turns = [
                generator(seed, epoch, 4, number, turn, PURPOSES.index("order")).permutation(
                    len(part)
                )
                for turn in range(rounds)
            ]
            chosen[which == number] = (
                self.starts[number] + np.concatenate([np.empty(0, np.int64), *turns])[:count]
            )
        return chosen


def whole_counts(shares: Sequence[float], length: int) -> np.ndarray:
    """Part ``length`` by shares into whole numbers, (part,) int64.

    The largest remainders are rounded up.
    """
    exact = np.array(shares) / sum(shares) * length
    # a share such as 0.29 * 100 = 28.999... means 29
    counts = np.floor(exact + 1e-9).astype(np.int64)
    for number in np.argsort(counts - exact, kind="stable")[: length - counts.sum()]:
        counts[number] += 1
    return counts


def recipe_for(samples: Sequence[Sample], recipe: Recipe, index: int) -> Recipe:
    """Return what a sample is read by: the recipe, or in a mixture that of its part."""
    return samples.recipes[samples.part_of(index)] if isinstance(samples, Mixture) else recipe


def epoch_length(samples: Sequence[Sample], recipe: Recipe) -> int:
    """Return the windows of an epoch.

    As many as there are samples, or what the recipe says where samples give several windows or
    none.
    """
    several = recipe.crops.mode == "random" or isinstance(samples, Mixture)
    return recipe.crops.per_epoch or len(samples) if several else len(samples)


def part_recipe(recipe: Recipe, part: DatasetShare) -> Recipe:
    """Return the recipe by which a part of a mixture is read.

    Raises
    ------
    BadInput
        If bands or divisors of its own are not as many as the recipe's bands.
    """
    data, wanted = recipe.data, len(recipe.input.bands)
    if part.bands and len(part.bands) != wanted:
        raise BadInput(
            f"data.mix names {len(part.bands)} bands for {part.dataset or part.image}, and "
            f"input.bands has {wanted}: name one for each."
        )
    own = replace(
        data,
        mix=(),
        dataset=part.dataset,
        root=part.root,
        image=part.image,
        polygons=part.polygons,
        area=part.area,
        groups=part.groups,
        validation_groups=(),
        train_split=part.train_split,
        validation_split=part.validation_split,
        truth=part.truth or data.truth,
        boundary_width=part.boundary_width or data.boundary_pixels,
    )
    fed = replace(
        recipe.input,
        bands=part.bands or recipe.input.bands,
        divide=part.divide or recipe.input.divide,
    )
    return replace(
        recipe, data=own, input=fed, crops=replace(recipe.crops, gsd=part.gsd or recipe.crops.gsd)
    )
