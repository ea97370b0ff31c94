"""Chips are learnt in the numbers that a map feeds the model, whatever numbers they hold."""

from __future__ import annotations

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import shapely
import torch
from scipy import ndimage

from selion import prediction, store
from selion.data import load_dataset
from selion.data.make import make_dataset
from selion.data.polygons import Chips, Labelled
from selion.data.strips import Strips
from selion.errors import BandMismatch
from selion.grid import whole
from selion.labels import Instances
from selion.raster import STATED, Raster
from selion.sample import Sample
from selion.training import loop
from selion.training.mixture import Mixture
from selion.training.recipe import Augment, Crops, Hardware, Inputs, Schedule, Validate
from selion.training.run import plan_samples
from train_toys import grid, network, recipe

COLOURS = ("red", "green", "blue", "nir")
MADE = recipe(
    input=Inputs(COLOURS, (10_000.0,), clip=(0.0, 1.0), window=32),
    augment=Augment(d4=0.5),
    crops=Crops(),
    schedule=Schedule(epochs=2, batch=4, lr=0.01),
    validate=Validate(every=0),
    hardware=Hardware("cpu", "float32", threads=1, workers=0),
)


def land(seed, shares=(0.4, 0.5, 0.1)):
    """Crops, soil and water as Sentinel-2 sees them, in digital numbers that are whole."""
    rng = np.random.default_rng(seed)
    kinds = np.array([[300, 600, 250, 4000], [2000, 1500, 1000, 2700], [200, 300, 350, 80]])
    cover = np.kron(rng.choice(3, (8, 8), p=shares), np.ones((8, 8), int))
    values = np.round(kinds.T[:, cover] * rng.normal(1, 0.05, cover.shape))
    ids = ndimage.label(cover == 0)[0].astype(np.int32)
    place = grid(64)
    return Sample(
        f"land{seed}", Raster(values.astype(np.uint16), place, COLOURS), None, Instances(ids, place)
    )


LAND = [land(0), land(1), land(2, (0.1, 0.1, 0.8))]


def moved(change, kind, samples=LAND, names=COLOURS):
    return [
        replace(
            one,
            image=replace(one.image, values=change(one.image.values).astype(kind), bands=names),
        )
        for one in samples
    ]


def learnt(samples, validation=()):
    plan = plan_samples(MADE, samples, validation)
    return plan, loop.fit(
        network(bands=4), plan.samples, MADE, plan.card, validation=plan.validation
    ).weights


@pytest.fixture(scope="module")
def digital():
    return learnt(LAND)


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        (lambda v: v / 10_000, np.float32, "reflectances from 0 to 1"),
        (lambda v: v + 1000.0, np.uint16, "1000 was added"),
        (lambda v: v - 1000.0, np.int16, "1000 was taken from"),
        (lambda v: v / 100, np.float32, "percent"),
        (lambda v: (v + 2000) / 2.75 * 10, np.float32, "Landsat"),
    ],
)
def test_the_same_land_in_other_numbers_teaches_the_same(digital, change, kind, said):
    plan, weights = learnt(moved(change, kind))
    assert any(said in text for text in plan.notes)
    assert said in plan.card.training
    assert "images:" not in digital[0].card.training
    image = moved(change, kind)[0].image
    taken, _ = prediction.understood(image, prediction.look_at(image), plan.card.inputs)
    seen = [
        prediction.predict(source, loop.as_mapped(plan.card, net, "cpu", fast=False)).values
        for source, net in ((LAND[0].image, trained(digital[1])), (taken, trained(weights)))
    ]
    np.testing.assert_allclose(seen[1], seen[0], atol=5e-3)  # a step of 254


def trained(weights):
    net = network(bands=4)
    net.load_state_dict(weights)
    return net


def test_names_that_mean_the_same_are_not_taken_by_their_place(digital):
    """Blue first, by Sentinel-2's names: a map of such an image takes red from B04."""
    turned = moved(lambda v: v[[2, 1, 0, 3]], np.uint16, names=("B02", "B03", "B04", "B08"))
    _, weights = learnt(turned)
    for name, tensor in digital[1].items():
        assert torch.equal(weights[name], tensor)
    nameless = moved(lambda v: v[[2, 1, 0, 3]], np.uint16, names=("1", "2", "3", "4"))
    plan, weights = learnt(nameless)
    assert any("by their values they are blue, green, red, nir" in text for text in plan.notes)
    for name, tensor in digital[1].items():
        assert torch.equal(weights[name], tensor)
    lacking = moved(lambda v: v, np.uint16, names=("red", "green", "blue", "swir16"))
    with pytest.raises(BandMismatch, match="but the recipe wants red, green, blue, nir"):
        learnt(lacking)


