"""What own polygons say about how fields are chosen, with the network as it is.

A start that knows the land but not how large its fields are, or that is less sure of it than of
what it was taught, chooses too few or too large nodes of the hierarchy.  Three numbers of the cut
(:class:`selion.fields.CutSettings`) make up for that, and a few fields are enough to set them.  The
start has seen none of the own polygons, so all of them can choose, those that are trained on too.

Images are looked at uncut.  On chips of 423 px of one American image the edges of chips cut its
fields, smaller ones were preferred, F1 rose from 0.743 to 0.825 there, and fell by 0.049 on six
other images.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import EmptyImage, counted
from selion.fields import CutSettings, InstanceOptions, NodeScore, find_by_settings
from selion.labels import MIN_AREA
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.training.scoring import (
    Scores,
    chosen,
    counts_of,
    onto,
    predicted_sample,
    surely_better,
    true_objects,
)

if TYPE_CHECKING:
    from selion.segmenter import LoadedModel
    from selion.training.recipe import Validate

PRICES = (0.25, 0.3, 0.4, 0.5, 0.6)
LANDS = (0.0, 0.1, 0.2, 0.4)
SIZES = (-0.1, 0.0, 0.1)
"""What is tried of price, land and size of :class:`selion.fields.CutSettings`."""
MOST = 6
"""So many images or large pieces choose, at most, evenly spread."""
LOST = 0.002
"""Pixel IoU that may be lost by rounding of pixels; more is no gain."""


@dataclass(frozen=True, eq=False)
class TunedCut:
    """A learnt score whose settings own polygons chose."""

    score: NodeScore
    before: Scores
    after: Scores
    """Of the own images, by the settings as they were and as they are."""

    @property
    def fields(self) -> int:
        """How many true fields chose."""
        return int(self.after.counts[:, [0, 2]].sum())

    @property
    def said(self) -> str:
        """The settings, for people."""
        now = self.score.settings
        return f"price {now.price:g}, land {now.land:g}, size {now.size:g}"

    def sentence(self, name: str) -> str:
        """Say what was gained, on which chips."""
        return (
            f"On {counted(self.fields, 'own field')}, none of which {name} has seen, its "
            f"object F1 is {self.after.object_f1:.3f} instead of {self.before.object_f1:.3f}, and "
            f"pixel IoU {self.after.pixel_iou:.3f} instead of {self.before.pixel_iou:.3f}, where "
            f"fields are chosen by {self.said} (they chose these numbers, too)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        now = self.score.settings
        return {
            "settings": {"price": now.price, "land": now.land, "size": now.size},
            "fields": self.fields,
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
        }


def settings_tried(own: CutSettings) -> list[CutSettings]:
    """Return what is tried, the settings as they are first."""
    made = [
        replace(own, price=price, land=land, size=size)
        for price, land, size in itertools.product(PRICES, LANDS, SIZES)
    ]
    return [own, *(one for one in made if one != own)]


def tune_cut(
    model: LoadedModel[Any],
    score: NodeScore,
    samples: Sequence[Sample],
    spec: Validate,
    on_step: OnStep = silent,
) -> TunedCut | None:
    """Choose how a learnt score chooses fields, by own images that its model has not seen.

    Parameters
    ----------
    model : LoadedModel
        Whose score it is; it predicts each chip once.
    score : NodeScore
    samples : sequence of Sample
        Images, or large pieces of them, with instances; :data:`MOST` of them choose.
    spec : Validate
        How objects are counted.
    on_step : callable, optional
        Progress.

    Returns
    -------
    TunedCut or None
        None where no settings are surely better (:func:`selion.training.scoring.surely_better`)
        without a loss of pixel IoU, or a chip has no objects to compare with.
    """
    tried = settings_tried(score.settings)
    rows: list[list[list[float]]] = []
    keys: list[str] = []
    places = chosen(samples, MOST)
    for done, k in enumerate(places, 1):
        sample = samples[k]
        if sample.instances is None:
            return None
        try:
            rows.append(counts_by_settings(model, score, sample, spec, tried))
            keys.append(sample.key)
        except EmptyImage:
            continue
        on_step("choose", done, len(places), model.card.name)
    if not rows:
        return None
    table = np.array(rows, float)  # (chip, settings, count)
    scores = [
        Scores(tuple(keys), ("",) * len(keys), table[:, k], (), spec.metric)
        for k in range(len(tried))
    ]
    best = best_of(scores)
    if best == 0:
        return None
    return TunedCut(replace(score, settings=tried[best]), scores[0], scores[best])


def best_of(scores: Sequence[Scores]) -> int:
    """Return which scores of the same chips replace the first ones, or 0.

    The best that lose no pixel IoU, where they are surely better.
    """
    best = max(
        range(len(scores)),
        key=lambda k: (scores[k].pixel_iou >= scores[0].pixel_iou - LOST, scores[k].object_f1, -k),
    )
    return best if best and surely_better(scores[best], scores[0]) else 0


def counts_by_settings(
    model: LoadedModel[Any],
    score: NodeScore,
    sample: Sample,
    spec: Validate,
    tried: Sequence[CutSettings],
) -> list[list[float]]:
    """Return :data:`selion.training.scoring.COLUMNS` of a chip by each of the settings."""
    probabilities, truth = predicted_sample(model, sample), true_objects(sample, spec)
    options = InstanceOptions(min_area=MIN_AREA)
    known: dict[bytes, list[float]] = {}  # many settings choose the same
    rows = []
    for ids in find_by_settings(probabilities, model.classes, score, tried, options):
        name = ids.tobytes()
        if name not in known:
            known[name] = counts_of(sample, spec, truth, onto(ids, truth.shape))
        rows.append(known[name])
    return rows
