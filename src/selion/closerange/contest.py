"""Models and colour rules on photographs that were kept aside: which one to keep."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion import metrics
from selion.classes import ClassScheme
from selion.closerange.rule import ColourRule, otsu_rule
from selion.errors import counted
from selion.grid import whole
from selion.labelling.scenes import predicted_labels
from selion.metrics import Comparison, Confusion
from selion.progress import OnStep, silent
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import Segmenter
from selion.training.scoring import miou_from_counts

BEFORE, AFTER = "before", "after"
SAME = 0.995
"""Mean IoU from which on a mask is the answer of the start itself: nobody draws so nearly alike."""
FEW = 6
"""Photographs from which on luck can be told apart: were no model better, each of n photographs
would still favour the same one with a chance of 2 / 2^n, which is below 0.05 from 6 on."""
RULES: Mapping[str, Callable[[Raster], Segmenter]] = {
    "colour": lambda _: ColourRule(),
    "colour-otsu": otsu_rule,
}


@dataclass(frozen=True, eq=False)
class Contender:
    """One of those that are compared."""

    name: str
    """``before``, ``after`` or a rule."""
    title: str
    confusions: tuple[Confusion, ...]
    """Of each window."""
    ids: tuple[np.ndarray, ...]
    """(y, x) uint8 answers."""

    @property
    def rows(self) -> np.ndarray:
        """(window, class (class + 1)) counts."""
        return np.array([one.counts.ravel() for one in self.confusions], float)

    @property
    def miou(self) -> float:
        """Mean IoU of the classes over the pixels of all windows."""
        return float(miou_from_counts(self.rows.sum(0, keepdims=True))[0])

    @property
    def each(self) -> np.ndarray:
        """(window,) mean IoU of each by itself."""
        return miou_from_counts(self.rows)

    @property
    def cover_error(self) -> float:
        """Mean over windows of the distance between their cover and that of the mask."""
        return float(np.mean([abs(_cover(one.counts)) for one in self.confusions]))

    @property
    def iou(self) -> dict[str, float]:
        """IoU of each class over all windows."""
        total = self.confusions[0]
        for one in self.confusions[1:]:
            total += one
        found = metrics.pixel_scores(total).iou
        return {name: float(value) for name, value in zip(total.names, found, strict=True)}


def _cover(counts: np.ndarray) -> float:
    """Return the cover that was found less that of the mask."""
    total = max(counts.sum(), 1)
    return float((counts[:, 1:-1].sum() - counts[1:].sum()) / total)


def _agreed(before: Contender) -> str:
    """Say how many masks are the answer of what the training started from."""
    alike = int((before.each >= SAME).sum())
    if not alike:
        return ""
    verb = "is" if alike == 1 else "are"
    return (
        f" Of {counted(len(before.each), 'mask')} there {alike:,} {verb} the answer of "
        f"{before.title} almost to the pixel, so nothing that it has wrong can show: correct them "
        "(--redraw), or begin them from a rule."
    )


@dataclass(frozen=True, eq=False)
class Contest:
    """What came of it."""

    keys: tuple[str, ...]
    classes: ClassScheme
    contenders: tuple[Contender, ...]
    truths: tuple[np.ndarray, ...]
    """(y, x) uint8 masks."""
    photos: tuple[str, ...]
    """Which photograph each window is of."""

    def of(self, name: str) -> Contender | None:
        """Return one by its name."""
        return next((one for one in self.contenders if one.name == name), None)

    @property
    def kept(self) -> str:
        """``after`` where that is better by mean IoU, or nothing stands against it."""
        before, after = self.of(BEFORE), self.of(AFTER)
        if after is None:
            return BEFORE
        return AFTER if before is None or after.miou > before.miou else BEFORE

    def difference(self, other: str) -> Comparison:
        """Compare what was learnt with another contender, over the same draws of photographs."""
        after, against = self.of(AFTER), self.of(other)
        if after is None or against is None:
            raise LookupError(other)
        which = np.unique(np.array(self.photos), return_inverse=True)[1]
        rows = []
        for one in (after, against):
            summed = np.zeros((which.max() + 1, one.rows.shape[1]))
            np.add.at(summed, which, one.rows)
            rows.append(summed)
        return metrics.paired_bootstrap(rows[0], rows[1], miou_from_counts, draws=2000)

    @property
    def best_rule(self) -> Contender | None:
        """Return the better colour rule; None where rules do not know the classes."""
        rules = [one for one in self.contenders if one.name in RULES]
        return max(rules, key=lambda one: one.miou) if rules else None

    @property
    def sentence(self) -> str:
        """Say what was found and what was kept."""
        before, after, rule = self.of(BEFORE), self.of(AFTER), self.best_rule
        parts = f"{counted(len(set(self.photos)), 'photograph')} kept aside"
        if after is None:
            raise LookupError(AFTER)
        if before is None:
            said = (
                f"On {parts} mean IoU is {after.miou:.3f}; what it started from has other "
                "classes and is not compared: the adapted model is kept."
            )
        else:
            found = self.difference(BEFORE)
            both = (
                f"On {parts} mean IoU is {before.miou:.3f} before and {after.miou:.3f} after "
                f"(difference {found.difference:+.3f}, "
                f"{found.method if found.n == 1 else f'95 % interval {found.bounds}'})"
            )
            luck = "" if found.sure or found.n == 1 else ", by no more than luck could give"
            if not luck and len(set(self.photos)) < FEW:
                luck = f" (on too few photographs to tell that from luck: wanted are {FEW})"
            better = f"the adapted model is better{luck} and is kept."
            worse = f"the adapted model is not better{luck}, so {before.title} is kept as it was."
            said = f"{both}: {better if self.kept == AFTER else worse}"
            said += _agreed(before)
        own = self.of(self.kept)
        if rule is not None and own is not None and rule.miou > own.miou:
            said += (
                f" {rule.title} is better still ({rule.miou:.3f}): measure with -m {rule.name}, or "
                "draw more masks."
            )
        elif rule is not None:
            said += f" {rule.title} has {rule.miou:.3f}."
        return said

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        table = {
            one.name: {
                "title": one.title,
                "miou": round(one.miou, 6),
                "iou": {name: round(value, 6) for name, value in one.iou.items()},
                "cover_error": round(one.cover_error, 6),
                "windows": dict(zip(self.keys, np.round(one.each, 6).tolist(), strict=True)),
            }
            for one in self.contenders
        }
        gain = self.difference(BEFORE).to_dict() if self.of(BEFORE) is not None else None
        return {
            "kept": self.kept,
            "sentence": self.sentence,
            "difference": gain,
            "contenders": table,
        }


def hold_contest(
    samples: Sequence[Sample],
    classes: ClassScheme,
    given: Sequence[tuple[str, str, Segmenter]],
    photos: Mapping[str, str],
    on_step: OnStep = silent,
) -> Contest:
    """Let models answer on photographs that were kept aside, and the colour rules beside them.

    Parameters
    ----------
    samples : sequence of Sample
        With labels.
    classes : ClassScheme
    given : sequence of (str, str, Segmenter)
        Name, title and model.
    photos : mapping
        Key of the sample -> the photograph that it is a window of.
    on_step : callable, optional
    """
    told: list[tuple[str, str, Callable[[Raster], Segmenter]]] = [
        (name, title, _always(model)) for name, title, model in given
    ]
    if len(classes) == 2:
        told += [
            ("colour", "Canopeo's colour rule", RULES["colour"]),
            ("colour-otsu", "Excess green with Otsu's threshold", RULES["colour-otsu"]),
        ]
    answers: list[list[np.ndarray]] = [[] for _ in told]
    keys, truths = [], []
    for done, sample in enumerate(samples):
        on_step("compare", done, len(samples), sample.key)
        if sample.labels is None:
            continue
        image = sample.image.read(whole(sample.image.grid))
        keys.append(sample.key)
        truths.append(sample.labels.ids)
        for k, (_, _, fit) in enumerate(told):
            answers[k].append(_answer(image, fit(image)))
    on_step("compare", len(samples), len(samples), "")
    contenders = [
        Contender(
            name,
            title,
            tuple(metrics.confusion(t, a, classes) for t, a in zip(truths, said, strict=True)),
            tuple(said),
        )
        for (name, title, _), said in zip(told, answers, strict=True)
    ]
    of = tuple(photos.get(key, key) for key in keys)
    return Contest(tuple(keys), classes, tuple(contenders), tuple(truths), of)


def _always(model: Segmenter) -> Callable[[Raster], Segmenter]:
    return lambda _: model


def _answer(image: Raster, model: Segmenter) -> np.ndarray:
    """Return (y, x) uint8 most probable classes."""
    ids: np.ndarray = predicted_labels(image, model)[0].ids
    return ids
