"""One row of a table: a model on the chips of each country, chip by chip, kept as it goes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from selion import metrics
from selion.data.dataset import Dataset
from selion.errors import BadInput, SelionError, counted
from selion.grid import whole
from selion.metrics import Detections, Interval, group_mean
from selion.papers.answering import chip_answer, shown_chips, true_answer
from selion.papers.counting import CountryCounts, counts_of
from selion.papers.keeping import KeptScores, keep_key, model_identity
from selion.papers.robustness import CountryChanges, country_changes
from selion.progress import OnStep
from selion.sample import Sample
from selion.segmenter import LoadedModel, as_model

CAP = 100
"""Detections of a chip that the published average precision looks at."""
AP50 = 0.5


class Parts(Protocol):
    """Scores of a country that follow from what was kept of it."""

    def values(self, *, published: bool) -> dict[str, float]:
        """Return measure -> value."""
        ...

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        ...


@dataclass(frozen=True, slots=True)
class ScoreWork:
    """What rows are scored on, and how."""

    data: Dataset
    """Chips of the countries that are averaged, with the two-class masks."""
    kept: KeptScores
    published: bool
    draws: int
    """Bootstrap samples for a country's intervals."""
    also: Dataset | None = None
    """Chips of presence-only countries, which the published agreement looks at."""
    on_step: OnStep = field(repr=False, kw_only=True)
    problems: list[str] = field(default_factory=list)
    """Chips that were left out, each with the reason, are named here."""

    def shown(self, chips: Dataset, name: str, model: LoadedModel[Any]) -> Dataset:
        """Return chips in the numbers that a model sees, which is said where it is not as stored.

        See :func:`selion.papers.answering.shown_chips`.
        """
        found, told = shown_chips(chips, model)
        self.problems.extend(f"For {name}: {text}" for text in told)
        return found


@dataclass(frozen=True, slots=True)
class ModelScores:
    """A model's scores over countries."""

    countries: Mapping[str, Mapping[str, float]]
    ranges: Mapping[str, Mapping[str, Interval]]
    means: Mapping[str, Interval]


def score_model(
    name: str, model: LoadedModel[Any], work: ScoreWork, *, robust: bool
) -> ModelScores:
    """Score a model in every country.

    Parameters
    ----------
    name : str
        What it is called where progress is told and scores are kept.
    model : LoadedModel
        Of probabilities or of objects.
    work : ScoreWork
        The chips, and where finished countries are kept.
    robust : bool
        Whether changes of the scores and agreement are measured too.

    Returns
    -------
    ModelScores
        By country, and the unweighted means over countries.
    """
    countries: dict[str, dict[str, float]] = {}
    ranges: dict[str, dict[str, Interval]] = {}
    shares: list[float] = []
    for country in work.data.groups:
        chips = work.shown(work.data.select(groups=country), name, model)
        counted = _counted(f"{name}-{country}", model, chips, work)
        countries[country] = counted.values(published=work.published)
        ranges[country] = counted.ranges(published=work.published, draws=work.draws)
        if robust:
            changed = _changed(f"{name}-{country}", model, chips, work)
            countries[country] |= changed.values(published=work.published)
            shares += changed.agreement.tolist()
    measures = list(next(iter(countries.values()), {}))
    means = {
        measure: group_mean({country: row[measure] for country, row in countries.items()})
        for measure in measures
    }
    if robust and work.published:
        for country in work.also.groups if work.also else ():
            chips = work.also.select(groups=country) if work.also else work.data
            chips = work.shown(chips, name, model)
            shares += _changed(f"{name}-{country}", model, chips, work).agreement.tolist()
        means["agreement"] = group_mean(shares)
    return ModelScores(countries, ranges, means)


def _counted(name: str, model: LoadedModel[Any], chips: Dataset, work: ScoreWork) -> CountryCounts:
    key = keep_key(model_identity(model), chips, part="counts", published=work.published)
    label = f"{name}-published" if work.published else name
    there = work.kept.read(label, key)
    if there is not None:
        work.on_step(name, len(chips), len(chips))
        return CountryCounts.from_dict(there)
    seen = _Watched(chips, name, work)
    found = count_country(model, seen, published=work.published)
    if seen.whole():
        work.kept.write(label, key, found.to_dict())
    return found


def _changed(name: str, model: LoadedModel[Any], chips: Dataset, work: ScoreWork) -> CountryChanges:
    key = keep_key(model_identity(model), chips, part="changes", published=work.published)
    label = f"{name}-changes{'-published' if work.published else ''}"
    there = work.kept.read(label, key)
    stage = f"{name}, changed input"
    if there is not None:
        work.on_step(stage, len(chips), len(chips))
        return CountryChanges.from_dict(there)
    seen = _Watched(chips, stage, work)
    found = country_changes(model, seen, published=work.published)
    if seen.whole():
        work.kept.write(label, key, found.to_dict())
    return found


class _Watched:
    """The chips of a country that can be read; progress is told, and what cannot is named."""

    def __init__(self, chips: Dataset, stage: str, work: ScoreWork) -> None:
        self.chips, self.stage, self.work = chips, stage, work
        self.bad: list[str] = []

    def __iter__(self) -> Iterator[Sample]:
        for k, entry in enumerate(self.chips.entries):
            self.work.on_step(self.stage, k, len(self.chips))
            try:
                sample = entry.open()
                sample.image.read(whole(sample.image.grid))
            except SelionError as problem:
                self.bad.append(f"{entry.key}: {problem}")
                continue
            yield sample
        self.work.on_step(self.stage, len(self.chips), len(self.chips))
        if len(self.bad) == len(self.chips):
            raise BadInput(f"No chip of {self.stage} can be read: {self.bad[0]}")

    def whole(self) -> bool:
        """Say whether every chip was read; scores of a part are told, and not kept."""
        left_out = f"{self.stage}: {len(self.bad)} of {counted(len(self.chips), 'chip')} left out: "
        self.work.problems.extend([left_out + self.bad[0]] if self.bad else [])
        return not self.bad


def count_country(
    model: LoadedModel[Any], samples: Iterable[Sample], *, published: bool
) -> CountryCounts:
    """Count pixels and objects on a country's chips, and rank its detections.

    Parameters
    ----------
    model : LoadedModel
        Of probabilities or of objects.
    samples : iterable of Sample
        The chips, with two-class labels and instances.
    published : bool
        See :data:`selion.papers.answering.PUBLISHED`.
    """
    chips, counts, ranked = [], [], []
    whole_objects = as_model(model).gives == "objects"
    for sample in samples:
        truth = true_answer(sample, whole_objects=whole_objects, published=published)
        said = chip_answer(model, sample, published=published)
        chips.append(sample.key)
        counts.append(counts_of(metrics.prue_scores(truth.mask, said.labels, objects=said.objects)))
        table = metrics.overlap_table(truth.objects, said.detected)
        ranked.append(Detections(table, said.confidence))
    found = metrics.average_precision(ranked, cap=CAP if published else None)
    return CountryCounts(tuple(chips), np.array(counts), found.ap, found.at(AP50), found.cut)
