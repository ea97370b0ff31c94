"""What a camera wrote into a photograph: when, where, with what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from selion.store.gdal import quiet
from selion.store.photo import is_raw, raw_exif

CLOCK = re.compile(r"(\d{4})[:-](\d\d)[:-](\d\d)[ T](\d\d):(\d\d):(\d\d)")
ZONE = re.compile(r"[+-]\d\d:\d\d")
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    MemoryError,  # of a PNG the whole image is decoded, for what may stand behind it
    Image.DecompressionBombError,
)
"""What Pillow raises at EXIF that is none; a photograph without EXIF is as good as one with it."""


@dataclass(frozen=True, slots=True)
class Exif:
    """Empty where the camera said nothing."""

    time: str = ""
    """ISO 8601 when it was taken, in the camera's own time; with the offset from UTC where the
    camera knows it."""
    latitude: float | None = None
    """Degrees."""
    longitude: float | None = None
    camera: str = ""


def read_exif(path: Path) -> Exif:
    """Read time, place and camera; what is odd or missing is left out."""
    with suppress(*BROKEN), quiet():
        exif = raw_exif(path) if is_raw(path) else _exif(path)
        taken, place = exif.get_ifd(ExifTags.IFD.Exif), exif.get_ifd(ExifTags.IFD.GPSInfo)
        camera = " ".join(
            _text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model)
        ).strip()
        latitude, longitude = _degrees(place, 2, "S", 90), _degrees(place, 4, "W", 180)
        if latitude is None or longitude is None:
            latitude = longitude = None
        return Exif(_time(exif, taken), latitude, longitude, camera)
    return Exif()


def _exif(path: Path) -> Image.Exif:
    with Image.open(path) as image:
        exif = image.getexif()
        for inner in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            exif.get_ifd(inner)  # read while the file is open
        return exif


def _text(value: object) -> str:
    return "" if value is None else str(value).replace("\0", "").strip()


def _time(exif: Mapping[int, Any], taken: Mapping[int, Any]) -> str:
    """Return when the photograph was taken, else when the file was written."""
    written = (
        taken.get(ExifTags.Base.DateTimeOriginal),
        taken.get(ExifTags.Base.DateTimeDigitized),
        exif.get(ExifTags.Base.DateTime),
    )
    time = next((said for one in written if (said := _moment(_text(one)))), "")
    if not time:
        return ""
    zone = _text(taken.get(ExifTags.Base.OffsetTimeOriginal) or taken.get(ExifTags.Base.OffsetTime))
    return f"{time}{zone if ZONE.fullmatch(zone) else ''}"


def _moment(text: str) -> str:
    """Return a time of EXIF as ISO 8601; "" where it is none, as of a clock that was never set."""
    match = CLOCK.match(text)
    if match is None:
        return ""
    with suppress(ValueError):
        return datetime(*map(int, match.groups())).isoformat()  # type: ignore[arg-type]  # noqa: DTZ001  # the camera's own
    return ""


def _degrees(place: Mapping[int, Any], tag: int, negative: str, limit: int) -> float | None:
    """Return degrees from the three numbers at ``tag``; the letter before it says on which side."""
    parts = place.get(tag)
    if not parts or len(parts) != 3:
        return None
    degrees, minutes, seconds = (float(part) for part in parts)
    value = degrees + minutes / 60 + seconds / 3600
    if not 0 <= value <= limit:
        return None
    return round(-value if _text(place.get(tag - 1)) == negative else value, 7)
