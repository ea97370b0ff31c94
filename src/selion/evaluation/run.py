"""A model against a dataset.

Predict, find objects, compare on the truth's own grid, and do the same for answers that need no
model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput, SelionError, UnknownName
from selion.evaluation.answers import (
    Answer,
    EvaluateOptions,
    answer,
    as_on_maps,
    truth_ids,
    with_method,
)
from selion.evaluation.baselines import makers
from selion.grid import pixel_metres
from selion.labels import Instances
from selion.metrics.image import ImageScores, Labels, score_ids
from selion.metrics.overlap import OverlapTable
from selion.metrics.pixel import confusion
from selion.metrics.protocol import PRUE_DIFFERENCES, PrueScores, prue_means, prue_scores
from selion.metrics.report import Report
from selion.metrics.statistics import Interval
from selion.metrics.summary import RunScores, compare, summarise
from selion.models.card import ModelCard
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.segmenter import Segmenter, as_model


def evaluate(
    models: Mapping[str, Segmenter],
    samples: Sequence[Sample],
    options: EvaluateOptions | None = None,
    *,
    title: str = "Evaluation",
    on_step: OnStep = silent,
) -> Report:
    """Score models on samples, side by side, with baselines.

    Parameters
    ----------
    models : mapping
        Name to Segmenter; two or more are compared pairwise, the first against each other one.
    samples : sequence of Sample
        Each with instances, labels, or both.
    options : EvaluateOptions, optional
        How the models are run, what counts as a match, and what is scored beside them.
    title : str
        Of the report.
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    Report
        Samples that could not be scored are listed in its problems, with the reason.

    Raises
    ------
    BadInput
        If no sample could be scored.
    """
    options = options or EvaluateOptions()
    _check_columns(samples, options.by)
    if options.method != "auto" and {as_model(m).gives for m in models.values()} == {"objects"}:
        raise BadInput(
            f"--method {options.method} has no effect, because {', '.join(models)} returns objects "
            "of its own: omit it, or choose another model."
        )
    truths = {s.key: truth_ids(s) for s in samples}
    problems: list[str] = []
    runs: list[RunScores] = []
    extra: dict[str, object] = {}
    usable = list(samples)
    answers: dict[str, dict[str, Answer]] = {}
    chosen = {name: with_method(options, model) for name, model in models.items()}
    for name, model in models.items():
        shown, told = as_on_maps(usable, model)
        if told:
            extra[f"the images' numbers, for {name}"] = " ".join(told)
        answers[name], failed = _answers(name, model, shown, chosen[name], on_step)
        problems += failed
        usable = [s for s in usable if s.key in answers[name]]
    for name, model in models.items():
        images = [
            _score(s, truths[s.key], answers[name][s.key], options, model.classes) for s in usable
        ]
        runs.append(summarise(name, images, options.score))
        if options.protocol == "prue":
            extra[f"{name} by PRUE's rules"] = _prue_line(
                usable, truths, answers[name], options.presence_only
            )
    cards = {name: as_model(model).card for name, model in models.items()}
    first = answers[next(iter(models))]
    blind = (
        makers(
            as_on_maps(usable, next(iter(models.values())))[0],
            truths,
            first,
            next(iter(models.values())),
            next(iter(chosen.values())),
        )
        if options.baselines
        else {}
    )
    baselines = [
        summarise(
            name,
            [_score(s, truths[s.key], make(s), options) for s in usable],
            options.score,
            content_free=free,
        )
        for name, (make, free) in blind.items()
    ]
    problems += _other_classes(models, usable)
    differences = {
        f"{runs[0].name} - {other.name}": compare(runs[0], other)
        for other in (*runs[1:], *(b for b in baselines if not b.content_free))
    }
    return Report(
        title,
        tuple(runs),
        tuple(baselines),
        differences,
        {**_settings(options, chosen, len(usable)), **started_from(cards), **extra},
        tuple(problems),
    )


def _answers(
    name: str,
    model: Segmenter,
    samples: Sequence[Sample],
    options: EvaluateOptions,
    on_step: OnStep,
) -> tuple[dict[str, Answer], list[str]]:
    found: dict[str, Answer] = {}
    problems = []
    for k, sample in enumerate(samples):
        on_step(name, k, len(samples))
        try:
            found[sample.key] = answer(model, sample, options)
        except SelionError as problem:
            problems.append(f"{sample.key}, {name}: {problem}")
    on_step(name, len(samples), len(samples))
    if not found:
        raise BadInput(
            f"None of {len(samples)} samples could be scored with {name}: "
            f"{problems[0] if problems else 'there are none.'}"
        )
    return found, problems


def _score(
    sample: Sample,
    truth: np.ndarray,
    said: Answer,
    options: EvaluateOptions,
    classes: ClassScheme | None = None,
) -> ImageScores:
    scores = score_ids(
        sample.key,
        truth,
        said.ids,
        group=sample.group,
        ignore=sample.ignore,
        confidence=said.confidence,
        pixel=pixel_metres(sample.image.grid),
        options=options.image,
    )
    counted = None
    if (
        classes is not None
        and said.classes is not None
        and sample.labels is not None
        and sample.labels.classes.names == classes.names
    ):
        counted = confusion(sample.labels.ids, said.classes, classes)
    return replace(
        scores,
        classes=counted,
        labels={column: _labels(sample, column, scores.table) for column in options.by},
    )


def _labels(sample: Sample, column: str, table: OverlapTable) -> Labels:
    """Return the value of a column for each true and predicted object.

    A prediction has one only where the whole sample has.
    """
    if column in ("group", "split"):
        value = str(getattr(sample, column))
        return np.full(len(table.truth_ids), value, object), np.full(
            len(table.prediction_ids), value, object
        )
    if sample.instances is None or column not in sample.instances.table:
        return np.full(len(table.truth_ids), None, object), None
    values = sample.instances.table.drop_duplicates("id").set_index("id")[column]
    return values.reindex(table.truth_ids).to_numpy(object), None


def _other_classes(models: Mapping[str, Segmenter], samples: Sequence[Sample]) -> list[str]:
    """Say where classes were not compared pixel by pixel.

    Truth and model do not name the same ones there.
    """
    named = {s.labels.classes.names for s in samples if s.labels is not None}
    pairs = [
        (name, model.classes.names, truth)
        for name, model in models.items()
        for truth in sorted(named)
        if truth != model.classes.names
    ]
    return [
        (
            f"{name} answers {', '.join(said)} and the labels hold {', '.join(truth)}: classes "
            "were not compared pixel by pixel."
        )
        for name, said, truth in pairs
    ]


def _check_columns(samples: Sequence[Sample], by: tuple[str, ...]) -> None:
    """Refuse a column that no sample has, before anything is predicted."""
    known = {
        "group",
        "split",
        *(str(c) for s in samples if s.instances is not None for c in s.instances.table.columns),
    }
    for column in by:
        if column not in known:
            raise UnknownName.among("column to score by", column, sorted(known))


def _prue_line(
    samples: Sequence[Sample],
    truths: dict[str, np.ndarray],
    answers: dict[str, Answer],
    presence_only: tuple[str, ...],
) -> dict[str, object]:
    left_out = sorted({sample.group for sample in samples} & set(presence_only))
    counted = [sample for sample in samples if sample.group not in left_out]
    if not counted:
        raise BadInput(
            f"PRUE's rules were asked for, but in {', '.join(left_out)} only some of their fields "
            "are labelled, and the paper leaves such countries out: give others, or no --protocol."
        )
    _, means = prue_means(_prue_chips(counted, truths, answers))
    said: dict[str, object] = {name: _plus_minus(value) for name, value in means.items()}
    if left_out:
        said["left out"] = f"{', '.join(left_out)}: only some of its fields are labelled"
    return {**said, "differences": list(PRUE_DIFFERENCES)}


def _prue_chips(
    samples: Sequence[Sample], truths: dict[str, np.ndarray], answers: dict[str, Answer]
) -> Iterator[tuple[str, PrueScores]]:
    for sample in samples:
        said, parted = answers[sample.key].labels, answers[sample.key].parted
        real = _published_mask(sample, truths[sample.key])
        if sample.ignore is not None:
            real[sample.ignore] = 255
        if said is not None:
            own = answers[sample.key].ids if parted else None
            yield sample.group, prue_scores(real, said, objects=own)


def _published_mask(sample: Sample, truth: np.ndarray) -> np.ndarray:
    """Return the (y, x) uint8 two-class truth of FTW: 1 inside fields, 0 along every border.

    That is the published mask, where a sample has one.
    """
    if sample.labels is None:
        return two_class(Instances(truth, sample.image.grid))
    things = [sample.labels.classes.index(name) for name in sample.labels.classes.things]
    return np.isin(sample.labels.ids, things).astype(np.uint8)


def two_class(instances: Instances) -> np.ndarray:
    """Return the (y, x) uint8 two-class truth of FTW from instances alone.

    FTW burns a line over both sides of an outline.  Where objects touch, no line was burnt yet, and
    the nearest that can be had is to take the outermost pixel of each; where none touch another,
    the line is there and they stay whole.
    """
    from selion.labels import class_labels

    ids = instances.ids
    touching = any(
        ((one != other) & (one > 0) & (other > 0)).any()
        for one, other in ((ids[1:], ids[:-1]), (ids[:, 1:], ids[:, :-1]))
    )
    inside = class_labels(instances).ids == 1 if touching else ids > 0
    return inside.astype(np.uint8)


def _plus_minus(value: Interval) -> str:
    return f"{value.value:.3f} ± {value.half_width:.3f}" if value.n > 1 else f"{value.value:.3f}"


def started_from(cards: Mapping[str, object]) -> dict[str, str]:
    """Say what fine-tuned models began from, for the settings of a report.

    Parameters
    ----------
    cards : mapping
        Name to card; what is no :class:`~selion.models.ModelCard`, or says nothing of it, is
        passed over.
    """
    return {
        f"{name} started from": "; then ".join(map(str, card.started_from))
        for name, card in cards.items()
        if isinstance(card, ModelCard) and card.started_from
    }


def _settings(
    options: EvaluateOptions, chosen: Mapping[str, EvaluateOptions], images: int
) -> dict[str, object]:
    cap = options.score.cap
    methods = {name: own.method for name, own in chosen.items()}
    alike = len(set(methods.values())) == 1
    return {
        "images": images,
        "IoU of a match": options.score.iou,
        "objects by": next(iter(methods.values()))
        if alike
        else ", ".join(f"{method} ({name})" for name, method in methods.items()),
        "average precision": "no cap on detections"
        if cap is None
        else f"at most {cap} detections per image",
        "intervals": f"95 %, bootstrap over images, {options.score.draws} draws",
        "outline band": f"{options.image.edge_width} px",
    }
