"""What fine-tuning on few own chips gives, beside the model it starts from.

    python bench/own_polygons.py --own 1 3 7 --minutes 10 20 40 --json rows.json

The chips are the seven of the American ones (1024 px of 1 m, outlined completely) that
`fields-rgb-vhr` was not trained on; it was on 21 others of the same survey and the same people's
outlines.  The packaged recipe `own-polygons` is trained on the windows of one or three of them,
and the other chips say what came of it; of all seven the western three quarters are trained on, and
the eastern quarter, 16 px apart, says it.  Held out is what a user holds out: of one image strips,
of several whole images (`selion data make --val 0.2 --test 0`).  What
`model.keep_start = "auto"` writes is compared with the start and with what was trained alone; all
of them map as `selion map` does by itself.  No pixel that is scored was trained on or chose
anything, but for one thing: the learnt score of fields that ships with `fields-rgb-vhr` has learnt
the outlines of all 28 chips, these seven too.  ``--cut`` names one that has not, which the start
and all that comes of it then use:

    python runs/cut_score.py work --networks fields-rgb-vhr --chips CHIPS \\
        --kinds "aerial 1 m" "aerial 2.5 m" "aerial 4 m" --leave-unseen --out work/cut

``--set validate.folds=3`` lets all own chips judge, in folds, in place of those that are held out.

``--foreign hamlets`` asks the same of somebody whose land the start has never seen: aerial
photographs of a simulated countryside, own ones and three others; ``--uneven`` makes fields as
uneven and alike as real ones are (``runs/scenes.py``), of which the start knows least.

``--start`` trains nothing and scores the start on all seven.

Minutes are steps: those that a quiet machine of two cores does in that time (``SECONDS`` each).
They are trained on whatever is there, a GPU too.  The loop validates every ``LOOK`` steps.  A run
that ended by itself is the run of every longer time, too.  Rows that ``--json`` holds are not made
again, so the same command goes on after a kill.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
CHIPS = ROOT.parent / "shared" / "data" / "satellite" / "vhr_naip_usa"
START = "fields-rgb-vhr"
KEPT: tuple[float | Literal["auto"], ...] = ("auto", 0.0)
"""Shares of the start's weights; the first is the recipe's own."""
SECONDS = 0.45
"""Of a step of eight windows of 256 px on two quiet cores: half of the 0.9 s of processor time that
one thread takes for it in bfloat16 (AMD EPYC with AVX-512), so that nothing is lost by sharing."""
LOOK = 25
"""Steps between two validations."""
FOREIGN, SIDE, FIRST_SEED = 3, 768, 970_000
"""Scenes that are scored of a simulated countryside, pixels of their side, the first one's seed."""
TIMES = 60
"""Digital numbers of a byte, where fields are made uneven."""
EAST, GAP = 256, 16
"""Pixels of a chip that are scored where all chips are trained on, and that lie between."""


@dataclass(frozen=True)
class Counts:
    """Objects of test chips, and their pixels: true positives, false positives, misses."""

    rows: np.ndarray

    @property
    def f1(self) -> float:
        """Object F1 over all chips."""
        tp, fp, fn = self.rows[:, :3].sum(0)
        return float(2 * tp / max(2 * tp + fp + fn, 1))

    @property
    def iou(self) -> float:
        """Pixel IoU of fields over all chips."""
        tp, fp, fn = self.rows[:, 3:].sum(0)
        return float(tp / max(tp + fp + fn, 1))

    def shown(self) -> list[float]:
        """Return F1, precision and recall of objects, and pixel IoU."""
        tp, fp, fn = self.rows[:, :3].sum(0)
        right = (tp / max(tp + fp, 1), tp / max(tp + fn, 1))
        return [round(float(value), 3) for value in (self.f1, *right, self.iou)]

    def beside(self, start: Counts) -> list[float]:
        """Return the gain in F1 over the start, and its paired bootstrap interval over chips."""
        from selion.metrics import paired_bootstrap
        from selion.metrics.statistics import f1_from_counts

        found = paired_bootstrap(self.rows[:, :3], start.rows[:, :3], f1_from_counts)
        return [round(value, 3) for value in (found.difference, found.low, found.high)]


@dataclass(frozen=True)
class Fold:
    """Which chips are own, and what is scored."""

    own: list[int]
    images: list[Path]
    """What is trained on."""
    test: list[Any]
    """Samples."""
    polygons: Path


