"""Chips are learnt in the numbers that a map feeds the model, whatever numbers they hold."""

from __future__ import annotations

from dataclasses import replace

import geopandas
import numpy as np
import pytest
import rasterio
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
from selion.prediction.look_together import _spread, distinct
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


@pytest.mark.parametrize(
    ("scale", "offset"),
    [(2e-5, 0.0), (1e-4, -0.1), (2.75e-5, -0.2)],
    ids=["times five", "an offset", "as Landsat's"],
)
def test_what_a_files_own_scale_and_offset_say_is_learnt_as_it_is_mapped(digital, scale, offset):
    """Reflectance is number * scale + offset; one of the chips is mostly water."""

    def stored(samples):
        tags = {"scales": ",".join([f"{scale:g}"] * 4), "offsets": ",".join([f"{offset:g}"] * 4)}
        for one in moved(lambda v: np.round((v / 1e4 - offset) / scale), np.uint16, samples):
            yield replace(one, image=replace(one.image, tags=tags))

    plan, weights = learnt([*stored(LAND)], [*stored([land(3, (0.0, 0.0, 1.0))])])
    assert any("The file's own" in text for text in plan.notes)
    for name, tensor in digital[1].items():
        if name not in ("0.bias", "1.running_mean"):  # normalised away: rounding alone moves them
            torch.testing.assert_close(weights[name], tensor, rtol=0, atol=2e-3)
    for chips, truths in ((plan.samples, LAND), (plan.validation, [land(3, (0.0, 0.0, 1.0))])):
        for one, truth in zip(chips, truths, strict=True):
            seen = one.image.read(whole(one.image.grid)).values
            np.testing.assert_allclose(seen, truth.image.values, atol=0.6)
    kept = [replace(one, image=replace(one.image, tags={})) for one in stored(LAND)]
    said = plan_samples(MADE, kept, ()).notes
    assert not any("The file's own" in text for text in said)


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


def seen(plan, k):
    return plan.samples[k].image.read((slice(0, 64), slice(0, 64))).values


@pytest.mark.parametrize("among", ["plain", "added"])
def test_a_chip_of_another_offset_is_named_and_learnt_as_its_own_numbers(among):
    """Whichever is the rare one: of twelve scenes one is of another processing baseline."""
    many = [replace(one, key=f"chip{k}") for k, one in enumerate(LAND[:2] * 6)]
    rare, others = (1000.0, 0.0) if among == "plain" else (0.0, 1000.0)
    odd = moved(lambda v: v + rare, np.uint16, many[7:8])
    rest = moved(lambda v: v + others, np.uint16, many)
    plan = plan_samples(MADE, [*rest[:7], *odd, *rest[8:]])
    told = [text for text in plan.notes if "chip7" in text]
    assert len(told) == 1
    plain, added = "digital numbers", "digital numbers with 1000 added"
    odd_is, rest_is = (added, plain) if among == "plain" else (plain, added)
    assert told[0].startswith("1 of 12 chips (chip7) hold other numbers than the rest")
    assert f": {odd_is}, the rest {rest_is}." in told[0]
    assert "chip7" in plan.card.training
    for k in range(12):
        np.testing.assert_allclose(seen(plan, k), many[k].image.values, atol=1)


def test_chips_of_two_baselines_each_become_what_they_are():
    many = [replace(one, key=f"chip{k}") for k, one in enumerate(LAND[:2] * 3)]
    mixed = [*many[:3], *moved(lambda v: v + 1000.0, np.uint16, many[3:])]
    plan = plan_samples(MADE, mixed)
    assert any("3 of 6" in text for text in plan.notes)
    for k in range(6):
        np.testing.assert_allclose(seen(plan, k), many[k].image.values, atol=1)
    lake = [
        replace(one, key="lake")
        for one in moved(lambda v: v + 1000.0, np.uint16, [land(3, (0, 0, 1))])
    ]
    plan = plan_samples(MADE, [*many, *lake])
    assert [text for text in plan.notes if "lake" in text and "1000" in text]
    dark = replace(land(3, (0, 0, 1)), key="lake")
    plan = plan_samples(MADE, [*many, dark])
    assert not any("lake" in text for text in plan.notes)


def test_one_date_of_one_chip_may_be_the_odd_one():
    names = tuple(f"window_{d}:{c}" for d in "ab" for c in COLOURS)
    made = replace(MADE, input=replace(MADE.input, bands=names))
    pair = moved(lambda v: np.concatenate([v, v]), np.uint16, names=names)
    last = moved(lambda v: np.concatenate([v, v + 1000.0]), np.uint16, LAND[1:2], names)
    plan = plan_samples(made, [pair[0], replace(last[0], key="late"), pair[0], pair[1]])
    assert any("late" in text and "window_b" in text for text in plan.notes)
    np.testing.assert_allclose(seen(plan, 1), pair[1].image.values, atol=1)


