"""Tables of a history: a row a field, a row a field and year, counts by district and year."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import selion
from selion import fields, store
from selion.change.lineage import joined_rows, lineage, outcome_names
from selion.change.outcomes import APPEARED, GONE, UNKNOWN
from selion.change.record import Records, YearDetection
from selion.change.sequence import FIRST, NOT_SEEN, NOTHING, OUTCOMES_OF_YEARS, JoinedYears
from selion.change.sides import origin_of, read_year
from selion.fields.schema import check_shares, confidences_of

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

MEANING = {
    "first_year": "First year whose map has the field.",
    "last_year": "Last year whose map has it.",
    "years_seen": "Number of years whose maps have it.",
    "stable_since": "Since this year the outline has not moved.",
    "alive": "Nothing says that the field has gone by the last year.",
    "stability": "Mean IoU of its consecutive outlines; empty where there is one only.",
    "score": "Mean of its confidences over the years that have it: not calibrated.",
    "doubt": "1 - (years seen / years from first to last) x stability (1/2 if unknown) x score.",
    "years": "All years; the lists beside it have one entry for each.",
    "seen": "Whether the year's map has the field.",
    "outcome": "How it came that year, or in the year after the last what became of it.",
    "area": "Area that year in m2 (px2 in a photograph).",
    "confidences": "Confidence in that year's map.",
    "iou": "IoU with the outline before.",
    "map_id": "Its id in that year's map.",
    "district": "The district that a point of it lies in.",
}
"""Columns of ``history.parquet`` beside ``id``, ``metrics:area``, ``metrics:perimeter`` and
``geometry``, which is the last outline."""
COUNTED = (*OUTCOMES_OF_YEARS[1:], "unknown")
"""Outcomes that are counted."""
LEFT = ("gone", "not seen", "unknown")
"""Of these also for fields that the year's map has not got."""


@dataclass(frozen=True, eq=False)
class HistoryTables:
    """What is told of all fields."""

    history: GeoDataFrame
    """A row a field, in the order of the records."""
    long: tuple[Path, ...]
    """For each year its part of the long form, GeoParquet."""
    areas: np.ndarray
    """(n, year) float64 m2; NaN where the year has not got it."""


def make_tables(
    joined: JoinedYears, records: Records, numbers: Sequence[int], work: Path
) -> HistoryTables:
    """Read the table of each year once, and put together what is told of its fields.

    Parameters
    ----------
    joined : JoinedYears
    records : Records
    numbers : sequence of int
        The years.
    work : Path
        Gets the parts of the long form.
    """
    count, years = records.rows.shape
    areas, scores = np.full((count, years), np.nan), np.full((count, years), np.nan)
    map_ids = np.full((count, years), None, object)
    latest, parts, perimeters = [], [], np.full(count, np.nan)
    last, crs = records.last, None
    for at, year in enumerate(joined.years):
        frame, _ = read_year(year.mapped.year)
        crs = frame.crs if crs is None else crs
        frame = frame if frame.crs == crs or crs is None else frame.to_crs(crs)
        own = np.flatnonzero(records.rows[:, at] >= 0)
        rows = records.rows[own, at]
        areas[own, at] = year.mapped.area[rows]
        map_ids[own, at] = frame["id"].to_numpy(object)[rows]
        if (sure := confidences_of(frame)) is not None:
            check_shares(sure)
            scores[own, at] = sure[rows]
        parts.append(
            _long_part(joined, records, at, (own, numbers[at], scores, areas), frame, work)
        )
        ends = last[own] == at
        perimeters[own[ends]] = year.mapped.perimeter[rows[ends]]
        shapes = frame.geometry.iloc[rows[ends]]
        latest.append(shapes.set_axis(own[ends]))
    outlines = pd.concat(latest).sort_index()
    columns = _columns(records, numbers, areas, scores, map_ids)
    columns["metrics:perimeter"] = perimeters.astype(np.float32)
    frame = outlines.reset_index(drop=True).to_frame("geometry").assign(**columns)
    return HistoryTables(frame.set_geometry("geometry"), tuple(parts), areas)


