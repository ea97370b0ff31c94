"""Photographs: JPEG, PNG, TIFF, HEIC, raw files and others without a place on the globe.

They are turned as their EXIF says.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from PIL import ExifTags, Image

from selion.errors import UnreadableFile
from selion.extras import require
from selion.grid import Roi, photo_grid, roi_shape, whole
from selion.raster import NEGATIVE, PALETTE, Raster, Source
from selion.store.gdal import GDAL_ERRORS, gdal_settings, open_quietly, quiet
from selion.store.geotiff import GeoTiffSource
from selion.store.regions import checked_region

MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"BM": "BMP",
    b"RIFF": "WEBP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"GIF8": "GIF",
}
"""How files begin."""
HEIF = {b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
AVIF = {b"avif", b"avis"}
"""Brands of ISO/IEC 23008-12 files, bytes 8 to 12."""
RAW_ENDINGS = (
    *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".sr2", ".orf", ".rw2", ".rwl"),
    *(".raf", ".pef", ".srw", ".3fr", ".iiq", ".mrw", ".erf", ".kdc", ".dcr"),
)
"""Raw files of cameras, known by their names: most begin as a TIFF does."""
HAND_ENDINGS = (".heic", ".heif", ".avif", *RAW_ENDINGS)
"""What phones and cameras alone write: nothing that lies on the globe is called so."""
WHOLE_ENDINGS = (".jp2", ".j2k", ".jpf", ".jpx", *HAND_ENDINGS)
"""Photographs of which a small picture is no cheaper than the whole one."""
EXTRA = "photos"
"""The extra that reads HEIC and raw files."""
CHANNELS: Mapping[str, tuple[str, ...]] = {
    "RGB": ("red", "green", "blue"), "RGBA": ("red", "green", "blue"), "L": ("gray",),
    "LA": ("gray",), "I;16": ("gray",), "I;16B": ("gray",), "I": ("gray",), "F": ("gray",),
}  # fmt: skip
"""Bands of Pillow's modes; alpha is none of them but tells which pixels are valid."""
CONVERTED = {
    "1": "L",
    "P": "RGB",
    "PA": "RGBA",
    "CMYK": "RGB",
    "YCbCr": "RGB",
    "LAB": "RGB",
    "HSV": "RGB",
    "RGBX": "RGB",
    "RGBa": "RGBA",
    "La": "LA",
}
"""Pillow's modes that are no plain bands, and what they become."""
TURNS: Mapping[int, tuple[bool, bool, bool]] = {
    1: (False, False, False), 2: (False, False, True), 3: (False, True, True),
    4: (False, True, False), 5: (True, False, False), 6: (True, False, True), 7: (True, True, True),
    8: (True, True, False),
}  # fmt: skip
"""EXIF orientation: swap rows and columns, then reverse rows, then reverse columns (EXIF 2.32, tag
274)."""
BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises at files that are not what they say."""


@dataclass(frozen=True, eq=False)
class PhotoSource:
    """A photograph as a Source: decoded whole at the first read and kept.

    Picklable and thread-safe.
    """

    path: str
    grid: GeoBox
    """Pixels, y down, as one sees the photograph; no CRS."""
    bands: tuple[str, ...]
    """``red, green, blue`` or ``gray``."""
    dtype: np.dtype
    orientation: int
    """EXIF orientation that is still to be applied to the stored pixels, 1 to 8."""
    tags: Mapping[str, str]
    """Camera and time from EXIF, where present."""
    nodata: None = None
    _kept: list[Raster] = field(default_factory=list, repr=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False)

    @property
    def descriptions(self) -> tuple[str | None, ...]:
        """Photographs describe their bands by nothing but colour."""
        return (None,) * len(self.bands)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PhotoSource:
        """Read the head of a photograph.

        Raises
        ------
        UnreadableFile
            If it is corrupt or of no known format.
        """
        path = os.fspath(path)
        if is_raw(Path(path)):
            with _libraw(path) as raw:
                shape = raw.sizes.iheight, raw.sizes.iwidth
                upright = shape[::-1] if raw.sizes.flip & 4 else shape
            grid, byte = photo_grid(upright), np.dtype("uint8")
            return cls(path, grid, CHANNELS["RGB"], byte, 1, _tags(raw_exif(path)))
        with _pillow(path) as image:
            tags, orientation = _exif(image)
            if image.format == "PNG" and _deep_colours(path):
                return _from_gdal(cls, path, tags, orientation)
            if image.format == "TIFF" and image.mode != "CMYK":
                return _from_gdal(cls, path, tags, orientation)
            mode = _mode(image, path)
            shape = image.size[::-1]
            dtype = np.dtype(
                {"F": "float32", "I": "int32"}.get(
                    mode, "uint16" if mode.startswith("I;16") else "uint8"
                )
            )
            return cls(
                path,
                photo_grid(_turned(shape, orientation)),
                CHANNELS[mode],
                dtype,
                orientation,
                tags,
            )

    def read(self, roi: Roi) -> Raster:
        """Read a region.

        Raises
        ------
        UnreadableFile
            If the photograph is corrupt.
        """
        roi = checked_region(roi, self.grid, self.path)
        with self._lock:
            if not self._kept:
                self._kept.append(self._decoded())
        return self._kept[0].read(roi)

    def _decoded(self) -> Raster:
        if is_raw(Path(self.path)):
            return Raster(_developed(self.path), self.grid, self.bands, None, self.tags)
        with _pillow(self.path) as image:
            if (image.format == "PNG" and _deep_colours(self.path)) or (
                image.format == "TIFF" and image.mode != "CMYK"
            ):
                stored = GeoTiffSource.open(self.path)
                raster = stored.read(whole(stored.grid))
                values, valid = raster.values, raster.valid
            else:
                values, valid = _pixels(image, self.path)
        valid = None if valid is None else turn(valid, self.orientation)
        return Raster(turn(values, self.orientation), self.grid, self.bands, valid, self.tags)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if not key.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _kept=[], _lock=threading.Lock())


def is_tiff(path: Path) -> bool:
    """Say whether a local file begins as a TIFF does, and is not called as a raw file is."""
    return _kind(path) == "TIFF"


def is_photo(path: Path) -> bool:
    """Say whether a local file is a photograph: an image that has no place on the globe.

    A JPEG or PNG with a world file or a place in its ``.aux.xml`` is not one, and a TIFF without a
    place is one only when it must be turned or is in printing colours; GDAL, which reads it by
    window, does neither.
    """
    kind = _kind(path)
    if kind is None or _has_place(path):
        return False
    if kind != "TIFF":
        return True
    try:
        with _pillow(os.fspath(path)) as image:
            return image.mode == "CMYK" or _exif(image)[1] != 1
    except UnreadableFile:
        return False


def turn(values: np.ndarray, orientation: int) -> np.ndarray:
    """Turn stored pixels (..., y, x) as EXIF says that one sees them."""
    swap, rows, columns = TURNS[orientation]
    values = np.swapaxes(values, -1, -2) if swap else values
    values = values[..., ::-1, :] if rows else values
    return np.ascontiguousarray(values[..., ::-1] if columns else values)


def _turned(shape: tuple[int, int], orientation: int) -> tuple[int, int]:
    return shape[::-1] if TURNS[orientation][0] else shape


def _kind(path: Path) -> str | None:
    if is_raw(path):
        return "raw"
    with path.open("rb") as file:
        head = file.read(16)
    if head[4:8] == b"ftyp":
        return "HEIF" if head[8:12] in HEIF else "AVIF" if head[8:12] in AVIF else None
    found = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), None)
    return None if found == "WEBP" and head[8:12] != b"WEBP" else found


def is_raw(path: Path) -> bool:
    """Say whether a file is called as a camera's raw file is."""
    return path.suffix.lower() in RAW_ENDINGS


