"""MAgSeg's tables on data that one has: merge-and-match in both readings, and beside it what cannot
be had for nothing.

    python runs/tables_magseg.py FOLDER --models SFT=sft/model SFT+EPOC=sft/model+epoc/model \
        BOTH=grpo/model+epoc/model "UNET+EPOC=fields-rgb-vhr+epoc/model"
    python runs/tables_magseg.py --simulate 4  # the simulated countryside, nothing to download
    python runs/tables_magseg.py FOLDER --models T4S-C=t4s/model T4S-R=t4s/model+sam-vit-base \
        --by group climate

A system is NAME=MODEL or NAME=MODEL+REFINER; REFINER is a boundary network, "own", or a checkpoint
of Segment Anything (Text4Seg's second form).  A U-Net and content-free grids are in every table,
because the paper has neither and merge-and-match pays for cutting an image into squares: a grid
that has not seen the image beats the paper's best mean IoU.  Read the one-to-one F1.  "seam" is the
rate of class changes at the edges of windows over the rate elsewhere.

Of the paper's baselines: Text4Seg is the recipe magseg/text4seg-coarse; LISA, LISAt and GSVA are
selion.models.embedded (runs/embedded.py); LAVT and GRES are not here, because no maintained library
has them: LAVT's code is GPL-3 for torch 1.7, that of GRES is for torch 1.11 and Detectron2 0.6
(docs/language.md).  Overhead is (parameters of all - of the language model) / of the language
model, refiners left out as in the paper's footnote 2, and with them beside it.
``--times NAME=FOLDER ...`` of runs' folders prints what training took for each sample, as a
multiple of the first one's; what the paper's normalised times are multiples of, our copy of it does
not say.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from selion import metrics
from selion.classes import ClassScheme
from selion.data import load_dataset
from selion.evaluation.answers import Answer, EvaluateOptions, answer, truth_ids
from selion.grid import Lattice, pixel_metres
from selion.metrics.report import markdown_table, number
from selion.models import load_model
from selion.models.refine.segmenter import load_refined
from selion.sample import Sample
from selion.simulation.landscape import simulate
from selion.training.language_run import TIMES
from selion.training.log import LOG

UNET = "fields-rgb-vhr"
PAPER = {
    "LAVT": (".22/.13/8.08/40.66", ".06/.02/2.11/15.12", ".19/.07/9.30/6.28"),
    "LISA": (".22/.05/44.25/38.72", ".09/.03/3.11/33.90", ".22/.10/10.01/31.84"),
    "LISAt": (".36/.30/6.06/52.28", ".12/.05/3.37/22.75", ".24/.13/5.51/34.77"),
    "GSVA": (".35/.29/7.85/32.58", ".10/.04/3.60/32.81", ".24/.12/8.90/31.51"),
    "GRES": (".37/.31/3.48/30.98", ".12/.05/0.06/2.56", ".40/.31/3.67/10.60"),
    "Text4Seg (C)": (".05/.02/17.24/32.59", ".04/.02/6.21/19.83", ".08/.03/11.02/21.75"),
    "Text4Seg (R)": (".07/.02/20.36/44.99", ".04/.01/5.31/31.79", ".09/.03/11.45/39.69"),
    "MAgSeg-4B": (".58/.62/4.71/20.15", ".41/.45/8.69/16.69", ".40/.33/3.99/11.47"),
    "MAgSeg-12B": (".59/.64/3.13/21.22", ".43/.45/8.59/14.66", ".42/.35/3.52/3.86"),
}
"""Mean IoU / median IoU / FNR % / FPR % of fields in India, Cambodia and Vietnam; arXiv 2605.16179,
on data that is not public."""
ABLATION = {
    "SFT": (".35/.08/.20/0/0", ".39/.11/.20/0/0"),
    "+ EPOC": (".47/.08/.21/0/0", ".50/.11/.20/0/0"),
    "+ GRPO": (".46/.14/.23/.05/0", ".54/.14/.22/.05/0"),
    "+ both": (".58/.20/.25/.05/0", ".59/.21/.25/.05/0"),
}
"""Mean IoU of fields, trees, clouds, ponds and wells in India, 4B and 12B."""
PAPER_TIMES = {"LISA": 1.69, "GSVA": 2.04, "GRES": 1.80, "MAgSeg": 1.33}
"""Training time as the paper normalises it."""
SIZES = (0.0, 0.1, 0.25, 0.5, 1.0, 2.5, float("inf"))
"""Edges of the classes of field size, in hectares; of a photograph, in thousands of pixels."""
ACRE = 4046.8564224
"""Square metres."""
ACRES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, float("inf"))
"""Edges of the bins of appendix D.2, which end at 5 acres; the others are our reading."""
LEAST_AREA = {"field": 500.0, "tree": 4.0, "cloud": 0.0, "pond": 25.0, "well": 4.0}
"""Square metres below which an object of a class is not counted, in truth and answer alike: a least
field is larger than any well."""
HEADERS = [
    "system",
    "objects",
    "IoU any",
    "median",
    "FNR",
    "FPR",
    "IoU largest",
    "median",
    "FNR",
    "FPR",
    "F1@0.5",
    "F1@0.75",
    "PQ",
    "seam",
]


@dataclass(frozen=True, eq=False)
class Said:
    """One system's objects on all samples."""

    name: str
    images: tuple[metrics.ImageScores, ...]
    seams: float = float("nan")
    classes: dict[str, tuple[metrics.OverlapTable, ...]] = field(default_factory=dict)
    """Class -> overlaps of the objects of that class, for tables by class."""


