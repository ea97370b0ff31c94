"""Masks out of depth against the truth of simulated photographs: every curve and reading, the
baselines, the quality score, and fully covered photographs.

    python bench/pseudo_masks.py [--photos 40] [--first 4000] [--edge 320] [--generator camera]

The method was chosen on seeds below 60 and its cut-off partly on seeds 1000 to 1059; seeds from
4000 on had no part in either.  Depth comes in four kinds:

* true: height above the ground, as simulated
* soft: blurred by one pixel, as a network's upsampled answer is
* network: clods and thin leaves lost (median over 5 px), blurred, tilted by 10 %, with slow waves
  and noise
* camera: inverse distance to a camera three plant heights above the ground

With ``--generator camera`` the scenes come from ``bench/plant_scenes.py``, which shares nothing
with the simulator: leaves in space, a camera tilted by up to 30 degrees or (straight) by none.
Its seeds below 300 were looked at when the choice among the cuts was made.

mIoU is the mean over soil and crop within a photograph, averaged over photographs; "worst" is the
worst photograph.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from scipy import ndimage, stats

import plant_scenes
from selion import metrics
from selion.labelling.choosing import choose_mask
from selion.labelling.postprocess import refine
from selion.labelling.quality import covered, judge
from selion.labelling.threshold import (
    ThresholdOptions,
    depth_mask,
    fit_sigmoid,
    ground_plane,
    histogram_curve,
    normalise,
)
from selion.simulation.landscape import simulate_photo

Truth = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Image (3, y, x), depth (y, x), crop (y, x) bool."""
KINDS = ("true", "soft", "network", "camera")
LAYERS = 40
"""Photographs painted over each other until no soil is left."""


