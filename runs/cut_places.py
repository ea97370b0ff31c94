"""Hierarchies over sampled places, what is true of their nodes, and what objects are worth."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.classes import FTW3
from selion.fields import InstanceOptions, NodeScore
from selion.fields.cutting import grow, worth
from selion.fields.hierarchy import best_cut
from selion.fields.instances import InstanceInput, cut, prepare
from selion.fields.node_score import CutSettings
from selion.fields.nodes import FEATURES, Features, Tree
from selion.fields.seams import AREA, join
from selion.grid import whole
from selion.raster import Raster

SIZES = (0.5, 2, 8)
"""Hectares at which fields are counted apart."""
LEAST = 500.0
"""Smallest object in m2 that is counted, as `selion evaluate` counts."""
KINDS = ("found", "merged", "split", "missed", "shifted", "false")


@dataclass(frozen=True, eq=False)
class Place:
    """A hierarchy with what is true of its nodes."""

    name: str
    kind: str
    fold: int
    unseen: bool
    """Whether the models of the first releases have not been trained on it."""
    path: Path
    """The sample."""
    grid: GeoBox
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
    """(y, x) ids, 0 for none."""

    @property
    def area(self) -> np.ndarray:
        """m2 of every node."""
        return self.tree.rows[:, AREA] * self.tree.unit

    @property
    def pixel(self) -> float:
        """m2 of a pixel."""
        return abs(self.grid.resolution.x * self.grid.resolution.y)

    @property
    def probs(self) -> Raster:
        """Probabilities."""
        with np.load(self.path) as sample:
            return Raster(sample["probs"].astype(np.float32) / 254, self.grid, FTW3.names)

    @property
    def image(self) -> np.ndarray:
        """(band, y, x) as the network was shown it."""
        with np.load(self.path) as sample:
            image: np.ndarray = sample["image"]
        return image


def hierarchy(probs: Raster, settings: CutSettings) -> tuple[np.ndarray, Tree]:
    """Return the leaf of each pixel and the tree, as `selion map --method cut` builds them."""
    options = InstanceOptions(score=NodeScore.untrained(settings), min_area=LEAST)
    scene: InstanceInput = prepare(probs, FTW3, "cut", options)
    labels, block = cut(probs, whole(probs.grid), scene)
    leaves, tree = grow(join([block], scene.shape[1]), settings, scene.unit)
    return leaves.pieces[labels - 1], tree


def overlap(leaves: np.ndarray, tree: Tree, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return of every node the IoU with the field that it covers best, and which one that is."""
    count, ids = len(tree.rows) - len(tree.children), int(truth.max()) + 1
    pairs, sizes = np.unique(leaves.ravel() * ids + truth.ravel(), return_counts=True)
    inside: list[dict[int, int]] = [{} for _ in range(count)]
    for pair, size in zip(pairs.tolist(), sizes.tolist(), strict=True):
        inside[pair // ids][pair % ids] = size
    area = np.bincount(truth.ravel(), minlength=ids).tolist()
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


def read_place(path: Path, settings: CutSettings) -> Place:
    """Build the hierarchy of a sample."""
    with np.load(path) as sample:
        probs, truth = sample["probs"], sample["truth"].astype(np.int64)
        about = json.loads(str(sample["about"]))
    gsd = about["gsd"]
    grid = GeoBox(truth.shape, Affine(gsd, 0, 0, 0, -gsd, 0), "EPSG:32631")
    raster = Raster(probs.astype(np.float32) / 254, grid, FTW3.names)
    leaves, tree = hierarchy(raster, settings)
    values = Features(tree)(np.arange(tree.count))
    hits = overlap(leaves, tree, truth)
    where = (about["kind"], about["fold"], about["unseen"])
    small = (leaves.astype(np.int32), tree, values, *hits, truth.astype(np.int32))
    return Place(path.stem, *where, path, grid, *small)


def keep_place(path: Path, settings: CutSettings) -> Place:
    """Build a hierarchy, or read it if it is there from a run before."""
    made = f"{settings}{FEATURES}{[f.name for f in fields(Tree)]}{path.stat().st_mtime_ns}"
    kept = path.with_suffix(f".{hashlib.sha256(made.encode()).hexdigest()[:8]}.pkl")
    if kept.exists():
        place: Place = pickle.loads(kept.read_bytes())
        return place
    place = read_place(path, settings)
    kept.write_bytes(pickle.dumps(place))
    return place


def read_places(paths: Sequence[Path], settings: CutSettings, processes: int = 2) -> list[Place]:
    """Build the hierarchies of samples."""
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(keep_place, paths, [settings] * len(paths), chunksize=4))


