"""Photographs of crops to masks, cover and traits.

python examples/photographs.py [FOLDER] [-o FOLDER]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from selion.closerange import CropOptions, measure_folder
from selion.simulation.landscape import simulate_photo


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure a folder of photographs; without one, simulated plants on soil."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("photos", nargs="?", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("example-photos"))
    parser.add_argument("--gsd", type=float, help="Millimetres of a pixel on the ground.")
    given = parser.parse_args(arguments)
    photos = given.photos or write_photos(given.out / "photos")

    options = CropOptions(gsd=given.gsd)
    run = measure_folder(photos, given.out / "measured", "crops-rgb", options, force=True)
    for row in run.rows:
        print(f"{row['file']}: {row['cover']:.1%} of the ground is covered")
    for name, reason in run.failed:
        print(f"{name}: {reason}")


def write_photos(folder: Path) -> Path:
    """Write three photographs of plants that do not exist."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(3):
        pixels = simulate_photo(seed, (192, 256)).image.values  # (band, y, x) uint8
        Image.fromarray(np.moveaxis(pixels, 0, -1)).save(folder / f"plot{seed}.png")
    return folder


if __name__ == "__main__":
    main()
