"""Tiny samples and a tiny network, for the tests of learning."""

from __future__ import annotations

import numpy as np
import torch
from odc.geo.geobox import GeoBox

from selion.classes import FTW3
from selion.labels import Instances, class_labels
from selion.models import ModelCard
from selion.raster import Raster
from selion.sample import Sample
from selion.training.recipe import (
    Augment,
    Crops,
    Divisor,
    Hardware,
    Inputs,
    Loss,
    Noise,
    Recipe,
    Rotate,
    Schedule,
    Swap,
    Validate,
)

BANDS = tuple(f"window_{w}:{b}" for w in "ab" for b in ("red", "green", "blue", "nir"))


def grid(size=64, gsd=10.0, crs="EPSG:32633"):
    from affine import Affine

    return GeoBox(
        (size, size),
        Affine(gsd, 0, 300_000.0, 0, -gsd, 5_400_000.0) if crs else Affine.identity(),
        crs,
    )


def sample(seed=0, size=64, gsd=10.0, *, bands=BANDS, crs="EPSG:32633", labels=True, split=""):
    """Square fields of different brightness with paths between them."""
    rng = np.random.default_rng(seed)
    ids = np.zeros((size, size), np.int32)
    step = size // 4
    for k, (i, j) in enumerate(np.ndindex(4, 4), 1):
        ids[i * step + 1 : (i + 1) * step - 1, j * step + 1 : (j + 1) * step - 1] = (
            k if rng.random() < 0.8 else 0
        )
    bright = rng.uniform(800, 3000, (len(bands), 17))
    values = (
        (
            bright[:, ids] * (ids > 0)
            + 300 * (ids == 0)
            + rng.normal(0, 40, (len(bands), size, size))
        )
        .clip(0)
        .astype(np.uint16)
    )
    place = grid(size, gsd, crs)
    objects = Instances(ids, place)
    return Sample(
        f"toy{seed}",
        Raster(values, place, bands),
        class_labels(objects) if labels else None,
        objects,
        "toys",
        split,
    )


def recipe(**parts):
    base = {
        "name": "toy",
        "input": Inputs(BANDS, (3000.0,), clip=(0.0, 3.0), window=32),
        "loss": Loss("ce+dice", (0.8, 0.8, 2.0)),
        "augment": Augment(
            divisor=Divisor(0.5), rotate=Rotate(0.5), d4=0.5, noise=Noise(0.5), swap=Swap(0.5)
        ),
        "crops": Crops("random", per_epoch=8),
        "schedule": Schedule(epochs=3, batch=4, lr=3e-3, per="step"),
        "validate": Validate(every=0),
        "hardware": Hardware("cpu", "float32", threads=1, workers=0),
    }
    return Recipe(**base | parts)


def network(seed=0, bands=8, classes=3):
    """A few hundred weights, with batch statistics and dropout, which are what resumption gets
    wrong.
    """
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(bands, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Dropout2d(0.1),
        torch.nn.Conv2d(8, classes, 3, padding=1),
    )


def card(made):
    return ModelCard("toy", made.input.spec(), FTW3)
