"""How answers about agricultural landscapes are counted: class by class, merged and matched.

MAgSeg (arXiv 2605.16179), appendices C and D.2, after Dua et al. 2024 (arXiv 2411.05359).
Merge-and-match pays for cutting an image into squares without having seen it, so each figure has
that of such a grid, of squares as large as the answer's objects, beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy import ndimage

from selion import metrics
from selion.classes import ClassScheme
from selion.evaluation.answers import Answer, truth_ids
from selion.grid import pixel_metres
from selion.metrics.merge_and_match import Reading
from selion.sample import Sample

FIELD = "field"
ACRE = 4046.8564224
"""Square metres."""
ACRES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, float("inf"))
"""Edges of the bins of appendix D.2, which end at 5 acres; the others are our reading."""
READINGS: tuple[Reading, ...] = ("any", "largest")
PRIMARY = "mean over images, any overlap"
"""The averaging and the reading that stand beside the paper's figures."""
GIVEN = ("acres", "group")
"""What strata are made of anyhow."""
MEASURES = ("mean_iou", "median_iou", "fnr", "fpr")


@dataclass(frozen=True, eq=False)
class ClassTable:
    """The objects of one class in one image, true and said."""

    key: str
    group: str
    table: metrics.OverlapTable
    """In pixels."""
    unit: float
    """m2 of a pixel; 0 for a photograph."""
    labels: dict[str, np.ndarray] = field(default_factory=dict)
    """Column of the objects' table -> (truth,) values."""


def pixel_area(sample: Sample) -> float:
    """Return the area of a pixel in m2; 0 for a photograph."""
    pixel = pixel_metres(sample.image.grid)
    return pixel[0] * pixel[1] if pixel else 0.0


def parts(mask: np.ndarray) -> np.ndarray:
    """Return (y, x) int32 ids of the 4-connected parts of a mask."""
    found: np.ndarray = ndimage.label(mask)[0].astype(np.int32)
    return found


def large_enough(ids: np.ndarray, least: float, unit: float) -> np.ndarray:
    """Return ids without the objects that are smaller than is counted of their class.

    Parameters
    ----------
    ids : (y, x) integer ndarray
    least : float
        m2, of the class scheme.
    unit : float
        Area of a pixel in m2; 0 where it is not known, and then all count.
    """
    keep = (np.bincount(ids.ravel()) * unit >= least) | (unit == 0)
    keep[0] = False
    found: np.ndarray = np.where(keep[ids], ids, 0)
    return found