def _columns(
    records: Records,
    numbers: Sequence[int],
    areas: np.ndarray,
    scores: np.ndarray,
    map_ids: np.ndarray,
) -> dict[str, Any]:
    years, seen = np.asarray(numbers, np.int32), records.seen
    count = seen.sum(axis=1)
    score = _mean(scores, seen)
    stability = _mean(records.iou.astype(np.float64), seen)
    span = records.last - records.first + 1
    doubt = 1 - count / span * np.where(np.isnan(stability), 0.5, stability) * score
    last = records.last
    return {
        "id": pd.array(records.ids, dtype="string"),
        "metrics:area": areas[np.arange(len(last)), last].astype(np.float32),
        "first_year": years[records.first],
        "last_year": years[last],
        "years_seen": count.astype(np.int32),
        "stable_since": years[records.stable.argmax(axis=1)],
        "alive": records.alive,
        "stability": stability.astype(np.float32),
        "score": score.astype(np.float32),
        "doubt": doubt.astype(np.float32),
        "years": _lists(np.broadcast_to(years, seen.shape), "int32"),
        "seen": _lists(seen, "bool_"),
        "outcome": _lists(records.names(), "string"),
        "area": _lists(areas.astype(np.float32), "float32"),
        "confidences": _lists(scores.astype(np.float32), "float32"),
        "iou": _lists(np.where(seen, records.iou, np.nan).astype(np.float32), "float32"),
        "map_id": _lists(map_ids, "string"),
    }


