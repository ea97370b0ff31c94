"""``selion estimate``: what a judged sample says of a map's accuracy and of the area of fields."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selion import store
from selion.errors import BadInput, counted
from selion.metrics.area_estimation import (
    AreaAdjusted,
    SampleEstimate,
    StratifiedSample,
    area_adjusted,
    too_few,
)
from selion.store.replaced import FolderKind
from selion.survey.answers import Answers, not_counted, read_answers
from selion.survey.design import CLASSES, KEY, Design, read_design

ACCURACIES = ("users", "producers", "f1", "iou")
FACTS, TABLE, MATRIX = "estimates.json", "estimates.csv", "matrix.csv"
ESTIMATED = FolderKind("what 'selion estimate' writes", (FACTS,), (TABLE, MATRIX, "*.html"))


@dataclass(frozen=True, eq=False)
class SurveyEstimates:
    """What follows from a sample and its answers."""

    design: Design
    answered: tuple[int, ...]
    """Units with an answer, by stratum."""
    alike: tuple[bool, ...]
    """Whether all answers within a stratum are the same."""
    whole: AreaAdjusted
    districts: Mapping[str, AreaAdjusted]
    """Empty where there are none."""
    answers: Answers
    notes: tuple[str, ...]

    def hectares(self, district: str = "") -> float:
        """Area of the population, or of one district."""
        return self.design.unit_hectares * sum(
            s.units for s in self.design.strata if not district or s.district == district
        )


def estimate_sample(folder: Path, files: tuple[Path, ...] = ()) -> SurveyEstimates:
    """SampleEstimate accuracy and area from a judged sample.

    Parameters
    ----------
    folder : path
        Of the sample.
    files : tuple of path, optional
        Answers; see :func:`read_answers`.

    Returns
    -------
    SurveyEstimates
        Units without an answer count as left out by chance within their stratum.

    Raises
    ------
    UnreadableFile, BadInput
        If sample or answers cannot be read, or a stratum has fewer than two answers, and more
        units than one.
    """
    design = read_design(folder)
    answers = read_answers(folder, files)
    names = {stratum.name: k for k, stratum in enumerate(design.strata)}
    try:
        key = {name: names[stratum] for name, stratum in _key(folder / KEY)}
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(
            f"{folder / KEY} does not fit the design ({error}): draw the sample again."
        ) from error
    known = [name for name in answers.labels if name in key]
    stratum = np.array([key[name] for name in known], np.int64)
    said = np.array([CLASSES.index(answers.labels[name]) for name in known], np.int64)
    answered = np.bincount(stratum, minlength=len(design.strata))
    _check(design, answered, folder)
    mapped = np.array([s.mapped for s in design.strata])
    everywhere = np.arange(len(design.strata))
    return SurveyEstimates(
        design,
        tuple(answered.tolist()),
        tuple(len(set(said[stratum == k].tolist())) == 1 for k in range(len(design.strata))),
        _estimate(design, everywhere, stratum, said, mapped),
        {
            name: _estimate(
                design,
                np.array([k for k, s in enumerate(design.strata) if s.district == name]),
                stratum,
                said,
                mapped,
            )
            for name in design.districts
        },
        answers,
        (*design.notes, *not_counted(answers, key, "unit")),
    )


def _key(path: Path) -> list[tuple[str, str]]:
    import csv

    with path.open(encoding="utf-8", newline="") as file:
        return [(row["id"], row["stratum"]) for row in csv.DictReader(file)]


def _check(design: Design, answered: np.ndarray, folder: Path) -> None:
    lacking = too_few(answered, np.array([s.units for s in design.strata]))
    if few := [s.name for s, bad in zip(design.strata, lacking, strict=True) if bad]:
        raise BadInput(
            f"{folder} has fewer than two answers in {counted(len(few), 'stratum')} "
            f"({'; '.join(few[:3])}{' ...' if len(few) > 3 else ''}): answer more units; any "
            "number in the order of the list will do."
        )


def _estimate(
    design: Design,
    within: np.ndarray,
    stratum: np.ndarray,
    said: np.ndarray,
    mapped: np.ndarray,
) -> AreaAdjusted:
    """Estimate over some of the strata."""
    here = np.isin(stratum, within)
    sizes = np.array([design.strata[k].units for k in within])
    sample = StratifiedSample(np.searchsorted(within, stratum[here]), sizes)
    return area_adjusted(mapped[stratum[here]], said[here], CLASSES, sample)


def rows_of(estimates: SurveyEstimates) -> list[dict[str, Any]]:
    """Return one row a figure: where, what, value, standard error, interval, n."""
    rows = []
    for place, found in (("all", estimates.whole), *estimates.districts.items()):
        hectares = estimates.hectares("" if place == "all" else place)
        rows.append(row_of(place, "overall accuracy", "", found.overall))
        for name, one in found.by_class.items():
            rows += [row_of(place, _WORDS[what], name, getattr(one, what)) for what in ACCURACIES]
            rows.append(row_of(place, "area (ha)", name, one.area.scaled(hectares), hectares))
            rows.append(
                row_of(
                    place,
                    "mapped area (ha)",
                    name,
                    SampleEstimate(one.mapped * hectares, 0.0, 0),
                    hectares,
                )
            )
    return rows


_WORDS = {
    "users": "user's accuracy",
    "producers": "producer's accuracy",
    "f1": "F1",
    "iou": "intersection over union",
}


def row_of(
    place: str, what: str, name: str, found: SampleEstimate, most: float = 1.0
) -> dict[str, Any]:
    """Return a figure as a row of the table: with its interval, cut to 0 to ``most``."""
    interval = found.interval(most)
    figures = {
        "value": found.value,
        "standard error": found.standard_error,
        "low": interval.low,
        "high": interval.high,
    }
    known = {key: value if np.isfinite(value) else None for key, value in figures.items()}
    return {"place": place, "figure": what, "class": name, **known, "n": found.n}


def write_estimates(
    estimates: SurveyEstimates,
    out: Path,
    pages: Mapping[str, str] | None = None,
    *,
    force: bool = False,
) -> Path:
    """Write the figures as tables.

    Parameters
    ----------
    estimates : SurveyEstimates
    out : path
        Folder.
    pages : mapping, optional
        Name of a file -> text that is written beside them.
    force : bool

    Returns
    -------
    path
    """
    rows = rows_of(estimates)
    with store.atomic_folder(out, force, ESTIMATED) as part:
        store.write_csv(part / TABLE, list(rows[0]), [list(row.values()) for row in rows])
        store.write_csv(
            part / MATRIX,
            (
                "mapped",
                *(f"{name} (units)" for name in CLASSES),
                *(f"{name} (share)" for name in CLASSES),
            ),
            [
                (name, *map(int, counts), *map(float, shares))
                for name, counts, shares in zip(
                    CLASSES, estimates.whole.counts, estimates.whole.matrix, strict=True
                )
            ],
        )
        facts = {
            "rows": rows,
            "strata": [
                asdict(s) | {"answered": n}
                for s, n in zip(estimates.design.strata, estimates.answered, strict=True)
            ],
            "agreement": estimates.answers.agreement,
            "people": estimates.answers.people,
            "notes": list(estimates.notes),
        }
        store.write_text(part / FACTS, json.dumps(facts, indent=1) + "\n")
        for name, text in (pages or {}).items():
            store.write_text(part / name, text)
    return out
