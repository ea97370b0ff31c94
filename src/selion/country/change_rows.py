"""Rows of a comparison of two maps: later fields, those that are gone, who came from whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from selion.change.lineage import Measures, Names, lineage, outcome_names
from selion.change.outcomes import GONE
from selion.country.cells import hilbert, places_of
from selion.country.job_tables import conformed, with_column
from selion.country.neighbourhoods import LoadedFields, Neighbourhood, joined_ids
from selion.country.sorted_runs import KEY, KIND, wkb_kinds

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

NUMBERS = ("change:iou", "change:share_before", "change:share_after", "change:edge", "change:shift")
"""Columns that are about the first of the related fields."""


def named_fields(near: Neighbourhood, label: str) -> tuple[Names, Names]:
    """Name all fields: those that are an earlier one have its id.

    ``label`` is that of the later year.
    """
    one = Names(near.before.names, near.before.since)
    ids, since = near.names.copy(), np.full(len(near.names), label, object)
    pairs = near.judged.pairs
    ids[pairs.other[pairs.same] - 1] = one.ids[pairs.one[pairs.same] - 1]
    since[pairs.other[pairs.same] - 1] = one.since[pairs.one[pairs.same] - 1]
    return one, Names(ids, since)


def later_rows(schema: pa.Schema, near: Neighbourhood, names: tuple[Names, Names]) -> pa.Table:
    """Return the later fields of the cell."""
    judged, after = near.judged, near.after
    pairs, count = judged.pairs, len(judged.after)
    order = np.lexsort((pairs.one, -pairs.shared, pairs.other))
    other = pairs.other[order] - 1
    first = order[np.flatnonzero(np.diff(other, prepend=-1))]
    measures = _measures(near)
    values = (pairs.iou, measures.share_from, measures.share_to, measures.edge, measures.shift)
    columns: dict[str, Any] = {
        "id": names[1].ids,
        "change:outcome": outcome_names(judged.after),
        "change:parents": np.bincount(other, minlength=count),
        "change:before": np.array(
            joined_ids(names[0].ids[pairs.one[order] - 1].tolist(), other, count), object
        ),
        "change:since": names[1].since,
        "change:known": _share_known(after),
    }
    for name, found in zip(NUMBERS, values, strict=True):
        columns[name] = np.full(count, np.nan, np.float32)
        columns[name][pairs.other[first] - 1] = found[first]
    return _rows(schema, after, columns, np.flatnonzero(near.mine[1]))


def gone_rows(schema: pa.Schema, near: Neighbourhood, names: Names) -> pa.Table:
    """Return the earlier fields of the cell that are gone, with the outlines they had."""
    before, count = near.before, len(near.before.ids)
    columns: dict[str, Any] = {
        "id": names.ids,
        "change:outcome": outcome_names(near.judged.before),
        "change:parents": np.ones(count, np.int32),
        "change:before": names.ids,
        "change:since": names.since,
        "change:known": _share_known(before),
    } | dict.fromkeys(NUMBERS, np.full(count, np.nan, np.float32))
    gone = np.flatnonzero(near.mine[0] & (near.judged.before == GONE))
    return _rows(schema, before, columns, gone)


def _share_known(loaded: LoadedFields) -> np.ndarray:
    share: np.ndarray = np.minimum(loaded.known / np.maximum(loaded.area, 1e-9), 1)
    return share.astype(np.float32)


def _measures(near: Neighbourhood) -> Measures:
    pairs = near.judged.pairs
    return Measures(
        pairs.shared / near.before.known[pairs.one - 1],
        pairs.shared / near.after.known[pairs.other - 1],
        pairs.edge,
        near.shift,
    )


def _rows(
    schema: pa.Schema, loaded: LoadedFields, columns: dict[str, Any], rows: np.ndarray
) -> pa.Table:
    """Return some fields with the columns of the result."""
    import pyarrow as pa

    part = loaded.table.take(pa.array(rows))
    map_ids = part["map_id"]
    part = conformed(part, schema)
    for name, values in columns.items():
        part = with_column(part, name, values[rows])
    number = part.column_names.index("change:map_id")
    return part.set_column(number, part.schema.field(number), map_ids)


def placed(table: pa.Table) -> pa.Table:
    """Put place and type in front, as :func:`selion.country.sorted_runs.place` does.

    The id is not looked at: one that follows a field may name a place where it was before.
    """
    import pyarrow as pa

    x, y, _ = places_of(table["id"].to_pylist())
    kinds = wkb_kinds(table["geometry"]).astype(np.int32)
    table = table.add_column(0, pa.field(KIND, pa.int32()), pa.array(kinds))
    return table.add_column(0, pa.field(KEY, pa.int64()), pa.array(hilbert(x, y)))


def cell_lineage(
    near: Neighbourhood, names: tuple[Names, Names], labels: tuple[str, str]
) -> pd.DataFrame:
    """Return who came from whom: pairs of later fields of the cell, and lone fields of it."""
    pairs = near.judged.pairs
    seen_in = np.full(len(names[0].ids), labels[0], object)
    rows = lineage((seen_in, labels[1]), *names, near.judged, _measures(near))
    lone = (
        np.setdiff1d(np.arange(len(mine)), at - 1)
        for mine, at in zip(near.mine, (pairs.one, pairs.other), strict=True)
    )
    kept = [near.mine[1][pairs.other - 1]]
    kept += [mine[at] for mine, at in zip(near.mine, lone, strict=True)]
    return rows[np.concatenate(kept)]
