"""Tables of fields: outlines that lie beside one another, and what fiboa asks of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from selion import fields
from selion.errors import SelionError, counted
from selion.fields.topology import TOLERANCE, examine_topology
from selion.store.vectors import read_metadata
from selion.verification.agreement import check_agreement
from selion.verification.checks import DIFFERS, HOLDS, UNKNOWN, Check, judged

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

ENDINGS = (".parquet", ".gpkg", ".fgb", ".geojson")
"""Of files that may be tables of fields."""
MOST = 2_000_000
"""Rows up to which outlines are looked at all together."""


def read_table(path: Path) -> GeoDataFrame | None:
    """Read a table of outlines; None where the file holds none.

    Raises
    ------
    SelionError
        If it cannot be read.
    """
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        try:
            if b"geo" not in (pq.read_metadata(path).metadata or {}):
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
    found = examine_topology(frame, tolerance)
    looked = (
        f"{counted(found.outlines, 'outline')}: none is empty or broken, no two share more than "
        f"{tolerance:g} m2 (px2 of a photograph)."
    )
    return judged("topology", found.faults(tolerance), looked, where)


def check_conformity(path: Path, where: str) -> Check:
    """Check what fiboa asks, with the project's own checker and the official one where it is."""
    try:
        metadata = read_metadata(path)
        if not metadata["collection"]:
            return Check("fiboa", UNKNOWN, ("The file does not say that it is fiboa.",), where)
        faults = fields.check_fiboa(path)
    except (SelionError, OSError, ValueError, LookupError) as error:
        return Check("fiboa", DIFFERS, (f"The file cannot be read: {error}",), where)
    return (
        Check("fiboa", DIFFERS, tuple(faults), where)
        if faults
        else Check("fiboa", HOLDS, ("It conforms to fiboa 0.3 and GeoParquet 1.1.",), where)
    )
