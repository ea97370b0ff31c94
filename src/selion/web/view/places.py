"""Where somebody wants to go: coordinates as they are usually written, or a name of their own file.

Nothing is asked of any server: names come from the file that ``--places`` gives.
"""

from __future__ import annotations

import csv
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from selion.errors import BadInput, UnreadableFile

LONGEST = 200
MOST = 1_000_000
"""Names of a file that are read."""
SHOWN = 8
UNREADABLE = (OSError, ValueError, TypeError, KeyError, AttributeError, csv.Error, RecursionError)
NAMES = ("name", "label", "title", "place", "id")
LATITUDES = ("lat", "latitude", "y")
LONGITUDES = ("lon", "lng", "long", "longitude", "x")
LINK = re.compile(r"(?:@|geo:|/)(-?\d+\.\d+)[,/](-?\d+\.\d+)")
"""Of maps on the web, and geo: (RFC 5870)."""
NUMBER = r"\d+(?:[.,]\d+)?"
_SIZE = (
    rf"(?P<sign>[-+\u2212])?\s*(?P<degrees>{NUMBER})\s*[°º]?"
    rf"(?:\s*(?P<minutes>{NUMBER})\s*['\u2032\u2019])?"
    rf"(?:\s*(?P<seconds>{NUMBER})\s*(?:\"|''|\u2033|\u201d))?"
)
ANGLE = re.compile(rf"{_SIZE}\s*(?P<letter>[NSEWO])?", re.IGNORECASE)
BEHIND = re.compile(rf"(?P<letter>[NSEWO])\s*{_SIZE}", re.IGNORECASE)
"""An angle with its letter after it, or before it."""


@dataclass(frozen=True)
class NamedPoint:
    """A point with a name, in degrees."""

    name: str
    lat: float
    lon: float


def read_coordinates(text: str) -> NamedPoint | None:
    """Read latitude and longitude.

    ``48.29, 13.14``, ``48.29N 13.14E``, ``13.14 E 48.29 N``, ``48°17'24"N 13°8'24"E``,
    ``48,29; 13,14``, ``geo:48.29,13.14`` and links of maps that hold them.

    Returns
    -------
    NamedPoint or None
        None where the text is no pair of coordinates.

    Raises
    ------
    BadInput
        If it is a pair that lies on no map, or whose letter is east or west.
    """
    if linked := LINK.search(text):
        return _point(text, [float(linked[1]), float(linked[2])], ["", ""])
    # a comma parts the two, unless it is that of decimals: 48,29; 13,14
    parted = (
        text if re.search(r"\d,\d+\s*[;\s]\s*[-\u2212]?\d+,\d", text) else text.replace(",", " ")
    )
    # N48.29 E13.14: the E belongs to what follows it
    angle = BEHIND if re.match(r"\s*[NSEWO]\s*\d", parted, re.IGNORECASE) else ANGLE
    found = list(angle.finditer(parted.replace(";", " ").strip()))
    rest = angle.sub("", parted.replace(";", " ")).strip()
    if len(found) != 2 or rest:  # a pair
        return None
    letters = [_letter(each) for each in found]
    if "O" in letters:
        raise BadInput(
            f"{text[:60]!r} has the letter O, which is east in German and west in Spanish and "
            "French: write E or W."
        )
    return _point(text, [_degrees(each) for each in found], letters)


def _letter(found: re.Match[str]) -> str:
    return (found["letter"] or "").upper()


def _degrees(found: re.Match[str]) -> float:
    parts = [float((found[k] or "0").replace(",", ".")) for k in ("degrees", "minutes", "seconds")]
    size = parts[0] + parts[1] / 60 + parts[2] / 3600
    negative = (found["sign"] or "+") in "-\u2212" or _letter(found) in ("S", "W")
    return -size if negative else size


