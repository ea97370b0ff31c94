"""The corrected map as a table: who decided what, and when, beside every field."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import fields, store
from selion.errors import SelionError
from selion.fields.schema import lacking_dtype
from selion.fields.table import geohash
from selion.review import rings
from selion.review.log import replay
from selion.review.state import DECIDED, REJECTED, STATUSES, UNDECIDED, Field, ReviewState
from selion.review.verdicts import asked_of
from selion.store.apart import check_apart

if TYPE_CHECKING:
    import geopandas
    import pandas as pd

    from selion.review.labels import LabelOptions, WrittenLabels
    from selion.review.opened import MapFiles

STATUS, PERSON, TIME = "review:status", "review:person", "review:time"
TABLE, REFUSED, LABELS = "fields.parquet", "rejected.parquet", "labels"
"""What an export writes into its folder."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    table: Path
    rejected: Path | None
    """Fields that are none; None where there is no such field."""
    counts: dict[str, int]
    labels: WrittenLabels | None
    """Training labels; None where there is no image to make them from."""
    notes: tuple[str, ...] = ()


def corrected(frame: geopandas.GeoDataFrame, state: ReviewState) -> geopandas.GeoDataFrame:
    """Return a map as it was corrected, rejected fields included.

    Parameters
    ----------
    frame : GeoDataFrame
        The map as it was.
    state : ReviewState
        What was done to it, see :func:`selion.review.replay`.

    Returns
    -------
    GeoDataFrame
        The columns of ``frame`` and ``review:status``, ``review:person``, ``review:time``; what a
        review before this one said stays where nobody has said anything since.  Areas and
        perimeters of changed outlines are measured anew; their confidence is the mean of the fields
        that they were made from, by area.  New fields have ids that say where they are.
    """
    import geopandas
    import pandas as pd

    before = _said_before(frame)
    frame = frame.drop(columns=[name for name in before if name in frame])
    frame = frame.assign(id=frame["id"].astype(str))  # as the log has them: numbers are ids too
    known = state.mapped
    untouched = np.ones(len(frame), bool)
    untouched[[row for name in state.changed if (row := known.row(name)) is not None]] = False
    one = frame[untouched].copy()
    one[list(before)] = before[untouched]
    changed = [f for f in state.changed.values() if f.status != "merged"]
    made = _rows(frame, state, changed, before)
    both = geopandas.GeoDataFrame(
        pd.concat([one.astype(object), made.astype(object)], ignore_index=True),
        geometry="geometry",
        crs=frame.crs,
    )
    both = both.set_geometry(_noded(both, state, changed), crs=frame.crs)
    for column in frame.columns:
        if column != frame.geometry.name:
            both[column] = both[column].astype(_kept(frame[column].dtype, both[column]))
    for column in (STATUS, PERSON):
        both[column] = both[column].astype("string")
    both[TIME] = pd.to_datetime(both[TIME], utc=True, format="ISO8601").astype(
        "datetime64[ms, UTC]"
    )
    return both


def _said_before(frame: geopandas.GeoDataFrame) -> pd.DataFrame:
    """Return status, person and time of each field of a map as an earlier review left them."""
    import pandas as pd

    blank = {STATUS: UNDECIDED, PERSON: None, TIME: None}
    said = pd.DataFrame(blank, index=frame.index, dtype=object)
    if STATUS in frame:
        known = frame[STATUS].notna()
        said.loc[known, STATUS] = frame[STATUS][known].astype(str)
        for name in (PERSON, TIME):
            said.loc[known, name] = frame[name][known].astype(object) if name in frame else None
        said[TIME] = pd.to_datetime(said[TIME], utc=True, errors="coerce").astype(object)
    return said


def _kept(dtype: Any, values: pd.Series) -> Any:
    """Return the type of a column; one that can lack values, where a new field has none of it."""
    return lacking_dtype(dtype) if values.isna().any() else dtype


def _rows(
    frame: geopandas.GeoDataFrame, state: ReviewState, changed: list[Field], before: pd.DataFrame
) -> geopandas.GeoDataFrame:
    """Return the rows of fields that people have touched."""
    import geopandas
    import pandas as pd

    shapes = np.array([f.shape for f in changed], dtype=object)
    made = geopandas.GeoDataFrame(
        {"id": _names(state, changed, frame.crs)}, geometry=shapes, crs=frame.crs
    )
    sources = [
        [row for name in f.origin if (row := state.mapped.row(name)) is not None] for f in changed
    ]
    for column in frame.columns:
        if column not in ("id", frame.geometry.name):
            told = [frame[column].iloc[rows[0]] if rows else None for rows in sources]
            made[column] = pd.Series(told, dtype=object)  # of numbers None would make floats
    if "confidence" in frame:
        made["confidence"] = [_mean(frame, state, rows) for rows in sources]
    area, length = fields.measure(shapes, None if frame.crs is None else frame.crs.to_wkt())
    for column, values in (("metrics:area", area), ("metrics:perimeter", length)):
        if column in frame:
            made[column] = values.astype(np.float32)
    said = [(f.status, f.person or None, f.time or None) for f in changed]
    for k, one in enumerate(changed):
        row = state.mapped.row(one.id)
        if one.status == UNDECIDED and row is not None:  # taken back, or bent with a neighbour
            said[k] = tuple(before.iloc[row])
    for k, column in enumerate((STATUS, PERSON, TIME)):
        made[column] = pd.Series([one[k] for one in said], dtype=object)
    return made[[*frame.columns, STATUS, PERSON, TIME]]


