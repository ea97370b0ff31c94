"""From images to one table.

Every measure with its interval, by group, by size, by kind of error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Literal

import numpy as np
import pandas as pd

from selion.errors import BadInput
from selion.metrics.calibration import (
    Fitted,
    Reliability,
    fit_over_images,
    object_outcomes,
    reliability,
)
from selion.metrics.image import ImageScores
from selion.metrics.merge_and_match import merged_scores
from selion.metrics.objects import match_objects, object_scores
from selion.metrics.overlap import OverlapTable, join_tables
from selion.metrics.partition import (
    FIELD_SIZE_NAMES,
    FIELD_SIZES,
    area_bias,
    error_kinds,
    segmentation_errors,
    size_classes,
)
from selion.metrics.pixel import Confusion, pixel_scores
from selion.metrics.precision import Detections, average_precision
from selion.metrics.statistics import (
    Comparison,
    Interval,
    bootstrap,
    f1_from_counts,
    group_mean,
    iou_from_counts,
    mean_from_rows,
    paired_bootstrap,
)
from selion.metrics.strata import stratify


@dataclass(frozen=True, slots=True)
class Measure:
    """One column of a report."""

    name: str
    label: str
    better: Literal["high", "low", "zero"]
    source: str
    """Where the formula comes from."""


MEASURES = (
    Measure(
        "pixel_iou", "pixel IoU", "high", "objects against the rest, pooled; Everingham et al. 2010"
    ),
    Measure(
        "object_f1", "object F1", "high", "one to one at the IoU named above; PRUE section 3.4"
    ),
    Measure("object_precision", "object precision", "high", "one to one"),
    Measure("object_recall", "object recall", "high", "one to one"),
    Measure(
        "panoptic_quality",
        "panoptic quality",
        "high",
        "matches with IoU > 0.5; Kirillov et al. 2019",
    ),
    Measure("ap50", "AP50", "high", "Lin et al. 2014; the cap is named above"),
    Measure("ap", "AP50:95", "high", "Lin et al. 2014; the cap is named above"),
    Measure(
        "boundary_iou",
        "outline IoU",
        "high",
        "bands of all outlines, pooled; after Cheng et al. 2021",
    ),
    Measure(
        "boundary_distance",
        "outline distance",
        "low",
        "median over matches, metres (px without CRS); Taha and Hanbury 2015",
    ),
    Measure("over_segmentation", "over-segmentation", "low", "Persello and Bruzzone 2010"),
    Measure("under_segmentation", "under-segmentation", "low", "Persello and Bruzzone 2010"),
    Measure("area_bias", "area bias", "zero", "all predicted area against all true area"),
    Measure(
        "merged_iou_any",
        "merge-and-match IoU, any",
        "high",
        "MAgSeg appendix C; every prediction that touches",
    ),
    Measure(
        "merged_iou_largest",
        "merge-and-match IoU, largest",
        "high",
        "MAgSeg appendix C; every prediction once",
    ),
    Measure("merged_median_any", "merge-and-match median, any", "high", "MAgSeg appendix C"),
    Measure("merged_fnr", "merge-and-match FNR", "low", "MAgSeg appendix C, any"),
    Measure("merged_fpr", "merge-and-match FPR", "low", "MAgSeg appendix C, any"),
)


@dataclass(frozen=True, slots=True)
class ScoreOptions:
    """How images are summed up."""

    iou: float = 0.5
    cap: int | None = None
    """Maximum detections per image for average precision; None: all, 100: as in the papers."""
    draws: int = 1000
    """Bootstrap samples; 0 gives no intervals."""
    seed: int = 0
    size_edges: tuple[float, ...] = FIELD_SIZES
    size_names: tuple[str, ...] = FIELD_SIZE_NAMES


@dataclass(frozen=True, eq=False, slots=True)
class RunScores:
    """One model, one map or one baseline."""

    name: str
    values: dict[str, float]
    """Measure to value, over all images."""
    intervals: dict[str, Interval]
    """95 % bootstrap intervals over images, for the measures that are ratios of sums."""
    groups: dict[str, dict[str, float]]
    """Group to measures; empty if there is one group only."""
    group_means: dict[str, Interval]
    """Unweighted mean over groups, with the papers' interval."""
    images: pd.DataFrame
    """One row per image: key, group, truth, prediction, tp, fp, fn, object_f1, pixel_iou."""
    kinds: dict[str, dict[str, int]]
    sizes: pd.DataFrame
    calibration: Reliability | None = None
    classes: Confusion | None = None
    """Pixels by true and predicted class, over all images; None where they were not compared."""
    strata: dict[str, pd.DataFrame] = field(default_factory=dict)
    """Column to scores by its values, see :func:`selion.metrics.stratify`."""
    correction: Fitted | None = None
    """What would make the confidences honest; applied to nothing."""
    content_free: bool = False
    """An answer that has not seen the image: what it wins measures nothing."""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "content_free": self.content_free,
            "values": self.values,
            "intervals": {name: v.to_dict() for name, v in self.intervals.items()},
            "groups": self.groups,
            "group_means": {name: v.to_dict() for name, v in self.group_means.items()},
            "images": self.images.to_dict("records"),
            "kinds": self.kinds,
            "sizes": self.sizes.reset_index().to_dict("records"),
            "calibration": None if self.calibration is None else self.calibration.to_dict(),
            "correction": None if self.correction is None else self.correction.to_dict(),
            "classes": None
            if self.classes is None
            else {
                "confusion": self.classes.to_dict(),
                "scores": pixel_scores(self.classes).to_dict(),
            },
            "strata": {
                column: table.reset_index().to_dict("records")
                for column, table in self.strata.items()
            },
            "notes": list(self.notes),
        }


