"""Every source of photographs with masks at hand: the models beside the better colour rule, and
what their interval of cover holds.

    python bench/sources.py --data ews=FOLDER [--data NAME=FOLDER ...] [--skip NAME ...]
                            [--count 24] [--models auto crops-rgb crops-wide] [--json rows.json]
                            [--seed 3000000]
    python bench/sources.py --models auto --first SISTER --data "ews 28=FOLDER" --covers covers.npz

Simulated sources are drawn here, with seeds that nothing was trained on: five styles of plants of
``runs/crops_scenes.py`` (``crops-wide`` learnt from the styles, ``crops-rgb`` from none of them),
the simulator of the package (``crops-rgb`` learnt from it, ``crops-wide`` did not) and plants
before a tilted camera of ``bench/plant_scenes.py`` (neither did).  ``--data`` adds data sets in a
layout that ``selion data list`` knows, or folders of images/ and masks/; of those that name a split
``val`` that alone is asked, of others every photograph.  "ews 28" is trial 28 of the wheat alone;
with ``--first``, a network that answers in place of ``crops-rgb`` and has not seen that trial
(``runs/crops_rgb.py --by date``), all photographs of it.

Answers are those of ``selion crops``.  mIoU counts all pixels of a source together.  The worst
difference to the better of the two rules is printed last, over sources of which a model has learnt
nothing and over all.  ``bounds`` rows say how often the interval of cover holds the truth.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import plant_scenes
from selion.closerange import open_model
from selion.closerange.cover import measure_cover
from selion.closerange.gate import answer_of
from selion.closerange.model import RULES, PhotoModel
from selion.data import load_dataset
from selion.grid import photo_grid, whole
from selion.prediction import predict
from selion.raster import Raster
from selion.simulation.landscape import simulate_photo
from table import Row, markdown, save

NAME = "Close range: sources"
MODELS = ("auto", "crops-rgb", "crops-wide")
FIRST = 3_000_000
"""Seed of the first simulated photograph: runs/ and tests stay below, and limits of
``closerange/cut.py`` were set on some from 2,000,000 on."""
SIDE = 384
LEARNT: Mapping[str, tuple[str, ...]] = {
    "crops-rgb": ("simulate",),
    "crops-wide": ("style",),
    "auto": ("simulate", "style"),
}
"""Model -> how sources begin whose like it has learnt from (other photographs of them)."""
Photo = tuple[np.ndarray, np.ndarray, np.ndarray]
"""(3, y, x) uint8, (y, x) bool plants, (y, x) bool pixels that count."""


@dataclass
class Tally:
    """What one model said of one source."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros(4, np.int64))
    """Pixels: neither, missed, false, both."""
    covers: list[tuple[float, float, float, float]] = field(default_factory=list)
    """Truth, cover, low and high of each photograph."""
    plain: list[tuple[float, float, float, float, bool]] = field(default_factory=list)
    """The same with the model's own interval, as nothing was calibrated, and whether the first
    model measured it and no other in its place."""

    @property
    def miou(self) -> float:
        """Mean IoU of soil and plants."""
        neither, missed, false, both = self.counts.tolist()
        soil = neither / max(neither + missed + false, 1)
        return (soil + both / max(both + missed + false, 1)) / 2

    @property
    def held(self) -> tuple[float, float]:
        """Share of photographs whose truth lies in the interval, and its mean width."""
        truth, _, low, high = np.array(self.covers).T
        return float(np.mean((low <= truth) & (truth <= high))), float(np.mean(high - low))


def styles(style: str, count: int, first: int) -> Iterator[Photo]:
    """Draw photographs of one style, from a first seed on."""
    sys.path.append(str(Path(__file__).resolve().parent.parent / "runs"))
    import crops_scenes

    grounds = crops_scenes.Grounds(1)
    for k in range(count):
        image, share, _ = crops_scenes.render(first + k, grounds, style)
        yield image, share > 127, np.ones(share.shape, bool)


def simulated(count: int, first: int) -> Iterator[Photo]:
    """Draw photographs of the package's simulator, from a first seed on."""
    for k in range(count):
        photo = simulate_photo(first + k, (SIDE, SIDE))
        crop: np.ndarray = photo.labels.ids == 1
        yield photo.image.values, crop, np.ones(crop.shape, bool)


def camera(kind: str, count: int, first: int) -> Iterator[Photo]:
    """Draw plants of one kind before a camera that is tilted by up to 30 degrees."""
    first += plant_scenes.KINDS.index(kind)
    for seed in range(first, first + len(plant_scenes.KINDS) * count, len(plant_scenes.KINDS)):
        scene = plant_scenes.draw_scene(seed, (SIDE, SIDE))
        yield scene.image, scene.crop, np.ones(scene.crop.shape, bool)