def fold_of(count: int, number: int, folder: Path, chips: Path = CHIPS) -> Fold:
    """Draw own chips; of all seven their western parts are written into a folder."""
    import rasterio
    from rasterio.windows import Window

    from selion.evaluation.folder import read_folder
    from selion.labels import Instances

    images = sorted((chips / "images").glob("*.tif"))[2::4]
    samples, polygons = read_folder(chips).samples[2::4], chips / "fields.parquet"
    own = sorted({(number + 2 * k) % 7 for k in range(count)})
    if count < len(images):
        test = [samples[k] for k in range(len(images)) if k not in own]
        return Fold(own, [images[k] for k in own], test, polygons)
    west, east = [], []
    for path, sample in zip(images, samples, strict=True):
        assert sample.instances is not None
        height, width = sample.image.grid.shape
        kept = width - EAST - GAP
        with rasterio.open(path) as file:
            values, profile = file.read(window=Window(0, 0, kept, height)), file.profile
        west.append(folder / path.name)
        with rasterio.open(west[-1], "w", **(profile | {"width": kept})) as file:
            file.write(values)
        roi = (slice(0, height), slice(width - EAST, width))
        image = sample.image.read(roi)
        ids = Instances(np.ascontiguousarray(sample.instances.ids[roi]), image.grid)
        east.append(replace(sample, image=image, labels=None, instances=ids))
    return Fold(own, west, east, polygons)


def uneven(image: np.ndarray, ids: np.ndarray, seed: int) -> np.ndarray:
    """Weather a photograph as the scenes are that networks are trained on."""
    sys.path.insert(0, str(ROOT / "runs"))
    from scenes import weather

    numbers = image.astype(np.uint16) * TIMES
    made = weather(numbers, ids, 1.0, np.random.default_rng([seed, 7])) / TIMES
    return made.clip(0, 255).astype(np.uint8)


def foreign_fold(style: str, count: int, number: int, folder: Path, *, rough: bool) -> Fold:
    """Simulate somebody whose countryside the start has not seen: own images and FOREIGN others.

    Aerial photographs of 1 m, each 20 km from the next; all of their fields are outlined.
    """
    import geopandas
    import rasterio.features
    import shapely.geometry

    from selion import store
    from selion.grid import whole
    from selion.sample import Sample
    from selion.simulation.landscape import simulate

    images, samples, outlines = [], [], []
    for k in range(count + FOREIGN):
        seed, origin = FIRST_SEED + 100 * number + k, (300_000.0 + 20_000 * k, 5_400_000.0)
        scene = simulate(seed, (SIDE, SIDE), 1.0, style, origin=origin, bands="rgb")
        grid, ids, shown = scene.image.grid, scene.instances.ids, scene.image
        if rough:
            shown = replace(shown, values=uneven(shown.values, ids, seed))
        images.append(folder / f"scene{k}.tif")
        with store.create_cog(images[-1], grid, scene.image.bands, np.uint8) as sink:
            sink.write(whole(grid), shown.values)
        samples.append(Sample(f"scene{k}", shown, None, scene.instances))
        outlines += [
            shapely.geometry.shape(shape)
            for shape, _ in rasterio.features.shapes(ids, ids > 0, transform=grid.transform)
        ]
    table = folder / "outlines.parquet"
    geopandas.GeoDataFrame(geometry=outlines, crs="EPSG:32633").to_parquet(table)
    return Fold([*range(count)], images[:count], samples[count:], table)


def scored(model: Any, test: Sequence[Any], score: Any = None) -> Counts:
    """Score a model on chips, by a learnt score of objects if there is one."""
    from selion.training.recipe import Validate
    from selion.training.scoring import score_ways

    return Counts(score_ways(model, test, Validate(method="watershed"), [score])[0].counts)


def start_with(cut: Path | None, folder: Path) -> str:
    """Return the model that is started from: that which ships, or a copy with another score."""
    from selion.fields.node_score import CUT
    from selion.models import find_card, read_card, write_card
    from selion.models.card import sha256_of

    if cut is None:
        return START
    packaged = find_card(START).folder
    assert packaged is not None
    shutil.copytree(packaged, folder)
    shutil.copyfile(cut, folder / CUT)
    card = read_card(folder)
    card = replace(card, files={**card.files, CUT: sha256_of(folder / CUT)})
    write_card(card, folder / "card.toml")
    return str(folder)


def start_alone(cut: Path | None, chips: Path) -> str:
    """Score the start on all seven chips: object F1 / pixel IoU."""
    from selion.evaluation.folder import read_folder
    from selion.models import load_model
    from selion.training.recipe import Validate
    from selion.training.scoring import learnt_score

    with TemporaryDirectory() as folder:
        start = load_model(start_with(cut, Path(folder) / "start"))
        found = scored(start, read_folder(chips).samples[2::4], learnt_score(start, Validate()))
    return f"{START} on the seven chips: {found.f1:.3f} / {found.iou:.3f}"


