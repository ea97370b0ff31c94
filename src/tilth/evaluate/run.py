"""A model against a dataset: predict, find objects, compare on the truth's own grid, and do the same for answers that need no model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from odc.geo.geobox import GeoBox

from tilth import fields, predict, score
from tilth.errors import BadInput, TilthError
from tilth.grid import pixel_metres, whole
from tilth.labels import Instances
from tilth.sample import Sample
from tilth.score.image import ImageOptions, ImageScores, score_ids
from tilth.score.protocol import PRUE_DIFFERENCES, PrueScores, prue_means, prue_scores
from tilth.score.report import Report
from tilth.score.statistics import Interval
from tilth.score.summary import RunScores, ScoreOptions, compare, summarise
from tilth.segmenter import Segmenter

OnStep = Callable[[str, int, int], None]
"""Called with what is being done, how many are done, how many there are."""


def _silent(_stage: str, _done: int, _total: int) -> None:
    pass


@dataclass(frozen=True)
class EvaluateOptions:
    """What an evaluation may choose."""

    score: ScoreOptions = field(default_factory=ScoreOptions)
    image: ImageOptions = field(default_factory=ImageOptions)
    predict: predict.PredictOptions = field(default_factory=predict.PredictOptions)
    method: str = "watershed"
    instances: fields.InstanceOptions = field(default_factory=fields.InstanceOptions)
    baselines: bool = True
    protocol: str | None = None
    """``"prue"`` adds the scores by PRUE's rules."""

    def __post_init__(self) -> None:
        if self.protocol not in (None, "prue"):
            message = f"Protocol {self.protocol!r} was asked for; known is 'prue'."
            raise BadInput(message)


@dataclass(frozen=True, eq=False)
class Answer:
    """What was said about one sample, on the sample's own grid."""

    ids: np.ndarray
    """(y, x) int32."""
    confidence: np.ndarray | None = None
    """(object,) 0..1, ids ascending."""
    labels: np.ndarray | None = None
    """(y, x) uint8: 0 background, 1 object, 2 boundary; for PRUE's rules."""


def evaluate(
    models: dict[str, Segmenter], samples: Sequence[Sample], options: EvaluateOptions | None = None, *, title: str = "Evaluation", on_step: OnStep = _silent
) -> Report:
    """Score models on samples, side by side, with baselines.

    Parameters
    ----------
    models : dict
        Name to Segmenter; two or more are compared pairwise, the first against each other one.
    samples : sequence of Sample
        Each with instances, labels, or both.
    options : EvaluateOptions, optional
    title : str
        Of the report.
    on_step : callable, optional

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
    truths = {s.key: truth_ids(s) for s in samples}
    problems: list[str] = []
    runs, extra = [], {}
    usable = list(samples)
    answers: dict[str, dict[str, Answer]] = {}
    for name, model in models.items():
        answers[name], failed = _answers(name, model, usable, options, on_step)
        problems += failed
        usable = [s for s in usable if s.key in answers[name]]
    for name in models:
        images = [_score(s, truths[s.key], answers[name][s.key], options) for s in usable]
        runs.append(summarise(name, images, options.score))
        if options.protocol == "prue":
            extra[f"{name} by PRUE's rules"] = _prue_line(usable, truths, answers[name])
    first = answers[next(iter(models))]
    baselines = _baselines(usable, truths, first, options) if options.baselines else []
    differences = {f"{runs[0].name} - {other.name}": compare(runs[0], other) for other in (*runs[1:], *(b for b in baselines if not b.content_free))}
    return Report(title, tuple(runs), tuple(baselines), differences, {**_settings(options, len(usable)), **extra}, tuple(problems))


def truth_ids(sample: Sample) -> np.ndarray:
    """Return (y, x) int32 ids of the true objects; without instances, the 4-connected components of the thing classes.

    Raises
    ------
    BadInput
        If the sample has neither instances nor labels.
    """
    from scipy import ndimage

    if sample.instances is not None:
        return sample.instances.ids
    if sample.labels is None:
        message = f"{sample.key} has neither instances nor labels: there is nothing to compare with."
        raise BadInput(message)
    wanted = [sample.labels.classes.index(name) for name in sample.labels.classes.things]
    ids: np.ndarray = ndimage.label(np.isin(sample.labels.ids, wanted))[0].astype(np.int32)
    return ids


def _answers(name: str, model: Segmenter, samples: Sequence[Sample], options: EvaluateOptions, on_step: OnStep) -> tuple[dict[str, Answer], list[str]]:
    found: dict[str, Answer] = {}
    problems = []
    for k, sample in enumerate(samples):
        on_step(name, k, len(samples))
        try:
            found[sample.key] = answer(model, sample, options)
        except TilthError as problem:
            problems.append(f"{sample.key}, {name}: {problem}")
    on_step(name, len(samples), len(samples))
    if not found:
        message = f"None of {len(samples)} samples could be scored with {name}: {problems[0] if problems else 'there are none.'}"
        raise BadInput(message)
    return found, problems


def answer(model: Segmenter, sample: Sample, options: EvaluateOptions) -> Answer:
    """Predict one sample and find its objects; the result lies on the sample's grid, whatever the model's resolution."""
    probabilities = predict.predict(sample.image, model, options=options.predict)
    if probabilities is None:
        message = f"{sample.key}: the prediction was written elsewhere."
        raise BadInput(message)
    objects = fields.find_instances(probabilities, model.classes, options.method, options.instances)
    ids = onto(objects.ids, sample.image.grid)
    present = np.unique(ids[ids > 0])
    by_id = objects.table.set_index("id")["score"]
    return Answer(ids, by_id.loc[present].to_numpy(float), onto(_three(probabilities.values, model), sample.image.grid))


def _three(probabilities: np.ndarray, model: Segmenter) -> np.ndarray:
    """Turn class probabilities into 0 background, 1 thing, 2 boundary."""
    kinds = np.zeros(len(model.classes), np.uint8)
    kinds[[model.classes.index(name) for name in model.classes.things]] = 1
    if model.classes.boundary:
        kinds[model.classes.index(model.classes.boundary)] = 2
    return kinds[probabilities.argmax(0)]


def onto(ids: np.ndarray, grid: GeoBox) -> np.ndarray:
    """Bring (y, x) ids of the same extent onto a grid of another pixel size: the id under each pixel's centre."""
    if ids.shape == tuple(grid.shape):
        return ids
    rows, columns = (np.minimum(((np.arange(new) + 0.5) * old / new).astype(int), old - 1) for new, old in zip(grid.shape, ids.shape, strict=True))
    return ids[np.ix_(rows, columns)]