def simulated(count: int) -> list[Sample]:
    """Return scenes of the simulated countryside."""
    found = []
    for k in range(count):
        style = ("smallholder", "europe", "bocage")[k % 3]
        scene = simulate(7000 + k, (576, 576), 2.5, style, bands="rgb")
        found.append(
            Sample(f"{style}-{k}", scene.image, scene.labels, scene.instances, style, "val")
        )
    return found


def load_system(text: str) -> tuple[str, Any]:
    """Load NAME=MODEL or NAME=MODEL+REFINER."""
    name, _, given = text.rpartition("=")
    base, _, refiner = given.partition("+")
    return name or given, load_refined(base, refiner or None)


def scored(name: str, sample: Sample, ids: np.ndarray, by: Sequence[str]) -> metrics.ImageScores:
    """Score one answer, with what the table is given by."""
    truth = truth_ids(sample)
    pixel = pixel_metres(sample.image.grid)
    image = metrics.score_ids(
        f"{name}: {sample.key}", truth, ids, group=sample.group, ignore=sample.ignore, pixel=pixel
    )
    unit = (pixel[0] * pixel[1] / 1e4) if pixel else 1e-3
    labels: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "size": (sizes(image.table.truth_area * unit), sizes(image.table.prediction_area * unit))
    }
    for column in by:
        labels[column] = of_sample(sample, column, image)
    return replace(image, labels=labels)


def sizes(area: np.ndarray) -> np.ndarray:
    """Name the class of size of each area."""
    names = np.array([f"{low:g} to {high:g}" for low, high in pairwise(SIZES)], object)
    return names[np.clip(np.searchsorted(SIZES, area, "right") - 1, 0, len(names) - 1)]


