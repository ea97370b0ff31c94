"""Simulated scenes as a dataset that recipes take: images of two dates at 10 m, objects at 5 m.

    python runs/scenes_as_dataset.py scenes/ --scenes 48 --validation 6
    selion train fields-s2-2season --set data.dataset=scenes/ -o my-model

Scenes, seeds and styles are those of ``fields_s2_2season.py``; the last ones are for validation.
What is there already stays.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from fields_s2_2season import FIRST_SEED, GSD, SIDE, STYLES
from selion import store
from selion.grid import whole
from selion.simulation.landscape import simulate

DECLARATION = """name = "simulated"
layout = "folder"
licence = "Apache-2.0"
notes = "selion.simulation.landscape: simulated countryside, images at 10 m, objects at 5 m"

[settings]
finer = 2
"""


def write(folder: Path, number: int, side: int) -> None:
    """Simulate one scene twice, from one seed: its image at 10 m, its objects at 5 m."""
    image_path, ids_path = (
        folder / what / f"scene_{number:03d}.tif" for what in ("images", "instances")
    )
    if ids_path.exists():
        return
    style = STYLES[number % len(STYLES)]
    image = simulate(FIRST_SEED + number, (side, side), GSD, style).image
    fine = simulate(FIRST_SEED + number, (2 * side, 2 * side), GSD / 2, style).instances
    grid = image.grid.zoom_out(0.5)
    for path, place, bands, values in (
        (image_path, image.grid, image.bands, image.values),
        (ids_path, grid, ("id",), fine.ids[None]),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.create_cog(path, place, bands, values.dtype, force=True) as sink:
            sink.write(whole(place), values)
    print(f"{folder.name}/{image_path.name} {style}", flush=True)


def main() -> None:
    """Write the scenes that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--validation", type=int, default=6, help="the last of them")
    parser.add_argument("--side", type=int, default=SIDE, help="edge of a scene in pixels of 10 m")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "dataset.toml").write_text(DECLARATION, "utf-8")
    for number in range(args.scenes):
        write(
            args.out / ("val" if number >= args.scenes - args.validation else "train"),
            number,
            args.side,
        )


if __name__ == "__main__":
    main()
