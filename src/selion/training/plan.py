"""A run that could begin, and where its samples come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from selion.models.card import ModelCard
from selion.sample import Sample

if TYPE_CHECKING:
    from selion.data.dataset import Dataset
    from selion.training.mixture import Mixture

R = TypeVar("R")


@dataclass(frozen=True)
class SampleOrigin:
    """Where the samples of a run come from: the texts of its card, and what the user is told."""

    source: str = "samples"
    licence: str = ""
    citation: str = ""
    notes: Sequence[str] = ()


UNNAMED = SampleOrigin()
"""Of samples that say nothing of themselves."""


def origin_of(samples: Dataset | Mixture) -> SampleOrigin:
    """Return what a dataset says of itself, its problems among it."""
    return SampleOrigin(samples.name, samples.licence, samples.citation, samples.problems)


@dataclass(frozen=True, eq=False)
class Plan(Generic[R]):
    """A run that could begin: the recipe, its data, and what is worth knowing before."""

    recipe: R
    samples: Sequence[Sample]
    validation: Sequence[Sample]
    card: ModelCard
    notes: tuple[str, ...]
    """Sentences for the user."""
