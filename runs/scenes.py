"""Scenes to train the field networks on, rendered by all cores of a machine in about a minute.

    python runs/scenes.py checkpoints/scenes --kinds s2=48 strips=16 vhr=48 parcels=32 \
        --parcels checkpoints/parcels_ids.npz --workers 16

Each file KIND_NNN.npz holds ``image``, (8, y, x) uint16 digital numbers (two dates of red, green,
blue, near infrared); ``ids``, int32 fields (0 none, -1 unknown) on the image's grid or one twice as
fine; ``gsd``, metres of an image pixel; ``style``.  A file that is there is kept.

s2       the styles of ``fields_s2_2season.py``, 5.12 km at 10 m, ids at 5 m
small    small plots, likewise
strips   large fields with verges, belts, gardens and meadows that are none, likewise
vhr      1.024 km at 1 m, ids at 1 m, the countries of small plots
parcels  real parcels (``parcels.py --pack``) painted with the scenes above: 2.56 km at 10 m with
         ids at 5 m, and 1.024 km at 2 m
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path

import numpy as np

from parcels import known, paint, read_packed, read_palette
from selion.simulation.landscape import field_ids, simulate

STYLES = {
    "s2": (
        "europe",
        "mixed",
        "europe",
        "bocage",
        "prairie",
        "smallholder",
        "europe",
        "mixed",
        "europe",
        "pivots",
        "mixed",
        "mixed",
    ),
    "small": ("smallholder", "hamlets", "delta", "smallholder", "bocage"),
    "strips": ("estate", "estate", "prairie", "estate"),
    "vhr": ("hamlets", "delta", "smallholder", "hamlets", "delta", "mixed", "hamlets", "europe"),
}
"""Drawn in turn."""
GRIDS = {"s2": (512, 10.0), "small": (512, 10.0), "strips": (512, 10.0), "vhr": (1024, 1.0)}
"""Pixels of a side and metres of each."""
WEATHERED = 0.8
"""Share of scenes that :func:`weather` changes, if nothing else is said (``--weathered``)."""
FIRST_SEEDS = {"s2": 0, "strips": 20_000, "vhr": 40_000, "parcels": 60_000, "small": 80_000}
"""Added to ``--first-seed``, so that kinds share no place."""


def save(path: Path, image: np.ndarray, ids: np.ndarray, gsd: float, style: str) -> None:
    """Write a scene under its name when it is whole."""
    part = path.with_suffix(".part.npz")
    np.savez(part, image=image, ids=ids.astype(np.int32), gsd=np.float32(gsd), style=style)
    part.replace(path)


def weather(image: np.ndarray, ids: np.ndarray, gsd: float, rng: np.random.Generator) -> np.ndarray:
    """Make fields uneven and alike, as real ones are.

    On aerial chips the spread inside of a field is three times the simulator's and the step between
    neighbours a third: half of all borders are weak.  The field's own pattern is drawn stronger,
    and all means move towards the mean of the fields, each scene to its own degree.
    """
    fine = gsd <= 2
    keep = np.exp(rng.uniform(np.log(0.25 if fine else 0.45), 0.0))
    wanted = rng.uniform(0.15, 0.75 if fine else 0.45)
    parts = np.maximum(ids[:: ids.shape[0] // image.shape[1], :: ids.shape[1] // image.shape[2]], 0)
    flat, bands = parts.ravel(), image.astype(np.float32).reshape(len(image), -1)
    count = np.bincount(flat, minlength=int(ids.max()) + 1).clip(1)
    mean = np.stack([np.bincount(flat, band, len(count)) for band in bands]) / count
    square = np.stack([np.bincount(flat, band * band, len(count)) for band in bands]) / count
    spread = np.sqrt(np.maximum(square - mean**2, 1.0))
    own = (spread / np.maximum(bands.std(1, keepdims=True), 1.0)).mean(0)
    gain = np.clip(wanted * np.exp(rng.normal(0, 0.4, len(count))) / own, 1.0, 5.0 if fine else 2.0)
    gain[0] = 1.0
    middle = np.average(mean[:, 1:], axis=1, weights=count[1:])[:, None] if len(count) > 1 else 0.0
    moved = np.where(np.arange(len(count)) > 0, middle + keep * (mean - middle), mean)
    out = np.empty_like(image).reshape(len(image), -1)
    for b, band in enumerate(bands):
        # Lone trees, shadows and the last pixel before a road stay as they are.
        rest, most = band - mean[b, flat], 2.0 * spread[b, flat]
        usual = np.clip(rest, -most, most)
        value = moved[b, flat] + gain[flat] * usual + (rest - usual)
        value = np.maximum(value, np.minimum(band, 0.5 * moved[b, flat]))
        out[b] = np.clip(np.rint(value), 1, 16_000)
    made = out.reshape(image.shape)
    return draw_furrows(made, parts, rng) if fine else made


def draw_furrows(image: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a faint line where two fields touch.

    Neighbours of one colour would be told apart by nothing that an image shows.
    """
    touch = np.zeros(parts.shape, bool)
    for axis in (0, 1):
        after = np.roll(parts, -1, axis)
        differ = (parts != after) & (parts > 0) & (after > 0)
        np.moveaxis(differ, axis, 0)[-1] = False
        touch |= differ
    depth = rng.uniform(0.2, 0.9, int(parts.max()) + 1) * rng.choice([-1.0, 1.0], p=[0.6, 0.4])
    step = (depth[parts] * touch)[None] * image.std((1, 2))[:, None, None]
    return np.clip(np.rint(image + step), 1, 16_000).astype(np.uint16)


