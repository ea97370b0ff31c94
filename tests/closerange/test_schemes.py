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
    assert (ORGANS.names, ORGANS.things) == (("background", "leaf", "stem", "head"), ("head",))
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