@contextmanager
def _libraw(path: str) -> Iterator[Any]:
    rawpy = require("rawpy", EXTRA)
    try:
        with rawpy.imread(path) as raw:
            yield raw
    except (rawpy.LibRawError, OSError, ValueError) as error:
        said = error.args[0] if error.args else ""  # LibRaw's words are bytes
        why = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(error)
        raise UnreadableFile(
            f"{path} cannot be read as a camera's raw file ({why.rstrip('.')}): copy it again, "
            "develop it to JPEG or TIFF, or give it its own ending if it is one of these."
        ) from error


def _developed(path: str) -> np.ndarray:
    """Return (3, y, x) uint8 sRGB of a raw file, upright.

    In the camera's white balance; nothing is brightened, so that photographs of one exposure can be
    compared.
    """
    with _libraw(path) as raw:
        values = raw.postprocess(
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0.0,  # else white is what is brightest in this photograph
            gamma=(2.4, 12.92),
            output_bps=8,
        )
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def raw_exif(path: str | os.PathLike[str]) -> Image.Exif:
    """Read the EXIF of a raw file that is made as a TIFF is; empty where it is not."""
    exif = Image.Exif()
    with Path(path).open("rb") as file, suppress(*BROKEN), quiet():
        exif.load_from_fp(file)
        for inner in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            exif.get_ifd(inner)  # read while the file is open
    return exif