def choose(place: Place, said: np.ndarray, settings: CutSettings) -> np.ndarray:
    """Return the object of each leaf, -1 for none; those that are too small are dropped."""
    chosen = best_cut(place.tree.children, worth(place.tree, said, settings))
    return np.where((chosen >= 0) & (place.area[chosen] >= LEAST), chosen, -1)


def objects_of(place: Place, said: np.ndarray, settings: CutSettings) -> np.ndarray:
    """Return (y, x) ids of the cut, 0 for none."""
    chosen = choose(place, said, settings)
    names, ids = np.unique(chosen, return_inverse=True)
    ids = ids + (1 if names[0] >= 0 else 0)
    out: np.ndarray = ids[place.leaves]
    return out


def tally(truth: np.ndarray, ids: np.ndarray, pixel: float) -> Counter[str]:
    """Count what became of fields and objects.

    Merged: most of the field lies in an object that holds most of another field too.  Split: two
    objects or more lie mostly within the field.  Missed: less than half of it lies in objects.
    Shifted: the rest, an object that is too large or too small.  False: an object less than half of
    which is field.
    """
    _, truth = np.unique(np.append(0, truth), return_inverse=True)
    _, ids = np.unique(np.append(0, ids), return_inverse=True)
    truth, ids = truth[1:], ids[1:]
    pairs = np.bincount(
        truth * (ids.max() + 1) + ids, minlength=(truth.max() + 1) * (ids.max() + 1)
    )
    table = pairs.reshape(truth.max() + 1, ids.max() + 1)
    field, size = table.sum(1), table.sum(0)
    iou = table[1:, 1:] / (field[1:, None] + size[None, 1:] - table[1:, 1:])
    found = (iou > 0.5).any(1) if iou.size else np.zeros(len(field) - 1, bool)
    holds = table[1:, 1:] > 0.5 * field[1:, None]
    merged = (holds & (holds.sum(0) > 1)).any(1)
    split = (table[1:, 1:] > 0.5 * size[None, 1:]).sum(1) > 1
    missed = table[1:, 1:].sum(1) < 0.5 * field[1:]
    fate = np.select([found, merged, split, ~missed], (*KINDS[:3], "shifted"), "missed")
    counts = Counter(fate.tolist())
    counts["false"] = int((table[0, 1:] > 0.5 * size[1:]).sum())
    counts["fields"], counts["objects"] = len(field) - 1, len(size) - 1
    counts["both"] = int(table[1:, 1:].sum())
    counts["either"] = int(table.sum() - table[0, 0])
    bins = np.searchsorted(SIZES, field[1:] * pixel / 1e4)
    for k in range(len(SIZES) + 1):
        counts[f"found {k}"] = int(found[bins == k].sum())
        counts[f"of {k}"] = int((bins == k).sum())
    return counts


def f1(counts: Counter[str]) -> float:
    """Object F1 at IoU 0.5."""
    return 2 * counts["found"] / max(counts["fields"] + counts["objects"], 1)


def scores(counts: Counter[str]) -> dict[str, float]:
    """F1, precision, recall of objects, and IoU of pixels."""
    return {
        "f1": f1(counts),
        "precision": counts["found"] / max(counts["objects"], 1),
        "recall": counts["found"] / max(counts["fields"], 1),
        "iou": counts["both"] / max(counts["either"], 1),
    }