def measure(images: Sequence[ImageScores], options: ScoreOptions | None = None) -> dict[str, float]:
    """Compute every measure over images: counts are pooled, not averaged by image."""
    options = options or ScoreOptions()
    table = join_tables(i.table for i in images)
    objects, panoptic = object_scores(table, options.iou), object_scores(table, 0.5, strict=True)
    parts, merged, largest = (
        segmentation_errors(table),
        merged_scores(table),
        merged_scores(table, "largest"),
    )
    area, edge = np.sum([i.area for i in images], axis=0), np.sum([i.edge for i in images], axis=0)
    known = [i.distances["distance"].to_numpy() for i in images if i.distances is not None]
    distances = np.concatenate(known) if known else np.zeros(0)
    distances = distances[np.isfinite(distances)]
    values = {
        "pixel_iou": float(iou_from_counts(area[None])[0]),
        "object_f1": objects.f1,
        "object_precision": objects.precision,
        "object_recall": objects.recall,
        "panoptic_quality": panoptic.panoptic_quality,
        "boundary_iou": float(edge[0] / edge[1]) if edge[1] else float("nan"),
        "boundary_distance": float(np.median(distances)) if len(distances) else float("nan"),
        "over_segmentation": parts.over,
        "under_segmentation": parts.under,
        "area_bias": area_bias(_in_metres(images)).total,
        "merged_iou_any": merged.mean_iou,
        "merged_iou_largest": largest.mean_iou,
        "merged_median_any": merged.median_iou,
        "merged_fnr": merged.fnr,
        "merged_fpr": merged.fpr,
    }
    if all(i.confidence is not None for i in images):
        found = average_precision(
            [Detections(i.table, i.confidence) for i in images if i.confidence is not None],
            cap=options.cap,
        )
        values |= {"ap50": found.at(0.5), "ap": found.ap}
    return {m.name: values[m.name] for m in MEASURES if m.name in values}


def _in_metres(images: Sequence[ImageScores]) -> OverlapTable:
    """Join tables, areas in m2 where every image has metres.

    For areas alone: m2 are rounded, and half of the pairs whose IoU is exactly a half are no match
    by them, or one that wants more than a half.
    """
    if any(i.unit is None for i in images):
        return join_tables(i.table for i in images)
    return join_tables(_times(i.table, i.unit or 1.0) for i in images)


def _times(table: OverlapTable, unit: float) -> OverlapTable:
    names = ("truth_area", "prediction_area", "prediction_ignored", "shared")
    return (
        table
        if unit == 1.0
        else replace(table, **{name: getattr(table, name) * unit for name in names})
    )


def summarise(
    name: str,
    images: Sequence[ImageScores],
    options: ScoreOptions | None = None,
    *,
    content_free: bool = False,
) -> RunScores:
    """Sum up one run.

    Parameters
    ----------
    name : str
        Shown in reports.
    images : sequence of ImageScores
        One or more.
    content_free : bool
        Whether the answers were given without looking at the images.

    Raises
    ------
    BadInput
        Without images.
    """
    options = options or ScoreOptions()
    if not images:
        raise BadInput(
            f"{name}: no image was scored; check that images and truth have the same names."
        )
    rows = image_rows(images, options)
    table = join_tables(i.table for i in images)
    groups = _by_group(images, options)
    means = {
        m: group_mean({g: row[m] for g, row in groups.items()})
        for m in next(iter(groups.values()), {})
    }
    outcome = [
        (i.confidence, object_outcomes(i.table, options.iou))
        for i in images
        if i.confidence is not None
    ]
    honest = (
        reliability(
            np.concatenate([c for c, _ in outcome]), np.concatenate([o for _, o in outcome])
        )
        if outcome
        else None
    )
    metric = all(i.unit is not None for i in images)
    sizes = (
        size_classes(
            _in_metres(images),
            options.size_edges,
            options.size_names,
            matches=match_objects(table, options.iou),
        )
        if metric
        else _quartiles(table, options.iou)
    )
    return RunScores(
        name,
        measure(images, options),
        _intervals(rows, options),
        groups,
        means,
        rows,
        error_kinds(table, options.iou).counts(),
        sizes,
        honest,
        _classes(images),
        {column: stratify(images, column, options.iou) for column in images[0].labels},
        fit_over_images([c for c, _ in outcome], [o for _, o in outcome])
        if outcome and not content_free
        else None,
        content_free,
        _remarks(images),
    )