def _score(sample: Sample, truth: np.ndarray, said: Answer, options: EvaluateOptions) -> ImageScores:
    return score_ids(
        sample.key,
        truth,
        said.ids,
        group=sample.group,
        ignore=sample.ignore,
        confidence=said.confidence,
        pixel=pixel_metres(sample.image.grid),
        options=options.image,
    )


def _baselines(samples: Sequence[Sample], truths: dict[str, np.ndarray], first: dict[str, Answer], options: EvaluateOptions) -> list[RunScores]:
    """Score what needs no model.  The grid's step is the root of the mean true area: the best that can be said without looking at the image."""
    objects = sum(len(np.unique(t[t > 0])) for t in truths.values())
    step = max(2, round(float(np.sqrt(sum(int((t > 0).sum()) for t in truths.values()) / max(objects, 1)))))
    makers: dict[str, tuple[Callable[[Sample], Answer], bool]] = {
        "gradient watershed": (lambda s: Answer(_watershed(s)), False),
        f"grid of {step} px": (lambda s: Answer(score.regular_grid(s.image.grid.shape, step)), True),
        f"grid of {max(2, step // 4)} px": (lambda s: Answer(score.regular_grid(s.image.grid.shape, max(2, step // 4))), True),
        "one object everywhere": (lambda s: Answer(score.constant(s.image.grid.shape)), True),
        "nothing anywhere": (lambda s: Answer(score.constant(s.image.grid.shape, 0)), True),
    }
    makers |= {"answers of other images": (_shuffled(samples, first), True)} if len(samples) > 1 else {}
    return [
        summarise(name, [_score(s, truths[s.key], make(s), options) for s in samples], options.score, content_free=free)
        for name, (make, free) in makers.items()
    ]


def _watershed(sample: Sample) -> np.ndarray:
    part = sample.image.read(whole(sample.image.grid))
    return score.gradient_watershed(np.nan_to_num(part.values.astype(np.float32)), part.valid)


def _shuffled(samples: Sequence[Sample], answers: dict[str, Answer]) -> Callable[[Sample], Answer]:
    """Give each sample the model's answer to the next one, cut or repeated to its shape."""
    after = {s.key: samples[(k + 1) % len(samples)].key for k, s in enumerate(samples)}

    def take(sample: Sample) -> Answer:
        other = answers[after[sample.key]].ids
        height, width = sample.image.grid.shape
        pads = ((0, max(0, height - other.shape[0])), (0, max(0, width - other.shape[1])))
        return Answer(np.pad(other, pads, mode="wrap")[:height, :width])

    return take


def _prue_line(samples: Sequence[Sample], truths: dict[str, np.ndarray], answers: dict[str, Answer]) -> dict[str, object]:
    _, means = prue_means(_prue_chips(samples, truths, answers))
    return {**{name: _plus_minus(value) for name, value in means.items()}, "differences": list(PRUE_DIFFERENCES)}


def _prue_chips(samples: Sequence[Sample], truths: dict[str, np.ndarray], answers: dict[str, Answer]) -> Iterator[tuple[str, PrueScores]]:
    for sample in samples:
        said = answers[sample.key].labels
        real = two_class(Instances(truths[sample.key], sample.image.grid))
        if sample.ignore is not None:
            real[sample.ignore] = 255
        if said is not None:
            yield sample.group, prue_scores(real, said)


def two_class(instances: Instances) -> np.ndarray:
    """Return the (y, x) uint8 two-class truth of FTW: the pixels along every border are background.

    FTW burns a line over both sides of an outline; with instances alone the nearest that can be had is to take the outermost pixel of each object.
    """
    from tilth.labels import class_labels

    return np.where(class_labels(instances).ids == 1, 1, 0).astype(np.uint8)


def _plus_minus(value: Interval) -> str:
    return f"{value.value:.3f} ± {value.half_width:.3f}" if value.n > 1 else f"{value.value:.3f}"


def _settings(options: EvaluateOptions, images: int) -> dict[str, object]:
    cap = options.score.cap
    return {
        "images": images,
        "IoU of a match": options.score.iou,
        "objects by": options.method,
        "average precision": "no cap on detections" if cap is None else f"at most {cap} detections per image",
        "intervals": f"95 %, bootstrap over images, {options.score.draws} draws",
        "outline band": f"{options.image.edge_width} px",
    }
