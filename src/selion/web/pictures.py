"""Pictures of a photograph under its mask: small ones for contact sheets, made ahead and kept.

Large ones in layers for looking closely.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import DecompressionBombError

from selion.classes import IGNORE
from selion.data import photos
from selion.errors import UnreadableFile
from selion.labelling.decisions import content_hash
from selion.store.photo import WHOLE_ENDINGS

if TYPE_CHECKING:
    from PIL.Image import Image

EDGE = 288
"""Longest edge of a small picture: one and a half times what a sheet of 40 shows on a screen of
1,440 pixels."""
MOST_PIXELS = 178_000_000
"""Photographs and masks with more are not decoded."""
PHOTO_FORMATS = ("JPEG", "PNG", "TIFF", "WEBP", "BMP")
OUTLINE, SHADE, UNKNOWN = (255, 222, 0), (38, 12, 58), (0, 110, 255)
"""Edge of the crop; what lies over the soil; what lies over pixels of no known class."""
DARKER = [min(255, 4 * value // 10 + 2 * shade // 3) for shade in SHADE for value in range(256)]
"""Soil of a small picture: each channel through a table."""
# Pillow's readers raise whatever a broken file makes them stumble over.
BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, KeyError, IndexError,
    TypeError, AttributeError, OverflowError, MemoryError, RuntimeError, AssertionError,
    DecompressionBombError, UnreadableFile,
)  # fmt: skip


@dataclass(frozen=True)
class SmallPicture:
    """Small pictures of one item, and the hashes of the files that they were made from."""

    version: str
    image: str
    mask: str
    overlay: bytes
    """JPEG: soil darkened, crop as it is, its edge drawn."""
    photo: bytes
    """JPEG of the same size without the mask."""

    def to_bytes(self) -> bytes:
        """Pack for a file."""
        head = "\n".join(
            ("selion-small-3", self.version, self.image, self.mask, str(len(self.overlay)))
        ).encode()
        return struct.pack("<I", len(head)) + head + self.overlay + self.photo

    @classmethod
    def from_bytes(cls, data: bytes) -> SmallPicture | None:
        """Unpack; None if it is not what :meth:`to_bytes` packs."""
        try:
            (length,) = struct.unpack_from("<I", data)
            kind, version, image, mask, overlay = data[4 : 4 + length].decode().split("\n")
            start = 4 + length
            cut = start + int(overlay)
            return (
                cls(version, image, mask, data[start:cut], data[cut:])
                if kind == "selion-small-3" and len(data) > cut
                else None
            )
        except (struct.error, ValueError):
            return None


def make_small(photo: Path, mask: Path, version: str, edge: int = EDGE) -> SmallPicture:
    """Draw the small pictures of a photograph and its mask.

    What cannot be read becomes a picture that says so.

    Raises
    ------
    OSError
        If a file is gone.
    """
    image_hash, mask_hash = content_hash(photo), content_hash(mask)
    try:
        bare = read_photo(photo, edge)
    except BROKEN as error:
        said = sign(edge, f"The photograph cannot be read: {_reason(error)}")
        return SmallPicture(version, image_hash, mask_hash, said, said)
    try:
        overlay, note = draw_overlay(bare, mask)
    except BROKEN as error:
        return SmallPicture(
            version,
            image_hash,
            mask_hash,
            sign(edge, f"The mask cannot be read: {_reason(error)}"),
            jpeg_bytes(bare),
        )
    return SmallPicture(version, image_hash, mask_hash, jpeg_bytes(overlay, note), jpeg_bytes(bare))


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:120]


def read_photo(path: Path, edge: int) -> np.ndarray:
    """Read a photograph no larger than it is shown, turned as its EXIF says.

    Returns
    -------
    (y, x, 3) uint8 ndarray
        The longest edge has at most ``edge`` pixels.
    """
    from PIL import Image, ImageOps

    if path.suffix.lower() in WHOLE_ENDINGS:
        decoded = photos.read_photo(path, gray=True).image.values
        whole = Image.fromarray(np.ascontiguousarray(decoded.transpose(1, 2, 0)))
        whole.thumbnail((edge, edge), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(whole)
    with Image.open(path, formats=PHOTO_FORMATS) as image:
        check_size(image)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            return _read_deep(path, edge)
        image.draft("RGB", (edge, edge))  # JPEG only: decodes at an eighth where that is enough
        upright = ImageOps.exif_transpose(image)
        upright = (
            upright.convert("RGBA").convert("RGB")
            if upright.mode in ("P", "PA", "LA")
            else upright.convert("RGB")
        )
        upright.thumbnail((edge, edge), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return np.asarray(upright)


def _read_deep(path: Path, edge: int) -> np.ndarray:
    """Read a photograph with more than 8 bits, stretched for the eye."""
    from selion import store
    from selion.reports.picture import thumbnail

    return thumbnail(store.open_raster(path), edge)[0]


def check_size(image: Image) -> None:
    """Refuse what has more pixels than are decoded.

    Raises
    ------
    UnreadableFile
        If it has.
    """
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UnreadableFile(
            f"{width} x {height} pixels are more than are shown here: cut it into tiles."
        )


def read_cover(
    path: Path, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Read a mask at the size of a picture.

    Returns
    -------
    crop, unknown : (y, x) uint8 ndarray
        Share of each pixel of the picture that is crop, or of no known class, times 255.
    size : (int, int)
        Width and height of the mask itself.
    """
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as image:
        check_size(image)
        ids = np.asarray(
            image
            if image.mode in ("P", "L", "1") or image.mode.startswith("I")
            else image.convert("L")
        )
        crop, unknown = part_classes(ids, image.mode == "P")
        size = image.size

    def shrunk(where: np.ndarray) -> np.ndarray:
        small = Image.fromarray(where.astype(np.uint8) * 255)
        return np.asarray(
            small if small.size == shape[::-1] else small.resize(shape[::-1], Image.Resampling.BOX)
        )

    return shrunk(crop), shrunk(unknown), size


