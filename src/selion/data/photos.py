"""The photographs of a folder.

Which files are some, what each is called in the output, and its pixels as 8-bit colours.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from selion import store
from selion.data.values import MOST_PIXELS
from selion.errors import BandMismatch, UnreadableFile
from selion.grid import ground_sampling_distance, photo_grid, roi_shape, whole
from selion.raster import Raster, Source
from selion.store.painted import painted
from selion.store.photo import AVIF, HEIF, WHOLE_ENDINGS

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".bmp", ".gif"),
    *WHOLE_ENDINGS,
)
MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*"),
    *(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),  # JPEG 2000
    *(b"GIF87a", b"GIF89a"),
)
"""How photographs begin, whatever they are called; BMP and WebP are recognised below, as their
first two bytes alone mean little."""
UNREAD = {
    ".jxl": "JPEG XL", ".jxr": "JPEG XR", ".wdp": "JPEG XR", ".psd": "Photoshop's",
    ".psb": "Photoshop's", ".xcf": "GIMP's", ".kra": "Krita's", ".svg": "a drawing",
    ".eps": "a drawing", ".ai": "a drawing", ".tga": "Targa", ".exr": "OpenEXR", ".dds": "DDS",
    ".pcx": "PCX", ".ico": "an icon", ".pbm": "a Netpbm format", ".pgm": "a Netpbm format",
    ".ppm": "a Netpbm format", ".pnm": "a Netpbm format", ".x3f": "Sigma's raw format",
}  # fmt: skip
"""Endings of images that are not read, and what they are."""
RESULTS = {
    "run.json": (b'"selion crops"', b'"tilth crops"'),
    "settings.json": (b'"command": "label ',),
    "adapt.json": (b'"selion crops adapt"',),
}
"""What lies in a folder of results, and what stands at its beginning; such folders are not looked
into, as their masks are no photographs."""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras give; 10 to 14 come stored as 16."""
GLINT = 4.0
"""Up to here numbers with a point are shares of light all the same: what mirrors the sun has more
than white paper, and of 255 they would be black."""
COLOURS = ("red", "green", "blue")


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One photograph of a folder."""

    path: Path
    file: str
    """Its path below the folder, with forward slashes."""
    key: str
    """``file`` without its ending; with it where two photographs would share the name.  What masks
    and overlays are called."""


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """A photograph, decoded."""

    image: Raster
    """Red, green, blue, uint8, as one sees it; ``valid`` where there is alpha or nodata."""
    gsd: float | None
    """Millimetres a pixel, of an image that lies on the globe."""
    notes: tuple[str, ...] = ()
    """What was done to its numbers."""


def find_photos(folder: Path, skip: Iterable[Path] = ()) -> list[PhotoFile]:
    """List the photographs below a folder, by name.

    Parameters
    ----------
    folder : path
        A folder, searched with all that is in it, or one photograph.
    skip : paths, optional
        Folders that are not looked into, such as that of the output.

    Returns
    -------
    list of PhotoFile
        Files that end or begin like photographs; hidden files and folders (``._IMG.JPG`` of a Mac
        too) and the results of earlier runs are none.

    Raises
    ------
    UnreadableFile
        If the folder is missing, cannot be read, or holds no photograph.
    """
    if folder.is_file():
        return [PhotoFile(folder, folder.name, folder.stem)]
    if not folder.is_dir():
        raise UnreadableFile(
            f"{folder} does not exist: give a folder of photographs, or one photograph."
        )
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UnreadableFile(f"{folder} cannot be read: there is no permission.")
    paths = sorted(path for path in _walk(folder, _resolved(skip)) if _is_photograph(path))
    if not paths:
        raise UnreadableFile(
            f"There is no photograph in {folder} or below it: wanted are JPEG, PNG, TIFF, WebP, "
            "BMP, GIF, JPEG 2000, AVIF, HEIC or raw files."
        )
    return named([path.relative_to(folder).as_posix() for path in paths], folder)


def unread_images(folder: Path, skip: Iterable[Path] = ()) -> list[tuple[str, str]]:
    """List the files below a folder that look like images and are none that is read.

    Parameters
    ----------
    folder, skip
        See :func:`find_photos`.

    Returns
    -------
    list of (file, why)
        By name, with a sentence each.
    """
    found = sorted(_walk(folder, _resolved(skip)))
    looks = [path for path in found if path.suffix.lower() in UNREAD and not _is_photograph(path)]
    why = "It is {} by its name, which is not read: save it as JPEG, PNG or TIFF."
    return [
        (path.relative_to(folder).as_posix(), why.format(UNREAD[path.suffix.lower()]))
        for path in looks
    ]


def named(files: list[str], folder: Path) -> list[PhotoFile]:
    """Give photographs their keys.

    Without the ending, unless another one (whatever the case of its letters) would get the same.
    """
    stems = [file[: -len(Path(file).suffix)] if Path(file).suffix else file for file in files]
    taken = Counter(stem.casefold() for stem in stems) + Counter(
        file.casefold() for file, stem in zip(files, stems, strict=True) if file != stem
    )
    return [
        PhotoFile(folder / file, file, stem if taken[stem.casefold()] == 1 else file)
        for file, stem in zip(files, stems, strict=True)
    ]


def distinct(photos: list[PhotoFile]) -> tuple[list[PhotoFile], list[tuple[PhotoFile, PhotoFile]]]:
    """Return photographs without those that are another one, byte for byte, under another name.

    Parameters
    ----------
    photos : list of PhotoFile

    Returns
    -------
    list of PhotoFile
        The first of each, in order.
    list of tuple
        Each copy, and which photograph it is.  Only files of equal size are read.
    """
    sizes = [photo.path.stat().st_size if photo.path.is_file() else -1 for photo in photos]
    many = Counter(sizes)
    first: dict[tuple[int, bytes], PhotoFile] = {}
    kept, copies = [], []
    for photo, size in zip(photos, sizes, strict=True):
        if size < 0 or many[size] == 1:
            kept.append(photo)
            continue
        known = first.setdefault((size, _digest(photo.path)), photo)
        if known is photo:
            kept.append(photo)
        else:
            copies.append((photo, known))
    return kept, copies


def _digest(path: Path) -> bytes:
    """Return what tells the bytes of a file; of one that cannot be read, its name."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return str(path).encode("utf-8", "surrogateescape")