def of_sample(
    sample: Sample, column: str, image: metrics.ImageScores
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return a column of the objects' table (climate, ecoregion, crop), or the sample's group."""
    table = sample.instances.table if sample.instances is not None else None
    if table is not None and column in table:
        return table.set_index("id")[column].reindex(image.table.truth_ids).to_numpy(object), None
    return np.full(len(image.table.truth_ids), sample.group, object), np.full(
        len(image.table.prediction_ids), sample.group, object
    )


def classes_of(ids: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return (id + 1,) class names of objects: what most of their pixels are; empty where nothing
    is known.
    """
    votes = np.stack(
        [
            np.bincount(ids[labels == k], minlength=int(ids.max(initial=0)) + 1)
            for k in range(len(names))
        ],
        1,
    )
    return np.where(votes.max(1) > 0, np.array(names, object)[votes.argmax(1)], "")


def true_classes(sample: Sample) -> np.ndarray:
    """Return (id + 1,) class names of the true objects: as their table says, or as most of their
    pixels; fields where neither says.
    """
    ids = truth_ids(sample)
    found = np.full(int(ids.max(initial=0)) + 1, "field", object)
    table = sample.instances.table if sample.instances is not None else None
    if table is not None and len(table) and "class" in table:
        found[table["id"].to_numpy()] = table["class"].to_numpy(object)
    elif sample.labels is not None and len(sample.labels.classes.things) > 1:
        named = [sample.labels.classes.index(name) for name in sample.labels.classes.things]
        found = classes_of(
            ids,
            np.where(np.isin(sample.labels.ids, named), sample.labels.ids, 255),
            sample.labels.classes.names,
        )
    return found


def kinds(sample: Sample) -> set[str]:
    """Return the classes of a sample's objects: those of its labels, clouds too, or its table's."""
    table = sample.instances.table if sample.instances is not None else None
    if sample.labels is not None and (table is None or "class" not in table):
        scheme = sample.labels.classes
        return {
            name
            for k, name in enumerate(scheme.names)
            if k and name != scheme.boundary and (sample.labels.ids == k).any()
        }
    return {str(kind) for kind in true_classes(sample)[np.unique(truth_ids(sample))[1:]]} - {""}


def pixel_area(sample: Sample) -> float:
    """Return the area of a pixel in m2; 0 for a photograph."""
    pixel = pixel_metres(sample.image.grid)
    return pixel[0] * pixel[1] if pixel else 0.0


def parts(mask: np.ndarray) -> np.ndarray:
    """Return (y, x) int32 ids of the 4-connected parts of a mask."""
    return ndimage.label(mask)[0].astype(np.int32)


def large_enough(ids: np.ndarray, name: str, unit: float) -> np.ndarray:
    """Return ids without the objects that are smaller than is counted of their class.

    Parameters
    ----------
    ids : (y, x) integer ndarray
    name : str
        The class.
    unit : float
        Area of a pixel in m2; 0 where it is not known.
    """
    area = np.bincount(ids.ravel()) * unit
    keep = (area >= LEAST_AREA.get(name, 0.0)) | (unit == 0)
    keep[0] = False
    return np.where(keep[ids], ids, 0)


def true_objects(sample: Sample, name: str) -> np.ndarray:
    """Return ids of the true objects of a class: parts of its labels, unless a table says them."""
    told = sample.instances is not None
    if told and (sample.labels is None or name == "field" or "class" in sample.instances.table):
        truth, real = truth_ids(sample), true_classes(sample)
        return np.where(real[truth] == name, truth, 0)
    return parts(sample.labels.ids == sample.labels.classes.index(name))


def by_class(
    sample: Sample, said: Answer, classes: ClassScheme, wanted: Sequence[str]
) -> dict[str, metrics.OverlapTable]:
    """Compare the objects of each class with the true ones of that class.

    Fields are the answer's objects, which a refiner may have parted; those of other classes are the
    connected parts of what was said, so that a least size of fields does not drop wells, and clouds
    are counted though they are no things.
    """
    unit = pixel_area(sample)
    found = {}
    for name in wanted:
        number = classes.names.index(name) if name in classes.names else -1
        spoken = parts(said.classes == number) if number >= 0 else np.zeros_like(said.ids)
        if name == "field" and number >= 0:
            fields = classes_of(said.ids, said.classes, classes.names) == name
            spoken = np.where(fields[said.ids], said.ids, 0)
        found[name] = metrics.overlap_table(
            large_enough(true_objects(sample, name), name, unit),
            large_enough(spoken, name, unit),
            sample.ignore,
        )
    return found


def of_model(name: str, model: Any, samples: Sequence[Sample], by: Sequence[str]) -> Said:
    """Let a model answer about all samples."""
    images, seams, tables = [], [], []
    wanted = sorted(set().union(*(kinds(sample) for sample in samples)))
    for sample in samples:
        said = answer(model, sample, EvaluateOptions())
        images.append(scored(name, sample, said.ids, by))
        if said.classes is not None and len(wanted) > 1:
            tables.append(by_class(sample, said, model.classes, wanted))
        lattice = Lattice(
            (int(sample.image.grid.shape[0]), int(sample.image.grid.shape[1])),
            model.inputs.window,
            model.inputs.overlap,
        )
        if said.classes is not None and said.classes.shape == lattice.shape:
            seams.append(metrics.seam_error(said.classes, *metrics.lattice_seams(lattice)))
    known = [value for value in seams if np.isfinite(value)]
    classes = {kind: tuple(table[kind] for table in tables) for kind in wanted} if tables else {}
    return Said(name, tuple(images), float(np.mean(known)) if known else float("nan"), classes)


def row(said: Said) -> list[str]:
    """Return one line of the table: both readings, then what is one to one."""
    return [
        said.name,
        *cells_of(metrics.join_tables(image.table for image in said.images)),
        number(said.seams),
    ]


def cells_of(table: metrics.OverlapTable) -> list[str]:
    """Return the scores of one table of overlaps."""
    cells = [str(len(table.truth_ids))]
    for reading in ("any", "largest"):
        merged = metrics.merged_scores(table, reading)
        cells += [
            number(merged.mean_iou),
            number(merged.median_iou),
            number(100 * merged.fnr),
            number(100 * merged.fpr),
        ]
    half, strict = metrics.object_scores(table), metrics.object_scores(table, 0.75)
    return [*cells, number(half.f1), number(strict.f1), number(half.panoptic_quality)]


def merged_by_acres(said: Said, units: Sequence[float]) -> list[list[str]]:
    """Return merge-and-match for each bin of true size, as appendix D.2 has it.

    Parameters
    ----------
    said : Said
    units : sequence of float
        Area of a pixel of each sample in m2; samples without one (0) are left out.
    """
    acres, shares = [], []
    for image, unit in zip(said.images, units, strict=True):
        if unit:
            acres.append(image.table.truth_area * unit / ACRE)
            shares.append(metrics.merged_scores(image.table).iou)
    if not acres:
        return []
    size, iou = np.concatenate(acres), np.concatenate(shares)
    rows = []
    for low, high in pairwise(ACRES):
        inside = iou[(size >= low) & (size < high)]
        if len(inside):
            values = inside.mean(), np.median(inside), 100 * (inside == 0).mean()
            rows.append(
                [f"{low:g} to {high:g}", str(len(inside)), *(number(float(one)) for one in values)]
            )
    return rows


def image_means(said: Said) -> list[str]:
    """Return merge-and-match as appendix C has it: of each image, then the mean over images.

    Images without a true object count in the false ones alone.
    """
    rows = []
    for image in said.images:
        merged = metrics.merged_scores(image.table)
        rows.append([merged.mean_iou, merged.median_iou, 100 * merged.fnr, 100 * merged.fpr])
    values = np.array(rows, float)
    known = [column[np.isfinite(column)] for column in values.T]
    means = [float(column.mean()) if len(column) else float("nan") for column in known]
    return [said.name, str(len(rows)), *map(number, means)]


def overhead(model: Any) -> tuple[float, float] | None:
    """Return the paper's overhead and that with the refiner; None where there is no language
    model.
    """
    base = getattr(model, "base", model)
    network: Any = getattr(base, "network", None)
    if hasattr(network, "vlm"):
        whole, own = (sum(p.numel() for p in part.parameters()) for part in (network, network.vlm))
    elif hasattr(base, "speaker"):
        whole = own = sum(p.numel() for p in base.speaker.model.parameters())
    else:
        return None
    refiner = getattr(getattr(model, "refiner", None), "card", None)
    extra = (
        0
        if refiner is None or refiner.folder is None
        else sum(path.stat().st_size for path in refiner.folder.glob("*.safetensors")) / 4
    )
    return (whole - own) / own, (whole - own + extra) / own


def systems(given: Sequence[str], unet: str) -> dict[str, Any]:
    """Load all systems; the U-Net is always among them."""
    found = dict(load_system(text) for text in given)
    return (
        found
        if any(getattr(m, "card", None) and m.card.name == unet for m in found.values())
        else found | {f"U-Net ({unet})": load_model(unet)}
    )


def seconds_a_sample(folder: Path) -> dict[str, tuple[float, int]]:
    """Return stage -> seconds for each sample, of the processor where they were noted, and how many
    samples were seen.

    A language model's run leaves ``times.json``; an ordinary one ``log.jsonl``, whose images a
    second are those of the clock.
    """
    path = folder / TIMES
    if path.is_file():
        stages = json.loads(path.read_text("utf-8"))
        return {
            name: (stage["processor_seconds"] / stage["samples"], int(stage["samples"]))
            for name, stage in stages.items()
        }
    entries = [json.loads(line) for line in (folder / LOG).read_text("utf-8").splitlines()]
    pace = [entry for entry in entries if "images_per_s" in entry]
    return {"supervised, by the clock": (1 / pace[-1]["images_per_s"], int(pace[-1]["step"]))}


def times(given: Sequence[str]) -> list[list[str]]:
    """Return rows of what training took; a sample is an image or a question, however many answers
    are written to it.
    """
    found = [
        (text.partition("=")[0], seconds_a_sample(Path(text.partition("=")[2]))) for text in given
    ]
    unit = next(iter(found[0][1].values()))[0]
    return [
        [name, stage, f"{1000 * each:.1f}", f"{each / unit:.2f}", str(count)]
        for name, stages in found
        for stage, (each, count) in stages.items()
    ]


def main() -> None:
    """Score and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "dataset", nargs="?", help="a folder, or a dataset that 'selion data list' names"
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--split", default="val")
    parser.add_argument(
        "--simulate",
        type=int,
        default=0,
        help="scenes of the simulated countryside instead of a dataset",
    )
    parser.add_argument("--models", nargs="*", default=[])
    parser.add_argument("--unet", default=UNET, help="the U-Net of every table")
    parser.add_argument(
        "--grids",
        nargs="*",
        type=int,
        default=[64, 32, 16],
        help="edges in pixels of grids that have not seen the image",
    )
    parser.add_argument(
        "--by",
        nargs="*",
        default=["group"],
        help="columns of the objects' table (climate, ecoregion), or group",
    )
    parser.add_argument(
        "--times", nargs="*", default=[], help="NAME=FOLDER of runs, the first one's time being 1"
    )
    args = parser.parse_args()
    if args.times:
        print(
            markdown_table(
                ["system", "stage", "ms a sample", "normalised", "samples"], times(args.times)
            ),
            end="\n\n",
        )
        if not args.dataset and not args.simulate:
            return
    if bool(args.dataset) == bool(args.simulate):
        parser.error("name a dataset, or --simulate N")
    samples = (
        simulated(args.simulate)
        if args.simulate
        else list(load_dataset(args.dataset, args.root, args.split or None))
    )
    loaded = systems(args.models, args.unet)
    said = [of_model(name, model, samples, args.by) for name, model in loaded.items()]
    for size in args.grids:
        images = [
            scored("grid", s, metrics.regular_grid(truth_ids(s).shape, size), args.by)
            for s in samples
        ]
        said.append(Said(f"grid of {size} px, image not seen", tuple(images)))
    print(markdown_table(HEADERS, [row(one) for one in said]))
    print("Means over images (any), as appendix C has them; the table above pools all objects:")
    headers = ["system", "images", "IoU", "median", "FNR", "FPR"]
    print(markdown_table(headers, [image_means(one) for one in said]))
    for one in said:
        rows = [
            [f"{one.name}: {kind}", *cells_of(metrics.join_tables(tables)), "-"]
            for kind, tables in one.classes.items()
        ]
        print(f"\n{markdown_table(HEADERS, rows)}" if rows else "")
        acres = merged_by_acres(one, [pixel_area(sample) for sample in samples])
        if acres:
            print(f"\n{one.name}, merge-and-match (any), by acres:")
            print(markdown_table(["acres", "objects", "IoU", "median", "missed %"], acres), end="")
        for column in ("size", *args.by):
            print(
                f"\n{one.name}, one to one, by {column}{' (ha)' if column == 'size' else ''}:\n"
                f"{metrics.stratify(one.images, column).round(3).to_string()}"
            )
    for name, model in loaded.items():
        share = overhead(model)
        print(
            f"\nOverhead of {name}:",
            "no language model"
            if share is None
            else f"{share[0]:.4f}, with its refiner {share[1]:.4f}",
            end="",
        )
    print(
        "\n\nThe paper, fields in India, Cambodia, Vietnam (mean IoU/median/FNR %/FPR %; reading "
        "and data not public):"
    )
    print(
        markdown_table(
            ["system", "India", "Cambodia", "Vietnam"],
            [[name, *values] for name, values in PAPER.items()],
        )
    )
    print("The paper, mean IoU of fields/trees/clouds/ponds/wells in India:")
    print(
        markdown_table(
            ["weights", "4B", "12B"], [[name, *values] for name, values in ABLATION.items()]
        )
    )
    print(
        "The paper, normalised training time:",
        ", ".join(f"{name} {value}" for name, value in PAPER_TIMES.items()),
    )


if __name__ == "__main__":
    main()