def _mean(values: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Return the mean of what is known of each row, NaN where nothing is."""
    known = np.isfinite(values) & seen
    number = known.sum(axis=1)
    total = np.where(known, values, 0).sum(axis=1)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


def _lists(values: np.ndarray, kind: str) -> pd.Series:
    """Return a column of lists, one entry a year; what is not finite, or None, is null."""
    import pyarrow as pa

    count, years = values.shape
    flat = pa.array(values.ravel(), getattr(pa, kind)(), from_pandas=True)
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * years)
    lists = pa.ListArray.from_arrays(offsets, flat)
    return pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([lists])))


def _long_part(
    joined: JoinedYears,
    records: Records,
    at: int,
    found: tuple[np.ndarray, int, np.ndarray, np.ndarray],
    frame: GeoDataFrame,
    work: Path,
) -> Path:
    """Write the rows of one year of the long form."""
    (own, number, scores, areas), year = found, joined.years[at]
    rows = records.rows[own, at]
    part = frame[[frame.geometry.name]].iloc[rows].reset_index(drop=True)
    part.columns = ["geometry"]
    part = part.set_geometry("geometry").assign(
        **{
            "id": pd.array(records.ids[own], dtype="string"),
            "metrics:area": areas[own, at].astype(np.float32),
            "metrics:perimeter": year.mapped.perimeter[rows].astype(np.float32),
            "confidence": scores[own, at].astype(np.float32),
            "year": np.full(len(own), number, np.int32),
            "outcome": pd.array(
                outcome_names(records.codes[own, at], OUTCOMES_OF_YEARS), dtype="string"
            ),
            "iou": records.iou[own, at],
            "map_id": pd.array(frame["id"].to_numpy(object)[rows], dtype="string"),
        }
    )
    path = work / f"long-{at:03}.parquet"
    return fields.write_fields(part, path, origin_of(year.mapped.year), force=True)


def write_long(parts: Sequence[Path], path: Path, *, force: bool) -> None:
    """Put the years of the long form into one GeoParquet, row group by row group."""
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(part) for part in parts]
    try:
        about = [json.loads(one.schema_arrow.metadata[b"geo"]) for one in files]
        boxes = [box for one in about if (box := one["columns"]["geometry"].get("bbox"))]
        kinds = {kind for one in about for kind in one["columns"]["geometry"]["geometry_types"]}
        about[0]["columns"]["geometry"]["geometry_types"] = sorted(kinds)
        if boxes:
            low, high = np.min(boxes, axis=0), np.max(boxes, axis=0)
            about[0]["columns"]["geometry"]["bbox"] = [*map(float, low[:2]), *map(float, high[2:])]
        collection = {"selion": selion.__version__, "collection": "history"}
        schema = files[0].schema_arrow.with_metadata(
            {"geo": json.dumps(about[0]), "collection": json.dumps(collection)}
        )
        with (
            store.atomic_write(path, force) as temporary,
            pq.ParquetWriter(
                temporary, schema, compression="zstd", compression_level=9, use_dictionary=False
            ) as out,
        ):
            for one in files:
                for group in range(one.num_row_groups):
                    table = one.read_row_group(group)
                    out.write_table(table.replace_schema_metadata(schema.metadata).cast(schema))
    finally:
        for one in files:
            one.close()


def make_lineage(joined: JoinedYears, records: Records, detection: YearDetection) -> pd.DataFrame:
    """Return who came from whom, with columns :data:`selion.change.lineage.COLUMNS`.

    As that of two years, but what only a year says that found too little is "not seen", and what
    came back after such a year is related over it.
    """
    row = {name: k for k, name in enumerate(records.ids)}
    last, tables = len(joined.years) - 1, []
    for at, (step, year, across) in enumerate(
        zip(joined.steps, joined.years[1:], joined.across, strict=True), 1
    ):
        before, after = year.fate.copy(), year.came.copy()
        known = np.array([row[name] for name in year.known], np.int64)
        unsaid = (before == GONE) & detection.here[known, at]
        before[unsaid] = NOT_SEEN
        own = np.array([row[name] for name in year.names], np.int64)
        if at == 1 and last > 1:
            after[(after == APPEARED) & detection.here[own, 0]] = FIRST
        told = lineage(
            (step.before.seen_in, year.mapped.year.label),
            step.before.names,
            step.names,
            replace(step.judged, before=before, after=after),
            step.measures,
            OUTCOMES_OF_YEARS,
        )
        if len(across):
            over = set(across["to_id"])
            told = told[~(told["from_id"].isna() & told["to_id"].isin(over))]
            told = joined_rows([told, across])
        tables.append(told)
        if at < last:
            gone = known[unsaid & (records.codes[known, at + 1] == GONE)]
            tables.append(_left_later(joined, records, at, gone))
    return joined_rows(tables)


def _left_later(joined: JoinedYears, records: Records, at: int, gone: np.ndarray) -> pd.DataFrame:
    """Return rows of fields that are gone by the year after one that had not seen them."""
    labels = np.array([year.mapped.year.label for year in joined.years], object)
    return pd.DataFrame(
        {
            "from_year": labels[records.last[gone]],
            "to_year": labels[at + 1],
            "from_id": records.ids[gone],
            "outcome": outcome_names(records.codes[gone, at + 1], OUTCOMES_OF_YEARS),
        }
    )


def make_summary(
    records: Records,
    areas: np.ndarray,
    numbers: Sequence[int],
    detection: YearDetection,
    districts: np.ndarray | None = None,
) -> pd.DataFrame:
    """Count fields and hectares by district and year.

    Parameters
    ----------
    records : Records
    areas : (n, year) float64 ndarray
        In m2.
    numbers : sequence of int
        The years.
    detection : YearDetection
    districts : (n,) object ndarray, optional
        Where each field lies; None: all in one.

    Returns
    -------
    DataFrame
        ``district``, ``year``, ``fields`` and ``ha`` of the year's map, for each outcome the number
        of fields, and ``too_little``, the share of the district's fields that lie where the year
        found too little.  Fields that are gone, not seen or unknown are not among ``fields``.
    """
    names = np.full(len(records.ids), "all", object) if districts is None else districts
    order = sorted(set(names.tolist())) or ["all"]
    codes = {name: code for code, name in enumerate(OUTCOMES_OF_YEARS)} | {"unknown": UNKNOWN}
    rows: list[dict[str, Any]] = []
    seen = records.seen
    for name in order:
        here = names == name
        for at, number in enumerate(numbers):
            mine, code = here & seen[:, at], records.codes[here, at]
            row: dict[str, Any] = {
                "district": name,
                "year": number,
                "fields": int(mine.sum()),
                "ha": round(float(areas[mine, at].sum()) / 10_000, 2),
            }
            row |= {
                outcome.replace(" ", "_"): int(
                    ((code == codes[outcome]) & (seen[here, at] | (outcome in LEFT))).sum()
                )
                for outcome in COUNTED
            }
            there = code != NOTHING
            row["too_little"] = (
                round(float(detection.here[here, at][there].mean()), 4) if there.any() else 0.0
            )
            rows.append(row)
    return pd.DataFrame(rows)