def _has_place(path: Path) -> bool:
    try:
        with gdal_settings(remote=False), open_quietly(os.fspath(path)) as dataset:
            return bool(dataset.crs) or not dataset.transform.is_identity or bool(dataset.gcps[0])
    except GDAL_ERRORS:
        return False


@contextmanager
def _pillow(path: str) -> Iterator[Image.Image]:
    try:
        with quiet():  # a large photograph is no reason for a warning
            if _kind(Path(path)) == "HEIF":
                require("pillow_heif", EXTRA).register_heif_opener()
            opened = Image.open(path)
        with opened as image:
            yield image
    except Image.DecompressionBombError as error:
        raise UnreadableFile(
            f"{path} has too many pixels for a photograph: tile it first, for example with "
            "gdal_translate -of COG."
        ) from error
    except MemoryError as error:
        raise UnreadableFile(
            f"{path} takes more memory to be decoded than there is: make it smaller, or use a "
            "machine with more."
        ) from error
    except BROKEN as error:
        raise UnreadableFile(
            f"{path} cannot be read as a photograph ({str(error).rstrip('.')}): it is truncated or "
            "corrupt; copy it again."
        ) from error


def _mode(image: Image.Image, path: str) -> str:
    mode = CONVERTED.get(image.mode, image.mode)
    if "transparency" in image.info and mode in ("RGB", "L"):
        mode = "RGBA" if mode == "RGB" else "LA"
    if mode not in CHANNELS:
        raise UnreadableFile(
            f"{path} is in the unknown colour mode {image.mode}: export it as RGB."
        )
    return mode


def _pixels(image: Image.Image, path: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (band, y, x) values as stored and (y, x) valid."""
    mode = _mode(image, path)
    values = np.asarray(image if image.mode == mode else image.convert(mode))
    values = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    if mode not in ("RGBA", "LA"):
        return values, None
    seen = values[-1] > 0
    return values[:-1], None if seen.all() else seen


def _exif(image: Image.Image) -> tuple[dict[str, str], int]:
    with quiet():  # nor is odd EXIF
        exif = image.getexif()
    orientation = exif.get(ExifTags.Base.Orientation, 1)
    # there Pillow turns while it decodes
    printing = image.format == "TIFF" and image.mode == "CMYK"
    return _tags(exif), orientation if orientation in TURNS and not printing else 1


def _tags(exif: Image.Exif) -> dict[str, str]:
    names = (ExifTags.Base.Make, ExifTags.Base.Model, ExifTags.Base.DateTime)
    return {name.name: str(exif[name]).strip("\0 ") for name in names if name in exif}


def _deep_colours(path: str) -> bool:
    """Say whether a PNG holds 16-bit colours, which Pillow would cut to 8 bit.

    They stand in the first 26 bytes.
    """
    with Path(path).open("rb") as file:
        head = file.read(26)
    return len(head) == 26 and head[24] == 16 and head[25] != 0


def _from_gdal(
    cls: type[PhotoSource], path: str, tags: dict[str, str], orientation: int
) -> PhotoSource:
    stored = GeoTiffSource.open(path)
    palette = {name: stored.tags[name] for name in (NEGATIVE, PALETTE) if name in stored.tags}
    return cls(
        path,
        photo_grid(_turned(roi_shape(whole(stored.grid)), orientation)),
        stored.bands,
        stored.dtype,
        orientation,
        tags | palette,
    )


_: type[Source] = PhotoSource
