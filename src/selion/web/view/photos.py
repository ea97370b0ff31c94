"""Photographs of the close-range side.

The folder of ``selion crops`` with its masks and traits, or any photographs.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from selion import store
from selion.errors import BadInput, SelionError, UnknownName, UnreadableFile
from selion.store.photo import HAND_ENDINGS, WHOLE_ENDINGS
from selion.web.pictures import BROKEN, Large, check_size, make_large, read_photo, sign
from selion.web.view.paint import encode
from selion.web.view.place import PIXEL, Box
from selion.web.view.truths import PhotoTruths

TABLE, THUMBS, RUN = "crops.csv", "thumbs", "run.json"
SOURCE = "photographs from"
"""In the last: the folder that was measured."""
MOST = 200_000
"""Rows of a table that are read."""
EDGE, THUMB, TILE = 2400, 160, 360
"""Longest edge in pixels of a photograph, of its small picture, and of that in a grid."""
KINDS = ("photo", "shade", "outline", "thumb", "tile")
COMPARED = ("truth", "difference", "compared")
"""Kinds of pictures of photographs that have a truth."""
ORDERS = ("doubt", "cover", "name")
WORST = "worst"
"""The order of those that have one: the lowest score first."""
ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", *HAND_ENDINGS)
SHOWN = ("cover", "cover_low", "cover_high", "trust", "reasons", "components", "exg", "time")


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
    tile: Path | None = None
    """What the run drew over it, small."""

    def trait(self, name: str) -> float:
        """Return a number of the table; NaN where it has none."""
        try:
            return float(self.traits.get(name, "nan"))
        except ValueError:
            return math.nan

    @property
    def cover(self) -> float | None:
        """Share of the photograph that is crop; None where the table does not say."""
        found = self.trait("cover")
        return found if math.isfinite(found) else None

    @property
    def doubt(self) -> tuple[bool, float]:
        """What to look at: whether nothing speaks against it, and the width of its band, below 0.

        The lowest comes first.
        """
        band = self.trait("cover_high") - self.trait("cover_low")
        return self.traits.get("trust", "yes") == "yes", -band if math.isfinite(band) else 0.0

    @property
    def box(self) -> Box:
        """Where it is laid on the flat ground."""
        return 0.0, -self.size[1] * PIXEL, self.size[0] * PIXEL, 0.0


@dataclass(frozen=True)
class Album:
    """Photographs of one folder."""

    folder: Path
    photos: tuple[ViewedPhoto, ...]
    truths: PhotoTruths | None = None

    @property
    def orders(self) -> tuple[str, ...]:
        """How they can be ordered."""
        return (WORST, *ORDERS) if self.truths else ORDERS

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

    def listed(self, after: int, count: int = 60, order: str = "name") -> list[dict[str, Any]]:
        """Return what the list of the page shows.

        Raises
        ------
        UnknownName
            If there is no such order.
        """
        return [self.told(k) for k in self.ordered(order)[max(after, 0) :][:count]]

    def told(self, index: int) -> dict[str, Any]:
        """Return what the list says of one photograph."""
        photo = self.photos[index]
        about: dict[str, Any] = {"index": index, "name": photo.name, "mask": photo.mask is not None}
        if self.truths is not None and index in self.truths.reads:
            about |= {"truth": True, "score": self.truths.scores.get(index)}
        return about | {c: photo.traits[c] for c in SHOWN if photo.traits.get(c)}

    def ordered(self, order: str) -> list[int]:
        """Return the numbers of all photographs, in an order; equal ones by name."""
        if order not in self.orders:
            raise UnknownName.among("order of photographs", order[:20], self.orders)
        if order == WORST and self.truths is not None:
            ranks = [self.truths.rank(k) for k in range(len(self.photos))]  # they grow meanwhile
            return sorted(range(len(self.photos)), key=lambda k: (ranks[k], self.photos[k].name))
        keys: dict[str, Callable[[ViewedPhoto], Any]] = {
            "name": lambda _: 0,
            "doubt": lambda photo: photo.doubt,
            "cover": lambda photo: -1.0 if photo.cover is None else -photo.cover - 2,
        }
        return sorted(
            range(len(self.photos)),
            key=lambda k: (keys[order](self.photos[k]), self.photos[k].name),
        )


def paired(
    one: Album, other: Album, after: int, count: int = 60, order: str = "difference"
) -> dict[str, Any]:
    """Return the photographs that two runs have in common, by name, side by side.

    Parameters
    ----------
    order : str
        ``difference``: those first in whose cover the runs differ most, and those before all that
        one of them has no cover for; or one of :data:`ORDERS`, of the first run.

    Raises
    ------
    UnknownName
        If there is no such order.
    """
    places = {photo.name: k for k, photo in enumerate(other.photos)}
    common = [(k, places[one.photos[k].name]) for k in one.ordered("name")
              if one.photos[k].name in places]  # fmt: skip
    apart = {k: differing(one.photos[k], other.photos[j]) for k, j in common}
    if order == "difference":
        common.sort(key=lambda pair: -(2.0 if (d := apart[pair[0]]) is None else d))
    else:
        rank = {k: place for place, k in enumerate(one.ordered(order))}
        common.sort(key=lambda pair: rank[pair[0]])
    return {
        "pairs": [
            {"one": one.told(k), "other": other.told(j), "difference": apart[k]}
            for k, j in common[max(after, 0) :][:count]
        ],
        "count": len(common),
        "alone": [len(one.photos) - len(common), len(other.photos) - len(common)],
    }


def differing(one: ViewedPhoto, other: ViewedPhoto) -> float | None:
    """Return by how much two covers of a photograph differ; None where one is not known."""
    if one.cover is None or other.cover is None:
        return None
    return round(abs(one.cover - other.cover), 4)


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
    near = measured_first(folder, roots)
    return Album(
        folder, tuple(found for row in rows if (found := photo_of(row, folder, near)) is not None)
    )


def measured_first(folder: Path, roots: Sequence[Path]) -> list[Path]:
    """Return the given folders, first that whose photographs a run has measured.

    Cameras begin to count anew, so that those of other folders have the same names.
    """
    try:
        told = Path(json.loads((folder / RUN).read_text("utf-8"))[SOURCE])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return list(roots)
    return sorted(roots, key=lambda root: (root != told, root != told.parent))


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
    below = Path(*Path(traits.get("overlay", "")).parts[1:])  # of its own folder there
    tile = within(folder / THUMBS / below, (folder,)) if overlay else None
    return ViewedPhoto(
        traits["file"],
        (width, height),
        found or overlay,
        found is not None,
        mask,
        traits,
        tile or overlay,
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

    if path.suffix.lower() in WHOLE_ENDINGS:
        try:
            height, width = store.open_raster(path).grid.shape
        except SelionError:
            return None
        return width, height
    try:
        with Image.open(path, formats=("JPEG", "PNG", "WEBP", "BMP")) as image:
            check_size(image)
            turned = image.getexif().get(274, 1) in (5, 6, 7, 8)
            return image.size[::-1] if turned else image.size
    except BROKEN:
        return None


def drawn(photo: ViewedPhoto, kind: str) -> tuple[bytes, str]:
    """Return a picture of a photograph; what cannot be read becomes a picture that says so."""
    if kind == "tile" and (shown := photo.tile or photo.picture) is not None:
        return small(shown, stamp(shown), TILE), "image/jpeg"
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
def small(picture: Path, _stamp: tuple[int, ...], edge: int = THUMB) -> bytes:
    """Draw a small picture."""
    return jpeg(picture, edge)


def jpeg(picture: Path, edge: int) -> bytes:
    """Read a photograph and write it smaller."""
    try:
        return encode(read_photo(picture, edge), "RGB", "JPEG", quality=85)
    except BROKEN as error:
        return sign(max(edge, 320), f"The photograph cannot be read: {str(error)[:120]}")