def test_a_held_out_chip_of_the_same_name_as_an_odd_one_keeps_its_own_numbers():
    many = [replace(one, key=f"chip{k}") for k, one in enumerate(LAND[:2] * 2)]
    odd = moved(lambda v: v + 1000.0, np.uint16, many[:1])
    plan = plan_samples(MADE, [*odd, *many[1:]], many[:1])
    np.testing.assert_allclose(seen(plan, 0), many[0].image.values, atol=1)
    here = (slice(0, 64), slice(0, 64))
    held = plan.validation[0].image.read(here).values
    np.testing.assert_allclose(held, many[0].image.values, atol=1)


def test_one_sure_chip_does_not_make_the_numbers_of_bare_ones_negative():
    """Bare soil shows no offset, and its own darkness says that there is none."""
    bare = [replace(land(k, (0, 0.8, 0.2)), key=f"bare{k}") for k in range(8)]
    odd = moved(lambda v: v + 1000.0, np.uint16, [replace(LAND[0], key="odd")])
    plan = plan_samples(MADE, [*bare, *odd])
    for k, one in enumerate(bare):
        np.testing.assert_allclose(seen(plan, k), one.image.values, atol=1)
    np.testing.assert_allclose(seen(plan, 8), LAND[0].image.values, atol=1)


def test_a_dark_chip_without_the_offset_of_the_others_is_named():
    many = [replace(one, key=f"chip{k}") for k, one in enumerate(LAND[:2] * 3)]
    lakes = [replace(land(k, (0, 0, 1)), key=f"lake{k}") for k in range(4)]
    added = moved(lambda v: v + 1000.0, np.uint16, [*many, *lakes[:3]])
    plan = plan_samples(MADE, [*added, lakes[3]])
    assert [text for text in plan.notes if "lake3" in text and "negative" in text]
    assert not any("lake0" in text for text in plan.notes)
    for k, one in enumerate([*many, *lakes[:3]]):
        np.testing.assert_allclose(seen(plan, k), one.image.values, atol=1)


def test_one_dark_chip_does_not_hide_the_offset_of_the_others():
    """Its numbers are what it says it has; those of land are converted each by themselves."""
    many = [replace(one, key=f"chip{k}") for k, one in enumerate(LAND[:2] * 3)]
    lake = replace(land(3, (0, 0, 1)), key="lake")
    plan = plan_samples(MADE, [*moved(lambda v: v + 1000.0, np.uint16, many), lake])
    for k, one in enumerate([*many, lake]):
        np.testing.assert_allclose(seen(plan, k), one.image.values, atol=1)


@pytest.mark.parametrize("gain", [2.75e-5 * 10_000, 100.0])
def test_dark_chips_of_landsat_and_percent_are_no_chips_of_another_offset(gain):
    shift, kind = (-2000.0, np.uint16) if gain < 1 else (0.0, np.float32)
    many = [replace(one, key=f"chip{k}") for k, one in enumerate(LAND[:2] * 3)]
    dark = [replace(land(k, (0, 0.02, 0.98)), key=f"lake{k}") for k in (3, 4)]
    plan = plan_samples(MADE, moved(lambda v: (v - shift) / gain, kind, [*many, *dark]))
    assert not any("lake" in text for text in plan.notes)


def test_chips_are_looked_at_to_the_last_of_them():
    assert _spread(range(95), 48)[-1] > 90
    assert _spread([1, 2], 48) == [1, 2]
    assert distinct(["a", "b", "a"]) == ["a", "b", "a (2)"]


def test_chips_keep_the_scale_and_the_offset_of_their_image(tmp_path):
    """Numbers of five times, with a scale that says so: a chip by itself would look as haze."""
    image, plain = tmp_path / "scene.tif", LAND[0].image
    with store.create_cog(image, plain.grid, COLOURS, np.uint16) as sink:
        sink.write(whole(plain.grid), plain.values * 5)
    with rasterio.open(image, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.scales = [2e-5] * 4
    left, bottom, right, top = plain.grid.extent.boundingbox
    boxes = [shapely.box(left + 20, bottom + 20, right - 40, top - 20)]
    geopandas.GeoDataFrame(geometry=boxes, crs=plain.grid.crs).to_file(tmp_path / "fields.gpkg")
    labelled = Labelled(tmp_path / "fields.gpkg", complete=True)
    make_dataset([image], labelled, tmp_path / "chips", Chips(32, land=Strips(0.2)))
    dataset = load_dataset(tmp_path / "chips").select("train")
    chip = plan_samples(MADE, dataset).samples[0].image
    there = plain.read(tuple(slice(k, k + 32) for k in placed_at(chip, plain))).values
    np.testing.assert_allclose(chip.read((slice(0, 32), slice(0, 32))).values, there, rtol=1e-5)


def placed_at(chip, image):
    """Return row and column of a chip in its image."""
    column, row = ~image.grid.transform * (chip.grid.transform.c, chip.grid.transform.f)
    return round(row), round(column)
