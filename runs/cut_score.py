"""Learn the score of fields of a model, ``cut.safetensors`` beside its card, and say by five folds
what it is worth.

    python runs/cut_score.py checkpoints/cut --networks fold0.safetensors ... fold4.safetensors \\
        --chips ../shared/data/satellite/vhr_naip_usa --looks ../shared/data/satellite/s2_unlabelled

One command from networks to tables: it asks them about places that they have not seen
(``cut_samples.py``, each sample once), builds the hierarchies, learns the score on four folds and
takes fields on the fifth, and prints object F1, precision, recall and pixel IoU, fold by fold, by
size and by kind of error, beside the watershed, a watershed of image gradients, and what an oracle
could choose from the hierarchy of the network and from that of image gradients.  Every node of
every hierarchy is a sample; its truth is how well it covers the field that it covers best, a soft
IoU > 0.5.  With ``--out`` the score that ships learns from all places, each as the
network of its fold sees it: what a network says of places that it was trained on is too sure.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

import cut_samples
from cut_pictures import write_pictures
from cut_places import (
    KINDS,
    LEAST,
    SIZES,
    Place,
    choose,
    f1,
    hierarchy,
    objects_of,
    overlap,
    read_places,
    scores,
    tally,
)
from selion.classes import FTW3
from selion.fields import InstanceOptions, NodeScore, find_instances
from selion.fields.cutting import candidates
from selion.fields.hierarchy import best_cut
from selion.fields.node_score import CUT, CutSettings
from selion.metrics import gradient_watershed
from selion.models import read_card, write_card
from selion.models.card import sha256_of
from selion.raster import Raster

CARD = "card.toml"
SOFT = 0.06
"""Width of the step at IoU 0.5: a node at 0.48 is nearly as good as one at 0.52."""
FOUR = 2.776
"""Student's t for a 95 % interval of a mean over five folds."""
COLOURS = 3
"""Bands that image gradients are taken of: those of the first date."""
Said = list[np.ndarray]
"""For every place, (node,) probabilities."""


def soft(iou: np.ndarray) -> np.ndarray:
    """IoU -> how much it counts as found."""
    return 1 / (1 + np.exp((0.5 - iou) / SOFT))


