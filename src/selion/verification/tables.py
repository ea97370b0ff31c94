"""Tables of fields: outlines that lie beside one another, and what fiboa asks of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from selion import fields
from selion.errors import SelionError, counted
from selion.fields.topology import TOLERANCE, examine_topology
from selion.store.parquet import is_index
from selion.store.vectors import read_metadata
from selion.verification.agreement import check_agreement
from selion.verification.checks import DIFFERS, HOLDS, UNKNOWN, Check, judged

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from pandas import Series

ENDINGS = (".parquet", ".gpkg", ".fgb", ".geojson")
"""Of files that may be tables of fields."""
OWN = frozenset(("selion", "collection"))
"""What tables of ours say that are not fiboa, such as one of a row a field and year."""
OUTCOME = "change:outcome"
"""Column of a table of changes."""
MOST = 2_000_000
"""Rows up to which outlines are looked at all together."""


def read_table(path: Path) -> GeoDataFrame | None:
    """Read a table of outlines; None where the file holds none, or those of other files.

    Raises
    ------
    SelionError
        If it cannot be read.
    """
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        try:
            footer = pq.read_metadata(path)
            if b"geo" not in (footer.metadata or {}) or is_index(footer.schema.to_arrow_schema()):
                return None
        except (OSError, ValueError):
            pass  # read_fields says what is wrong
    frame = fields.read_fields(path)
    kinds = set(frame.geom_type.dropna().unique())
    return frame if kinds <= {"Polygon", "MultiPolygon"} else None


def check_table(
    path: Path, where: str, tolerance: float, others: Mapping[str, Path]
) -> Iterator[Check]:
    """Check the outlines of a file, what fiboa asks where it says that it is fiboa, and the rest.

    Parameters
    ----------
    path : path
    where : str
        Its name.
    tolerance : float
        m2 that two fields may share.
    others : mapping
        Files that were written beside it.
    """
    try:
        frame = read_table(path)
    except (SelionError, OSError, ValueError, RuntimeError) as error:
        yield Check("topology", DIFFERS, (f"The table cannot be read: {error}",), where)
        return
    if frame is None:
        return
    yield check_outlines(frame, where, tolerance)
    if path.suffix == ".parquet":
        yield check_conformity(path, where)
    yield check_agreement(path, frame, others, where)


def check_outlines(frame: GeoDataFrame, where: str, tolerance: float = TOLERANCE) -> Check:
    """Look for empty, broken and overlapping outlines."""
    if len(frame) > MOST:
        text = f"{len(frame):,} outlines are more than are looked at together ({MOST:,})."
        return Check("topology", UNKNOWN, (text,), where)
    maps = maps_of(frame)
    found = [examine_topology(one, tolerance) for one in maps.values()]
    looked = (
        f"{counted(len(frame), 'outline')}{_of_years(maps)}: none is empty or broken, no two share "
        f"more than {tolerance:g} m2 (px2 of a photograph)."
    )
    faults = [
        f"{year}: {text}" if year else text
        for year, one in zip(maps, found, strict=True)
        for text in one.faults(tolerance)
    ]
    return judged("topology", faults, looked, where)


def maps_of(frame: GeoDataFrame) -> dict[str, GeoDataFrame]:
    """Return the maps that a table holds, by their years: one, but for tables of several years.

    A table of changes has the fields that are gone, with the outlines they had, beside those of the
    later year; a history has each field as it was seen last.
    """
    years = _years_of(frame)
    if years is None:
        return {"": frame}
    return {str(year): part for year, part in frame.groupby(years, sort=True)}


def _years_of(frame: GeoDataFrame) -> Series | None:
    """Return the year from which each outline is; None: all are from one."""
    if OUTCOME in frame:
        return (frame[OUTCOME] == "gone").map({True: "earlier year", False: "later year"})
    if {"first_year", "last_year", "years_seen"} <= set(frame.columns):
        return frame["last_year"]
    if "year" in frame and "id" in frame and frame["id"].duplicated().any():
        return frame["year"]
    return None


def _of_years(maps: Mapping[str, GeoDataFrame]) -> str:
    return f" of {counted(len(maps), 'year')}, each looked at alone" if len(maps) > 1 else ""


def check_conformity(path: Path, where: str) -> Check:
    """Check what fiboa asks, with the project's own checker and the official one where it is."""
    try:
        metadata = read_metadata(path)
        if not metadata["collection"].keys() - OWN:
            return Check("fiboa", UNKNOWN, ("The file does not say that it is fiboa.",), where)
        faults = fields.check_fiboa(path)
    except (SelionError, OSError, ValueError, LookupError) as error:
        return Check("fiboa", DIFFERS, (f"The file cannot be read: {error}",), where)
    return (
        Check("fiboa", DIFFERS, tuple(faults), where)
        if faults
        else Check("fiboa", HOLDS, ("It conforms to fiboa 0.3 and GeoParquet 1.1.",), where)
    )
