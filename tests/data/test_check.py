"""The checker: each fault is put in, found and named; clean data has none."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from data_folders import SHARED, ftw, png, tif
from selion.classes import FTW2
from selion.cli.data import data_group
from selion.data import CheckOptions, check_dataset, load_dataset, load_polygons
from selion.data.dataset import Dataset, Entry
from selion.data.likeness import digest_image, same_pictures, small
from selion.data.place import Land
from selion.data.polarity import excess_green, mostly_negative
from selion.data.polygons import Chips, Labelled
from selion.data.shift import label_edges, shift_of, surface
from selion.grid import photo_grid
from selion.labels import Instances, LabelMap
from selion.raster import Raster
from selion.simulation.landscape import simulate

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
NAIP = SHARED / "data" / "satellite" / "vhr_naip_usa"
EWS = SHARED / "data" / "closerange" / "ews_wheat"
BANDS = tuple(f"{w}:{c}" for w in ("window_a", "window_b") for c in ("red", "green", "blue", "nir"))


@pytest.fixture(scope="module")
def scenes():
    """Simulated chips with their truth: image (8, 96, 96), labels, ids."""
    scene = simulate(3, (384, 192), 10.0, "europe", bands="s2")
    image, ids, labels = scene.image.values, scene.instances.ids, scene.labels.ids
    rois = [np.s_[96 * k : 96 * k + 96, 96 * j : 96 * j + 96] for k in range(4) for j in range(2)]
    return [(image[(slice(None), *roi)], labels[roi], ids[roi]) for roi in rois]


def dataset(root, scenes, change=lambda k, image, labels, ids: (image, labels, ids)):
    """Write chips far apart from one another; the last two are for testing."""
    for k, parts in enumerate(scenes):
        image, labels, ids = change(k, *(part.copy() for part in parts))
        home = root / ("test" if k >= len(scenes) - 2 else "train")
        place = Affine(10, 0, 500_000 + 5_000 * k, 0, -10, 5_300_000)
        tif(home / "images" / f"{k}.tif", image, transform=place, descriptions=BANDS)
        if labels is not None:
            tif(home / "labels" / f"{k}.tif", labels.astype("uint8"), transform=place)
        if ids is not None:
            tif(home / "instances" / f"{k}.tif", ids.astype("int32"), transform=place)
    return root


def kinds(report):
    return {finding.kind for finding in report.faults}


def test_clean_data_has_no_faults(tmp_path, scenes):
    report = check_dataset(dataset(tmp_path, scenes))
    assert report.faults == (), report.to_text()
    assert report.splits == {"train": 6, "test": 2}
    assert report.shift.pixels < 0.5
    for row in report.shares.values():
        assert sum(row.values()) == pytest.approx(1)
    every = np.stack([s[1] for s in scenes])
    assert report.shares["all"]["boundary"] == pytest.approx((every == 2).mean())
    assert "Nothing wrong" in report.to_text() or not report.faults


def chips_of_truth(fold, shape=(72, 64)):
    """Three images of bright fields, and their truth on pixels that are so many times smaller."""

    def opened(number):
        rng = np.random.default_rng(number)
        ids = np.zeros(shape, np.int32)
        for k, (row, column) in enumerate(np.ndindex(5, 5), 1):
            top, left = 4 + 13 * row, 3 + 12 * column
            ids[top : top + int(rng.integers(6, 11)), left : left + int(rng.integers(5, 10))] = k
        bright = rng.integers(900, 3000, 26)[ids] * (ids > 0) + 300
        return bright[None].astype(np.uint16), np.kron(ids, np.ones((fold, fold), ids.dtype))

    def image(number):
        return Raster(opened(number)[0], photo_grid(shape), ("red",))

    def truth(number, grid):
        ids = opened(number)[1]
        place = photo_grid(ids.shape)
        return LabelMap((ids > 0).astype(np.uint8), place, FTW2), Instances(ids, place)

    entries = (Entry(str(k), partial(image, k), partial(truth, k)) for k in range(3))
    return Dataset("chips", FTW2, tuple(entries))


@pytest.mark.parametrize("window", [2048, 48])
@pytest.mark.parametrize("fold", [2, 3])
def test_a_finer_truth_is_laid_on_the_image_that_it_is_of(fold, window):
    """Its upper left part, as many pixels as the image has, is the truth of other land."""
    options = CheckOptions(window=window)
    plain, finer = (check_dataset(chips_of_truth(k), options) for k in (1, fold))
    assert plain.faults == ()
    assert finer == plain
    assert plain.shift.pixels < 0.5


@pytest.mark.parametrize(("down", "right"), [(0, 2), (-3, 0), (2, -4)])
def test_shifted_labels_are_found_with_their_direction(tmp_path, scenes, down, right):
    def moved(_, image, labels, ids):
        return image, np.roll(labels, (down, right), (0, 1)), np.roll(ids, (down, right), (0, 1))

    report = check_dataset(dataset(tmp_path, scenes, moved))
    assert kinds(report) == {"shifted"}
    assert report.shift.significance > 4
    assert report.shift.right == pytest.approx(-right, abs=0.5)
    assert report.shift.down == pytest.approx(-down, abs=0.5)


def test_one_shifted_image_is_a_warning(tmp_path, scenes):
    def moved(k, image, labels, ids):
        return (
            (image, np.roll(labels, 5, 1), np.roll(ids, 5, 1)) if k == 1 else (image, labels, ids)
        )

    report = check_dataset(dataset(tmp_path, scenes, moved))
    assert report.faults == ()
    found = [f for f in report.findings if f.kind == "shifted"]
    assert [f.samples for f in found] == [("train/1",)]
    assert check_dataset(tmp_path, CheckOptions(shifts=0)).shift is None


def test_exchanged_field_and_background(tmp_path, scenes):
    def turned(_, image, labels, ids):
        return image, np.choose(labels, [1, 0, 2]), None

    report = check_dataset(dataset(tmp_path, scenes, turned))
    assert kinds(report) == {"inverted"}
    assert "exchanged" in report.faults[0].text


def test_masks_that_contradict_the_objects(tmp_path, scenes):
    def two(_, image, labels, ids):
        return image, (ids == 0).astype("uint8"), ids

    report = check_dataset(dataset(tmp_path, scenes, two))
    assert "inverted" in kinds(report)
    assert any("opposite" in f.text for f in report.faults)


def test_the_same_image_in_two_splits(tmp_path, scenes):
    report = check_dataset(dataset(tmp_path, [*scenes[:7], scenes[0]]))
    assert kinds(report) == {"leak"}
    assert "train/0" in report.faults[0].text
    assert "test/7" in report.faults[0].text


@pytest.mark.parametrize("turns", range(4))
def test_a_turned_and_noisy_copy_in_two_splits(tmp_path, scenes, turns):
    def copied(k, image, labels, ids):
        if k != 7:
            return image, labels, ids
        noisy = scenes[1][0] + np.random.default_rng(0).normal(0, 30, scenes[1][0].shape)
        return tuple(
            np.rot90(part, turns, (-2, -1))
            for part in (
                noisy.clip(0).astype(image.dtype)[:, :, ::-1],
                scenes[1][1][:, ::-1],
                scenes[1][2][:, ::-1],
            )
        )

    report = check_dataset(dataset(tmp_path, scenes, copied))
    assert kinds(report) == {"leak"}
    assert "nearly the same picture: test/7 and train/1" in report.faults[0].text


def test_land_that_two_splits_share(tmp_path, scenes):
    dataset(tmp_path, scenes)
    # another date of the land of train/0, half a chip beside it
    for folder in ("images", "labels", "instances"):
        for name, values in (
            ("images", scenes[6][0]),
            ("labels", scenes[6][1]),
            ("instances", scenes[6][2]),
        ):
            if name == folder:
                tif(
                    tmp_path / "test" / folder / "6.tif",
                    values,
                    transform=Affine(10, 0, 500_480, 0, -10, 5_300_000),
                    descriptions=BANDS if values.ndim == 3 else (),
                )
    report = check_dataset(tmp_path)
    assert kinds(report) == {"leak"}
    assert "common land: test/6 and train/0 (50% at most)" in report.faults[0].text


def test_chips_side_by_side_are_a_warning(tmp_path):
    ftw(tmp_path)
    report = check_dataset("ftw", root=tmp_path)
    assert report.faults == ()
    assert any("beside each other" in f.text for f in report.findings)


def test_missing_pairs_unknown_values_sizes_and_unreadable_files(tmp_path, scenes):
    dataset(tmp_path, scenes)
    (tmp_path / "train" / "labels" / "0.tif").unlink()
    (tmp_path / "train" / "instances" / "0.tif").unlink()
    place = Affine(10, 0, 505_000, 0, -10, 5_300_000)
    tif(tmp_path / "train" / "labels" / "1.tif", np.full((96, 96), 9, np.uint8), transform=place)
    tif(tmp_path / "train" / "labels" / "2.tif", np.zeros((90, 96), np.uint8))
    (tmp_path / "train" / "images" / "3.tif").write_bytes(b"II*\x00 broken")
    report = check_dataset(tmp_path)
    assert kinds(report) == {"missing", "values", "grid", "unreadable"}
    said = {f.kind: f for f in report.faults}
    assert said["values"].samples == ("train/1",)
    assert "the value 9" in said["values"].text
    assert said["grid"].samples == ("train/2",)
    assert said["unreadable"].samples == ("train/3",)
    assert "images/0.tif" in said["missing"].text


def test_nan_and_empty_images(tmp_path, scenes):
    def holes(k, image, labels, ids):
        image = image.astype("float32")
        if k == 0:
            image[:, :4] = np.nan
        if k == 1:
            image[:] = np.nan
        return image, labels, ids

    report = check_dataset(dataset(tmp_path, scenes, holes))
    assert kinds(report) == {"empty"}
    nan = next(f for f in report.findings if f.kind == "nan")
    assert nan.samples == ("train/0", "train/1")
    assert "4.2%" in nan.text


def test_255_that_means_a_class(tmp_path, scenes):
    report = check_dataset(
        dataset(
            tmp_path,
            scenes,
            lambda _, image, labels, ids: (image, np.where(labels > 0, 255, 0), None),
        )
    )
    assert kinds(report) == {"values"}
    assert "dataset.toml" in report.faults[0].text


def leafy(k, inverted=False, size=48):
    """A photograph of green discs on brown, and its mask."""
    rng = np.random.default_rng(k)
    y, x = np.mgrid[:size, :size]
    plants = np.logical_or.reduce(
        [(y - a) ** 2 + (x - b) ** 2 < 40 for a, b in rng.integers(5, size - 5, (6, 2))]
    )
    image = np.where(plants[..., None], [60, 140, 50], [140, 110, 80]) + rng.normal(
        0, 12, (size, size, 3)
    )
    return image.clip(0, 255).astype("uint8"), np.where(plants != inverted, 255, 0).astype("uint8")


@pytest.mark.parametrize("inverted", [False, True])
def test_plants_that_are_not_green(tmp_path, inverted):
    for k in range(6):
        image, mask = leafy(k, inverted)
        png(tmp_path / "images" / f"{k}.png", image)
        png(tmp_path / "masks" / f"{k}.png", mask)
    (tmp_path / "dataset.toml").write_text(
        'classes = "crop"\nvalues = { 0 = "soil", 255 = "crop" }\n'
    )
    report = check_dataset(tmp_path)
    assert kinds(report) == ({"inverted"} if inverted else set())
    if inverted:
        assert "less green than soil in 6 of 6" in report.faults[0].text


def test_the_command_prints_and_exits(tmp_path, scenes):
    clean = CliRunner().invoke(
        data_group, ["check", str(dataset(tmp_path / "clean", scenes)), "-q"]
    )
    assert clean.exit_code == 0
    assert "boundary" in clean.output
    dataset(tmp_path / "bad", [*scenes[:7], scenes[0]])
    bad = CliRunner().invoke(data_group, ["check", str(tmp_path / "bad"), "--json"])
    assert bad.exit_code == 2
    told = json.loads(bad.stdout)
    assert told["faults"] == 1
    assert told["findings"][0]["kind"] == "leak"
    assert told["splits"] == {"train": 6, "test": 2}
    assert (
        CliRunner()
        .invoke(data_group, ["check", str(tmp_path / "bad"), "--split", "train", "-q"])
        .exit_code
        == 0
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(-6, 6), st.integers(-6, 6))
def test_any_shift_of_clean_edges_is_measured(seed, down, right):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 60, (16, 16)).repeat(8, 0).repeat(8, 1).astype(np.int32)
    image = rng.random((3, 60))[:, ids] + rng.normal(0, 0.02, (3, 128, 128))
    moved = Instances(np.roll(ids, (down, right), (0, 1)), photo_grid((128, 128)))
    found = shift_of(surface(image, label_edges(None, moved)))
    # the pattern repeats every 8 pixels
    wrapped = [(d + 4) % 8 - 4 for d in (found.down + down, found.right + right)]
    assert (
        np.abs(wrapped).max() < 0.6
        or abs(abs(wrapped[0]) - 4) < 0.6
        or abs(abs(wrapped[1]) - 4) < 0.6
    )


def test_edges_know_ignore_and_boundary_classes():
    from selion.classes import FTW2, FTW3

    ids = np.zeros((12, 12), np.uint8)
    ids[3:9, 3:9] = 1
    edges = label_edges(LabelMap(ids, photo_grid((12, 12)), FTW2), None)
    assert edges[2, 5]
    assert edges[3, 5]
    assert not edges[5, 5]
    three = np.where(ids == 1, 1, 0).astype(np.uint8)
    three[3, 3:9] = 2
    assert (label_edges(LabelMap(three, photo_grid((12, 12)), FTW3), None) == (three == 2)).all()
    ids[:, 8:] = 255
    assert not label_edges(LabelMap(ids, photo_grid((12, 12)), FTW2), None)[:, 7:].any()
    assert surface(np.zeros((1, 12, 12)), edges) is None


def test_pictures_of_other_places_are_not_alike():
    rng = np.random.default_rng(0)
    thumbs = np.stack([small(rng.normal(size=(3, 70, 50))) for _ in range(40)])
    assert same_pictures(thumbs[:20], thumbs[20:]) == []
    assert [(i, j) for i, j, _ in same_pictures(thumbs, thumbs)] == [(k, k) for k in range(40)]
    assert same_pictures(thumbs[:0], thumbs) == []
    flat = digest_image(np.ones((3, 40, 40)), photo_grid((40, 40)))
    assert not flat.thumb.any()
    assert flat.corners is None


def test_small_helpers():
    assert excess_green(np.zeros((1, 2, 2)), ("gray",)) is None
    assert excess_green(np.array([[[10]], [[80]], [[10]]]), ("red", "green", "blue"))[
        0, 0
    ] == pytest.approx(1.4)
    assert not mostly_negative([])
    assert mostly_negative([-0.1])
    assert not mostly_negative([-0.01])
    assert not mostly_negative([-1.0, 1.0, -1.0, 1.0])
    assert mostly_negative([-1.0] * 10)


# Real data


def turned(truth, grid):
    labels, instances = truth(grid)
    return LabelMap(
        np.where(labels.ids <= 1, 1 - labels.ids, labels.ids).astype(np.uint8), grid, labels.classes
    ), instances


def moved(truth, down, right, grid):
    labels, instances = truth(grid)
    return (
        LabelMap(np.roll(labels.ids, (down, right), (0, 1)), grid, labels.classes),
        None
        if instances is None
        else Instances(np.roll(instances.ids, (down, right), (0, 1)), grid),
    )


@pytest.mark.skipif(
    not EWS.is_dir(), reason="the wheat photographs are not here (shared/data/closerange/ews_wheat)"
)
def test_real_wheat_is_clean_and_turned_wheat_is_found():
    data = load_dataset("ews", EWS)[::7]
    assert check_dataset(data).faults == ()
    wrong = replace(
        data, entries=tuple(replace(e, truth=partial(turned, e.truth)) for e in data.entries)
    )
    assert kinds(check_dataset(wrong, CheckOptions(shifts=0))) == {"inverted"}
    shifted = replace(
        data, entries=tuple(replace(e, truth=partial(moved, e.truth, 0, 4)) for e in data.entries)
    )
    report = check_dataset(shifted)
    assert kinds(report) == {"shifted"}
    assert report.shift.right == pytest.approx(-4, abs=0.5)


@pytest.mark.skipif(
    not NAIP.is_dir(),
    reason="the real aerial chips are not here (shared/data/satellite/vhr_naip_usa)",
)
def test_real_aerial_chips_are_clean_and_shifted_ones_are_found():
    images = sorted((NAIP / "images").glob("*.tif"))[:4]
    data = load_polygons(
        images,
        Labelled(NAIP / "fields.parquet", complete=True),
        Chips(512, land=Land(val=0, test=0)),
    )
    report = check_dataset(data)
    assert report.faults == (), report.to_text()
    assert report.shift.pixels < 0.75
    wrong = replace(
        data, entries=tuple(replace(e, truth=partial(moved, e.truth, 2, -3)) for e in data.entries)
    )
    report = check_dataset(wrong)
    assert kinds(report) == {"shifted"}
    assert (report.shift.down, report.shift.right) == (
        pytest.approx(-2, abs=0.75),
        pytest.approx(3, abs=0.75),
    )
