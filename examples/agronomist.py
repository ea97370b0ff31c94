"""First hour of an agronomist: own polygons teach a model, which is compared with its start.

python examples/agronomist.py [IMAGE POLYGONS] [-o FOLDER] [--epochs N]
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hour import Hour, arguments
from own_polygons import write_farm


def main(given: Sequence[str] | None = None) -> None:
    """Look, map with the start, learn from own polygons, map again, score both; or simulated."""
    parser = arguments(main.__doc__ or "", "hour-agronomist")
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("polygons", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=1, help="The recipe says 100 at most.")
    parser.add_argument("--window", type=int, default=64, help="256 is what the recipe says.")
    asked = parser.parse_args(given)
    image, polygons = (
        None if path is None else path.resolve() for path in (asked.image, asked.polygons)
    )
    with Hour(asked.out, pages=asked.pages) as hour:
        if image is None or polygons is None:
            image, polygons = write_farm(Path())
        hour.run("map", image, "-o", "before.gpkg", shows=["before.preview.png"])
        hour.run(
            *("train", "own-polygons", "-o", "mine"),
            *("--set", f"data.image={image}", "--set", f"data.polygons={polygons}"),
            *("--set", f"schedule.epochs={asked.epochs}"),
            *("--set", f"input.window={asked.window}", "--set", "hardware.workers=0"),
            shows=["mine/report.html"],
        )
        hour.run("models", "show", "mine/model")
        hour.run("map", image, "-m", "mine/model", "-o", "after.gpkg", shows=["after.preview.png"])
        # On the polygons that it has learnt from: this flatters it, other fields would not.
        hour.run(
            *("evaluate", "--pred", "before.gpkg", "--pred", "after.gpkg"),
            *("--truth", polygons, "--reproject", "-o", "evaluation"),
            shows=["evaluation/report.html"],
        )
        hour.page("review", "after.gpkg", "--image", image, "--person", "Ada")


if __name__ == "__main__":
    main()
