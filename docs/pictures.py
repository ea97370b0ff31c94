"""Make the pictures of the pages anew, from real imagery beside the checkout and simulations.

python docs/pictures.py ../shared/data                 # all of them
python docs/pictures.py ../shared/data inn evaluating  # some

Imagery is Sentinel-2 (contains modified Copernicus Sentinel data) and NAIP (USDA, public domain);
photographs are simulated. The folder docs/pictures holds what this writes, and what
runs/gallery.py photographs of pages.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from selion import store
from selion.pipeline import maps
from selion.reports import picture

TARGET = Path(__file__).with_name("pictures")
PAIR = Path("satellite/s2_unlabelled/ftw_inn_pair/s2_pair_8band.tif")
CHIPS = Path("satellite/vhr_naip_usa")
UNSEEN = "naip_39.6679_-95.4288"
"""One of the seven chips that no training saw: every fourth by name, from the third."""


def save(image: np.ndarray, name: str, longest: int = 1160, quality: int = 78) -> None:
    """Write (y, x, 3) uint8 as WebP."""
    TARGET.mkdir(exist_ok=True)
    shown = Image.fromarray(np.ascontiguousarray(image))
    shown.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    shown.save(TARGET / f"{name}.webp", quality=quality, method=6)
    print(f"{name}.webp {shown.size} {(TARGET / f'{name}.webp').stat().st_size // 1024} KiB")


def beside(*parts: np.ndarray, gap: int = 8) -> np.ndarray:
    """Put pictures of one height side by side."""
    white = np.full((parts[0].shape[0], gap, 3), 255, np.uint8)
    row = [each for part in parts for each in (white, part)]
    return np.concatenate(row[1:], 1)


def mapped(image: Path, folder: Path, options: maps.MapOptions | None = None) -> Any:
    """Map an image; return its table."""
    options = options or maps.MapOptions()
    job = maps.prepare(str(image), None, options)
    return maps.map_image(job, folder / f"{image.stem}.parquet", options, force=True)[1]


def seen(path: Path, factor: int = 1) -> tuple[np.ndarray, Any]:
    """Return an image stretched for the eye, enlarged, and the grid of that picture."""
    source = store.open_raster(path)
    shown, _ = picture.thumbnail(source, max(source.grid.shape))
    return picture.enlarge(shown, factor), picture.zoomed(source.grid, factor)


# ---- one function a picture, named like the page that shows it


def inn(data: Path, work: Path) -> None:
    """Before and after of the slider, and the first picture of the README."""
    plain, grid = seen(data / PAIR, 2)
    save(plain, "inn")
    save(picture.draw_outlines(plain, mapped(data / PAIR, work), grid), "inn_fields")


PICTURES: dict[str, Callable[[Path, Path], None]] = {each.__name__: each for each in (inn,)}


def main() -> None:
    """Make what is asked for."""
    data, *names = sys.argv[1:]
    with tempfile.TemporaryDirectory() as work:
        for name in names or PICTURES:
            PICTURES[name](Path(data), Path(work))


if __name__ == "__main__":
    main()