def test_two_kinds_of_numbers_in_one_folder_and_what_is_held_out(digital):
    mixed = [LAND[0], *moved(lambda v: v / 10_000, np.float32)[1:]]
    _, weights = learnt(mixed)
    for name, tensor in digital[1].items():
        if name not in ("0.bias", "1.running_mean"):  # normalised away: rounding alone moves them
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=2e-4)
    lake = moved(lambda v: v + 1000.0, np.uint16, [land(3, (0.0, 0.0, 1.0))])
    plan = plan_samples(MADE, moved(lambda v: v + 1000.0, np.uint16), lake)
    here = (slice(0, 64), slice(0, 64))
    assert plan.validation[0].image.read(here).values.max() < 600


def test_bytes_of_an_aerial_image_that_has_sixteen_bits():
    made = replace(MADE, input=Inputs(COLOURS[:3], (255.0,), clip=(0.0, 1.0), window=32))
    bright = [
        replace(one, image=Raster(one.image.values[:3] * np.uint16(9), grid(64), COLOURS[:3]))
        for one in LAND
    ]
    plan = plan_samples(made, bright)
    assert any("stretched" in text for text in plan.notes)
    seen = plan.samples[0].image.read((slice(0, 64), slice(0, 64))).values
    assert 0 <= seen.min() < 20
    assert 200 < seen.max() <= 255
    small = [
        replace(one, image=replace(one.image, values=one.image.values // 256)) for one in bright
    ]
    small = [
        replace(one, image=replace(one.image, values=one.image.values.astype(np.uint8)))
        for one in small
    ]
    assert plan_samples(made, small).samples is small


def test_parts_of_a_mixture_are_looked_at_each_by_itself():
    from selion.classes import FTW3
    from selion.data.dataset import Dataset, Entry

    def opened(samples, name):
        entries = tuple(
            Entry(one.key, lambda one=one: one.image, lambda _, one=one: (None, one.instances))
            for one in samples
        )
        return Dataset(name, FTW3, entries)

    plain, float_ = opened(LAND, "a"), opened(moved(lambda v: v / 10_000, np.float32), "b")
    plan = plan_samples(MADE, Mixture((plain, float_), (MADE, MADE), (0.5, 0.5)), float_)
    here = (slice(0, 64), slice(0, 64))
    for k in (3, 4):
        np.testing.assert_allclose(
            plan.samples[k].image.read(here).values, LAND[k - 3].image.values, atol=0.01
        )
    np.testing.assert_allclose(
        plan.validation[0].image.read(here).values, LAND[0].image.values, atol=0.01
    )


def test_what_a_product_says_of_its_numbers_is_not_guessed_again_from_its_chips(tmp_path):
    """Haze of 1000 over a product: its chips, once cut, looked as if 1000 had been added."""
    hazy = moved(lambda v: v + 1000.0, np.uint16)[0].image
    image = tmp_path / "scene.tif"
    with store.create_cog(
        image, hazy.grid, COLOURS, np.uint16, tags={STATED: ",".join(COLOURS)}
    ) as s:
        s.write(whole(hazy.grid), hazy.values)
    left, bottom, right, top = hazy.grid.extent.boundingbox
    boxes = [shapely.box(left + 20, bottom + 20, right - 40, top - 20)]
    geopandas.GeoDataFrame(geometry=boxes, crs=hazy.grid.crs).to_file(tmp_path / "fields.gpkg")
    labelled = Labelled(tmp_path / "fields.gpkg", complete=True)
    make_dataset([image], labelled, tmp_path / "chips", Chips(32, land=Strips(0.2)))
    samples = load_dataset(tmp_path / "chips").select("train")
    plan = plan_samples(MADE, samples)
    assert not any("was added" in text for text in plan.notes)
    assert plan.samples[0].image.read((slice(0, 32), slice(0, 32))).values.min() > 900
