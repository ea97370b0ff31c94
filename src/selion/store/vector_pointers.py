"""What a table of polygons may be, before GDAL opens it.

GDAL takes a text of a virtual table, of a service or of an algorithm for a table whatever its file
is called, and goes wherever that text says: to any file of this machine, and to any server.
"""

from __future__ import annotations

import io
import json
import mmap
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
_MAGIC = (b"SQLite format 3\0", b"fgb\3", b"\0\0\x27\x0a", b"PMTiles")
"""Of files that are no text."""
_ZIP = b"PK\3\4"
_MEMBERS, _UNPACKED = 1000, 2 * 2**30
"""Files within an archive, and their bytes."""
_MANIFEST = ".manifest.json"
"""As manifests of results end, which read tables themselves."""
_SMALL, _DENSEST = 2**24, 200
"""Bytes to which a file may grow however small it is packed, and how many times one beyond that."""
_BLANK = 1024
_CRS = re.compile(rb"[\"']crs[\"']", re.IGNORECASE)
_SHORT, _LONGEST = 512, 2**16
"""Bytes of the coordinate system of a GeoJSON, usually and at most."""
_LETTER = re.compile(rb"\\u00[4-7][0-9a-fA-F]")
Text = bytes | mmap.mmap


def check_table(body: Text, name: str) -> None:
    """Refuse a table that names other data.

    Parameters
    ----------
    body : bytes or mmap
        The whole file.
    name : str
        For the message.

    Raises
    ------
    UnreadableFile
        If it is the text of a virtual table, a service or an algorithm, says that its coordinate
        system is to be asked for at an address, or is an archive that holds one that does.
    """
    import pyogrio

    # what a WFS has answered names the address of its schema, and is read without it
    pyogrio.set_gdal_config_options({"GML_DOWNLOAD_SCHEMA": "NO"})
    if body[:4] == _ZIP:
        _check_archive(body, name)
    elif not body[:16].startswith(_MAGIC):
        _check_text(body, name)


def _check_text(body: Text, name: str) -> None:
    if _TELLTALE.search(body[:_HEAD]):
        raise UnreadableFile(
            f"{name} is a text that names other data, not a table of polygons: give the table "
            "itself, for example as .parquet, .gpkg, .fgb or .geojson."
        )
    if body[:_BLANK].lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return
    if _LETTER.search(body):
        raise UnreadableFile(
            f"{name} spells letters as numbers (\\u0063 for c), by which it can hide what it says: "
            "write it anew, for example with ogr2ogr."
        )
    if any(_is_asked(body, found.end()) for found in _CRS.finditer(body)):
        raise UnreadableFile(
            f"{name} says that its coordinate system is to be asked for at an address, which is "
            "not done: give it the system's name (for example EPSG:4326), or write it anew "
            "with ogr2ogr -a_srs."
        )


def _is_asked(body: Text, start: int) -> bool:
    """Say whether what follows the word ``crs`` of a JSON is an address; or cannot be told."""
    found = None
    for longest in (_SHORT, _LONGEST):
        rest = body[start : start + longest].decode("latin-1").lstrip()
        if rest and rest[0] in ",]}":
            return False  # it was no name of anything
        rest = rest[1:].lstrip() if rest[:1] == ":" else ""
        if rest and rest[0] in "\"'[tfn-0123456789":
            return False
        found = found or _pairs(rest)
    return found is None or any(
        name.lower() == "type" and str(value).lower() in ("link", "url") for name, value in found
    )


def _pairs(text: str) -> list[tuple[str, object]] | None:
    """Return all names and values of the object with which a text begins; None if it does not."""
    found: list[tuple[str, object]] = []
    try:
        json.JSONDecoder(object_pairs_hook=found.extend).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found


def _check_archive(body: Text, name: str) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(body[:])) as archive:
            members = [one for one in archive.infolist() if not one.is_dir()]
            if len(members) > _MEMBERS or sum(one.file_size for one in members) > _UNPACKED:
                raise UnreadableFile(f"{name} holds too much: unpack it and give the table itself.")
            for one in members:
                if one.file_size > max(_SMALL, _DENSEST * one.compress_size):
                    raise UnreadableFile(
                        f"{name} says that the {one.compress_size:,} bytes of "
                        f"{one.filename[:80]} become {one.file_size:,}, as those of no table do: "
                        "it is not read."
                    )
                inner = archive.read(one)
                if inner[:4] != _ZIP and not inner.startswith(_MAGIC):
                    _check_text(inner, f"{name} ({one.filename[:80]})")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise UnreadableFile(
            f"{name} is an archive that cannot be read ({error}): copy it again."
        ) from error


def check_table_file(path: Path, name: str) -> None:
    """Refuse a file that names other data; as :func:`check_table`.

    Raises
    ------
    UnreadableFile
        If it does, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if not file.read(1):
                return  # GDAL says so
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
                check_table(body, name)
    except OSError as error:
        raise UnreadableFile(
            f"{name} cannot be read ({error.strerror}): check its permissions."
        ) from error


def check_driver(driver: str, name: str) -> None:
    """Refuse (UnreadableFile) what GDAL opened with a driver that follows names."""
    if driver not in DRIVERS:
        raise UnreadableFile(
            f"{name} is of a format that is not read as polygons ({driver}): convert it to .gpkg "
            "or .geojson."
        )


def with_its_rows(rows: Any, about: Mapping[str, Any], given: bytes | Path, name: str) -> Any:
    """Return what was read; UnreadableFile if it is empty because the file announces too much.

    GDAL looks for the first row of a FlatGeobuf behind an index as long as that number says, and
    finds none.  A row takes more than four bytes there.
    """
    if about["driver"] == "FlatGeobuf" and not len(rows) and about["features"] > 0:
        size = len(given) if isinstance(given, bytes) else given.stat().st_size
        if 4 * about["features"] > size:
            raise UnreadableFile(
                f"{name} announces {about['features']:,} rows and holds none: it is truncated; "
                "copy it again."
            )
    return rows


def unread(path: str, error: str) -> str:
    """Say why a file is no table of fields; GDAL's advice on drivers helps nobody here."""
    if "not recognized as being in a supported" not in error:
        return f"{path} cannot be read as fields ({error}): check that the file is whole."
    if path.endswith(_MANIFEST):
        return f"{path} cannot be read as fields: it is the manifest of a result, give the result."
    return (
        f"{path} cannot be read as fields: it is no table of them, or not whole; give .parquet, "
        ".gpkg, .geojson, .fgb, .shp, .gml or .kml."
    )
