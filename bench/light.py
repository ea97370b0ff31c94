"""Close range in changed light: photographs of wheat as they are, darker, noisier, of other colours
and sizes, and what each model makes of the same masks.

    python bench/light.py EWS [--chilli FOLDER] [--models auto crops-rgb crops-wide colour-otsu]
                          [--every 1] [--json rows.json]

EWS is the wheat data set (``images`` and ``masks``); asked are the photographs of plots that no
model was trained on (split val).  ``--chilli`` is a folder without masks: there, the share of the
pixels where excess green is sure (0.15 and more, or below 0) on which a model says the same.
Answers are those of ``selion crops``: ``auto`` decides photograph by photograph.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from selion.closerange import open_model
from selion.closerange.gate import answer_of
from selion.closerange.model import PhotoModel
from selion.closerange.rule import excess_green
from selion.data import load_dataset
from selion.data.photos import find_photos, read_photo
from selion.grid import photo_grid, whole
from selion.prediction import predict
from selion.raster import Raster
from table import Row, markdown, save

NAME = "Close range: changed light"
MODELS = ("auto", "crops-rgb", "crops-wide", "colour-otsu")
PLANTS, SOIL = 0.15, 0.0
"""Excess green above and below which its sign is not in doubt."""

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def light(share: float, noise: float) -> Change:
    """Make it darker, then noisier by so many of 255."""
    return lambda image, rng: share * image + rng.normal(0, noise, image.shape)


def colour(red: float, blue: float) -> Change:
    """Give it another light."""
    return lambda image, _: image * np.array([red, 1.0, blue])[:, None, None]


CHANGES: Mapping[str, Change] = {
    "as they are": light(1.0, 0.0),
    "noise of 10 of 255": light(1.0, 10.0),
    "noise of 25": light(1.0, 25.0),
    "noise of 40": light(1.0, 40.0),
    "half of the light": light(0.5, 0.0),
    "0.3 of the light": light(0.3, 0.0),
    "0.15 of the light, noise of 3": light(0.15, 3.0),
    "0.15 of the light, noise of 6": light(0.15, 6.0),
    "warm light": colour(1.25, 0.7),
    "cold light": colour(0.75, 1.3),
}
SMALLER = {"half of the size": 2, "a quarter of the size": 4}


def variants(
    image: np.ndarray, mask: np.ndarray, seed: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield the name, the (3, y, x) uint8 photograph and its (y, x) mask."""
    for name, change in CHANGES.items():
        seen = change(image.astype(np.float64), np.random.default_rng(seed))
        yield name, np.clip(np.rint(seen), 0, 255).astype(np.uint8), mask
    for name, times in SMALLER.items():
        shown = Image.fromarray(image.transpose(1, 2, 0))
        size = shown.width // times, shown.height // times
        small = np.asarray(shown.resize(size, Image.Resampling.BOX)).transpose(2, 0, 1)
        truth = Image.fromarray(mask.astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        yield name, np.ascontiguousarray(small), np.asarray(truth) > 0


def answer(model: PhotoModel, image: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the (y, x) mask of plants as ``selion crops`` has it, and who made it."""
    photo = Raster(image, photo_grid(image.shape[1:]), ("red", "green", "blue"))
    answers, why = model.answering(photo)
    found = predict(photo, answers.fit(photo))
    if found is None:
        raise ValueError("a photograph of nothing")
    scores = found.values
    other = answers.other
    second = None if other is None else lambda: predict(photo, other.fit(photo)).values
    scores, note = answer_of(image, scores, second=second) if answers.ruled else (scores, "")
    who = note or (f"given to {answers.name}" if why else "")
    return scores[1] > scores[0], who


def miou(counts: np.ndarray) -> tuple[float, float]:
    """Return mean IoU of soil and crop, and IoU of crop, of [neither, missed, false, both]."""
    neither, missed, false, both = counts
    crop = both / max(both + missed + false, 1)
    return float(neither / max(neither + missed + false, 1) + crop) / 2, float(crop)


def on_wheat(ews: Path, models: Mapping[str, PhotoModel], every: int) -> list[Row]:
    """Score each change; the same pixels for every model."""
    counts: dict[tuple[str, str], np.ndarray] = {}
    others: dict[tuple[str, str], Counter[str]] = {}
    samples = load_dataset("ews", ews).select("val")[::every]
    for seed, sample in enumerate(samples):
        if sample.labels is None:
            raise ValueError(f"{sample.key} has no mask")
        image = sample.image.read(whole(sample.image.grid)).values
        for change, shown, truth in variants(image, sample.labels.ids == 1, seed):
            for name, model in models.items():
                mask, who = answer(model, shown)
                pairs = [
                    np.count_nonzero((mask == a) & (truth == b)) for a in (0, 1) for b in (0, 1)
                ]
                key = change, name
                counts[key] = counts.get(key, np.zeros(4, np.int64)) + np.array(pairs)
                others.setdefault(key, Counter()).update([who] if who else [])
    rows = []
    for (change, name), found in counts.items():
        mean, crop = miou(found)
        note = f"mIoU {mean:.3f}, IoU of crop {crop:.3f}"
        for who, count in others[change, name].most_common():
            note += f"; {count} of {len(samples)} {who}"
        rows.append(Row(NAME, f"{change}, {name}", mean, "mIoU", note=note))
    return rows


def on_chilli(folder: Path, models: Mapping[str, PhotoModel], every: int) -> list[Row]:
    """Agree with excess green where that is sure."""
    shares: dict[str, list[float]] = {name: [] for name in models}
    for photo in find_photos(folder)[::every]:
        image = read_photo(photo.path).image.values
        index = excess_green(image)
        sure = (index >= PLANTS) | (index < SOIL)
        for name, model in models.items():
            mask, _ = answer(model, image)
            shares[name].append(float((mask == (index >= PLANTS))[sure].mean()))
    return [
        Row(NAME, f"chilli, {name}", float(np.mean(found)), "agreement",
            note=f"{np.mean(found):.3f}, at worst {min(found):.3f}; {len(found)} photographs")
        for name, found in shares.items()
    ]  # fmt: skip


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ews", type=Path)
    parser.add_argument("--chilli", type=Path)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    models = {name: open_model(name) for name in given.models}
    rows = on_wheat(given.ews, models, given.every)
    if given.chilli is not None:
        rows += on_chilli(given.chilli, models, given.every)
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
