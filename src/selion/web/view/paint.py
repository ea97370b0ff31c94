"""Numbers of a tile into bytes of a picture."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from selion.web.view.renderings import Rendering

RAMP = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
"""Purple, blue, teal, green, yellow: rises in lightness, told apart by the colour-blind."""


@lru_cache(maxsize=1)
def empty() -> bytes:
    """Return a picture of nothing."""
    return encode(np.zeros((1, 1, 4), np.uint8), "RGBA", "PNG")


def rgb(colour: str) -> tuple[int, int, int]:
    """Read #rrggbb."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def ramp(steps: int = 255) -> np.ndarray:
    """Return (steps, 3) uint8 colours from low to high."""
    at = np.linspace(0, len(RAMP) - 1, steps)
    return (
        np.column_stack([np.interp(at, range(len(RAMP)), channel) for channel in np.array(RAMP).T])
        .round()
        .astype(np.uint8)
    )


def paint(
    rendering: Rendering, values: np.ndarray, valid: np.ndarray, stretch: np.ndarray
) -> tuple[bytes, str]:
    """Return a picture and its media type.

    Parameters
    ----------
    values : (band, y, x) ndarray
    valid : (y, x) bool ndarray
    stretch : (band, 2) ndarray
        Number that is drawn black, and white; only "colour" and "number" look at it.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if rendering.kind == "colour":
            return paint_colour(values, valid, stretch)
        ids, palette = {"share": share, "ids": objects, "classes": classes, "number": number}[
            rendering.kind
        ](rendering, values[0], stretch)
    return paint_palette(np.where(valid, ids, 255).astype(np.uint8), palette)


def paint_colour(values: np.ndarray, valid: np.ndarray, stretch: np.ndarray) -> tuple[bytes, str]:
    """Paint three bands; a tile without holes is a JPEG."""
    low, high = stretch[:, 0, None, None], stretch[:, 1, None, None]
    shown = (
        np.clip(
            (np.nan_to_num(values.astype(np.float32)) - low) / np.maximum(high - low, 1e-6), 0, 1
        )
        ** 0.75
    )
    picture = np.moveaxis((shown * 255).round().astype(np.uint8), 0, -1)
    if valid.all():
        return encode(picture, "RGB", "JPEG", quality=88), "image/jpeg"
    return encode(
        np.dstack([picture, valid.astype(np.uint8) * 255]), "RGBA", "PNG", compress_level=1
    ), "image/png"


def paint_palette(ids: np.ndarray, palette: np.ndarray) -> tuple[bytes, str]:
    """Paint numbers of a (256, 4) palette."""
    from PIL import Image

    image = Image.fromarray(ids, "L")
    image.putpalette(palette[:, :3].tobytes())
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1, transparency=palette[:, 3].tobytes())
    return out.getvalue(), "image/png"


def encode(pixels: np.ndarray, mode: str, kind: str, **options: int) -> bytes:
    """Write pixels as a picture."""
    from PIL import Image

    out = io.BytesIO()
    Image.frombuffer(mode, pixels.shape[1::-1], pixels.tobytes(), "raw", mode, 0, 1).save(
        out, kind, **options
    )
    return out.getvalue()


def share(
    rendering: Rendering,
    values: np.ndarray,
    stretch: np.ndarray,  # noqa: ARG001  # one signature for all
) -> tuple[np.ndarray, np.ndarray]:
    """Paint a probability: the more, the more opaque."""
    ids = np.nan_to_num(values.astype(np.float32) * (254 / rendering.top)).clip(0, 254).round()
    alpha = np.arange(256) * (235 / 254)
    return ids, with_alpha(np.tile(np.array(rgb(rendering.colours[0])), (256, 1)), alpha)


def objects(
    rendering: Rendering,  # noqa: ARG001
    values: np.ndarray,
    stretch: np.ndarray,  # noqa: ARG001
) -> tuple[np.ndarray, np.ndarray]:
    """Paint objects: neighbours mostly differ in colour; 0 is none."""
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    ids = np.where(values == 0, 255, (mixed >> np.uint64(56)).astype(np.int64) % 255)
    turns = np.arange(256) * 0.61803398875
    wheel = np.stack([np.cos(2 * np.pi * (turns + shift)) for shift in (0, 1 / 3, 2 / 3)], 1)
    return ids, with_alpha(150 + 95 * wheel, np.full(256, 200))


def classes(
    rendering: Rendering,
    values: np.ndarray,
    stretch: np.ndarray,  # noqa: ARG001
) -> tuple[np.ndarray, np.ndarray]:
    """Paint classes; 255 is not known."""
    drawn = [rgb(rendering.colours[k % len(rendering.colours)]) for k in range(256)]
    return values, with_alpha(np.array(drawn), np.full(256, 230))


def number(
    rendering: Rendering,  # noqa: ARG001
    values: np.ndarray,
    stretch: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Paint numbers from low to high."""
    low, high = stretch[0]
    ids = np.where(
        np.isfinite(values), np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 254, 255
    )
    return ids.round(), with_alpha(np.concatenate([ramp(255), [[0, 0, 0]]]), np.full(256, 235))


def with_alpha(colours: np.ndarray, alpha: np.ndarray | Sequence[float]) -> np.ndarray:
    """Return a (256, 4) palette whose last colour is clear."""
    palette = np.column_stack([colours, alpha]).clip(0, 255).round().astype(np.uint8)
    palette[255] = 0
    return palette
