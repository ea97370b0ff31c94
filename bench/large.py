"""Photographs of more than six megapixels by ``auto``: which of two networks is asked first, what
that costs and what the mask is worth.

    python bench/large.py [--ews FOLDER] [--only NAME ...] [--seed 4500000] [--json rows.json]

Each photograph is some seven megapixels of one source side by side, turned over by lot: wheat of
plots that nothing was trained on (``--ews``), the five drawn styles and plants before a camera of
``bench/sources.py``, and two photographs of the package's simulator that are drawn so large.
*crops-rgb first*: it sees all pixels, and ``crops-wide`` is asked, at half the size, where
greenness does not confirm it.  *crops-wide first*: the other way round, as ``selion crops`` does.
CPU seconds are those of the networks that were asked, on one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import plant_scenes
import sources
from selion.closerange import open_model
from selion.closerange.gate import answer_of
from selion.closerange.measure import _at_size
from selion.grid import photo_grid
from selion.prediction import PredictOptions, predict
from selion.raster import Raster
from selion.segmenter import Segmenter
from selion.simulation.landscape import simulate_photo
from table import Row, markdown, save

NAME = "Close range: large photographs"
EDGE = 2700
SEED = 4_500_000
STYLES = ("rosette", "grass", "broad", "seedling", "feather")
Scene = tuple[np.ndarray, np.ndarray]
"""(3, y, x) uint8, (y, x) bool plants."""


def side_by_side(photos: Sequence[sources.Photo]) -> Scene:
    """Lay photographs out as one of about :data:`EDGE` pixels along a side."""
    across = round(EDGE / photos[0][1].shape[1])
    rng = np.random.default_rng(1)
    order = [k % len(photos) for k in range(across * across)]
    rng.shuffle(order)
    rows = []
    for row in range(across):
        turned = []
        for k in order[row * across : (row + 1) * across]:
            flip = (slice(None, None, rng.choice((-1, 1))), slice(None, None, rng.choice((-1, 1))))
            turned.append((photos[k][0][:, *flip], photos[k][1][flip]))
        rows.append(tuple(np.concatenate(part, -1) for part in zip(*turned, strict=True)))
    image, plants = (np.concatenate(part, -2) for part in zip(*rows, strict=True))
    return np.ascontiguousarray(image), np.ascontiguousarray(plants)


def scenes(ews: Path | None, seed: int) -> Iterator[tuple[str, Callable[[], Scene]]]:
    """Yield the name of each photograph and how it is made."""
    if ews is not None:
        yield "wheat", lambda: side_by_side(list(sources.data_set(ews, "ews", 10_000)))
    for style in STYLES:
        yield style, partial(_drawn, sources.styles, style, seed)
    for kind in plant_scenes.KINDS:
        yield f"camera {kind}", partial(_drawn, sources.camera, kind, seed)
    for k in (0, 1):
        yield f"simulate_photo {k}", partial(simulated, seed + k)


def _drawn(draw: Callable[[str, int, int], Iterator[sources.Photo]], kind: str, seed: int) -> Scene:
    return side_by_side(list(draw(kind, 16, seed)))


def simulated(seed: int) -> Scene:
    """Draw a photograph of the package's simulator that is so large."""
    photo = simulate_photo(seed, (EDGE, EDGE))
    return photo.image.values, photo.labels.ids == 1


class Asked:
    """A model's answer to a photograph, and the CPU seconds that it cost."""

    def __init__(self, model: Segmenter, photo: Raster, scale: float | None) -> None:
        begun = time.process_time()
        found = predict(photo, model, options=PredictOptions(scale=scale))
        self.scores = _at_size(found.values, photo.values.shape[1:])
        self.seconds = time.process_time() - begun
        self.asked = False

    def __call__(self) -> np.ndarray:
        """Return the answer, as often as it is wanted."""
        self.asked = True
        return self.scores.copy()


def miou(mask: np.ndarray, truth: np.ndarray) -> float:
    """Mean IoU of plants and soil."""
    pairs = ((mask, truth), (~mask, ~truth))
    return float(np.mean([(a & b).sum() / max((a | b).sum(), 1) for a, b in pairs]))


def rows_of(name: str, scene: Scene, models: dict[str, Segmenter]) -> list[Row]:
    """Return mIoU and CPU seconds of both ways."""
    image, truth = scene
    photo = Raster(image, photo_grid(truth.shape), ("red", "green", "blue"))
    found = []
    answers = {
        "crops-rgb": Asked(models["crops-rgb"], photo, None),
        "crops-wide": Asked(models["crops-wide"], photo, 0.5),
    }
    for first, second in (("crops-rgb", "crops-wide"), ("crops-wide", "crops-rgb")):
        for one in answers.values():
            one.asked = False
        scores, note = answer_of(
            image,
            answers[first](),
            second=answers[second],
            first_stands=first == "crops-wide",
        )
        spent = sum(one.seconds for one in answers.values() if one.asked)
        value = miou(scores[1] > scores[0], truth)
        note = f"mIoU {value:.4f}, {spent:.1f} CPU s; {note}"
        found.append(Row(NAME, f"{name}, {first} first", value, "mIoU", note=note))
        print(f"{found[-1].what}: {note}", flush=True)
    return found


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ews", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="How names begin.")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    opened = {name: open_model(name, threads=1) for name in ("crops-rgb", "crops-wide")}
    blank = Raster(np.zeros((3, 1, 1), np.uint8), photo_grid((1, 1)), ("red", "green", "blue"))
    models = {name: model.fit(blank) for name, model in opened.items()}
    rows = []
    for name, make in scenes(given.ews, given.seed):
        if not given.only or name.startswith(tuple(given.only)):
            rows += rows_of(name, make(), models)
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
