"""What a table of polygons may be, before GDAL opens it.

GDAL takes a text of a virtual table, of a service or of an algorithm for a table whatever its file
is called, and goes wherever that text says: to any file of this machine, and to any server.
"""

from __future__ import annotations

import re
from pathlib import Path

from selion.errors import UnreadableFile

DRIVERS = frozenset({
    "GPKG", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "TopoJSON", "ESRIJSON", "JSONFG", "GML", "KML",
    "LIBKML", "ESRI Shapefile", "MapInfo File", "OpenFileGDB", "SQLite", "CSV", "DXF", "DGN", "GPX",
    "PMTiles", "MBTiles", "MVT", "OGR_GMT", "GeoRSS", "XLSX", "ODS", "LVBAG", "OSM", "S57", "JML",
})  # fmt: skip
"""Of GDAL: those that read shapes from the file itself and what lies beside it."""
_HEAD = 65_536
"""Bytes at the beginning of a file; GDAL looks for its marks in fewer."""
_TELLTALE = re.compile(
    rb"<(ogr(?![:\w]*:)\w|gdal|vrtdataset|wms_|wmts|tileindex|(\w+:)?(wfs|csw)?_?capabilities)"
    rb'|"gdal_streamed_alg"',
    re.IGNORECASE,
)
_MAGIC = (b"SQLite format 3\0", b"fgb\3", b"PK\3\4", b"\0\0\x27\x0a", b"PMTiles")
"""Of files that are no text."""


def check_table(head: bytes, name: str) -> None:
    """Refuse a table that names other data.

    Parameters
    ----------
    head : bytes
        How the file begins, or all of it.
    name : str
        For the message.

    Raises
    ------
    UnreadableFile
        If it is the text of a virtual table, a service or an algorithm.
    """
    head = head[:_HEAD]
    if not head.startswith(_MAGIC) and _TELLTALE.search(head):
        raise UnreadableFile(
            f"{name} is a text that names other data, not a table of polygons: give the table "
            "itself, for example as .parquet, .gpkg, .fgb or .geojson."
        )


def check_table_file(path: Path, name: str) -> None:
    """Refuse a file that names other data; as :func:`check_table`.

    Raises
    ------
    UnreadableFile
        If it does, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UnreadableFile(
            f"{name} cannot be read ({error.strerror}): check its permissions."
        ) from error
    check_table(head, name)


def check_driver(driver: str, name: str) -> None:
    """Refuse (UnreadableFile) what GDAL opened with a driver that follows names."""
    if driver not in DRIVERS:
        raise UnreadableFile(
            f"{name} is of a format that is not read as polygons ({driver}): convert it to .gpkg "
            "or .geojson."
        )
