"""What a boundary network behind another model is worth: train it on simulated scenes by its
recipe, score with and without it on scenes of other seeds.

    python runs/refine_gain.py write scenes/
    selion train epoc --set data.dataset=scenes/ --set model.pretrained="" \
        --set input.window=128 ... -o edges
        # docs/language.md has the whole command
    python runs/refine_gain.py score edges/model --scenes 6
    python runs/refine_gain.py score edges/model --dataset FOLDER --split ""
        # chips that one has, instead of simulated scenes

Scored are the U-Net that comes with selion, and class maps in squares: the truth as a language
model would write it that makes no mistake, each square of one class.  Such a map knows where fields
are and nothing of where one ends, so what is gained behind it is the boundary network's own.  The
boundary network has seen the simulated countryside and the U-Net has not: read the gain behind the
U-Net as that of a network that was trained where the map is made.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from selion import metrics, store
from selion.classes import FTW2, ClassScheme
from selion.data import load_dataset
from selion.evaluation.answers import EvaluateOptions, answer, truth_ids
from selion.grid import pixel_metres, whole
from selion.metrics.report import markdown_table, number
from selion.models import load_model
from selion.models.card import ModelCard
from selion.models.refine.segmenter import Refined
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec, View
from selion.simulation.landscape import simulate

FIRST_SEED, HELD_OUT = 40_000, 7_000
"""Seeds of scenes that are written, and of those that are scored."""
GSD = 2.5
STYLES = ("smallholder", "europe", "bocage")
HEADERS = [
    "system",
    "objects",
    "F1@0.5",
    "F1@0.75",
    "PQ",
    "boundary IoU",
    "merged IoU any",
    "largest",
    "FPR %",
]
DECLARATION = (
    'name = "simulated-rgb"\nlayout = "folder"\nlicence = "Apache-2.0"\n'
    'notes = "selion.simulation.landscape: simulated countryside at 2.5 m"\n'
)


@dataclass
class Squares:
    """A model whose answer is in its input: one band for each class, as :func:`squared` adds
    them.
    """

    card: ModelCard
    engine: str = "none"
    parallel: int = 1

    @property
    def inputs(self) -> InputSpec:
        """What it expects to be fed."""
        return self.card.inputs

    @property
    def classes(self) -> ClassScheme:
        """What it answers."""
        return self.card.classes

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities."""
        return np.stack([view.pixels for view in views]).astype(np.float32)


def squares() -> Squares:
    """Return the model of class maps in squares."""
    bands = tuple(f"said:{name}" for name in FTW2.names)
    return Squares(ModelCard("squares", InputSpec(bands, window=256, overlap=0.25), FTW2))


def squared(sample: Sample, size: int) -> Sample:
    """Add to a sample what a map in squares of ``size`` pixels says: each square is what most of it
    is.
    """
    truth = (truth_ids(sample) > 0).astype(np.float32)
    height, width = truth.shape
    filled = np.pad(truth, ((0, -height % size), (0, -width % size)), mode="edge")
    cells = (
        filled.reshape(filled.shape[0] // size, size, filled.shape[1] // size, size).mean((1, 3))
        >= 0.5
    )
    said = np.repeat(np.repeat(cells, size, 0), size, 1)[:height, :width].astype(np.float32)
    image = sample.image.read(whole(sample.image.grid))
    values = np.concatenate([image.values.astype(np.float32), 1 - said[None], said[None]])
    return replace(
        sample,
        image=Raster(values, sample.image.grid, (*sample.image.bands, *squares().inputs.bands)),
    )


def scene(seed: int, edge: int) -> Sample:
    """Return a scene of the simulated countryside."""
    style = STYLES[seed % len(STYLES)]
    land = simulate(seed, (edge, edge), GSD, style, bands="rgb")
    return Sample(f"{style}-{seed}", land.image, land.labels, land.instances, style, "val")


def write(folder: Path, scenes: int, validation: int, edge: int) -> None:
    """Write scenes as a dataset that recipes take; what is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.toml").write_text(DECLARATION, "utf-8")
    for k in range(scenes):
        split = folder / ("val" if k >= scenes - validation else "train")
        paths = [split / what / f"scene_{k:03d}.tif" for what in ("images", "instances")]
        if paths[1].exists():
            continue
        made = scene(FIRST_SEED + k, edge)
        image = made.image.read(whole(made.image.grid))
        for path, bands, values in zip(
            paths, (image.bands, ("id",)), (image.values, truth_ids(made)[None]), strict=True
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.create_cog(path, made.image.grid, bands, values.dtype, force=True) as sink:
                sink.write(whole(made.image.grid), values)


def scored(name: str, model: Any, samples: Sequence[Sample]) -> list[str]:
    """Return one line of the table."""
    images = []
    for sample in samples:
        said, pixel = answer(model, sample, EvaluateOptions()), pixel_metres(sample.image.grid)
        options = metrics.ImageOptions(edge_width=2, distances=False)
        images.append(
            metrics.score_ids(
                sample.key,
                truth_ids(sample),
                said.ids,
                ignore=sample.ignore,
                pixel=pixel,
                options=options,
            )
        )
    table = metrics.join_tables(image.table for image in images)
    half, strict = metrics.object_scores(table), metrics.object_scores(table, 0.75)
    both = [sum(image.edge[k] for image in images) for k in range(2)]
    merged = [metrics.merged_scores(table, reading) for reading in ("any", "largest")]
    cells = [
        half.f1,
        strict.f1,
        half.panoptic_quality,
        both[0] / max(both[1], 1),
        merged[0].mean_iou,
        merged[1].mean_iou,
        100 * merged[1].fpr,
    ]
    return [name, str(len(table.prediction_ids)), *(number(value) for value in cells)]


def main() -> None:
    """Write scenes, or score."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("write", "score"))
    parser.add_argument("folder", type=Path, help="of scenes to write, or of the boundary network")
    parser.add_argument(
        "--scenes", type=int, default=0, help="to write, or to score [default: 28 and 6]"
    )
    parser.add_argument("--validation", type=int, default=4)
    parser.add_argument("--edge", type=int, default=384)
    parser.add_argument("--dataset", help="score these samples instead of simulated ones")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument("--unet", default="fields-rgb-vhr")
    parser.add_argument(
        "--squares", nargs="*", type=int, default=[8, 16, 32], help="edges in pixels"
    )
    args = parser.parse_args()
    if args.what == "write":
        write(args.folder, args.scenes or 28, args.validation, args.edge)
        return
    samples = (
        list(load_dataset(args.dataset, args.root, args.split or None)) if args.dataset else []
    )
    samples = samples or [scene(HELD_OUT + k, args.edge) for k in range(args.scenes or 6)]
    edges, unet, coarse = load_model(args.folder), load_model(args.unet), squares()
    rows = [scored("U-Net", unet, samples), scored("U-Net, refined", Refined(unet, edges), samples)]
    for size in args.squares:
        said = [squared(sample, size) for sample in samples]
        rows += [
            scored(f"squares of {size} px", coarse, said),
            scored(f"squares of {size} px, refined", Refined(coarse, edges), said),
        ]
    true = (metrics.score_ids("", truth_ids(s), truth_ids(s)).table for s in samples)
    print(f"{len(samples)} images, {len(metrics.join_tables(true).truth_ids)} true objects")
    print(markdown_table(HEADERS, rows))


if __name__ == "__main__":
    main()