def trained(
    fold: Fold, start_from: str, steps: int, folder: Path, changes: Sequence[str]
) -> tuple[dict[str, Counts], dict[str, Any]]:
    """Train once; what the start and each model that is written score, and how that went."""
    from selion import training
    from selion.data.burning import Burning
    from selion.data.place import Land
    from selion.data.polygons import Chips, Labelled, load_polygons
    from selion.data.strips import Strips
    from selion.models import load_model
    from selion.training import loop, run
    from selion.training.beside import score_of_start, settle
    from selion.training.datasets import LARGE, at_scale_of_start, chip_size, like_start
    from selion.training.scoring import learnt_score
    from selion.training.stitching import stitched

    labelled = Labelled(fold.polygons, burning=Burning(width=1), complete=True)
    own = [f"data.image={fold.images[0]}", f"data.polygons={labelled.polygons}"]
    own.append(f"model.start_from={start_from}")
    recipe = training.read_recipe("own-polygons", [*own, *changes])
    recipe = like_start(at_scale_of_start(recipe))
    size = chip_size(recipe, fold.images[0])
    share = recipe.data.validation_share
    land = Strips(share) if len(fold.images) == 1 else Land(val=share, test=0.0)
    made = load_polygons(fold.images, labelled, Chips(size, land=land))
    windows = len(made.select("train"))
    of_epoch = -(-windows // recipe.schedule.batch)
    epochs = max(round(steps / of_epoch), 1)
    recipe = replace(
        recipe,
        schedule=replace(recipe.schedule, epochs=epochs),
        validate=replace(recipe.validate, every=max(LOOK // of_epoch, 1)),
    )
    alone = len(fold.images) == 1  # several images are chips (selion data make)
    whole = Chips(LARGE, land=Strips(0.0))
    uncut = load_polygons(fold.images, labelled, whole) if alone else stitched(made)
    if recipe.validate.folds:
        recipe = replace(recipe, validate=replace(recipe.validate, fold_steps=steps))
    plan = run.plan_samples(recipe, made.select("train"), made.select("val"))
    if recipe.validate.folds:
        return in_folds(plan, fold, start_from, folder, uncut)
    network, _ = run.make_network(recipe)
    began, wall = time.process_time(), time.perf_counter()
    found = loop.fit(
        network,
        plan.samples,
        plan.recipe,
        plan.card,
        folder,
        validation=plan.validation,
        score=score_of_start(plan),
    )
    row = {
        "windows": windows,
        "held_out": len(plan.validation),
        "steps": max(entry["step"] for entry in found.history),
        "ended_by_itself": max(entry["epoch"] for entry in found.history) < epochs,
        "engine": found.engine,
        "processor_minutes": round((time.process_time() - began) / 60, 2),
        "wall_minutes": round((time.perf_counter() - wall) / 60, 2),
    }
    start = load_model(start_from)
    cut = learnt_score(start, recipe.validate)
    counts = {"start": scored(start, fold.test, cut)}
    device = next(network.parameters()).device.type
    for share in KEPT:
        model = replace(recipe.model, keep_start=share)
        settled = settle(
            replace(plan, recipe=replace(recipe, model=model)), network, found, uncut=uncut
        )
        network.load_state_dict(settled.trained.weights)
        mapped = loop.as_mapped(settled.card, network, device, fast=False)
        score = settled.score or (cut if settled.besides else None)
        counts[str(share)] = scored(mapped, fold.test, score)
        row[f"by {share}"] = "watershed" if score is None else "cut"
        if share == KEPT[0]:
            row["said"] = settled.notes[0]
            if settled.beside is not None:
                row["share_of_start"] = settled.beside.new.share
    return counts, row


def in_folds(
    plan: Any, fold: Fold, start_from: str, folder: Path, uncut: Sequence[Any]
) -> tuple[dict[str, Counts], dict[str, Any]]:
    """Train where all chips judge; what start, trained weights and what is written score.

    The network is trained on all chips also where the start is kept, so that one sees what was
    not written.
    """
    from selion.models import load_model
    from selion.training import loop, run
    from selion.training.folds import train_in_folds
    from selion.training.scoring import learnt_score

    began, wall = time.process_time(), time.perf_counter()
    found, trained, network = train_in_folds(plan, run.make_network, folder, uncut=uncut)
    took = {"processor_minutes": time.process_time() - began, "wall_minutes": 0.0}
    took["wall_minutes"] = time.perf_counter() - wall
    assert found.beside is not None
    if found.beside.new.share == 1:
        network, _ = run.make_network(plan.recipe)
        trained = loop.fit(network, plan.samples, plan.recipe, plan.card, folder / "all")
    start = load_model(start_from)
    cut = learnt_score(start, plan.recipe.validate)
    counts = {"start": scored(start, fold.test, cut)}
    device = next(network.parameters()).device.type
    begun = {
        key: value.clone() for key, value in run.make_network(plan.recipe)[0].state_dict().items()
    }
    for share in (0.0, 0.25, 0.5, 0.75):
        network.load_state_dict(
            {
                key: (1 - share) * value + share * begun[key].to(value)
                if value.is_floating_point()
                else value
                for key, value in trained.weights.items()
            }
        )
        model = loop.as_mapped(plan.card, network, device, fast=False)
        counts[str(share)] = scored(model, fold.test, found.score or cut)
    network.load_state_dict(found.trained.weights)
    model = loop.as_mapped(found.card, network, device, fast=False)
    counts["auto"] = scored(model, fold.test, found.score or cut)
    tried = [(one.share, one.scores.object_f1, one.scores.pixel_iou) for one in found.beside.tried]
    row = {
        "windows": len(plan.samples),
        "held_out": 0,
        "steps": max(entry["step"] for entry in trained.history),
        "ended_by_itself": False,
        "engine": trained.engine,
        "said": found.notes[0],
        "share_of_start": found.beside.new.share,
        "tried": tried,
        "fields": int(found.beside.scores.counts[:, [0, 2]].sum()),
    }
    return counts, row | {name: round(value / 60, 2) for name, value in took.items()}


def main() -> None:
    """Print a row for each number of chips, each time and each fold, as a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--own", type=int, nargs="+", default=[1, 3, 7], help="Own chips.")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10.0, 20.0, 40.0])
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help="Which folds, from 0.")
    parser.add_argument("--set", action="append", default=[], help="Of the recipe: key=value.")
    parser.add_argument("--foreign", help="A style of the simulation, in place of the chips.")
    parser.add_argument("--uneven", action="store_true", help="--foreign: uneven fields.")
    parser.add_argument("--cut", type=Path, help="A learnt score in place of the start's.")
    parser.add_argument("--chips", type=Path, default=CHIPS, help="Folder of the 28 chips.")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--start", action="store_true", help="Only score the start on all seven.")
    args = parser.parse_args()
    if args.start:
        print(start_alone(args.cut, args.chips))
        return
    if not {*args.own} <= {1, 2, 3, 4, 5, 7} or not {*args.folds} <= {*range(7)}:
        sys.exit("Wanted are 1 to 5 own chips or all 7, and folds from 0 to 6.")
    print("| own | minutes | steps | start | alone | written | gain | share of start |")
    print("|---|---:|---:|---:|---:|---:|---|---:|", flush=True)
    rows = json.loads(args.json.read_text()) if args.json and args.json.exists() else []
    for count in args.own:
        for number in args.folds if count < 7 else args.folds[:1]:
            for minutes in sorted(args.minutes):
                row = known(rows, count, number, minutes) or one_row(args, count, number, minutes)
                if row not in rows:
                    rows.append(row)
                print(line(row), flush=True)
                print(row["said"], row["gain_alone"], file=sys.stderr, flush=True)
                if args.json:
                    args.json.write_text(json.dumps(rows, indent=1) + "\n")


def known(
    rows: Sequence[dict[str, Any]], count: int, number: int, minutes: float
) -> dict[str, Any] | None:
    """Return the row of a training that is there, or of a shorter one that ended by itself."""
    for row in rows:
        if (row["chips"], row["fold"]) != (count, number):
            continue
        if row["minutes"] == minutes or (row["ended_by_itself"] and row["minutes"] < minutes):
            return row | {"minutes": minutes}
    return None


def one_row(args: argparse.Namespace, count: int, number: int, minutes: float) -> dict[str, Any]:
    """Train, score and describe."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        foreign = args.foreign and foreign_fold(
            args.foreign, count, number, place, rough=args.uneven
        )
        fold = foreign or fold_of(count, number, place, args.chips)
        steps = max(round(minutes * 60 / SECONDS), 1)
        start_from = start_with(args.cut, Path(folder) / "start")
        found, row = trained(fold, start_from, steps, Path(folder) / "run", args.set)
    start = found["start"]
    row |= {"chips": count, "fold": number, "own": fold.own, "minutes": minutes}
    row |= {name: one.shown() for name, one in found.items()}
    return row | {
        "gain": found["auto"].beside(start),
        "gain_alone": found["0.0"].beside(start),
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    shown = [f"{row[name][0]:.3f} / {row[name][-1]:.3f}" for name in ("start", "0.0", "auto")]
    gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["gain"])
    ended = " (ended by itself)" if row["ended_by_itself"] else ""
    cells = [row["chips"], f"{row['minutes']:g}", f"{row['steps']}{ended}", *shown, gain]
    return "| " + " | ".join(map(str, [*cells, row.get("share_of_start", "")])) + " |"


if __name__ == "__main__":
    main()