def classes_of(ids: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return (id + 1,) class names of objects: what most of their pixels are.

    Empty where nothing is known.
    """
    size = int(ids.max(initial=0)) + 1
    votes = np.stack([np.bincount(ids[labels == k], minlength=size) for k in range(len(names))], 1)
    found: np.ndarray = np.where(votes.max(1) > 0, np.array(names, object)[votes.argmax(1)], "")
    return found


def true_classes(sample: Sample) -> np.ndarray:
    """Return (id + 1,) class names of the true objects.

    As their table says, or as most of their pixels; fields where neither says.
    """
    ids = truth_ids(sample)
    found = np.full(int(ids.max(initial=0)) + 1, FIELD, object)
    table = sample.instances.table if sample.instances is not None else None
    if table is not None and len(table) and "class" in table:
        found[table["id"].to_numpy()] = table["class"].to_numpy(object)
    elif sample.labels is not None and len(sample.labels.classes.things) > 1:
        scheme = sample.labels.classes
        things = [scheme.index(name) for name in scheme.things]
        known = np.where(np.isin(sample.labels.ids, things), sample.labels.ids, 255)
        found = classes_of(ids, known, scheme.names)
    return found


def kinds(sample: Sample) -> set[str]:
    """Return the classes of what is true: those of labels, clouds too, and of objects."""
    found = set() if sample.instances is None else _told_classes(sample)
    if sample.labels is not None:
        scheme = sample.labels.classes
        found |= {
            name
            for k, name in enumerate(scheme.names)
            if k and name != scheme.boundary and (sample.labels.ids == k).any()
        }
    return found


def _told_classes(sample: Sample) -> set[str]:
    """Return the classes of a sample's own objects."""
    there = np.unique(truth_ids(sample))
    return {str(kind) for kind in true_classes(sample)[there[there > 0]]} - {""}


def true_objects(sample: Sample, name: str) -> np.ndarray:
    """Return (y, x) ids of the true objects of a class.

    They are the sample's own objects where some of them are of that class, else the connected parts
    of its labels.
    """
    if sample.instances is not None and name in _told_classes(sample):
        truth = truth_ids(sample)
        found: np.ndarray = np.where(true_classes(sample)[truth] == name, truth, 0)
        return found
    if sample.labels is None or name not in sample.labels.classes.names:
        return np.zeros(tuple(sample.image.grid.shape), np.int32)
    return parts(sample.labels.ids == sample.labels.classes.index(name))


def said_objects(said: Answer, classes: ClassScheme, name: str) -> np.ndarray | None:
    """Return (y, x) ids of what an answer holds of a class; None if it does not know the class.

    Fields are the answer's objects, which a refiner may have parted; those of other classes are the
    connected parts of what was said, so that clouds are counted though they are no things.
    """
    if name not in classes.names:
        return None
    if said.classes is None:
        return said.ids if classes.things == (name,) else None
    if name != FIELD:
        return parts(said.classes == classes.index(name))
    fields = classes_of(said.ids, said.classes, classes.names) == name
    # a filled hole is field, unless the answer says another thing there
    ground = [
        0,
        classes.index(name),
        *([classes.index(classes.boundary)] if classes.boundary else []),
    ]
    found: np.ndarray = np.where(fields[said.ids] & np.isin(said.classes, ground), said.ids, 0)
    return found


def by_class(
    sample: Sample,
    said: Answer,
    classes: ClassScheme,
    least: ClassScheme,
    wanted: Iterable[str],
    columns: Sequence[str] = (),
) -> dict[str, ClassTable]:
    """Compare the objects of each class with the true ones of that class.

    Parameters
    ----------
    sample : Sample
    said : Answer
    classes : ClassScheme
        Of the answer.
    least : ClassScheme
        Its least areas hold for truth and answer alike.
    wanted : iterable of str
        Classes; one that the answer does not know is left out.
    columns : sequence of str
        Of the objects' table, which strata are made of.
    """
    found = {}
    for name in wanted:
        spoken = said_objects(said, classes, name)
        if spoken is not None:
            found[name] = compare(sample, spoken, name, least, columns)
    return found


def compare(
    sample: Sample,
    spoken: np.ndarray,
    name: str,
    least: ClassScheme,
    columns: Sequence[str] = (),
) -> ClassTable:
    """Compare (y, x) ids with the true objects of a class."""
    unit = pixel_area(sample)
    area = dict(zip(least.names, least.least_area, strict=False)).get(name, 0.0)
    truth = large_enough(true_objects(sample, name), area, unit)
    table = metrics.overlap_table(truth, large_enough(spoken, area, unit), sample.ignore)
    labels = {column: _column(sample, column, table) for column in columns}
    return ClassTable(sample.key, sample.group, table, unit, labels)


def _column(sample: Sample, column: str, table: metrics.OverlapTable) -> np.ndarray:
    told = sample.instances.table if sample.instances is not None else None
    if told is None or column not in told:
        return np.full(len(table.truth_ids), "", object)
    found: np.ndarray = told.set_index("id")[column].reindex(table.truth_ids).to_numpy(object)
    return found


def blind_edge(tables: Sequence[ClassTable]) -> int:
    """Return the edge in pixels of squares as large as the median of what was said; 0: nothing."""
    areas = [one.table.prediction_area for one in tables]
    every = np.concatenate(areas) if areas else np.zeros(0)
    return max(1, round(float(np.sqrt(np.median(every))))) if len(every) else 0


def image_means(
    tables: Sequence[metrics.OverlapTable], reading: Reading = "any"
) -> dict[str, float]:
    """Return merge-and-match as appendix C has it: of each image, then the mean over images.

    Rates are in percent.  An image without a true object counts in the false ones alone.
    """
    rows = [_merged(table, reading) for table in tables]
    found = {}
    for measure in MEASURES:
        known = [row[measure] for row in rows if np.isfinite(row[measure])]
        found[measure] = float(np.mean(known)) if known else float("nan")
    return found


def _merged(table: metrics.OverlapTable, reading: Reading) -> dict[str, float]:
    scores = metrics.merged_scores(table, reading)
    values = (scores.mean_iou, scores.median_iou, 100 * scores.fnr, 100 * scores.fpr)
    return dict(zip(MEASURES, values, strict=True))


def figures(
    tables: Sequence[ClassTable], blind: Sequence[ClassTable] = ()
) -> dict[tuple[str, str], float]:
    """Return all figures of one class over some images.

    Parameters
    ----------
    tables : sequence of ClassTable
    blind : sequence of ClassTable
        The same truth against squares of :func:`blind_edge` pixels.

    Returns
    -------
    dict
        (measure, how it is averaged and read) -> value; empty without images.
    """
    if not tables:
        return {}
    found: dict[tuple[str, str], float] = {}
    pooled = metrics.join_tables(one.table for one in tables)
    for reading in READINGS:
        word = f"{reading} overlap"
        means = image_means([one.table for one in tables], reading)
        found |= {(name, f"mean over images, {word}"): means[name] for name in MEASURES}
        both = _merged(pooled, reading)
        found |= {(name, f"all objects, {word}"): both[name] for name in MEASURES}
    chance = image_means([one.table for one in blind])["mean_iou"]
    found["mean_iou of a blind grid", PRIMARY] = chance
    found["mean_iou beyond it", PRIMARY] = beyond(found["mean_iou", PRIMARY], chance)
    half, strict = metrics.object_scores(pooled), metrics.object_scores(pooled, 0.75)
    found["f1 at IoU 0.5", "all objects, one to one"] = half.f1
    found["f1 at IoU 0.75", "all objects, one to one"] = strict.f1
    # of an IoU of more than a half, as Kirillov et al. define it: F1 counts the half itself
    found["panoptic quality", "all objects, one to one"] = metrics.object_scores(
        pooled, 0.5, strict=True
    ).panoptic_quality
    return found


def beyond(value: float, chance: float) -> float:
    """Return what of a score lies beyond that of an answer that has not seen the image.

    1 for a perfect one, 0 for the blind one, below 0 for a worse.
    """
    return (value - chance) / (1 - chance) if chance < 1 else float("nan")


def objects_of(tables: Sequence[ClassTable], blind: Sequence[ClassTable]) -> pd.DataFrame:
    """Return one row for each true object, for strata.

    Columns ``iou`` (merged, any overlap), ``blind`` (the grid's), ``acres`` (NaN for a photograph),
    ``group``, and those of the objects' table that are called otherwise.
    """
    frames = []
    for one, other in zip(tables, blind, strict=True):
        area = one.table.truth_area * one.unit / ACRE if one.unit else np.nan
        frames.append(
            pd.DataFrame(
                {
                    **one.labels,
                    "iou": metrics.merged_scores(one.table).iou,
                    "blind": metrics.merged_scores(other.table).iou,
                    "acres": np.broadcast_to(area, len(one.table.truth_ids)),
                    "group": one.group,
                }
            )
        )
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def strata(objects: pd.DataFrame, columns: Sequence[str] = ()) -> list[dict[str, object]]:
    """Return merge-and-match for each bin of true size, group, and value of further columns.

    Parameters
    ----------
    objects : DataFrame
        Of :func:`objects_of`.
    columns : sequence of str

    Returns
    -------
    list of dict
        ``by``, ``stratum``, ``objects``, ``mean_iou``, ``median_iou``, ``missed`` (percent),
        ``blind``, ``beyond``; strata without an object are left out.
    """
    if objects.empty:
        return []
    names = np.array([_bin(low, high) for low, high in pairwise(ACRES)], object)
    sized = objects[np.isfinite(objects["acres"])]
    place = np.clip(np.searchsorted(ACRES, sized["acres"], "right") - 1, 0, len(names) - 1)
    chosen = [("acres", name, sized[place == k]) for k, name in enumerate(names)]
    for column in dict.fromkeys(("group", *(name for name in columns if name not in GIVEN))):
        for value, part in objects.groupby(column, sort=True):
            chosen.append((column, str(value), part))
    return [_stratum(*one) for one in chosen if len(one[2]) and one[1]]


def _bin(low: float, high: float) -> str:
    return f"{low:g} to {high:g}" if np.isfinite(high) else f"{low:g} and more"


def _stratum(by: str, name: str, part: pd.DataFrame) -> dict[str, object]:
    mean, chance = float(part["iou"].mean()), float(part["blind"].mean())
    return {
        "by": by,
        "stratum": name,
        "objects": len(part),
        "mean_iou": mean,
        "median_iou": float(part["iou"].median()),
        "missed": 100 * float((part["iou"] == 0).mean()),
        "blind": chance,
        "beyond": beyond(mean, chance),
    }
