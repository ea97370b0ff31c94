"""Learn the score of fields of a model: ``cut.safetensors`` beside its card.

    python runs/cut_score.py SAMPLES.npz... --out src/selion/weights/fields-rgb-vhr

Each SAMPLES file is written by ``cut_samples.py``: probabilities of places that the network which
made them has not seen, with the fields drawn there.  Every node of every hierarchy is a sample; its
truth is how well it covers the field that it covers best, a soft IoU > 0.5.  Five folds by place
say what the score is worth, and the score that ships has learnt from all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.classes import FTW3
from selion.fields import InstanceOptions, NodeScore
from selion.fields.cutting import candidates, grow, worth
from selion.fields.hierarchy import best_cut
from selion.fields.instances import InstanceInput, cut, prepare
from selion.fields.node_score import CUT, CutSettings
from selion.fields.nodes import Tree, features
from selion.fields.seams import AREA, PIXELS, join
from selion.grid import whole
from selion.models import read_card, write_card
from selion.models.card import sha256_of
from selion.raster import Raster

SIZES = (0.5, 2, 8)
"""Hectares at which fields are counted apart."""
LEAST = 500.0
"""Smallest object in m2 that is counted, as `selion evaluate` counts."""
SOFT = 0.06
"""Width of the step at IoU 0.5: a node at 0.48 is nearly as good as one at 0.52."""


@dataclass(frozen=True, eq=False)
class Place:
    """A hierarchy with what is true of its nodes."""

    name: str
    kind: str
    fold: int
    unseen: bool
    """Whether the network has not been trained on it."""
    leaves: np.ndarray
    """(y, x) leaf of each pixel."""
    tree: Tree
    values: np.ndarray
    """(node, feature) float32."""
    iou: np.ndarray
    """(node,) with the field that it covers best."""
    field: np.ndarray
    """(node,) which one that is."""
    truth: np.ndarray
    """(y, x) ids."""

    @property
    def area(self) -> np.ndarray:
        """m2 of every node."""
        return self.tree.rows[:, AREA] * self.tree.unit


def hierarchy(probs: Raster, settings: CutSettings) -> tuple[np.ndarray, Tree]:
    """Return the leaf of each pixel and the tree, as `selion map --method cut` builds them."""
    options = InstanceOptions(score=NodeScore.untrained(settings), min_area=LEAST)
    scene: InstanceInput = prepare(probs, FTW3, "cut", options)
    labels, block = cut(probs, whole(probs.grid), scene)
    leaves, tree = grow(join([block], scene.shape[1]), settings, scene.unit)
    return leaves.pieces[labels - 1], tree


def overlap(leaves: np.ndarray, tree: Tree, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of every node the IoU with the field that it covers best, and which one that is."""
    count, fields = len(tree.rows) - len(tree.children), int(truth.max()) + 1
    pairs, sizes = np.unique(leaves.ravel() * fields + truth.ravel(), return_counts=True)
    inside: list[dict[int, int]] = [{} for _ in range(count)]
    for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        inside[pair // fields][pair % fields] = size
    area = np.bincount(truth.ravel(), minlength=fields)
    iou, best = np.zeros(len(tree.rows)), np.zeros(len(tree.rows), np.int64)

    def look(k: int, held: dict[int, int]) -> None:
        size = sum(held.values())
        hits = [(part / (area[f] + size - part), f) for f, part in held.items() if f]
        iou[k], best[k] = max(hits, default=(0.0, 0))

    for k in range(count):
        look(k, inside[k])
    for k, (a, b) in enumerate(tree.children.tolist(), count):
        small, large = sorted((inside[a], inside[b]), key=len)
        for f, part in small.items():
            large[f] = large.get(f, 0) + part
        inside[a] = inside[b] = {}
        inside.append(large)
        look(k, large)
    return iou, best


def read_places(path: Path, settings: CutSettings) -> list[Place]:
    """Build the hierarchies of a file of samples."""
    places = []
    with np.load(path) as samples:
        for name in sorted({key.split("/")[0] for key in samples.files}):
            probs, truth = samples[f"{name}/probs"], samples[f"{name}/truth"].astype(np.int64)
            about = json.loads(str(samples[f"{name}/about"]))
            gsd = about["gsd"]
            grid = GeoBox(truth.shape, Affine(gsd, 0, 0, 0, -gsd, 0), "EPSG:32631")
            leaves, tree = hierarchy(Raster(probs, grid, FTW3.names), settings)
            values = np.concatenate([v for _, v in features(tree, np.arange(tree.count))])
            places.append(
                Place(
                    name,
                    about["kind"],
                    about["fold"],
                    about.get("unseen", False),
                    leaves,
                    tree,
                    values,
                    *overlap(leaves, tree, truth),
                    truth,
                )
            )
    return places


def soft(iou: np.ndarray) -> np.ndarray:
    """IoU -> how much it counts as found."""
    return 1 / (1 + np.exp((0.5 - iou) / SOFT))


def learn(places: Sequence[Place], settings: CutSettings, trees: int, seed: int = 0) -> NodeScore:
    """Fit the trees; every kind of imagery weighs as much as the square root of its nodes."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    large = [candidates(place.tree, settings) for place in places]
    values = np.concatenate([p.values[keep] for p, keep in zip(places, large, strict=True)])
    target = np.concatenate([soft(p.iou[keep]) for p, keep in zip(places, large, strict=True)])
    kinds = np.concatenate(
        [[p.kind] * int(keep.sum()) for p, keep in zip(places, large, strict=True)]
    )
    _, place, counts = np.unique(kinds, return_inverse=True, return_counts=True)
    model = HistGradientBoostingRegressor(
        max_iter=trees,
        learning_rate=0.06,
        max_leaf_nodes=14,
        min_samples_leaf=40,
        l2_regularization=1.0,
        max_features=0.3,
        early_stopping=False,
        random_state=seed,
    ).fit(values, target, (1 / np.sqrt(counts / counts.min()))[place])
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


def choose(place: Place, said: np.ndarray, settings: CutSettings) -> np.ndarray:
    """Return the object of each leaf, -1 for none; those that are too small are dropped."""
    chosen = best_cut(place.tree.children, worth(place.tree, said, settings))
    return np.where((chosen >= 0) & (place.area[chosen] >= LEAST), chosen, -1)


def count(place: Place, said: np.ndarray, price: float, land: float) -> np.ndarray:
    """Return found fields, chosen objects, true fields, pixels of both, pixels of either."""
    chosen = choose(place, said, CutSettings(price=price, land=land))
    objects = np.unique(chosen[chosen >= 0])
    found = np.unique(place.field[objects][place.iou[objects] > 0.5])
    covered, true = (chosen >= 0)[place.leaves], place.truth > 0
    fields = len(np.unique(place.truth[true]))
    return np.array(
        [len(found), len(objects), fields, (covered & true).sum(), (covered | true).sum()]
    )


def errors(places: Sequence[Place], said: Sequence[np.ndarray], settings: CutSettings) -> str:
    """Say what became of the fields that were not found, and which sizes are found.

    Merged: most of the field lies in an object that holds most of another field too.  Split: two
    objects or more lie mostly within the field.  Missed: less than half of it lies in objects.
    Shifted: the rest, an object that is too large or too small.  False: an object less than half of
    which is field.
    """
    kinds = dict.fromkeys(("found", "merged", "split", "missed", "shifted", "false"), 0)
    sizes = np.zeros((len(SIZES) + 1, 2), int)
    for place, mine in zip(places, said, strict=True):
        chosen = choose(place, mine, settings)
        objects = np.unique(chosen, return_inverse=True)[1] + (chosen.min() >= 0)
        ids, truth = objects[place.leaves], place.truth
        table = np.zeros((truth.max() + 1, ids.max() + 1), int)
        np.add.at(table, (truth.ravel(), ids.ravel()), 1)
        field, whole_ = table.sum(1), table.sum(0)
        iou = table[1:, 1:] / (field[1:, None] + whole_[None, 1:] - table[1:, 1:])
        found = (iou > 0.5).any(1) if iou.size else np.zeros(len(field) - 1, bool)
        holds = table[:, 1:] > 0.5 * field[:, None]
        mixed = holds[1:].sum(0) > 1
        within = (table[:, 1:] > 0.5 * whole_[None, 1:])[1:].sum(1)
        covered = table[1:, 1:].sum(1) >= 0.5 * field[1:]
        kinds["false"] += int((table[0, 1:] > 0.5 * whole_[1:]).sum())
        pixel = place.area.max() / place.tree.rows[:, PIXELS].max()
        for k in np.flatnonzero(field[1:]):
            size = int(np.searchsorted(SIZES, field[k + 1] * pixel / 1e4))
            sizes[size] += found[k], 1
            kind = (
                "found"
                if found[k]
                else "merged"
                if (holds[k + 1] & mixed).any()
                else "split"
                if within[k] > 1
                else "shifted"
                if covered[k]
                else "missed"
            )
            kinds[kind] += 1
    edges = ["0", *map(str, SIZES), "more"]
    recall = {
        f"{low} to {high} ha": f"{hit} of {of}"
        for low, high, (hit, of) in zip(edges, edges[1:], sizes.tolist(), strict=False)
    }
    return json.dumps(kinds | recall)


def report(
    places: Sequence[Place], said: Sequence[np.ndarray], price: float, land: float = 0.0
) -> dict[str, object]:
    """Score a cut, over all places of each kind, and over those that the network has not seen."""
    out: dict[str, object] = {}
    kinds = [(place.kind, False) for place in places]
    kinds += [(place.kind, True) for place in places if place.unseen]
    for kind, unseen in sorted(set(kinds)):
        here = [
            k
            for k, place in enumerate(places)
            if place.kind == kind and (place.unseen or not unseen)
        ]
        rows = np.array([count(places[k], said[k], price, land) for k in here])
        folds = {
            fold: rows[[places[k].fold == fold for k in here]].sum(0)
            for fold in sorted({places[k].fold for k in here})
        }
        total = rows.sum(0)
        out[f"{kind}, unseen by the network" if unseen else kind] = {
            "f1": round(2 * total[0] / (total[1] + total[2]), 3),
            "precision": round(total[0] / max(total[1], 1), 3),
            "recall": round(total[0] / total[2], 3),
            "iou": round(total[3] / total[4], 3),
            "folds": [round(2 * t[0] / max(t[1] + t[2], 1), 3) for t in folds.values()],
        }
    return out


def main() -> None:
    """Fold by fold, then all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samples", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="folder of a model, whose card then names the cut")
    parser.add_argument("--trees", type=int, default=160)
    parser.add_argument("--prices", type=float, nargs="+", default=[0.35, 0.4, 0.45])
    parser.add_argument("--oracle", action="store_true", help="only say what the best cut would be")
    for name in ("smoothing", "depth"):
        parser.add_argument(f"--{name}", type=float, default=getattr(CutSettings(), name))
    args = parser.parse_args()
    settings = CutSettings(args.smoothing, args.depth)
    places = [place for path in args.samples for place in read_places(path, settings)]
    nodes = sum(place.tree.count for place in places)
    print(len(places), "places,", nodes, "nodes; the oracle's cut:", flush=True)
    print(json.dumps(report(places, [soft(p.iou) for p in places], 0.5)), flush=True)
    if args.oracle:
        return
    said: list[np.ndarray] = [np.zeros(0)] * len(places)
    for fold in sorted({place.fold for place in places}):
        score = learn([p for p in places if p.fold != fold], settings, args.trees)
        for k, place in enumerate(places):
            if place.fold == fold:
                said[k] = score.predict(place.values)
    tables = {price: report(places, said, price, settings.land) for price in args.prices}
    for price, table in tables.items():
        print(price, json.dumps(table), flush=True)
    for kind in sorted({place.kind for place in places}):
        here = [k for k, place in enumerate(places) if place.kind == kind]
        print(
            kind, errors([places[k] for k in here], [said[k] for k in here], settings), flush=True
        )
    if args.out:
        learn(places, settings, args.trees).save(args.out / CUT)
        card = read_card(args.out)
        card = replace(card, files={**card.files, CUT: sha256_of(args.out / CUT)})
        write_card(card, args.out / "card.toml")


if __name__ == "__main__":
    main()