def learn(
    places: Sequence[Place],
    settings: CutSettings,
    trees: int,
    simulated: float = 1.0,
    seed: int = 0,
) -> NodeScore:
    """Fit the trees; every kind of imagery weighs as much as the square root of its nodes,
    simulated ones ``simulated`` times that.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    large = [candidates(place.tree, settings) for place in places]
    values = np.concatenate([p.values[keep] for p, keep in zip(places, large, strict=True)])
    target = np.concatenate([soft(p.iou[keep]) for p, keep in zip(places, large, strict=True)])
    kinds = np.concatenate(
        [[p.kind] * int(keep.sum()) for p, keep in zip(places, large, strict=True)]
    )
    names, place, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    share = np.where(np.char.startswith(names, "simulated"), simulated, 1.0)
    model = HistGradientBoostingRegressor(
        max_iter=trees,
        learning_rate=0.06,
        max_leaf_nodes=14,
        min_samples_leaf=40,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    ).fit(values, target, (share / np.sqrt(counts / counts.min()))[place])
    return from_sklearn(model, settings)


def from_sklearn(model: object, settings: CutSettings) -> NodeScore:
    """Take the trees out of a fitted ``HistGradientBoostingRegressor``."""
    tables = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001 - it has no other door
    starts = np.cumsum([0, *map(len, tables)])[:-1]
    nodes = np.concatenate(tables)
    shift = np.repeat(starts, [len(table) for table in tables])
    leaf = nodes["is_leaf"].astype(bool)
    return NodeScore(
        settings,
        float(np.ravel(model._baseline_prediction)[0]),  # noqa: SLF001
        roots=starts.astype("i4"),
        feature=np.where(leaf, -1, nodes["feature_idx"]).astype("i2"),
        threshold=np.where(leaf, 0, nodes["num_threshold"]).astype("f8"),
        left=np.where(leaf, 0, nodes["left"] + shift).astype("i4"),
        right=np.where(leaf, 0, nodes["right"] + shift).astype("i4"),
        missing_left=nodes["missing_go_to_left"].astype("u1"),
        value=np.where(leaf, nodes["value"], 0).astype("f8"),
    )


def one_fold(
    places: Sequence[Place], settings: CutSettings, trees: int, simulated: float, fold: int
) -> Said:
    """Learn without a fold; say what is thought of its nodes, nothing of the others."""
    score = learn([p for p in places if p.fold != fold], settings, trees, simulated)
    return [score.predict(p.values) if p.fold == fold else np.zeros(0) for p in places]


def by_folds(
    places: Sequence[Place],
    settings: CutSettings,
    trees: int,
    processes: int,
    simulated: float = 1.0,
) -> Said:
    """Say of every node what a score thinks that has not learnt from its fold."""
    numbers = sorted({place.fold for place in places})
    with ProcessPoolExecutor(processes) as pool:
        said = list(pool.map(partial(one_fold, places, settings, trees, simulated), numbers))
    return [said[numbers.index(place.fold)][k] for k, place in enumerate(places)]


def oracle(place: Place) -> Counter[str]:
    """What the best choice among the nodes would find."""
    return _best(place.tree.children, place.iou, place.truth)


def gradient_oracle(place: Place) -> Counter[str]:
    """What the best choice would find in the hierarchy of image gradients, without any network."""
    edge = gradient(place.image)
    pseudo = np.stack([np.zeros_like(edge), 1 - edge, edge])
    leaves, tree = hierarchy(Raster(pseudo, place.grid, FTW3.names), CutSettings())
    return _best(tree.children, overlap(leaves, tree, place.truth.astype(np.int64))[0], place.truth)


def _best(children: np.ndarray, iou: np.ndarray, truth: np.ndarray) -> Counter[str]:
    chosen = best_cut(children, np.where(iou > 0.5, 1.0, -1.0))
    found = len(np.unique(chosen[chosen >= 0]))
    fields = len(np.unique(truth[truth > 0]))
    return Counter(found=found, objects=found, fields=fields)


def gradient(image: np.ndarray) -> np.ndarray:
    """(y, x) strength of the edges of an image, 0..1."""
    from scipy.ndimage import gaussian_gradient_magnitude

    edge = sum(gaussian_gradient_magnitude(b.astype(np.float32), 1.0) for b in image[:COLOURS])
    out: np.ndarray = np.clip(edge / max(np.percentile(edge, 98), 1e-6), 0, 1)
    return out


def watershed(place: Place) -> np.ndarray:
    """(y, x) ids by the watershed of the probabilities."""
    options = InstanceOptions(min_area=LEAST)
    return find_instances(place.probs, FTW3, "watershed", options).ids.astype(np.int64)


def plain(place: Place) -> np.ndarray:
    """(y, x) ids by the watershed of image gradients; at 10 m, shown twice as large, with the
    parameters that suit it best there.
    """
    settings = {} if place.pixel < 9 else {"sigma": 1.4, "min_area": 80}
    return gradient_watershed(place.image[:COLOURS].astype(np.float32), **settings)


def counted(find: Callable[[Place], np.ndarray], place: Place) -> Counter[str]:
    """Count what a way of finding objects finds."""
    return tally(place.truth, find(place), place.pixel)


OTHERS: dict[str, Callable[[Place], Counter[str]]] = {
    "watershed": partial(counted, watershed),
    "gradient watershed": partial(counted, plain),
    "oracle's cut": oracle,
    "oracle's cut of gradients": gradient_oracle,
}


def beside(place: Place) -> dict[str, Counter[str]]:
    """Count what the other ways find."""
    return {name: count(place) for name, count in OTHERS.items()}


def of_cut(
    places: Sequence[Place], said: Said, settings: CutSettings
) -> list[dict[str, Counter[str]]]:
    """Count what the cut finds."""
    return [
        {"cut": tally(place.truth, objects_of(place, mine, settings), place.pixel)}
        for place, mine in zip(places, said, strict=True)
    ]


def table(places: Sequence[Place], counts: Sequence[dict[str, Counter[str]]]) -> dict[str, dict]:
    """Kind of imagery and method -> pooled scores, F1 of each fold, errors, sizes."""
    pooled: dict[tuple[str, str], dict[int, Counter[str]]] = defaultdict(dict)
    for place, found in zip(places, counts, strict=True):
        kinds = [place.kind] + ["aerial 1 m, the seven"] * (
            place.kind == "aerial 1 m" and place.unseen
        )
        for kind in kinds:
            for method, one in found.items():
                fold = pooled[kind, method]
                fold[place.fold] = fold.get(place.fold, Counter()) + one
    out: dict[str, dict] = {}
    for (kind, method), folds in sorted(pooled.items(), key=lambda item: item[0][0]):
        total = sum(folds.values(), Counter())
        each = [f1(folds[fold]) for fold in sorted(folds)]
        mean, half = np.mean(each), FOUR * np.std(each, ddof=1) / np.sqrt(len(each))
        row = {name: round(value, 3) for name, value in scores(total).items()}
        row |= {"folds": [round(value, 3) for value in each], "fields": total["fields"]}
        row |= {"interval": [round(float(mean + side * half), 3) for side in (-1, 1)]}
        row |= {"errors": {kind: total[kind] for kind in KINDS}}
        row |= {"sizes": [f"{total[f'found {k}']} of {total[f'of {k}']}" for k in range(4)]}
        out.setdefault(kind, {})[method] = row
    return out


def reliability(places: Sequence[Place], said: Said, settings: CutSettings) -> dict[str, object]:
    """How sure the chosen fields are and how many of them are right; the expected error."""
    sure, right = chosen_fields(places, said, settings)
    bins = np.clip((sure * 10).astype(int), 0, 9)
    rows = [
        (
            f"{k / 10:.1f}",
            int(here.sum()),
            round(sure[here].mean(), 3),
            round(right[here].mean(), 3),
        )
        for k in range(10)
        if (here := bins == k).any()
    ]
    error = sum(count * abs(mean - share) for _, count, mean, share in rows) / len(sure)
    return {"expected error": round(error, 4), "bins": rows}


def chosen_fields(
    places: Sequence[Place], said: Said, settings: CutSettings
) -> tuple[np.ndarray, np.ndarray]:
    """Confidence of every chosen field, and whether it matches a drawn one."""
    sure, right = [], []
    for place, mine in zip(places, said, strict=True):
        objects = np.unique(choose(place, mine, settings))
        objects = objects[objects >= 0]
        sure.append(mine[objects])
        right.append(place.iou[objects] > 0.5)
    return np.concatenate(sure), np.concatenate(right)


def markdown(rows: dict[str, dict]) -> str:
    """The tables of docs/weights.md."""
    text = ["| imagery | method | F1 | precision | recall | IoU | folds | mean, 95 % interval |"]
    text += ["|---|---|---:|---:|---:|---:|---|---|"]
    for kind, methods in rows.items():
        for method, row in methods.items():
            low, high = row["interval"]
            name = f"{kind} ({row['fields']:,} fields)" if method == "cut" else ""
            text.append(
                f"| {name} | {method} | {row['f1']:.3f} | {row['precision']:.3f} | "
                f"{row['recall']:.3f} | {row['iou']:.3f} | "
                f"{' '.join(f'{v:.3f}' for v in row['folds'])} | "
                f"{np.mean(row['folds']):.3f} ({low:.3f} to {high:.3f}) |"
            )
    edges = ["0", *(f"{size:g}" for size in SIZES), "more"]
    sizes = [f"{low} to {high} ha" for low, high in itertools.pairwise(edges)]
    text += ["", "| | " + " | ".join([*KINDS, *sizes]) + " |"]
    text += ["|---|" + "---:|" * (len(KINDS) + len(sizes))]
    for kind, methods in rows.items():
        for method in ("cut", "watershed"):
            row = methods[method]
            cells = [*(f"{row['errors'][name]:,}" for name in KINDS), *row["sizes"]]
            text.append(f"| {kind}, {method} | " + " | ".join(cells) + " |")
    return "\n".join(text)


def prices_of(places: Sequence[Place], said: Said, settings: CutSettings) -> dict[str, object]:
    """F1 of each kind at several prices: whether the price is still the right one."""
    return {
        f"{price:g}": {
            kind: rows["cut"]["f1"]
            for kind, rows in table(
                places, of_cut(places, said, replace(settings, price=price))
            ).items()
        }
        for price in (0.3, 0.35, 0.4, 0.45, 0.5)
    }


def main() -> None:
    """Fold by fold, then all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="samples, hierarchies and tables go here")
    cut_samples.add_options(parser)
    parser.add_argument("--out", type=Path, help="folder of a model; its card then names the cut")
    parser.add_argument(
        "--leave-unseen", action="store_true", help="--out: nothing of chips no release has seen"
    )
    parser.add_argument("--trees", type=int, default=160)
    parser.add_argument(
        "--simulated", type=float, default=1.0, help="weight of simulated and painted kinds"
    )
    parser.add_argument("--pictures", type=Path, help="folder for twelve pictures")
    for name in ("smoothing", "depth"):
        parser.add_argument(f"--{name}", type=float, default=getattr(CutSettings(), name))
    args = parser.parse_args()
    settings = CutSettings(args.smoothing, args.depth)
    paths = sorted(cut_samples.make(args, args.work / "samples"))  # trees are drawn in this order
    places = read_places(paths, settings, args.processes)
    print(len(places), "places,", sum(p.tree.count for p in places), "nodes", flush=True)
    said = by_folds(places, settings, args.trees, args.processes, args.simulated)
    with ProcessPoolExecutor(args.processes) as pool:
        others = list(pool.map(beside, places, chunksize=4))
    counts = [
        mine | other for mine, other in zip(of_cut(places, said, settings), others, strict=True)
    ]
    rows = table(places, counts)
    print(markdown(rows), flush=True)
    sure = reliability(places, said, settings)
    print(json.dumps({"prices": prices_of(places, said, settings), "reliability": sure}, indent=1))
    if args.pictures:
        write_pictures(places, said, settings, args.pictures)
    (args.work / "table.json").write_text(json.dumps(rows | {"reliability": sure}, indent=1))
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        taught = [place for place in places if not (args.leave_unseen and place.unseen)]
        learn(taught, settings, args.trees, args.simulated).save(args.out / CUT)
    if args.out and (args.out / CARD).exists():
        card = read_card(args.out)
        card = replace(card, files={**card.files, CUT: sha256_of(args.out / CUT)})
        write_card(card, args.out / CARD)


if __name__ == "__main__":
    main()
