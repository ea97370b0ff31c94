"""Schemes and recipes for crops apart from weeds, and for organs: read, planned, built."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from selion.classes import CROP_WEED, ORGANS
from selion.data import load_dataset
from selion.data.declare import SCHEMES
from selion.grid import photo_grid
from selion.labels import LabelMap
from selion.models.architectures import build
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import Scaling
from selion.training import plan_samples, read_recipe

CHANGES = ["model.pretrained=", "crops.per_epoch=4", "schedule.epochs=1", "input.window=64"]


def test_names_and_what_is_counted():
    assert SCHEMES["crop-weed"] is CROP_WEED
    assert SCHEMES["organs"] is ORGANS
    assert (CROP_WEED.names, CROP_WEED.things) == (("soil", "crop", "weed"), ("crop", "weed"))
    assert (ORGANS.names, ORGANS.things) == (("background", "head", "stem", "leaf"), ("head",))
    assert len(CROP_WEED.colours) == 3
    assert len(ORGANS.colours) == 4


@pytest.mark.parametrize(
    ("name", "classes"), [("crops-weeds", CROP_WEED), ("crops-organs", ORGANS)]
)
def test_recipes_plan_and_build(name, classes):
    recipe = read_recipe(name, CHANGES)
    assert recipe.classes == classes
    rng = np.random.default_rng(0)
    samples = [
        Sample(
            str(k),
            Raster(rng.integers(0, 256, (3, 64, 64)).astype(np.uint8), photo_grid((64, 64)),
                   ("red", "green", "blue")),
            LabelMap(rng.integers(0, len(classes), (64, 64)).astype(np.uint8), photo_grid((64, 64)),
                     classes),
        )
        for k in range(4)
    ]  # fmt: skip
    plan = plan_samples(recipe, samples[:3], samples[3:])
    assert plan.recipe.classes == classes
    network = build(recipe.model.architecture, 3, len(classes))
    assert sum(p.numel() for p in network.parameters()) < 6e6
    # as the encoder was taught: bytes to -1..1
    scaling = Scaling(recipe.input.divide, recipe.input.subtract, recipe.input.clip)
    assert scaling(np.array([[[0]], [[255]], [[127.5]]])).ravel().tolist() == [-1.0, 1.0, 0.0]


def test_phenobench_tells_weeds_from_the_crop(tmp_path):
    for folder in ("images", "semantics", "plant_instances"):
        (tmp_path / "train" / folder).mkdir(parents=True)
    values = np.array([[0, 1, 2], [3, 4, 0]], np.uint8)
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "train/images/a.png")
    Image.fromarray(values).save(tmp_path / "train/semantics/a.png")
    Image.fromarray(values).save(tmp_path / "train/plant_instances/a.png")
    sample = next(iter(load_dataset("phenobench-weeds", tmp_path)))
    assert sample.labels.classes == CROP_WEED
    assert sample.labels.ids.tolist() == [[0, 1, 2], [1, 2, 0]]


@pytest.mark.parametrize("name", ["phenobench", "phenobench-weeds"])
def test_ids_of_phenobench_count_for_crop_and_weed_by_themselves(tmp_path, name):
    """In its files a crop and a weed may have the same id, and every image begins anew."""
    for key in ("a", "b"):
        masks = np.zeros((2, 32, 32), np.uint8)
        masks[:, 2:8, 2:8] = [[[1]], [[5]]]  # crop 5
        masks[:, 10:20, 10:20] = [[[2]], [[5]]]  # weed 5
        masks[:, 24:32, 24:28] = [[[4]], [[6]]]  # weed 6, cut off by the image
        masks[:, 24:32, 28:32] = [[[3]], [[6]]]  # crop 6, cut off too
        shown = {"images": np.zeros((32, 32, 3), np.uint8)}
        shown |= {"semantics": masks[0], "plant_instances": masks[1]}
        for inner, pixels in shown.items():
            folder = tmp_path / "val" / inner
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{key}.png")
    for sample in load_dataset(name, tmp_path):
        ids, areas = np.unique(sample.instances.ids, return_counts=True)
        assert len(ids) == 5
        assert sorted(areas[1:].tolist()) == [32, 32, 36, 100]