def _mean(frame: geopandas.GeoDataFrame, state: ReviewState, rows: list[int]) -> float:
    if not rows:
        return float("nan")
    areas = [state.mapped.outlines[row].area for row in rows]
    return float(
        np.average(frame["confidence"].to_numpy(np.float64, na_value=np.nan)[rows], weights=areas)
    )


def _names(state: ReviewState, changed: list[Field], crs: Any) -> list[str]:
    """Keep the ids of mapped fields; name new ones by where they are."""
    import geopandas
    import shapely

    names = [f.id for f in changed]
    new = [k for k, name in enumerate(names) if state.mapped.row(name) is None]
    if not new:
        return names
    inside = geopandas.GeoSeries([shapely.point_on_surface(changed[k].shape) for k in new], crs=crs)
    if crs is None:
        made = [f"x{p.x:.1f}y{p.y:.1f}" for p in inside]
    else:
        placed = inside.to_crs("OGC:CRS84")
        made = geohash(placed.x.to_numpy(), placed.y.to_numpy())
    taken = set(names)
    for k, name in zip(new, made, strict=True):
        number, free = 1, name
        while free in taken or state.mapped.row(free) is not None:
            number += 1
            free = f"{name}-{number}"
        names[k] = free
        taken.add(free)
    return names


def _noded(frame: geopandas.GeoDataFrame, state: ReviewState, changed: list[Field]) -> np.ndarray:
    """Give changed outlines and those that touch them each other's vertices.

    So neighbours still have the same points on a shared edge.
    """
    import shapely

    outlines = frame.geometry.to_numpy().copy()
    if not changed:
        return outlines
    reach, there = state.mapped.reach, frame[STATUS].to_numpy(object) != REJECTED
    tree = shapely.STRtree(outlines)
    first = len(outlines) - len(changed)
    pairs = tree.query(outlines[first:], predicate="dwithin", distance=reach)
    touched = sorted({int(k) for k in pairs[1] if there[k]})
    one, other = tree.query(outlines[touched], predicate="dwithin", distance=reach)
    result = outlines.copy()
    for k, row in enumerate(touched):
        others = [outlines[n] for n in other[one == k] if n != row and there[n]]
        result[row] = rings.noded(outlines[row], others, reach) if others else outlines[row]
    return np.where(shapely.is_valid(result), result, outlines)


def export_review(
    files: MapFiles,
    out: Path,
    options: LabelOptions | None = None,
    *,
    labels: bool = True,
    force: bool = False,
) -> Exported:
    """Write the corrected map and, where there is an image, labels to train on.

    Parameters
    ----------
    files : MapFiles
    out : path
        Folder; gets ``fields.parquet`` (fiboa; of a sample ``review:status`` is the answer),
        ``rejected.parquet`` and ``labels/``, a dataset that :func:`selion.data.load_dataset`
        opens.
    options : LabelOptions, optional
        How labels are burnt.
    labels : bool
        Whether labels are wanted.
    force : bool
        Whether what is there is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    BadInput
        If the log belongs to another map, or what is reviewed would be replaced.
    """
    from selion.data.declare import MADE
    from selion.review.labels import write_labels

    for target, kind in ((out / TABLE, None), (out / REFUSED, None), (out / LABELS, MADE)):
        check_apart(target, files.table, files.image, files.scores, files.log)
        store.check_output(target, force, kind)
    before = files.read()
    state = replay(before, files.log)
    frame = corrected(before, state)
    refused = frame[STATUS] == REJECTED
    origin = _origin(files, frame)
    answers = {one.status: one.answer for one in asked_of(files)}
    told = frame.assign(**{STATUS: frame[STATUS].replace(answers)})
    table = fields.write_fields(told[~refused], out / TABLE, origin, force=force)
    rejected = None
    if refused.any():
        rejected = fields.write_fields(told[refused], out / REFUSED, origin, force=True)
    else:
        (out / REFUSED).unlink(missing_ok=True)
    notes = (
        [
            (
                f"{state.skipped:,} lines of {files.log.name} were torn or did not fit, and were "
                "left out."
            )
        ]
        if state.skipped
        else []
    )
    written = None
    if labels and files.image is None:
        notes.append(
            "There is no image beside the map, so no labels were written: name one with --image."
        )
    elif labels and files.image is not None:
        written = write_labels(files.image, frame, out / LABELS, options, force=force)
    return Exported(table, rejected, _counts(frame), written, tuple(notes))


def _counts(frame: geopandas.GeoDataFrame) -> dict[str, int]:
    """Count the fields of a corrected map as :meth:`ReviewState.counts` does."""
    said = frame[STATUS]
    found = {str(name): int(count) for name, count in said.value_counts().items()}
    decided = int(said.isin(DECIDED).sum())
    return {"total": len(frame), "decided": decided, **dict.fromkeys(STATUSES, 0), **found}


def _origin(files: MapFiles, frame: geopandas.GeoDataFrame) -> fields.Origin:
    try:
        origin = (
            fields.read_origin(files.table)
            if files.table.suffix.lower() == ".parquet"
            else fields.Origin(files.table.stem)
        )
    except SelionError:
        origin = fields.Origin(files.table.stem)
    said = {"people": sorted(set(frame[PERSON].dropna())), **_counts(frame)}
    details = f"{origin.details}, reviewed" if origin.details else "reviewed"
    return replace(
        origin, details=details, provenance={**(origin.provenance or {}), "review": said}
    )