def render(path: Path, kind: str, number: int, seed: int, weathered: float) -> float:
    """Render one scene unless it is there; return the core's seconds."""
    begun = time.process_time()
    if path.exists():
        return 0.0
    side, gsd = GRIDS[kind]
    style = STYLES[kind][number % len(STYLES[kind])]
    scene = simulate(seed, (side, side), gsd, style)
    coarse = gsd > 2
    ids = field_ids(seed, (2 * side, 2 * side), gsd / 2, style) if coarse else scene.instances.ids
    image = scene.image.values
    rng = np.random.default_rng([seed, 7])
    if rng.random() < weathered:
        image = weather(image, ids, gsd, rng)
    save(path, image, ids, gsd, style)
    return time.process_time() - begun


def paint_parcels(path: Path, number: int, seed: int, packed: Path, scenes: list[Path]) -> float:
    """Paint the parcels of one window with a scene of a like size unless it is there."""
    begun = time.process_time()
    if path.exists():
        return 0.0
    rng = np.random.default_rng([seed, 6])
    fine, fold = ((5.0, 2), (2.0, 1))[number % 2]
    like = [s for s in scenes if s.name.startswith("vhr") == (fold == 1)] or scenes
    places = read_packed(packed)[fine].astype(np.int32)
    ids = places[int(rng.permutation(len(places))[number // 2 % len(places)])]
    ids = np.rot90(ids, int(rng.integers(4)))
    lent = (read_palette(like[k]) for k in rng.permutation(len(like)))
    palette = next((p for p in lent if len(p.means)), None)
    if palette is None:
        raise SystemExit(f"None of {len(like)} scenes holds a field that could lend its colours.")
    image = paint(ids, palette, rng, fold)
    save(path, image, known(ids, fine), fine * fold, "parcels")
    return time.process_time() - begun


def _one_core(free: Queue[int]) -> None:
    """Give a worker a core of its own: its compiled loops start no more threads."""
    core = free.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def _call(task: partial[float]) -> float:
    return task()


def run_all(tasks: list[partial[float]], workers: int) -> list[float]:
    """Run tasks in processes that share what this one has compiled."""
    context = multiprocessing.get_context("fork")
    free, cores = context.Queue(), sorted(os.sched_getaffinity(0))
    for k in range(workers):
        free.put(cores[k % len(cores)])
    with context.Pool(workers, _one_core, (free,)) as pool:
        return pool.map(_call, tasks, chunksize=1)


def main() -> None:
    """Render what is asked for, kind after kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument(
        "--kinds", nargs="+", default=["s2", "strips", "vhr"], help="NAME or NAME=COUNT"
    )
    parser.add_argument("--count", type=int, default=16, help="scenes of a kind without its own")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--first-seed", type=int, default=100_000)
    parser.add_argument(
        "--weathered", type=float, default=WEATHERED, help="share of scenes made uneven and alike"
    )
    parser.add_argument("--parcels", type=Path, help="ids that parcels.py --pack wrote")
    args = parser.parse_args()
    wanted = {k: int(n or args.count) for k, _, n in (kind.partition("=") for kind in args.kinds)}
    unknown = wanted.keys() - FIRST_SEEDS.keys()
    if unknown:
        parser.error(f"no kind {sorted(unknown)}; there are {list(FIRST_SEEDS)}")
    if wanted.get("parcels") and not args.parcels:
        parser.error("the kind parcels needs --parcels FILE (made by parcels.py --pack)")
    args.out.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    simulate(0, (16, 16), 1.0, "mixed")
    print(f"compiled {time.perf_counter() - begun:.0f} s", flush=True)
    places = {
        kind: [(args.out / f"{kind}_{k:03d}.npz", k) for k in range(count)]
        for kind, count in wanted.items()
    }
    first = {kind: args.first_seed + more for kind, more in FIRST_SEEDS.items()}
    tasks = [
        partial(render, path, kind, k, first[kind] + k, args.weathered)
        for kind in ("vhr", "strips", "s2", "small")
        for path, k in places.get(kind, [])
    ]
    spent = run_all(tasks, args.workers)
    print(f"{len(tasks)} scenes, {sum(spent):.0f} core seconds,", end=" ")
    print(f"{time.perf_counter() - begun:.0f} s since the start", flush=True)
    scenes = sorted(path for kind in ("s2", "vhr") for path in args.out.glob(f"{kind}_*[0-9].npz"))
    if places.get("parcels"):
        if not scenes:
            parser.error("parcels are painted with scenes: ask for the kinds s2 and vhr too")
        spent = run_all(
            [
                partial(paint_parcels, path, k, first["parcels"] + k, args.parcels, scenes)
                for path, k in places["parcels"]
            ],
            args.workers,
        )
        print(f"{len(spent)} of parcels, {sum(spent):.0f} core seconds,", end=" ")
        print(f"{time.perf_counter() - begun:.0f} s since the start", flush=True)


if __name__ == "__main__":
    main()