def truths(first: int, count: int, edge: int) -> list[Truth]:
    """Simulate photographs."""
    photos = (simulate_photo(seed, (edge, edge * 4 // 3)) for seed in range(first, first + count))
    return [(photo.image.values, photo.depth, photo.labels.ids == 1) for photo in photos]


def seen_as(depth: np.ndarray, kind: str, seed: int) -> np.ndarray:
    """Make of the true depth what something might say of it."""
    if kind == "soft":
        return ndimage.gaussian_filter(depth, 1)
    if kind == "camera":
        return 1 / (3 - depth)
    if kind == "true":
        return depth
    random = np.random.default_rng(seed)
    y, x = np.meshgrid(*(np.linspace(-0.5, 0.5, size) for size in depth.shape), indexing="ij")
    waves = ndimage.gaussian_filter(random.standard_normal(depth.shape), 40)
    blurred = ndimage.gaussian_filter(ndimage.median_filter(depth, 5), 1.2)
    return (
        blurred
        + 0.02 * waves / waves.std()
        + 0.1 * (0.54 * x + 0.84 * y)
        + 0.003 * random.standard_normal(depth.shape)
    )


def miou(mask: np.ndarray, crop: np.ndarray) -> float:
    """Return the mean of the IoU of soil and of crop."""
    return float(
        metrics.pixel_scores(
            metrics.confusion(crop.astype(np.uint8), mask.astype(np.uint8), 2), "zero"
        ).iou.mean()
    )


def from_depth(depth: np.ndarray, options: ThresholdOptions) -> np.ndarray:
    """Return the mask of an option; nothing where there is none."""
    found = depth_mask(depth, options)
    return np.zeros(depth.shape, bool) if found.mask is None else found.mask


def refined(depth: np.ndarray) -> np.ndarray:
    """Return the default's mask after postprocessing."""
    found = depth_mask(depth)
    return (
        np.zeros(depth.shape, bool)
        if found.mask is None or found.depth is None
        else refine(found.mask, found.depth, found.threshold)
    )


def unweighted(depth: np.ndarray) -> np.ndarray:
    """Fit the plain cumulative histogram."""
    plane = normalise(depth)
    return plane > fit_sigmoid(*histogram_curve(plane, np.ones_like(plane))).centre


def best(depth: np.ndarray, crop: np.ndarray) -> np.ndarray:
    """Return the mask of the best of sixty thresholds, which needs the truth."""
    plane = normalise(depth)
    return max((plane > t for t in np.linspace(0.01, 0.9, 60)), key=lambda mask: miou(mask, crop))


def chosen(image: np.ndarray | None, depth: np.ndarray, **options: str) -> np.ndarray:
    """Return the mask that looks best among those of the options."""
    found = choose_mask(depth, image, ThresholdOptions(**options))
    return np.zeros(depth.shape, bool) if found.mask is None else found.mask


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    "the best of four cuts (default)": lambda image, depth, _: chosen(image, depth),
    "the same, without colours": lambda _, depth, __: chosen(None, depth),
    "the best curve, ground as it is": lambda image, depth, _: chosen(image, depth, ground="flat"),
    "contour, ground taken out": lambda image, depth, _: chosen(
        image, depth, curve="contour", ground="tilted"
    ),
    "histogram, ground taken out": lambda image, depth, _: chosen(
        image, depth, curve="histogram", ground="tilted"
    ),
    "contour, slope": lambda _, depth, __: from_depth(depth, ThresholdOptions()),
    "contour, slope, refined": lambda _, depth, __: refined(depth),
    "contour, knee": lambda _, depth, __: from_depth(depth, ThresholdOptions(reading="knee")),
    "histogram, slope": lambda _, depth, __: from_depth(depth, ThresholdOptions("histogram")),
    "histogram, knee": lambda _, depth, __: from_depth(
        depth, ThresholdOptions("histogram", "knee")
    ),
    "histogram, not weighted": lambda _, depth, __: unweighted(depth),
    "Otsu on depth": lambda _, depth, __: metrics.otsu_depth(depth) > 0,
    "best threshold there is": lambda _, depth, crop: best(depth, crop),
    "best threshold, ground taken out": lambda _, depth, crop: best(
        depth - ground_plane(normalise(depth)) * np.ptp(depth), crop
    ),
}


def canopy(seed: int, photos: list[Truth]) -> tuple[np.ndarray, np.ndarray]:
    """Paint plants of many photographs over each other; return image and depth of the largest
    square without soil.
    """
    random = np.random.default_rng(seed)
    image, depth = np.zeros_like(photos[0][0]), np.zeros(photos[0][1].shape)
    soil = np.ones(depth.shape, bool)
    for layer in range(LAYERS):
        picture, height, crop = photos[int(random.integers(len(photos)))]
        image[:, crop] = picture[:, crop] * (0.6 + 0.4 * layer / LAYERS)
        depth[crop] = 1.5 * layer / LAYERS + height[crop]
        soil &= ~crop
    rows, columns = without(soil)
    return image[:, rows, columns], depth[rows, columns]


def without(soil: np.ndarray) -> tuple[slice, slice]:
    """Return a square around the pixel that is farthest from all soil."""
    reach = ndimage.distance_transform_cdt(~soil, "chessboard")
    row, column = np.unravel_index(int(reach.argmax()), reach.shape)
    half = max(int(reach[row, column]) - 1, 8)
    return slice(max(row - half, 0), row + half), slice(max(column - half, 0), column + half)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=int, default=40)
    parser.add_argument("--first", type=int, default=4000)
    parser.add_argument("--edge", type=int, default=320)
    parser.add_argument("--generator", choices=("selion", "camera"), default="selion")
    args = parser.parse_args()
    print(f"{args.photos} photographs, {args.edge} px high, seeds from {args.first}\n")
    photos = truths(args.first, args.photos, args.edge)
    if args.generator == "camera":
        table(tilted(args.first, args.photos, args.edge))
        return
    table(
        {
            kind: [
                (image, seen_as(depth, kind, k), crop)
                for k, (image, depth, crop) in enumerate(photos)
            ]
            for kind in KINDS
        }
    )
    ranks(photos)
    coverage(photos)
    began = time.perf_counter()
    for image, depth, _ in photos:
        choose_mask(depth, image)
    print(
        f"\n{(time.perf_counter() - began) / len(photos) * 1000:.0f} ms a photograph for the "
        "choice among four cuts"
    )


def tilted(first: int, count: int, edge: int) -> dict[str, list[Truth]]:
    """Draw scenes in space, straight and tilted, with exact inverse depth and a network's."""
    shape = (edge, edge * 4 // 3)
    made = {
        "straight": [plant_scenes.draw_scene(first + k, shape, 0.0) for k in range(count)],
        "tilted": [plant_scenes.draw_scene(first + k, shape) for k in range(count)],
    }
    sets: dict[str, list[Truth]] = {}
    for name, scenes in made.items():
        sets[name] = [(one.image, one.inverse, one.crop) for one in scenes]
        sets[f"{name}, as a network sees it"] = [
            (one.image, plant_scenes.as_network(one.inverse, k), one.crop)
            for k, one in enumerate(scenes)
        ]
    return sets


def table(sets: dict[str, list[Truth]]) -> None:
    """Print each method on each kind of depth."""
    print(f"| mIoU (worst) | {' | '.join(sets)} |\n|---|{'---|' * len(sets)}")
    for name, method in METHODS.items():
        cells = []
        for photos in sets.values():
            found = [miou(method(image, depth, crop), crop) for image, depth, crop in photos]
            cells.append(f"{np.mean(found):.3f} ({np.min(found):.2f})")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for name, rule in (
        ("excess green and Otsu", metrics.excess_green),
        ("Canopeo", metrics.canopeo),
    ):
        cells = []
        for photos in sets.values():
            found = [miou(rule(image) > 0, crop) for image, _, crop in photos]
            cells.append(f"{np.mean(found):.3f} ({np.min(found):.2f})")
        print(f"| {name} (colour alone) | {' | '.join(cells)} |")


def ranks(photos: list[Truth]) -> None:
    """Say whether the quality score ranks masks as the truth does, and what it says of the
    worst.
    """
    print(
        "\n| depth | rank correlation of quality and mIoU | without colours | mIoU of the better "
        "half by quality | of the other | worst three: mIoU (rank) |"
    )
    print("|---|---|---|---|---|---|")
    everything: list[tuple[float, float, float]] = []
    for kind in KINDS:
        rows = [
            measured(image, seen_as(depth, kind, k), crop)
            for k, (image, depth, crop) in enumerate(photos)
        ]
        everything += rows
        print(f"| {kind} | {line(np.array(rows))} |")
    print(f"| all | {line(np.array(everything))} |")


def measured(image: np.ndarray, depth: np.ndarray, crop: np.ndarray) -> tuple[float, float, float]:
    """Return mIoU, quality, and quality without colours."""
    found = choose_mask(depth, image)
    mask = np.zeros(crop.shape, bool) if found.mask is None else found.mask
    return miou(mask, crop), judge(found, image).score, judge(found).score


def line(rows: np.ndarray) -> str:
    """Lay out rows of mIoU, quality, quality without colours."""
    order = rows[:, 1].argsort()
    half = len(order) // 2
    place = np.empty(len(order), int)
    place[order] = np.arange(1, len(order) + 1)
    worst = ", ".join(f"{rows[k, 0]:.2f} ({place[k]})" for k in rows[:, 0].argsort()[:3])
    one, other = (float(stats.spearmanr(rows[:, k], rows[:, 0]).statistic) for k in (1, 2))
    return (
        f"{one:.2f} | {other:.2f} | {rows[order[half:], 0].mean():.3f} | "
        f"{rows[order[:half], 0].mean():.3f} | {worst}"
    )


def coverage(photos: list[Truth]) -> None:
    """Count what is taken for fully covered, with soil and without."""
    wrong = sum(covered(image) for image, *_ in photos)
    canopies = [canopy(seed, photos) for seed in range(len(photos))]
    missed = [k for k, (image, _) in enumerate(canopies) if not covered(image)]
    print(
        f"\nTaken for fully covered: {wrong} of {len(photos)} photographs with soil; "
        f"{len(canopies) - len(missed)} of {len(canopies)} without."
    )


if __name__ == "__main__":
    main()
