"""Segmenters of photographs and other class maps, compared pixel by pixel.

They are compared in every averaging that a paper may have meant.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selion import metrics, prediction
from selion.classes import CROP, IGNORE, ClassScheme
from selion.data.photos import eight_bits
from selion.errors import BadInput, SelionError
from selion.grid import whole
from selion.labels import LabelMap
from selion.metrics.pixel import Confusion, finite_mean
from selion.metrics.report import markdown_table, number
from selion.metrics.statistics import (
    Comparison,
    Interval,
    bootstrap,
    mean_from_rows,
    paired_bootstrap,
)
from selion.progress import OnStep, silent
from selion.sample import Sample
from selion.segmenter import Segmenter

System = Callable[[Sample], np.ndarray]
"""From a sample to (y, x) uint8 class ids of the comparison; 255 where nothing is said."""

POLICIES: dict[str, dict[str, Any]] = {
    "absent from truth and prediction: skipped": {"absent": "skip", "absent_from": "both"},
    "absent from truth: skipped": {"absent": "skip", "absent_from": "truth"},
    "absent counts 0": {"absent": "zero", "absent_from": "both"},
    "absent counts 1": {"absent": "one", "absent_from": "both"},
}
"""What becomes of a class that an image, or the dataset, does not have; the papers do not say
(DepthCropSeg++, Tables IV and VII)."""


@dataclass(frozen=True)
class PixelOptions:
    """What a comparison may choose."""

    ratios: tuple[float, ...] = (0.02,)
    """Widths of the boundary band of boundary IoU, as shares of the image's diagonal."""
    widths: tuple[int, ...] = ()
    """The same in pixels."""
    draws: int = 1000
    """Bootstrap samples over images; 0: no interval."""


@dataclass(frozen=True, eq=False)
class SystemScores:
    """One system on all samples."""

    name: str
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    confusions: tuple[Confusion, ...]
    boundaries: dict[str, np.ndarray]
    """Band -> (sample, class) boundary IoU; NaN where neither truth nor prediction has a
    boundary."""

    def select(self, group: str) -> SystemScores:
        """Take the samples of a group."""
        at = [k for k, found in enumerate(self.groups) if found == group]
        bands = {name: values[at] for name, values in self.boundaries.items()}
        return SystemScores(
            self.name,
            tuple(self.keys[k] for k in at),
            (group,) * len(at),
            tuple(self.confusions[k] for k in at),
            bands,
        )

    def values(self) -> dict[str, float]:
        """Return every averaging.

        IoU of the classes, mIoU over the dataset and over images under each policy, boundary IoU.
        """
        whole_set = sum(self.confusions[1:], self.confusions[0])
        found = {
            f"IoU {name}": float(value)
            for name, value in zip(
                whole_set.names, metrics.pixel_scores(whole_set).iou, strict=True
            )
        }
        for said, policy in POLICIES.items():
            found[f"mIoU of the dataset, {said}"] = metrics.pixel_scores(whole_set, **policy).mean[
                "iou"
            ]
        for said in POLICIES:
            found[f"mIoU by image, {said}"] = finite_mean(self.by_image(said))
        for band, values in self.boundaries.items():
            found[f"boundary IoU, {band}"] = finite_mean(
                np.array([finite_mean(row) for row in values])
            )
        return found

    def by_image(self, policy: str = "absent from truth and prediction: skipped") -> np.ndarray:
        """Return the (sample,) mIoU of each image by itself."""
        return np.array(
            [
                metrics.pixel_scores(counts, **POLICIES[policy]).mean["iou"]
                for counts in self.confusions
            ]
        )


