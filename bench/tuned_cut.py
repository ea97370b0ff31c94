"""What own chips gain by setting how fields are chosen, with the network as it is.

    python bench/tuned_cut.py --cut cut.safetensors
    python bench/tuned_cut.py --foreign hamlets --uneven --made

Every one, two or three chips of a place are own in turn, the others are scored: the seven American
ones that `fields-rgb-vhr` has not seen, or scenes of a simulated countryside, whose six come from
two seeds.  Printed is object F1 and pixel IoU of the start and of what
:func:`selion.training.tuned_cut.tune_cut` made of it, over all draws, and how many draws changed
anything; and what the best settings would give if the scored chips themselves could choose, which
no user's can.  ``--made`` lets own images choose as those of a folder do: cut into chips as
``selion data make`` cuts them, and put together again.  No network is trained: a minute of one
core.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from own_polygons import CHIPS, START, Counts, foreign_fold
from selion.evaluation.folder import read_folder
from selion.fields import read_node_score, score_of
from selion.models import load_model
from selion.training.recipe import Validate
from selion.training.scoring import Scores
from selion.training.tuned_cut import best_of, counts_by_settings, settings_tried

DRAWS, CHIP = 35, 423


def chips_of(style: str | None, folder: Path, images: Path, *, rough: bool) -> list[Any]:
    """Return the seven chips, or six simulated scenes."""
    if style is None:
        return list(read_folder(images).samples[2::4])
    made = []
    for seed in (0, 1):
        place = folder / str(seed)
        place.mkdir()
        made += foreign_fold(style, 0, seed, place, rough=rough).test
    return made


def made_of(style: str | None, folder: Path, chips: Path) -> list[Any]:
    """Return the same images as :func:`chips_of` wrote or took them, cut into chips and put
    together again.
    """
    if style is None:
        images = sorted((chips / "images").glob("*.tif"))[2::4]
        return put_together(images, chips / "fields.parquet")
    found = []
    for seed in (0, 1):
        place = folder / str(seed)
        images = sorted(place.glob("scene*.tif"))
        found += put_together(images, place / "outlines.parquet")
    return found


def put_together(images: list[Path], polygons: Path) -> list[Any]:
    """Cut images as a folder of chips has them, strips of each held out, and stitch them."""
    from selion.data.burning import Burning
    from selion.data.polygons import Chips, Labelled, load_polygons
    from selion.data.strips import Strips
    from selion.training.stitching import stitched

    labelled = Labelled(polygons, burning=Burning(width=1), complete=True)
    cut = load_polygons(images, labelled, Chips(CHIP, land=Strips(0.2, 0.0, wide=True)))
    found = stitched(cut)
    assert len(found) == len(images)
    return list(found)


def main() -> None:
    """Print a line for each number of own chips."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cut", type=Path, help="A learnt score in place of the start's.")
    parser.add_argument("--foreign", help="A style of the simulation, in place of the chips.")
    parser.add_argument("--uneven", action="store_true", help="--foreign: uneven fields.")
    parser.add_argument("--chips", type=Path, default=CHIPS, help="Folder of the 28 chips.")
    parser.add_argument("--made", action="store_true", help="Own images as chips of a folder.")
    parser.add_argument("--own", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    model, spec = load_model(START), Validate(method="watershed", metric="object_f1")
    score = read_node_score(args.cut) if args.cut else score_of(model.card)
    tried = settings_tried(score.settings)
    with TemporaryDirectory() as folder:
        chips = chips_of(args.foreign, Path(folder), args.chips, rough=args.uneven)
        rows = [counts_by_settings(model, score, chip, spec, tried) for chip in chips]
        table = np.array(rows, float)  # (chip, settings, count)
        choosing = table
        if args.made:
            pieces = made_of(args.foreign, Path(folder), args.chips)
            rows = [counts_by_settings(model, score, one, spec, tried) for one in pieces]
            choosing = np.array(rows, float)
    print("| own | draws that changed | F1 / IoU of the start | tuned | gain of F1 |")
    print("|---:|---|---:|---:|---|")
    for number in args.own:
        draws = list(itertools.combinations(range(len(table)), number))
        draws = draws[:: -(-len(draws) // DRAWS)]
        new, old, moved = [], [], 0
        for own in draws:
            keys = tuple(map(str, own))
            seen = [
                Scores(keys, ("",) * number, choosing[list(own), k], (), spec.metric)
                for k in range(len(tried))
            ]
            best = best_of(seen)
            moved += best > 0
            others = [k for k in range(len(table)) if k not in own]
            new += [table[k, best] for k in others]
            old += [table[k, 0] for k in others]
        print(
            line(number, f"{moved} of {len(draws)}", Counts(np.array(new)), Counts(np.array(old)))
        )
    total = table.sum(0)
    best = int(np.argmax(2 * total[:, 0] / np.maximum(2 * total[:, 0] + total[:, 1:3].sum(1), 1)))
    print(line("all know all", str(tried[best]), Counts(table[:, best]), Counts(table[:, 0])))


def line(own: object, moved: str, new: Counts, old: Counts) -> str:
    """A row of the table."""
    gain = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*new.beside(old))
    both = [f"{one.f1:.3f} / {one.iou:.3f}" for one in (old, new)]
    return "| " + " | ".join(map(str, [own, moved, *both, gain])) + " |"


if __name__ == "__main__":
    main()
