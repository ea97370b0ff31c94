"""The table of a step.

The later year's fields under the ids that follow them, what became of each, and those that are
gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import selion
from selion import fields
from selion.change.lineage import outcome_names
from selion.change.outcomes import GONE
from selion.change.sides import origin_of, read_year
from selion.change.step import Step
from selion.change.years import Year
from selion.fields.schema import lacking_dtype

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

WHEN = "determination:datetime"
MEANING = {
    "change:outcome": "What became of the field, or where it came from.",
    "change:parents": "Number of related fields of the year before.",
    "change:before": "Their ids, the one with the largest share first, separated by spaces.",
    "change:since": "The first year in which the id was seen.",
    "change:map_id": "The id in the year's own map.",
    "change:iou": "Intersection over union with the first of the related fields.",
    "change:share_before": "Share of that field that lies in this one.",
    "change:share_after": "Share of this field that comes from that one.",
    "change:edge": "Mean distance in metres between the two outlines (pixels in a photograph).",
    "change:shift": "Distance in metres between the two centroids (pixels in a photograph).",
    "change:known": "Share of the field that both years saw.",
}
"""Columns beside those of :data:`selion.fields.COLUMNS`."""


def change_table(step: Step) -> GeoDataFrame:
    """Return a row for each field of the later year and, after them, for each that is gone.

    Among these are such as the year before did not see, and an earlier one did.

    Returns
    -------
    GeoDataFrame
        With the columns of the maps and of :data:`MEANING`; ``id`` is the one that follows the
        field through the years.  In longitude and latitude, as the maps' GeoParquet is, or in the
        CRS of the later map.
    """
    after, _ = read_year(step.after.year)
    frame = after.assign(**{"change:map_id": after["id"], "id": step.names.ids}, **_columns(step))
    gone = _gone_tables(step, frame)
    if step.before.mapped.origin.determined and step.after.origin.determined:
        frame[WHEN] = _moments(frame, step.after.origin.determined)
        for part, year in gone:
            part[WHEN] = _moments(part, origin_of(year).determined)
    if not gone:
        return frame
    return _joined_tables([frame, *(part for part, _ in gone)])


def _joined_tables(parts: Sequence[GeoDataFrame]) -> GeoDataFrame:
    """Return tables as one with the columns of the first, in its types where all values fit."""
    first = parts[0]
    lacking = {
        name: lacking_dtype(kind)
        for name, kind in first.dtypes.items()
        if any(name not in part for part in parts)
    }
    whole = []
    for part in parts:
        blank = {
            name: pd.Series([None] * len(part), part.index, dtype=kind)
            for name, kind in lacking.items()
            if name not in part
        }
        told = part.assign(**blank)[list(first.columns)]
        whole.append(told.astype(lacking))
    joined = pd.concat(whole, ignore_index=True)
    kinds = {
        name: fit
        for name, kind in whole[0].dtypes.items()
        if name != joined.geometry.name and (fit := _fitting(joined[name].dtype, kind)) is not None
    }
    return joined.astype(kinds)


def _fitting(found: Any, wanted: Any) -> Any:
    """Return the type of a column that has another one in an earlier year; None: as it is."""
    if found == wanted:
        return None
    if wanted.kind in "iubf" and found.kind == "O":  # numbers now, and words then
        return "string"
    return None if wanted.kind in "iub" else wanted


def _moments(frame: GeoDataFrame, date: object) -> pd.Series:
    """Return when each field was seen: what its table says, else the time of the whole map."""
    own = (
        pd.to_datetime(frame[WHEN], utc=True)
        if WHEN in frame
        else pd.Series(pd.NaT, frame.index, dtype="datetime64[ms, UTC]")
    )
    if date is None:
        return own
    moment = pd.Timestamp(date)  # type: ignore[arg-type]
    return own.fillna(
        moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
    ).astype("datetime64[ms, UTC]")


def _columns(step: Step) -> dict[str, object]:
    """Return what is said of each field of the later year."""
    pairs, measures, count = step.judged.pairs, step.measures, len(step.judged.after)
    order = np.lexsort((pairs.one, -pairs.shared, pairs.other))
    other = pairs.other[order] - 1
    first = order[np.flatnonzero(np.diff(other, prepend=-1))]
    numbers = {
        "iou": pairs.iou,
        "share_before": measures.share_from,
        "share_after": measures.share_to,
        "edge": measures.edge,
        "shift": measures.shift,
    }
    columns: dict[str, object] = {
        "change:outcome": pd.array(outcome_names(step.judged.after), dtype="string"),
        "change:parents": np.bincount(other, minlength=count).astype(np.int32),
        "change:before": pd.array(
            _joined(step.before.names.ids[pairs.one[order] - 1], other, count), dtype="string"
        ),
        "change:since": pd.array(step.names.since, dtype="string"),
    }
    for name, values in numbers.items():
        column = np.full(count, np.nan, np.float32)
        column[pairs.other[first] - 1] = values[first]
        columns[f"change:{name}"] = column
    columns["change:known"] = np.minimum(step.known_after, 1).astype(np.float32)
    return columns


def _joined(names: np.ndarray, owner: np.ndarray, count: int) -> list[str]:
    """Join the names of each owner by spaces; names come sorted by owner."""
    ends = np.cumsum(np.bincount(owner, minlength=count))
    starts = ends - np.bincount(owner, minlength=count)
    return [" ".join(names[start:end]) for start, end in zip(starts, ends, strict=True)]


def _gone_tables(step: Step, frame: GeoDataFrame) -> list[tuple[GeoDataFrame, Year]]:
    """Return the fields that are gone, with the outlines they had, by the year that has these.

    That is the year before, and for what it did not see an earlier one.
    """
    state = step.before
    gone = np.flatnonzero(step.judged.before == GONE)
    found = []
    for label in dict.fromkeys(state.seen_in[gone]):
        year = state.years[label]
        part = _gone_part(step, gone[state.seen_in[gone] == label], year)
        same = part.crs == frame.crs or frame.crs is None
        found.append((part if same else part.to_crs(frame.crs), year))
    return found


def _gone_part(step: Step, gone: np.ndarray, year: Year) -> GeoDataFrame:
    """Return rows of a year's table as fields that are gone."""
    state, count = step.before, len(gone)
    part = read_year(year)[0].iloc[state.rows[gone]].reset_index(drop=True)
    columns = {
        "change:map_id": part["id"],
        "id": state.names.ids[gone],
        "change:outcome": pd.array(["gone"] * count, dtype="string"),
        "change:parents": np.ones(count, np.int32),
        "change:before": pd.array(state.names.ids[gone], dtype="string"),
        "change:since": pd.array(state.names.since[gone], dtype="string"),
        "change:known": np.minimum(step.known_before[gone], 1).astype(np.float32),
    }
    missing = {name: np.full(count, np.nan, np.float32) for name in MEANING if name not in columns}
    return part.assign(**columns, **missing)


def write_table(step: Step, path: Path, rule: str, *, force: bool) -> Path:
    """Write the table as fiboa GeoParquet."""
    before, after = step.before.mapped, step.after
    details = (
        f"change from {before.year.label} to {after.year.label}, rule {rule}, selion "
        f"{selion.__version__}; {after.origin.details}"
    )
    provenance = {
        "selion": selion.__version__,
        "years": {year.year.label: year.origin.to_dict() for year in (before, after)},
    }
    origin = fields.Origin(
        path.stem, after.origin.determined, details.rstrip("; "), after.origin.method, provenance
    )
    return fields.write_fields(change_table(step), path, origin, force=force)
