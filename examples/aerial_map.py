"""One aerial image to a table of fields, step by step and in one call.

python examples/aerial_map.py [IMAGE] [-o FOLDER]
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

MODEL = "fields-rgb-vhr"


def main(arguments: Sequence[str] | None = None) -> None:
    """Map an image of 1 to 5 m (red, green, blue); without one, a simulated countryside."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("example-aerial"))
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.image or write_countryside(given.out / "aerial.tif")

    image = selion.open_raster(path)
    model = selion.load_model(MODEL)
    probabilities = selion.predict(image, model)
    instances = selion.find_instances(probabilities, model)
    fields = selion.to_fields(instances)
    write_fields(fields, given.out / "steps.gpkg", force=True)

    # The same in one call, block by block: the image need not fit in memory, and a run that was
    # stopped goes on where it was.
    mapped = selion.map_fields(path, given.out / "fields.parquet", MODEL, force=True)

    hectares = mapped["metrics:area"].sum() / 1e4
    print(f"{len(mapped)} fields, {hectares:.1f} ha: {given.out / 'fields.parquet'}")


def write_countryside(path: Path, edge: int = 256) -> Path:
    """Write what an aerial camera with pixels of 2 m would see of fields that do not exist."""
    image = simulate(5, (edge, edge), 2.0, "europe", bands="rgb").image
    with create_cog(path, image.grid, image.bands, image.values.dtype, force=True) as sink:
        sink.write(whole(image.grid), image.values)
    return path


if __name__ == "__main__":
    main()