def said_of_copies(copies: Sequence[tuple[PhotoFile, PhotoFile]]) -> str:
    """Return a sentence on photographs that lie there twice."""
    copy, known = copies[0]
    more = "" if len(copies) == 1 else " ..."
    are = "photograph is a copy" if len(copies) == 1 else "photographs are copies"
    others = "another under another name" if len(copies) == 1 else "others under other names"
    return (
        f"{len(copies):,} {are} of {others} ({copy.file} is {known.file}{more}): each is taken "
        "once, so that none is learnt from and compared on."
    )


def _walk(folder: Path, skip: set[Path]) -> Iterable[Path]:
    for inner, folders, names in os.walk(folder):
        below = {name: Path(inner) / name for name in folders if not name.startswith(".")}
        folders[:] = sorted(
            name
            for name, path in below.items()
            if path.resolve() not in skip and not _holds_results(path)
        )
        yield from (Path(inner) / name for name in names if not name.startswith("."))


def _resolved(paths: Iterable[Path]) -> set[Path]:
    return {path.resolve() for path in paths}


def _is_photograph(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS or _begins_like_one(path)


def _holds_results(folder: Path) -> bool:
    return any(
        begin in _head(folder / name, 64) for name, begins in RESULTS.items() for begin in begins
    )


def _begins_like_one(path: Path) -> bool:
    head = _head(path)
    return (
        head.startswith(MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or _is_heif(head)
    )


def _head(path: Path, size: int = 16) -> bytes:
    """Return the first bytes of a regular file; what cannot be read begins with nothing."""
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in (*HEIF, *AVIF)


def read_photo(path: Path, *, gray: bool = False) -> Picture:
    """Decode a photograph to 8-bit red, green and blue.

    Parameters
    ----------
    path : path
    gray : bool
        Take a gray photograph too, as three equal colours.

    Raises
    ------
    UnreadableFile
        If it is empty, corrupt, or too large.
    MissingExtra
        If it is a HEIC or raw file, and what reads these is not installed.
    BandMismatch
        If it has no colours.
    """
    check_readable(path)
    source = painted(store.open_raster(path))
    height, width = roi_shape(whole(source.grid))
    if height * width > MOST_PIXELS:
        size = f"{width:,} x {height:,} pixels, {height * width / 1e6:,.0f} megapixels"
        raise UnreadableFile(
            f"{path} has {size}; a photograph has at most {MOST_PIXELS / 1e6:.0f}: cut it, or map "
            "it with 'selion predict'."
        )
    picked = _colour_bands(source, path, gray=gray)
    read = source.read(whole(source.grid))
    colours = read.values if picked == [0, 1, 2] else read.values[picked]
    values, note = eight_bits(colours[:3], read.valid, path)
    gsd = ground_sampling_distance(source.grid)
    image = Raster(values, photo_grid((height, width)), COLOURS, read.valid)
    return Picture(image, None if gsd is None else 1000 * gsd, (note,) if note else ())


def read_colours(path: Path) -> np.ndarray:
    """Return the (3, y, x) uint8 colours of a photograph, three equal ones of a gray one.

    Errors as :func:`read_photo`.
    """
    return read_photo(path, gray=True).image.values


def check_readable(path: Path) -> None:
    """Tell in one sentence what no decoder has to be asked about.

    Raises
    ------
    UnreadableFile
        If the file is empty.
    """
    if not path.is_file():
        raise UnreadableFile(f"{path} is not a file: give a photograph.")
    if path.stat().st_size == 0:
        raise UnreadableFile(f"{path} is empty (0 bytes): copy it again from the camera.")


def _colour_bands(source: Source, path: Path, *, gray: bool) -> list[int]:
    names = [name.casefold() for name in source.bands]
    if all(colour in names for colour in COLOURS):
        return [names.index(colour) for colour in COLOURS]
    if len(names) == 3:
        return [0, 1, 2]
    if gray and len(names) == 1:
        return [0, 0, 0]
    what = (
        "is gray" if len(names) == 1 else f"has {len(names)} bands ({', '.join(source.bands[:8])})"
    )
    raise BandMismatch(
        f"{path} {what}; wanted are red, green and blue: give the colour photograph."
    )


def eight_bits(
    values: np.ndarray, valid: np.ndarray | None, name: Path | str
) -> tuple[np.ndarray, str]:
    """Bring (3, y, x) numbers of a photograph to bytes.

    16-bit ones by the camera's bits, those from 0 to 1 by 255.

    Returns
    -------
    (3, y, x) uint8 ndarray, str
        And what was done.

    Raises
    ------
    UnreadableFile
        If they are no colours; the sentence calls the photograph by ``name``.
    """
    if values.dtype == np.uint8:
        return np.ascontiguousarray(values), ""
    known = values if valid is None else values[:, valid]
    known = known[np.isfinite(known)] if values.dtype.kind == "f" else known.ravel()
    low, top = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if low < 0 or top > 65535:
        raise UnreadableFile(
            f"{name} holds {values.dtype} numbers from {low:.4g} to {top:.4g}, which are not "
            "colours: export it with 8 or 16 bits."
        )
    if values.dtype.kind == "f" and top <= GLINT:
        white, said = 1.0, "numbers from 0 to 1"
    else:
        bits = next(bits for bits in DEPTHS if top < 2**bits)
        white, said = 2.0**bits - 1, f"{bits}-bit numbers"
    scaled = np.clip(
        np.nan_to_num(values.astype(np.float32)) * np.float32(255 / white) + np.float32(0.5), 0, 255
    )
    return scaled.astype(np.uint8), f"{said} were brought to 8 bits"