def _classes(images: Sequence[ImageScores]) -> Confusion | None:
    """Add up the images' confusions; images without one are left out."""
    known = [i.classes for i in images if i.classes is not None]
    return reduce(add, known) if known else None


def image_rows(images: Sequence[ImageScores], options: ScoreOptions) -> pd.DataFrame:
    """Return one row of counts and scores per image."""
    rows = []
    for image in images:
        found = object_scores(image.table, options.iou)
        counts = {
            "truth": len(image.table.truth_ids),
            "prediction": len(image.table.prediction_ids),
            "tp": found.tp,
            "fp": found.fp,
            "fn": found.fn,
        }
        areas = dict(zip(("area_tp", "area_fp", "area_fn"), image.area, strict=True))
        iou = float(iou_from_counts(np.array([image.area]))[0])
        rows.append(
            {
                "key": image.key,
                "group": image.group,
                **counts,
                **areas,
                "object_f1": found.f1,
                "pixel_iou": iou,
                "ignored": image.ignored,
            }
        )
    return pd.DataFrame(rows)


COUNTS = {
    "pixel_iou": (["area_tp", "area_fp", "area_fn"], iou_from_counts),
    "object_f1": (["tp", "fp", "fn"], f1_from_counts),
}
"""Measures that are ratios of sums over images: their columns, and the ratio."""


def _intervals(rows: pd.DataFrame, options: ScoreOptions) -> dict[str, Interval]:
    if len(rows) < 2 or options.draws < 1:
        return {}
    return {
        name: bootstrap(
            rows[columns].to_numpy(float), ratio, draws=options.draws, seed=options.seed
        )
        for name, (columns, ratio) in COUNTS.items()
    }


def _by_group(images: Sequence[ImageScores], options: ScoreOptions) -> dict[str, dict[str, float]]:
    names = sorted({i.group for i in images})
    if len(names) < 2:
        return {}
    return {name: measure([i for i in images if i.group == name], options) for name in names}


def _quartiles(table: OverlapTable, iou: float) -> pd.DataFrame:
    """Size classes of photographs: quartiles of the truth, in pixels."""
    edges = (
        np.unique(np.quantile(table.truth_area, [0.25, 0.5, 0.75]))
        if len(table.truth_area)
        else np.zeros(0)
    )
    edges = edges[np.diff(edges, prepend=-1) > 1e-6 * edges]  # polygons of one size, but for noise
    bounds = (0.0, *edges.tolist(), np.inf)
    # of objects that hardly differ whole pixels would name two classes alike
    digits = next(k for k in range(0, 320, 2) if len(set(edges.round(k))) == len(edges))
    names = [f"{low:,.{digits}f} to {high:,.{digits}f} px" for low, high in pairwise(bounds)]
    return size_classes(table, bounds, names, iou=iou)


def _remarks(images: Sequence[ImageScores]) -> tuple[str, ...]:
    """Say what a reader must know about the input: empty truth, empty prediction, nothing known."""
    listed = {
        "have no true object": [i.key for i in images if not len(i.table.truth_ids)],
        "have no predicted object": [i.key for i in images if not len(i.table.prediction_ids)],
        "have no known pixel": [
            i.key
            for i in images
            if i.ignored
            and not sum(i.area)
            and not len(i.table.truth_ids)
            and not i.table.prediction_area.sum()
        ],
    }
    return tuple(
        (
            f"{len(keys)} of {len(images)} images {what}: "
            f"{', '.join(keys[:5])}{' ...' if len(keys) > 5 else ''}."
        )
        for what, keys in listed.items()
        if keys
    )


def compare(
    one: RunScores, other: RunScores, *, draws: int = 2000, seed: int = 0
) -> dict[str, Comparison]:
    """Compare two runs on the same images, measure by measure.

    It is done with a paired bootstrap, also of their images' mean F1.

    Raises
    ------
    BadInput
        If the images are not the same.
    """
    if one.images["key"].tolist() != other.images["key"].tolist():
        raise BadInput(
            f"{one.name} and {other.name} were scored on different images: score both on the same "
            "ones, in the same order."
        )
    found = {
        name: paired_bootstrap(
            one.images[columns].to_numpy(float),
            other.images[columns].to_numpy(float),
            ratio,
            draws=draws,
            seed=seed,
        )
        for name, (columns, ratio) in COUNTS.items()
    }
    pairs = [np.nan_to_num(run.images["object_f1"].to_numpy(float)) for run in (one, other)]
    seen = np.isfinite(one.images["object_f1"].to_numpy(float)) | np.isfinite(
        other.images["object_f1"].to_numpy(float)
    )
    rows = [np.column_stack([p[seen], np.ones(int(seen.sum()))]) for p in pairs]
    return found | (
        {
            "mean_image_f1": paired_bootstrap(
                rows[0], rows[1], mean_from_rows, draws=draws, seed=seed
            )
        }
        if seen.any()
        else {}
    )
