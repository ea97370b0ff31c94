"""write_history: maps of many years as one history of fields, with attributes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selion import fields, store
from selion.change.history import (
    FUSED,
    FieldHistory,
    HistoryOptions,
    HistoryParts,
    join_years,
    output_names,
)
from selion.change.reference import match_last
from selion.change.sides import open_scores
from selion.change.years import Year, YearLike, find_years
from selion.errors import BadInput
from selion.pipeline.maps import MapOptions, fields_from_scores
from selion.pipeline.probabilities import RunReport
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.store.calls import sealed
from selion.world.attributes import (
    Attributes,
    add_attributes,
    calibrate,
    check_attributes,
    doubled_districts,
)

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

FIELDS = "fields.parquet"
"""The fields of the fused probabilities."""


@dataclass(frozen=True, kw_only=True)
class WorldHistoryOptions:
    """How a history is made."""

    mapping: MapOptions = field(default_factory=MapOptions)
    """How probabilities become fields, in each year and in the fused map; who does the blocks."""
    join: HistoryOptions = field(default_factory=HistoryOptions)
    attributes: Attributes = field(default_factory=Attributes)
    notes: tuple[str, ...] = ()
    """What is known of the maps: it stands in the page and in ``history.json``, too."""


@sealed("selion.world.write_history")
def write_history(
    years: Sequence[YearLike],
    out: Path | str,
    options: WorldHistoryOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> FieldHistory:
    """Join maps of the same place into one history of its fields, with attributes.

    Parameters
    ----------
    years : sequence
        The earliest first; see :func:`selion.change.find_years`.
    out : path
        A folder; gets what :func:`selion.change.join_years` writes and ``fields.parquet``, the
        fields of the probabilities fused over the years, whose column ``history:id`` says which
        field of the history each is.
    options : WorldHistoryOptions, optional
    force : bool
        Whether existing files are replaced.
    on_step, on_note : callable, optional

    Returns
    -------
    FieldHistory

    Raises
    ------
    SelionError
        If something cannot be read, used or written, or a year's map would be written over.
    """
    options, out = options or WorldHistoryOptions(), Path(out).expanduser()
    found = find_years(years)
    _check_apart(found, out)
    for name in (FIELDS, *output_names(found)):
        store.check_output(out / name, force)
    check_attributes(options.attributes, placed=open_scores(found[0])[0].grid.crs is not None)
    told = doubled_districts(options.attributes)
    for note in told:
        on_note(note)
    about_maps = [*options.notes, *told]

    def refine(frame: GeoDataFrame, parts: HistoryParts) -> tuple[GeoDataFrame, dict[str, Any]]:
        frame = add_attributes(frame, options.attributes, on_step)
        facts: dict[str, Any] = {"maps": about_maps} if about_maps else {}
        if options.attributes.reference:
            frame, found = calibrate(frame, parts, options.attributes, parts.folder.parent)
            facts |= found
        facts["fused_fields"] = _write_fused_fields(frame, parts, options.mapping, on_step, on_note)
        return frame, facts

    return join_years(
        years,
        out,
        options.join,
        refine=refine,
        force=force,
        on_step=on_step,
        on_note=on_note,
    )


def _check_apart(years: Sequence[Year], out: Path) -> None:
    """Refuse (BadInput) a folder in which the map of a year would be written over."""
    for year in years:
        if isinstance(year.table, Path) and year.table.resolve() == (out / FIELDS).resolve():
            raise BadInput(
                f"{year.table} is a map that is to be joined, and would be replaced by that of all "
                "years: give another folder (-o)."
            )


def _write_fused_fields(
    frame: GeoDataFrame,
    parts: HistoryParts,
    mapping: MapOptions,
    on_step: OnStep,
    on_note: OnNote,
) -> int:
    """Find the fields of the fused probabilities, and say which of the history each is."""
    work, last = parts.folder.parent, parts.joined.years[-1].mapped
    moment = last.origin.determined
    options = replace(
        mapping,
        scores=None,
        work=None,
        collection=mapping.collection or "fused",
        datetime=mapping.datetime or (None if moment is None else moment.isoformat()),
    )
    path = work / FIELDS
    fields_from_scores(
        parts.folder / FUSED,
        path,
        options,
        force=True,
        on_step=on_step,
        report=RunReport(on_note=on_note),
    )
    found = fields.read_fields(path)
    rows = match_last(parts.ground, found, work)
    known, none = frame.iloc[rows], rows < 0
    names = known["id"].to_numpy(object).copy()
    names[none] = None
    found = found.assign(**{"history:id": pd.array(names, dtype="string")})
    for column in ("first_year", "stable_since"):
        years = known[column].to_numpy(np.int32)
        found[f"history:{column}"] = pd.arrays.IntegerArray(years.copy(), none)
    fields.write_fields(found, parts.folder / FIELDS, fields.read_origin(path), force=True)
    return len(found)
