"""A model taught by your own polygons, and a map made with it.

python examples/own_polygons.py [IMAGE POLYGONS] [-o FOLDER] [--epochs N]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import selion
from selion.fields import write_fields
from selion.grid import whole
from selion.simulation.landscape import simulate
from selion.store import create_cog


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on outlines that were drawn in an image; without both, on a simulated farm."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("polygons", nargs="?", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("example-own"))
    parser.add_argument("--epochs", type=int, default=1, help="The recipe says 100 at most.")
    parser.add_argument("--window", type=int, default=64, help="256 is what the recipe says.")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    image, polygons = given.image, given.polygons
    if image is None or polygons is None:
        image, polygons = write_farm(given.out)

    trained = selion.train(
        "own-polygons",
        given.out / "run",
        [
            f"data.image={image}",
            f"data.polygons={polygons}",
            f"schedule.epochs={given.epochs}",
            f"input.window={given.window}",
            "hardware.workers=0",
        ],
    )
    folder = given.out / "run" / "model"
    model = selion.load_model(folder)

    # A strip of the image was kept for validation: what is said of the model, is said of that.
    report = selion.evaluate({"mine": model}, trained.plan.validation)
    mapped = selion.map_fields(image, given.out / "fields.gpkg", folder, force=True)
    for note in trained.notes:  # beside the model that it started from
        print(note)
    print(f"object F1 {report.runs[0].values['object_f1']:.2f}, {len(mapped)} fields")


def write_farm(folder: Path) -> tuple[Path, Path]:
    """Write an image with pixels of 2 m and the outlines of its fields."""
    farm = simulate(4, (128, 128), 2.0, "europe", bands="rgb")
    image = folder / "farm.tif"
    with create_cog(image, farm.image.grid, farm.image.bands, "uint8", force=True) as sink:
        sink.write(whole(farm.image.grid), farm.image.values.astype("uint8"))
    outlines = selion.to_fields(farm.instances)
    return image, write_fields(outlines, folder / "farm.gpkg", force=True)


if __name__ == "__main__":
    main()