def data_set(folder: Path, name: str, count: int, *, unseen: bool = False) -> Iterator[Photo]:
    """Read photographs with masks, evenly spread where there are more than ``count``.

    ``unseen``: a network is asked that has seen none of them, so that those of training count too.
    """
    layout, _, trial = name.partition(" ")
    found = load_dataset(layout, folder) if layout in ("ews", "cwfid") else load_dataset(folder)
    samples = [sample for sample in found if sample.split == "val" and not unseen] or list(found)
    samples = [sample for sample in samples if f"FPWW0{trial}" in sample.key or not trial]
    for sample in samples[:: max(1, len(samples) // count)]:
        if sample.labels is None:
            raise ValueError(f"{sample.key} has no mask")
        ids = sample.labels.ids
        yield sample.image.read(whole(sample.image.grid)).values, ids == 1, ids != 255


def source_options(count: int, seed: int) -> argparse.ArgumentParser:
    """Return the options of :func:`sources`, a parent of a bench's own."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER")
    parser.add_argument("--skip", nargs="*", default=[], metavar="NAME", help="How names begin.")
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=seed, help="Of the first simulated one.")
    return parser


def sources(given: argparse.Namespace, *, unseen: bool = False) -> dict[str, Iterator[Photo]]:
    """Return what is asked, by name; ``unseen``: all of a data set, whatever its split."""
    found: dict[str, Iterator[Photo]] = {}
    for entry in given.data:
        name, _, folder = entry.partition("=")
        found[name] = data_set(
            Path(folder),
            name,
            10_000 if name.startswith("ews") else given.count,
            unseen=unseen,
        )
    for style in ("rosette", "grass", "broad", "seedling", "feather"):
        found[f"style {style}"] = styles(style, given.count, given.seed)
    found["simulate_photo"] = simulated(given.count, given.seed)
    for kind in plant_scenes.KINDS:
        found[f"camera {kind}"] = camera(kind, given.count, given.seed)
    skipped = tuple(given.skip)
    return {name: photos for name, photos in found.items() if not name.startswith(skipped)}


def ask(model: PhotoModel, photo: Photo, tally: Tally) -> None:
    """Add what ``selion crops`` says of a photograph."""
    image, truth, counted = photo
    raster = Raster(image, photo_grid(image.shape[1:]), ("red", "green", "blue"))
    answers, _ = model.answering(raster)
    found = predict(raster, answers.fit(raster))
    if found is None:
        raise ValueError("a photograph of nothing")
    scores = found.values
    if answers.ruled:
        other = answers.other
        second = None if other is None else lambda: predict(raster, other.fit(raster)).values
        scores, _ = answer_of(image, scores, second=second)
    mask = scores[1] > scores[0]
    pairs = [np.count_nonzero((mask == a) & (truth == b) & counted) for a in (0, 1) for b in (0, 1)]
    tally.counts += np.array(pairs)
    cover = measure_cover(1 - scores[0], mask, counted)
    tally.plain.append(
        (float(truth[counted].mean()), cover.cover, cover.low, cover.high, answers is model)
    )
    if answers.known is not None:
        cover = answers.known.interval(cover)
    tally.covers.append((float(truth[counted].mean()), cover.cover, cover.low, cover.high))


def rows_of(source: str, tallies: Mapping[str, Tally]) -> list[Row]:
    """Return the rows of a source: each model against the better rule, and its interval."""
    best = max(tallies[rule].miou for rule in RULES)
    rules = ", ".join(f"{rule} {tallies[rule].miou:.3f}" for rule in RULES)
    rows = []
    for name, tally in tallies.items():
        if name in RULES:
            continue
        share, width = tally.held
        note = (
            f"mIoU {tally.miou:.3f}; {rules}; {len(tally.covers)} photographs; interval of "
            f"cover holds {share:.2f}, {width:.3f} wide"
        )
        what = f"{source}, {name} - better rule"
        rows.append(Row(NAME, what, tally.miou - best, "mIoU", -0.02, note=note))
    return rows


def worst(rows: list[Row]) -> list[Row]:
    """Return the worst difference of each model, over sources unlike all it learnt from and over
    all.
    """
    found = []
    for name, learnt in LEARNT.items():
        own = [row for row in rows if f", {name} -" in row.what and row.value is not None]
        new = [row for row in own if not row.what.startswith(learnt)]
        for what, among in (("sources it has not learnt from", new), ("all sources", own)):
            if among:
                least = min(among, key=lambda row: row.value or 0.0)
                asked = f"the worst of {what}, {name}"
                found.append(Row(NAME, asked, least.value, "mIoU", -0.02, note=least.what))
    return found


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[source_options(24, FIRST)],
    )
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--first", help="A network in place of crops-rgb, of auto.")
    parser.add_argument("--covers", type=Path, help="For runs/crops_interval.py.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    models = {name: open_model(name, threads=1) for name in (*given.models, *RULES)}
    if given.first:
        other = open_model(given.first, threads=1)
        models["auto"] = replace(models["auto"], fit=other.fit)
    rows: list[Row] = []
    covers: dict[str, np.ndarray] = {}
    for source, photos in sources(given, unseen=given.first is not None).items():
        tallies = {name: Tally() for name in models}
        for photo in photos:
            for name, model in models.items():
                ask(model, photo, tallies[name])
        covers |= {f"{name}/{source}": np.array(one.plain) for name, one in tallies.items()}
        made = rows_of(source, tallies)
        for row in made:
            print(f"{row.what}: {row.value:+.3f} ({row.note})", flush=True)
        rows += made
    rows += worst(rows)
    if given.covers:
        np.savez(given.covers, **covers)
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
