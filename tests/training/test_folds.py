"""Which own chips judge together, and how long a run in folds is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from selion.data.dataset import Dataset
from selion.errors import BadInput
from selion.training import read_recipe
from selion.training.folds import all_judge, in_folds, learners
from train_toys import sample

SIDE = 64


def at(x, y, key="", crs="EPSG:32633"):
    """A chip of 640 m whose corner is so many of its sides east and south."""
    one = sample(0)
    moved = Affine(10, 0, 3e5 + 640 * x, 0, -10, 5.4e6 - 640 * y) if crs else Affine.identity()
    place = GeoBox((SIDE, SIDE), moved, crs)
    return replace(one, key=key or f"{x}-{y}", image=replace(one.image, grid=place))


def named(samples, folds):
    return [sorted(samples[k].key for k in fold) for fold in in_folds(samples, folds)]


def test_what_lies_in_one_place_judges_together():
    """Three places of four, three and two chips, 100 sides apart, in any order."""
    places = [(0, 4), (100, 3), (200, 2)]
    chips = [at(x + k % 2, k // 2) for x, count in places for k in range(count)]
    mixed = [chips[k] for k in np.random.default_rng(0).permutation(len(chips))]
    wanted = [{one.key for one in chips[a:b]} for a, b in ((0, 4), (4, 7), (7, 9))]
    assert [set(fold) for fold in named(mixed, 3)] == wanted
    two = [set(fold) for fold in named(mixed, 2)]
    assert two == [wanted[0], wanted[1] | wanted[2]]  # 4 and 5


def test_one_image_is_parted_along_its_longer_side():
    """Six chips from east to west, two rows: each fold is a block that touches one other."""
    chips = [at(x, y) for y in range(2) for x in range(6)]
    found = named(chips, 3)
    assert found == [sorted(f"{x}-{y}" for x in (k, k + 1) for y in (0, 1)) for k in (0, 2, 4)]


def test_by_strips_each_place_is_in_all_folds():
    """Two places of two by three chips: each fold has a row of both."""
    chips = [at(x + k % 2, k // 2) for x in (0, 100) for k in range(6)]
    found = [{chips[k].key for k in fold} for fold in in_folds(chips, 3, "strip")]
    rows = [{f"{x}-{y}" for x in (0, 1, 100, 101)} for y in range(3)]
    by_place = [{key for key in fold if int(key.split("-")[0]) < 50} for fold in found]
    assert sorted(map(sorted, by_place)) == sorted(
        sorted(key for key in row if int(key.split("-")[0]) < 50) for row in rows
    )
    assert [len(fold) for fold in found] == [4, 4, 4]
    thin = [at(10 * k, 0) for k in range(6)]  # places of one chip each fill all folds
    assert sorted(map(len, in_folds(thin, 3, "strip"))) == [2, 2, 2]


@pytest.mark.parametrize("by", ["place", "strip"])
@pytest.mark.parametrize("folds", [2, 3, 4])
def test_two_dates_of_one_chip_judge_together(folds, by):
    """Five chips in a row, twice: what was learnt of a chip in spring must not judge it in June."""
    chips = [at(x, 0.01 * (date == "june"), f"{date}-{x}") for date in ("may", "june")
             for x in range(5)]  # fmt: skip
    found = [{chips[k].key for k in fold} for fold in in_folds(chips, folds, by)]
    assert len(found) == folds
    for fold in found:
        assert {key.split("-")[1] for key in fold if key[:3] == "may"} == {
            key.split("-")[1] for key in fold if key[:4] == "june"
        }
    assert max(map(len, found)) - min(map(len, found)) <= 2


def zone_32(one):
    """The same chip as it lies on the grid of the zone to the west."""
    (west, south), (east, north) = np.reshape(one.image.grid.boundingbox.bbox, (2, 2))
    over = Transformer.from_crs("EPSG:32633", "EPSG:32632", always_xy=True)
    x, y = over.transform((west + east) / 2, (south + north) / 2)
    grid = GeoBox((SIDE, SIDE), Affine(10, 0, x - 320, 0, -10, y + 320), "EPSG:32632")
    return replace(one, key=f"west-{one.key}", image=replace(one.image, grid=grid))


@pytest.mark.parametrize(("folds", "by"), [(3, "place"), (2, "place"), (3, "strip")])
def test_two_zones_of_one_chip_judge_together(folds, by):
    """Three places of two chips, each in both of the UTM zones that overlap there."""
    chips = [at(x + k, 0) for x in (0, 100, 200) for k in (0, 1)]
    both = [*chips, *map(zone_32, chips)]
    found = [{both[k].key for k in fold} for fold in in_folds(both, folds, by)]
    assert len(found) == folds
    for fold in found:
        assert {k for k in fold if k[0] != "w"} == {k[5:] for k in fold if k[0] == "w"}


def test_one_chip_on_two_dates_cannot_be_parted():
    with pytest.raises(BadInput, match=r"All 2 chips show one piece of land.*another place"):
        in_folds([at(0, 0, "may"), at(0, 0, "june")], 2)


@pytest.mark.parametrize("shift", [0.3, 0.5, 0.7])
def test_chips_that_are_not_cut_side_by_side_do_not_judge_what_they_taught(shift):
    """Two images of six chips in a row: at the edges of folds half a chip was learnt and judged."""
    chips = [at(x, 0, f"a{x}") for x in range(6)] + [at(x + shift, 0, f"b{x}") for x in range(6)]
    west = [x + shift * late for late in (0, 1) for x in range(6)]
    for held in in_folds(chips, 3):
        taught = learners(chips, held)
        apart = [abs(west[k] - west[j]) for k in taught for j in held]
        assert min(apart) >= 1 - 1e-9, "in sides of a chip"
        free = [k for k in range(12) if all(abs(west[k] - west[j]) >= 1 - 1e-9 for j in held)]
        assert taught == free, "and no more is left out"
    with pytest.raises(BadInput, match="shows other land"):
        learners([at(0, 0), at(0.5, 0)], [1])
    beside = [at(x, y) for x in range(3) for y in range(2)]
    assert learners(beside, [0, 1]) == [2, 3, 4, 5]


def test_chips_side_by_side_are_learnt_beside_those_of_another_zone():
    """In degrees their boxes overlap, being turned: the next row of chips was dropped."""
    row = [at(300 + x, y, f"{x}-{y}") for x in range(4) for y in range(2)]
    chips = [*row, at(0, 0, "far", crs="EPSG:32632")]
    assert learners(chips, [0, 1, 2, 3]) == [4, 5, 6, 7, 8]
    assert learners(chips, [4, 5, 6, 7, 8]) == [0, 1, 2, 3]
    between = at(301.5, 0.5, "between")
    assert learners([*chips, between], [0, 1, 2, 3]) == [4, 5, 6, 7, 8]


def test_a_small_chip_on_the_edge_of_a_large_one_is_not_learnt():
    large, small = at(0, 0), at(1, 0)
    moved = small.image.grid.affine * Affine.translation(-1, 20) * Affine.scale(0.05)
    small = replace(
        small, image=replace(small.image, grid=GeoBox((SIDE, SIDE), moved, "EPSG:32633"))
    )
    assert learners([large, small, at(5, 5)], [0]) == [2]


def test_every_chip_judges_once_also_those_without_a_place():
    for crs in ("EPSG:32633", None):
        chips = [at(k % 4, k // 4, key=str(k), crs=crs) for k in range(11)]
        for folds in (2, 3, 5, 11):
            found = in_folds(chips, folds)
            assert len(found) == folds
            assert sorted(k for fold in found for k in fold) == list(range(11))
            assert max(map(len, found)) - min(map(len, found)) <= 1


def asked(*changes):
    own = ["data.image=a.tif", "data.polygons=b.gpkg", "validate.folds=4"]
    return read_recipe("own-polygons", [*own, *changes])


@pytest.mark.parametrize(
    ("chips", "changes", "epochs"),
    [
        (8, (), 100),  # a step is an epoch
        (9, (), 100),  # the window that is left over joins the batch before it
        (20, (), 33),  # three steps are
        (20, ("validate.fold_steps=9",), 3),
        (20, ("validate.fold_steps=1",), 1),
        (20, ("schedule.epochs=5",), 5),
        (20, ("schedule.batch=4", "schedule.accumulate=2"), 33),
    ],
)
def test_a_run_in_folds_is_as_long_as_its_recipe_says(chips, changes, epochs):
    held = chips // 5
    made = [at(k, 0) for k in range(chips)]
    recipe, pooled = all_judge(asked(*changes), made[held:], made[:held])
    assert recipe.schedule.epochs == epochs
    assert (recipe.schedule.patience, recipe.schedule.keep, recipe.validate.every) == (0, "last", 0)
    assert {one.key for one in pooled} == {one.key for one in made}


def test_a_dataset_stays_one():
    """Its chips are opened one by one, when they are needed."""
    whole = Dataset("own", None, tuple(str(k) for k in range(5)))  # type: ignore[arg-type]
    _, pooled = all_judge(asked(), whole[1:], whole[:1])
    assert isinstance(pooled, Dataset)
    assert pooled.entries == ("1", "2", "3", "4", "0")


def test_folds_that_cannot_judge_are_refused():
    with pytest.raises(BadInput, match=r"validate.folds = 4 .* 3 chips: give more polygons"):
        all_judge(asked(), [at(k, 0) for k in range(3)], [])
    for change in ("validate.folds=1", "validate.folds=-1", "validate.fold_steps=0"):
        with pytest.raises(BadInput, match=r"validate\.fold"):
            asked(change)
    for change in ("model.keep_start=0.5", "model.start_from=''", "hardware.devices=2"):
        with pytest.raises(BadInput, match=r"validate\.folds = 4"):
            asked(change)