def _point(text: str, values: Sequence[float], letters: Sequence[str]) -> NamedPoint:
    lat, lon = values
    if letters[0] in ("E", "W") or letters[1] in ("N", "S"):
        lat, lon = lon, lat
    if not (abs(lat) <= 90 and abs(lon) <= 180):  # degrees of the globe
        raise BadInput(
            f"{text[:60]!r} lies on no map: latitude first (-90 to 90), then longitude (-180 to "
            "180), or with letters, as in 13.14E 48.29N."
        )
    return NamedPoint(f"{lat:.5f}, {lon:.5f}", lat, lon)


def read_places(path: Path) -> tuple[NamedPoint, ...]:
    """Read a person's own names: CSV with name, lat, lon, or GeoJSON with a name.

    Raises
    ------
    BadInput
        If it has no such columns, or another ending.
    UnreadableFile
        If it cannot be read.
    """
    try:
        if path.suffix.lower() in (".geojson", ".json"):
            return tuple(_of_features(json.loads(path.read_text("utf-8-sig"))))
        if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
            raise BadInput(
                f"{path.name} is no file of names: give CSV (name, lat, lon) or GeoJSON."
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.read(4096)
            file.seek(0)
            head = sample.split("\n")[0]
            mark = max(",;\t", key=head.count)
            rows = csv.DictReader(file, delimiter=mark)
            return tuple(_of_rows(list(islice(rows, MOST)), path))
    except UNREADABLE as error:
        if isinstance(error, BadInput):
            raise
        raise UnreadableFile(
            f"{path} cannot be read as a file of names ({error}): give CSV (name, lat, lon) or "
            "GeoJSON."
        ) from error


def _of_rows(rows: Sequence[Mapping[str, str]], path: Path) -> list[NamedPoint]:
    heads = list(rows[0]) if rows else []
    known = {str(head).strip().lower(): head for head in heads}
    columns = [
        next((known[word] for word in words if word in known), "")
        for words in (NAMES, LATITUDES, LONGITUDES)
    ]
    if "" in columns:
        raise BadInput(
            f"{path.name} has the columns {', '.join(map(str, heads))[:120] or 'none'}: wanted are "
            "name, lat and lon (degrees)."
        )
    found = []
    for row in rows:
        name, lat, lon = (str(row[column] or "").strip() for column in columns)
        with_point = [text.replace(",", ".") for text in (lat, lon)]
        try:
            point = [float(text) for text in with_point]
        except ValueError:
            continue
        if name and abs(point[0]) <= 90 and abs(point[1]) <= 180:
            found.append(NamedPoint(name[:LONGEST], *point))
    return found


def _of_features(table: Any) -> list[NamedPoint]:
    import shapely

    found = []
    features = table.get("features", []) if isinstance(table, dict) else []
    for feature in features[:MOST]:
        traits = feature.get("properties") or {}
        name = next((str(traits[word]) for word in NAMES if traits.get(word)), "")
        if not name or not feature.get("geometry"):
            continue
        middle = shapely.geometry.shape(feature["geometry"]).representative_point()
        if not middle.is_empty and math.isfinite(middle.x) and math.isfinite(middle.y):
            found.append(NamedPoint(name[:LONGEST], middle.y, middle.x))
    return found


def find_places(wanted: str, names: Sequence[NamedPoint]) -> list[NamedPoint]:
    """Return where somebody may want to go: coordinates, else names that hold the words.

    Raises
    ------
    BadInput
        If it is too long, or coordinates that lie on no map.
    """
    if not 1 <= len(wanted) <= LONGEST:
        raise BadInput(f"A place of 1 to {LONGEST} characters is wanted.")
    point = read_coordinates(wanted)
    if point is not None:
        return [point]
    asked = folded(wanted)
    held = [each for each in names if asked in folded(each.name)]
    return sorted(held, key=lambda each: (not folded(each.name).startswith(asked), each.name))[
        :SHOWN
    ]


def folded(text: str) -> str:
    """Return a name without accents and capitals."""
    parts = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(letter for letter in parts if not unicodedata.combining(letter))
