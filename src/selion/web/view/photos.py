"""Photographs of the close-range side.

The folder of ``selion crops`` with its masks and traits, or any photographs.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from selion.errors import BadInput, UnreadableFile
from selion.web.pictures import BROKEN, Large, check_size, make_large, read_photo, sign
from selion.web.view.paint import encode
from selion.web.view.place import PIXEL, Box

TABLE = "crops.csv"
MOST = 200_000
"""Rows of a table that are read."""
EDGE, THUMB = 2400, 160
"""Longest edge in pixels of a photograph, and of its small picture."""
KINDS = ("photo", "shade", "outline", "thumb")
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
SHOWN = ("cover", "trust", "reasons", "components", "exg", "time")


@dataclass(frozen=True)
class ViewedPhoto:
    """One photograph."""

    name: str
    size: tuple[int, int]
    """Width and height in pixels."""
    picture: Path | None
    """The photograph, or what was drawn over it where the photograph is not in a given folder."""
    bare: bool
    """Whether ``picture`` is the photograph itself."""
    mask: Path | None
    traits: Mapping[str, str]

    @property
    def box(self) -> Box:
        """Where it is laid on the flat ground."""
        return 0.0, -self.size[1] * PIXEL, self.size[0] * PIXEL, 0.0


@dataclass(frozen=True)
class Album:
    """Photographs of one folder."""

    folder: Path
    photos: tuple[ViewedPhoto, ...]

    def photo(self, index: int) -> ViewedPhoto:
        """Return a photograph.

        Raises
        ------
        BadInput
            If there is none of that number.
        """
        if not 0 <= index < len(self.photos):
            raise BadInput(f"There is no photograph {index:,}: load the page again.")
        return self.photos[index]

    def listed(self, after: int, count: int = 60) -> list[dict[str, Any]]:
        """Return what the list of the page shows."""
        rows = list(enumerate(self.photos))[max(after, 0) :][:count]
        return [
            {"index": k, "name": p.name, "mask": p.mask is not None}
            | {c: p.traits[c] for c in SHOWN if p.traits.get(c)}
            for k, p in rows
        ]


def within(path: Path, roots: Sequence[Path]) -> Path | None:
    """Return the real path of a file that lies in one of the given folders, links followed.

    None for any other.
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return real if real.is_file() and any(real.is_relative_to(root) for root in roots) else None


def open_album(folder: Path, roots: Sequence[Path]) -> Album:
    """Open the folder of ``selion crops``.

    Raises
    ------
    UnreadableFile
        If its table cannot be read.
    """
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            rows = [row for row, _ in zip(csv.DictReader(file), range(MOST), strict=False)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(
            f"{folder / TABLE} cannot be read ({error}): run selion crops again."
        ) from error
    return Album(
        folder, tuple(found for row in rows if (found := photo_of(row, folder, roots)) is not None)
    )


def photo_of(
    row: Mapping[str, str | None], folder: Path, roots: Sequence[Path]
) -> ViewedPhoto | None:
    """Return the photograph of a row; what it points at must lie in the given folders."""
    traits = {str(key): str(value) for key, value in row.items() if key and value}
    width, height = (
        int(traits.get(k, "")) if traits.get(k, "").isascii() and traits.get(k, "").isdigit() else 0
        for k in ("width", "height")
    )
    if not (0 < width < 100_000 and 0 < height < 100_000) or "file" not in traits:
        return None
    found = next(
        (real for root in roots if (real := within(root / traits["file"], roots)) is not None), None
    )
    overlay, mask = (
        within(folder / traits[key], (folder,)) if key in traits else None
        for key in ("overlay", "mask")
    )
    return ViewedPhoto(
        traits["file"], (width, height), found or overlay, found is not None, mask, traits
    )


def open_photos(paths: Sequence[Path], folder: Path) -> Album:
    """Open photographs without a table.

    Sizes are read from their heads, and those that cannot be read are left out.
    """
    found = []
    for path in paths:
        size = size_of(path)
        if size is not None:
            found.append(
                ViewedPhoto(
                    path.name,
                    size,
                    path,
                    True,
                    None,
                    {"width": str(size[0]), "height": str(size[1])},
                )
            )
    return Album(folder, tuple(found))


def size_of(path: Path) -> tuple[int, int] | None:
    """Return width and height as one sees a photograph.

    None where it is none that is shown here.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP", "BMP")) as image:
            check_size(image)
            turned = image.getexif().get(274, 1) in (5, 6, 7, 8)
            return image.size[::-1] if turned else image.size
    except BROKEN:
        return None


def drawn(photo: ViewedPhoto, kind: str) -> tuple[bytes, str]:
    """Return a picture of a photograph; what cannot be read becomes a picture that says so."""
    if photo.picture is None:
        return sign(
            640, "This photograph is not in the folders that were given: name its folder too."
        ), "image/jpeg"
    if kind == "thumb":
        return small(photo.picture, stamp(photo.picture)), "image/jpeg"
    if photo.mask is None:
        return (
            (plain(photo.picture, stamp(photo.picture)), "image/jpeg")
            if kind == "photo"
            else (b"", "image/png")
        )
    large = layered(photo.picture, photo.mask, stamp(photo.picture, photo.mask))
    return {
        "photo": (large.photo, "image/jpeg"),
        "shade": (large.shade, "image/png"),
        "outline": (large.outline, "image/png"),
    }[kind]


def stamp(*paths: Path) -> tuple[int, ...]:
    """Return what changes when files do; 0 for one that is gone."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


@lru_cache(maxsize=8)
def layered(picture: Path, mask: Path, _stamp: tuple[int, ...]) -> Large:
    """Draw a photograph and its mask."""
    return make_large(picture, mask, EDGE)


@lru_cache(maxsize=8)
def plain(picture: Path, _stamp: tuple[int, ...]) -> bytes:
    """Draw a photograph."""
    return jpeg(picture, EDGE)


@lru_cache(maxsize=1024)
def small(picture: Path, _stamp: tuple[int, ...]) -> bytes:
    """Draw a small picture."""
    return jpeg(picture, THUMB)


def jpeg(picture: Path, edge: int) -> bytes:
    """Read a photograph and write it smaller."""
    try:
        return encode(read_photo(picture, edge), "RGB", "JPEG", quality=85)
    except BROKEN as error:
        return sign(max(edge, 320), f"The photograph cannot be read: {str(error)[:120]}")