def part_classes(ids: np.ndarray, palette: bool) -> tuple[np.ndarray, np.ndarray]:
    """Say which pixels are crop and which of no known class.

    In a palette PNG, as selion writes it, 1 is crop and 255 is not known; other values are strays
    and not known either.  A gray mask that holds nothing but 0 and 255 is one of black and white:
    there 255 is crop.

    Parameters
    ----------
    ids : (y, x) bool or integer ndarray
    """
    if ids.dtype == bool:
        return ids, np.zeros_like(ids)
    if not palette and not ((ids != 0) & (ids != IGNORE)).any():
        return ids == IGNORE, np.zeros(ids.shape, bool)
    return ids == 1, ids > 1


def edge_of(crop: np.ndarray) -> np.ndarray:
    """Return (y, x) bool.

    Pixels of the crop that touch another one, for shares of crop of 0 to 255.
    """
    inside = np.pad(crop > 127, 1, mode="edge")
    return inside[1:-1, 1:-1] & ~(
        inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    )


def draw_overlay(bare: np.ndarray, mask: Path) -> tuple[np.ndarray, str]:
    """Darken what is not crop and draw the edge.

    So missed plants and caught soil both stand out.

    Returns
    -------
    (y, x, 3) uint8 ndarray
    str
        What is odd about the mask; empty if nothing is.
    """
    from PIL import Image, ImageChops

    crop, unknown, size = read_cover(mask, bare.shape[:2])
    photo, seen = Image.fromarray(bare), Image.fromarray(np.maximum(crop, unknown))
    # a missed plant is still seen to be green
    dull = Image.blend(photo.convert("L").convert("RGB"), photo, 0.75)
    mixed = Image.composite(photo, dull.point(DARKER), seen)
    if unknown.any():
        mixed = Image.composite(
            Image.new("RGB", photo.size, UNKNOWN),
            mixed,
            ImageChops.multiply(Image.fromarray(unknown), Image.new("L", photo.size, 153)),
        )
    mixed.paste(OUTLINE, mask=Image.fromarray(edge_of(crop).astype(np.uint8) * 191))
    height, width = bare.shape[:2]
    skewed = abs(size[0] * height - size[1] * width) > 0.03 * size[1] * width + max(size)
    return np.asarray(mixed), f"mask is {size[0]} x {size[1]}: another shape" if skewed else ""


def jpeg_bytes(picture: np.ndarray, note: str = "") -> bytes:
    """Return (y, x, 3) uint8 pixels as a JPEG, with a note along its bottom where there is one."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    if note:
        pen = ImageDraw.Draw(image)
        pen.rectangle((0, image.height - 18, image.width, image.height), fill=(160, 20, 20))
        pen.text((4, image.height - 16), note, fill=(255, 255, 255))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=84)
    return out.getvalue()


def sign(edge: int, text: str) -> bytes:
    """Return a JPEG that says in words why there is no picture."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (edge, edge * 3 // 4), (70, 24, 24))
    pen, words, line, y = (
        ImageDraw.Draw(image),
        text.encode("ascii", "replace").decode().split(),
        "",
        12,
    )
    for word in [*words, ""]:
        if not word or len(line) + len(word) > edge // 8:
            pen.text((10, y), line, fill=(255, 235, 225))
            line, y = "", y + 15
        line = f"{line} {word}".strip()[: edge // 6]
    out = io.BytesIO()
    image.save(out, "JPEG", quality=84)
    return out.getvalue()


@dataclass(frozen=True)
class Large:
    """Layers for looking closely, all of one size."""

    photo: bytes
    """JPEG."""
    shade: bytes
    """PNG that lies over what is not crop; how dark is the page's affair."""
    outline: bytes
    """PNG with the edge of the crop."""


def make_large(photo: Path, mask: Path, edge: int) -> Large:
    """Draw the layers of a photograph, its longest edge at most ``edge`` pixels.

    What cannot be read becomes a picture that says so.
    """
    try:
        bare = read_photo(photo, edge)
    except BROKEN as error:
        return Large(
            sign(640, f"The photograph cannot be read: {_reason(error)}"),
            png_bytes(np.zeros((1, 1, 4), np.uint8)),
            png_bytes(np.zeros((1, 1, 4), np.uint8)),
        )
    empty = np.zeros((*bare.shape[:2], 4), np.uint8)
    try:
        crop, unknown, _ = read_cover(mask, bare.shape[:2])
    except BROKEN as error:
        return Large(
            jpeg_bytes(bare, f"The mask cannot be read: {_reason(error)}"),
            png_bytes(empty),
            png_bytes(empty),
        )
    shade = empty.copy()
    hidden = unknown > 127
    shade[..., :3] = np.where(
        hidden[..., None], np.asarray(UNKNOWN, np.uint8), np.asarray(SHADE, np.uint8)
    )
    shade[..., 3] = np.where(hidden, 190, 255 - crop)
    line = edge_of(crop)
    thick = line | np.roll(line, 1, 0) | np.roll(line, 1, 1) if max(line.shape) > 900 else line
    empty[thick] = (*OUTLINE, 255)
    return Large(jpeg_bytes(bare), png_bytes(shade), png_bytes(empty))


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return (y, x, band) uint8 pixels as a PNG that is quick to make."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()
