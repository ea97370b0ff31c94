"""Orthomosaics by ``auto``: which network is asked first, at which size, and what each is worth.

    python bench/plots_first.py [--plots 8 4]

Simulated orthomosaics of ``bench/plots.py``, of two sizes of pixels and with leaves as green as
they are or paler than the soil tells; the truth is the painted mask.  *crops-rgb first* is what
``selion crops plots`` does up to 6 megapixels; *crops-wide first, half size* what it does above.
Each row: mIoU, mean and largest error of a plot's cover, plots whose interval holds the truth, CPU
seconds of the networks that were asked, on one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

import large
import plots
from selion.closerange import open_model
from selion.closerange.calibration import Calibration
from selion.closerange.cover import measure_cover
from selion.closerange.gate import answer_of
from selion.grid import photo_grid
from selion.raster import Raster
from selion.segmenter import Segmenter

WAYS = (
    ("crops-rgb first", ("crops-rgb", 1.0), ("crops-wide", 1.0)),
    ("crops-wide first, half size", ("crops-wide", 0.5), ("crops-rgb", 1.0)),
    ("crops-wide first", ("crops-wide", 1.0), ("crops-rgb", 1.0)),
)
KINDS = tuple((gsd, pale) for gsd in (0.01, 0.005) for pale in (0.0, 0.5, 0.7))


def painted(size: Sequence[int], gsd: float, pale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the (3, y, x) colours of a trial and its (y, x) plants."""
    random = np.random.default_rng(9)
    shape = plot_shape(gsd)
    rows, (across, down) = [], size
    for _ in range(down):
        row = [
            plots.paint_plot(random, shape, random.uniform(0.02, 0.8), gsd, pale)
            for _ in range(across)
        ]
        rows.append([np.concatenate(part, -1) for part in zip(*row, strict=True)])
    image, plants = (np.concatenate(part, -2) for part in zip(*rows, strict=True))
    return image, plants


def plot_shape(gsd: float) -> tuple[int, int]:
    """Return the pixels of a plot with its paths."""
    return round((plots.HIGH + plots.PATH) / gsd), round((plots.WIDE + plots.PATH) / gsd)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plots", type=int, nargs=2, default=(8, 4))
    given = parser.parse_args()
    known = open_model("auto", threads=1).known or Calibration(1.0, 1.0)
    blank = Raster(np.zeros((3, 1, 1), np.uint8), photo_grid((1, 1)), ("red", "green", "blue"))
    models = {name: open_model(name, threads=1).fit(blank) for name in ("crops-rgb", "crops-wide")}
    print("| | mIoU | error | largest | holds | CPU s | |\n|---|---|---|---|---|---|---|")
    for gsd, pale in KINDS:
        image, plants = painted(given.plots, gsd, pale)
        answers = asked(image, models)
        for name, first, second in WAYS:
            for one in answers.values():
                one.asked = False
            scores, note = answer_of(
                image,
                answers[first](),
                second=answers[second],
                first_stands=first[0] == "crops-wide",
            )
            spent = sum(one.seconds for one in answers.values() if one.asked)
            value = large.miou(scores[1] > scores[0], plants)
            errors, held = by_plot(scores, plants, gsd, known)
            print(
                f"| {1000 * gsd:g} mm, pale {pale:g}, {name} | {value:.3f} | {errors.mean():.3f} "
                f"| {errors.max():.3f} | {held:.0%} | {spent:.1f} | {note} |",
                flush=True,
            )


def asked(image: np.ndarray, models: dict[str, Segmenter]) -> dict[tuple[str, float], large.Asked]:
    """Ask each network at each size."""
    photo = Raster(image, photo_grid(image.shape[1:]), ("red", "green", "blue"))
    pairs = {pair for _, first, second in WAYS for pair in (first, second)}
    return {
        (name, size): large.Asked(models[name], photo, None if size == 1 else size)
        for name, size in sorted(pairs)
    }


def by_plot(
    scores: np.ndarray, plants: np.ndarray, gsd: float, known: Calibration
) -> tuple[np.ndarray, float]:
    """Return the errors of the plots' covers, and the share of intervals that hold the truth."""
    height, width = plot_shape(gsd)
    errors, held = [], []
    for top in range(0, plants.shape[0], height):
        for left in range(0, plants.shape[1], width):
            plot = np.s_[top : top + round(plots.HIGH / gsd), left : left + round(plots.WIDE / gsd)]
            seen = scores[:, *plot]
            everywhere = np.ones(seen.shape[1:], bool)
            cover = known.interval(measure_cover(1 - seen[0], seen[1] > seen[0], everywhere))
            truth = float(plants[plot].mean())
            errors.append(abs(cover.cover - truth))
            held.append(cover.low <= truth <= cover.high)
    return np.array(errors), float(np.mean(held))


if __name__ == "__main__":
    main()