@dataclass(frozen=True, eq=False)
class PixelReport:
    """Systems side by side."""

    title: str
    systems: tuple[SystemScores, ...]
    differences: dict[str, Comparison]
    """``"a - b"`` -> difference of mIoU by image, paired over images."""
    intervals: dict[str, Interval]
    """System -> mIoU by image with its bootstrap interval."""
    settings: dict[str, object]
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain values; NaN becomes None."""
        groups = sorted({group for group in self.systems[0].groups if group})
        return {
            "title": self.title,
            "settings": self.settings,
            "problems": list(self.problems),
            "systems": {s.name: _plain(s.values()) for s in self.systems},
            "groups": {
                group: {s.name: _plain(s.select(group).values()) for s in self.systems}
                for group in groups
            },
            "images": {
                s.name: _plain(dict(zip(s.keys, s.by_image().tolist(), strict=True)))
                for s in self.systems
            },
            "intervals": {name: found.to_dict() for name, found in self.intervals.items()},
            "differences": {name: found.to_dict() for name, found in self.differences.items()},
        }

    def to_json(self) -> str:
        """Write strict JSON."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Write tables: measures down, systems across.

        Then by group, differences and what was left out.
        """
        names = [s.name for s in self.systems]
        parts = [
            f"# {self.title}\n",
            "\n".join(f"- {k}: {v}" for k, v in self.settings.items()) + "\n",
            _table(self.systems),
        ]
        rows = [[f"{name}", str(found)] for name, found in self.intervals.items()]
        parts.append(markdown_table(["mIoU by image", "95 % interval over images"], rows))
        for group in sorted({group for group in self.systems[0].groups if group}):
            parts += [f"## {group}\n", _table([s.select(group) for s in self.systems])]
        if self.differences:
            header = ["difference of mIoU by image", "value", "95 % interval", "p"]
            rows = [
                [
                    name,
                    f"{d.difference:+.4f}",
                    _range_of(d),
                    "-" if math.isnan(d.p_value) else f"{d.p_value:.3g}",
                ]
                for name, d in self.differences.items()
            ]
            parts.append(markdown_table(header, rows))
        if self.problems:
            parts.append(
                f"## Left out ({', '.join(names)})\n\n"
                + "\n".join(f"- {p}" for p in self.problems)
                + "\n"
            )
        return "\n".join(parts)


def evaluate_pixels(
    systems: Mapping[str, System],
    samples: Sequence[Sample],
    classes: ClassScheme,
    options: PixelOptions | None = None,
    *,
    title: str = "Pixels",
    on_step: OnStep = silent,
) -> PixelReport:
    """Compare systems on the same samples.

    Parameters
    ----------
    systems : mapping
        Name to :data:`System`; the first is compared with each other one.
    samples : sequence of Sample
        With labels; pixels of 255 are not counted.
    classes : ClassScheme
        Of the comparison; labels are brought to it by the classes' names.
    options : PixelOptions, optional

    Returns
    -------
    PixelReport
        Samples that a system cannot answer are left out for all, and listed.

    Raises
    ------
    BadInput
        If there is nothing to compare.

    Notes
    -----
    DepthCropSeg++, Tables IV, VI and VII: neither the averaging of mIoU nor the ratio of boundary
    IoU is stated, so all are printed.  Boundary IoU: Cheng et al., CVPR 2021.
    """
    options = options or PixelOptions()
    counting = {name: _Counting() for name in systems}
    present: set[int] = set()
    problems: list[str] = []
    kept: list[tuple[str, str]] = []
    for done, sample in enumerate(samples):
        on_step("compare", done, len(samples))
        try:
            truth = true_classes(sample, classes)
            answers = {name: system(sample) for name, system in systems.items()}
        except SelionError as problem:
            problems.append(f"{sample.key}: {problem}")
            continue
        kept.append((sample.key, sample.group))
        present |= {int(value) for value in np.unique(truth)}
        for name, answer in answers.items():
            counting[name].add(truth, answer, classes, options)
    if not kept or not systems:
        raise BadInput(
            f"None of {len(samples)} samples could be compared: "
            f"{problems[0] if problems else 'give a system and samples with labels.'}"
        )
    scored = tuple(found.scores(name, kept) for name, found in counting.items())
    rows = {s.name: _rows(s) for s in scored}
    first = scored[0].name
    differences = {
        f"{first} - {s.name}": paired_bootstrap(
            rows[first], rows[s.name], mean_from_rows, draws=options.draws
        )
        for s in scored[1:]
    }
    intervals = {
        name: bootstrap(found, mean_from_rows, draws=options.draws) for name, found in rows.items()
    }
    settings: dict[str, object] = {
        "images": len(kept),
        "classes": ", ".join(classes.names),
        "pixels not counted": sum(c.ignored for c in scored[0].confusions),
    }
    missing = [name for k, name in enumerate(classes.names) if k not in present]
    if missing:
        settings["beware"] = (
            f"no pixel of the truth is {', '.join(missing)}; 255 counts as not known, also in "
            "black and white masks ('selion data check' tells)"
        )
    return PixelReport(title, scored, differences, intervals, settings, tuple(problems))


def photo_systems(
    names: Sequence[str],
    classes: ClassScheme,
    *,
    engine: str = "auto",
    threads: int | None = None,
    speaking: Mapping[str, Any] | None = None,
    oracles: Sequence[Path] = (),
) -> dict[str, System]:
    """Return models by name or folder, and beside them what needs no model.

    Prompted models are told the truth; colour rules and constants need no model.

    Parameters
    ----------
    names : sequence of str
        Of models.
    classes : ClassScheme
        Of the comparison; the colour rules stand in it where it is soil and crop.
    engine, threads, speaking
        As :func:`selion.models.load_model`.
    oracles : sequence of path
        Checkpoint folders of SAM, SAM 2 or SAM-HQ: asked with 1 to 10 random points on the true
        crop and beside it, the best answer kept (DepthCropSeg++, III.A).

    Raises
    ------
    BadInput
        If a model or an oracle is named twice, or two models are the very same.
    """
    from selion.evaluation.twins import load_apart, refuse_twice

    refuse_twice([str(path.resolve()) for path in oracles], "oracle")
    loaded = load_apart(names, engine, threads=threads, speaking=speaking)
    found: dict[str, System] = {
        name: segmenter_system(model, classes) for name, model in loaded.items()
    }
    last = [path.name for path in oracles]
    found |= {
        f"{path.name if last.count(path.name) == 1 else path} (points from the truth)": (
            oracle_system(path)
        )
        for path in oracles
    }
    if classes.names == CROP.names:
        found |= {
            "excess green + Otsu": rule_system(metrics.excess_green),
            "Canopeo's rule": rule_system(metrics.canopeo),
        }
    return found | {
        f"{name} everywhere": constant_system(k) for k, name in enumerate(classes.names[:2])
    }


def oracle_system(path: Path) -> System:
    """Answer as a prompted model does that is given points on the true crop and beside it.

    An oracle, as the papers' tables have it.
    """
    from selion.models.sam.network import load_prompted
    from selion.models.sam.segmenter import best_of_points

    network = load_prompted(path)

    def system(sample: Sample) -> np.ndarray:
        truth = true_classes(sample, CROP) == 1
        image = _colours(sample, "SAM").astype(np.float32) / 255
        return best_of_points(network, image, truth).mask.astype(np.uint8)

    return system


def segmenter_system(
    model: Segmenter, classes: ClassScheme, called: Mapping[str, str] | None = None
) -> System:
    """Answer with the most likely class of a model, by name.

    Classes that the comparison does not have are said to be its first, unless ``called`` has
    another name for them: the class of the comparison that they are a part of.
    """
    names = [(called or {}).get(name, name) for name in model.classes.names]
    move = np.array(
        [classes.index(name) if name in classes.names else 0 for name in names], np.uint8
    )

    def system(sample: Sample) -> np.ndarray:
        found = prediction.predict(sample.image, model)
        if found is None:
            raise BadInput("it was not predicted.")
        ids: np.ndarray = move[found.values.argmax(0)]
        if found.valid is not None:
            ids[~found.valid] = IGNORE
        return ids

    return system


def rule_system(rule: Callable[[np.ndarray], np.ndarray]) -> System:
    """Answer with a rule of three colours, such as :func:`selion.metrics.excess_green`."""

    def system(sample: Sample) -> np.ndarray:
        return rule(_colours(sample, "a colour rule")).astype(np.uint8)

    return system


def _colours(sample: Sample, who: str) -> np.ndarray:
    """Return the (3, y, x) uint8 colours of a photograph, as ``selion crops`` sees it."""
    found = sample.image.read(whole(sample.image.grid))
    if len(found.bands) < 3:
        raise BadInput(
            f"{who} wants red, green and blue; {sample.key} has {len(found.bands)} band."
        )
    return eight_bits(found.values[:3], found.valid, sample.key)[0]


def constant_system(value: int) -> System:
    """Answer one class everywhere."""
    return lambda sample: np.full(tuple(sample.image.grid.shape), value, np.uint8)


def true_classes(sample: Sample, classes: ClassScheme) -> np.ndarray:
    """Return the (y, x) uint8 truth of a sample in the classes of the comparison.

    Raises
    ------
    BadInput
        If the sample has no labels, or a class that the comparison has not.
    """
    labels: LabelMap | None = sample.labels
    if labels is None:
        raise BadInput("it has no labels: pixels are compared by class.")
    unknown = [name for name in labels.classes.names if name not in classes.names]
    if unknown:
        raise BadInput(
            f"its labels have the class {unknown[0]!r}, but compared are "
            f"{', '.join(classes.names)}."
        )
    table = np.full(256, IGNORE, np.uint8)
    table[: len(labels.classes)] = [classes.index(name) for name in labels.classes.names]
    return table[labels.ids]


class _Counting:
    """What is counted of one system, sample by sample: answers are not kept."""

    def __init__(self) -> None:
        self.confusions: list[Confusion] = []
        self.boundaries: dict[str, list[np.ndarray]] = {}

    def add(
        self, truth: np.ndarray, answer: np.ndarray, classes: ClassScheme, options: PixelOptions
    ) -> None:
        """Count one sample."""
        self.confusions.append(metrics.confusion(truth, answer, classes))
        bands: dict[str, dict[str, Any]] = {
            f"{ratio:g} of the diagonal": {"ratio": ratio} for ratio in options.ratios
        } | {f"{width} px": {"width": width} for width in options.widths}
        for band, given in bands.items():
            found = metrics.class_boundary_iou(truth, answer, len(classes), **given)
            self.boundaries.setdefault(band, []).append(found)

    def scores(self, name: str, samples: Sequence[tuple[str, str]]) -> SystemScores:
        """Return what was counted, with the samples' keys and groups."""
        return SystemScores(
            name,
            tuple(key for key, _ in samples),
            tuple(group for _, group in samples),
            tuple(self.confusions),
            {band: np.array(values) for band, values in self.boundaries.items()},
        )


def _rows(scores: SystemScores) -> np.ndarray:
    """Return (sample, 2): mIoU and 1, or zeros where an image says nothing."""
    values = scores.by_image()
    said = np.isfinite(values)
    return np.stack([np.where(said, values, 0), said], 1)


def _table(systems: Sequence[SystemScores]) -> str:
    values = [s.values() for s in systems]
    return markdown_table(
        ["measure", *(s.name for s in systems)],
        [[name, *(number(v[name]) for v in values)] for name in values[0]],
    )


def _range_of(found: Comparison) -> str:
    if found.n == 1:
        return found.method
    return "-" if math.isnan(found.low) else f"{found.low:+.4f} to {found.high:+.4f}"


def _plain(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in values.items()}
