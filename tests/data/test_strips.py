"""Strips across an image: nothing is lost but the cut, no two splits touch, and each gets its share
of the fields.
"""

import re
from itertools import combinations

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from data_folders import tif
from selion.cli.main import cli
from selion.data import load_dataset, load_polygons
from selion.data.place import Land
from selion.data.polygons import Chips, Labelled
from selion.data.strips import GAP, Strips
from selion.errors import BadInput, UnreadableFile
from selion.training.datasets import open_samples
from selion.training.reading import read_recipe

PLACE = Affine(1, 0, 500_000, 0, -1, 5_300_000)


def squares(height, width, step=20):
    """Fields of a village: a square every ``step`` metres."""
    boxes = [
        shapely.box(
            500_000 + x + 2, 5_300_000 - y - step + 2, 500_000 + x + step - 2, 5_300_000 - y - 2
        )
        for y in range(0, height, step)
        for x in range(0, width, step)
    ]
    return geopandas.GeoDataFrame(geometry=boxes, crs="EPSG:32633")


def farm(folder, height, width):
    tif(
        folder / "farm.tif",
        np.random.default_rng(0).integers(1, 255, (3, height, width)).astype("uint8"),
        transform=PLACE,
    )
    squares(height, width).to_file(folder / "farm.gpkg", driver="GPKG")
    return folder / "farm.tif", Labelled(folder / "farm.gpkg", complete=True)


@given(
    st.integers(12, 90),
    st.integers(12, 90),
    st.sampled_from([(0.2, 0.0), (0.3, 0.2), (0.0, 0.0)]),
    st.integers(1, 40),
    st.integers(2, 64),
)
def test_strips_part_an_image_and_only_the_cuts_are_lost(height, width, shares, count, chip):
    grid = GeoBox((height, width), PLACE, "EPSG:32633")
    rng = np.random.default_rng(count)
    points = shapely.points(
        500_000 + rng.uniform(0, width, count), 5_300_000 - rng.uniform(0, height, count)
    )
    found = Strips(*shares).regions(
        grid,
        geopandas.GeoDataFrame(geometry=list(shapely.buffer(points, 3)), crs="EPSG:32633"),
        chip,
    )
    seen = np.zeros((height, width), int)
    number = {"train": 1, "val": 2, "test": 3}
    for roi, split in found:
        assert (seen[roi] == 0).all()
        seen[roi] = number[split]
    for axis in (0, 1):
        lines = np.moveaxis(seen, axis, 0)
        other = (lines[1:] != lines[:-1]) & (lines[1:] > 0) & (lines[:-1] > 0)
        assert not other.any(), "pixels of two splits touch"
    cuts = max(len(found), sum(share > 0 for share in (1, *shares))) * max(
        1, round(max(height, width) / (12 * chip))
    )
    assert (seen == 0).sum() <= 2 * GAP * cuts * max(height, width)
    assert {split for _, split in found} <= {
        "train",
        *(["val"] * bool(shares[0])),
        *(["test"] * bool(shares[1])),
    }


def test_each_split_gets_its_share_of_the_fields():
    """Where only a corner is outlined too: what counts is fields, not pixels."""
    grid = GeoBox((400, 600), PLACE, "EPSG:32633")
    for frame in (squares(400, 600), squares(100, 200)):
        middle = 500_000 + (frame.bounds["minx"] + frame.bounds["maxx"]) / 2 - 1_000_000
        shares = {
            split: float(((middle >= roi[1].start) & (middle < roi[1].stop)).mean())
            for roi, split in Strips(0.2, 0.1).regions(grid, frame, 64)
        }
        assert shares["val"] == pytest.approx(0.2, abs=0.11)
        assert shares["test"] == pytest.approx(0.1, abs=0.11)
        assert shares["train"] == pytest.approx(0.7, abs=0.11)


def test_a_large_image_has_several_strips_and_a_tall_one_is_cut_across():
    grid = GeoBox((4000, 300), PLACE, "EPSG:32633")
    found = Strips(0.2).regions(grid, squares(4000, 300, 50), 64)
    assert [split for _, split in found] == ["train", "val"] * 5
    assert all(roi[1] == slice(0, 300) for roi, _ in found)


@pytest.mark.parametrize("size", [64, 100, 150, 260])
def test_small_images_of_a_team_give_both_splits_and_use_every_pixel(tmp_path, size):
    """Blocks of land left nothing of an image of two chips, and half of one of four."""
    image, labelled = farm(tmp_path, size, size)
    recipe = read_recipe(
        "own-polygons",
        (f"data.image={image}", f"data.polygons={labelled.polygons}", "input.window=64"),
    )
    training, validation = open_samples(recipe)
    assert len(training) >= 1 <= len(validation)
    covered = np.zeros((size, size), int)
    for part, number in ((training, 1), (validation, 2)):
        for sample in part:
            top, left = (int(v) for v in sample.key.split("_")[1:])
            height, width = sample.image.grid.shape
            assert set(np.unique(covered[top : top + height, left : left + width])) <= {0, number}
            covered[top : top + height, left : left + width] = number
    assert (covered > 0).mean() > 0.95


def test_what_lies_outside_the_area_is_not_known(tmp_path):
    image, labelled = farm(tmp_path, 96, 96)
    area = geopandas.GeoDataFrame(
        geometry=[shapely.box(500_000, 5_300_000 - 96, 500_048, 5_300_000)], crs="EPSG:32633"
    )
    area.to_file(tmp_path / "area.gpkg", driver="GPKG")
    changes = (
        f"data.image={image}",
        f"data.polygons={labelled.polygons}",
        "input.window=96",
        "data.validation_share=0",
        f"data.area={tmp_path / 'area.gpkg'}",
    )
    (sample,) = open_samples(read_recipe("own-polygons", changes))[0]
    assert (sample.labels.ids[:, 48:] == 255).all()
    assert (sample.labels.ids[:, :48] != 255).all()


def test_where_blocks_leave_nothing_the_sentence_says_what_helps(tmp_path):
    image, labelled = farm(tmp_path, 120, 120)
    with pytest.raises(
        UnreadableFile,
        match=(
            r"lie in two splits.*Take larger blocks than 0\.06 km, smaller chips than 60 px, or "
            r"split by strips"
        ),
    ):
        load_polygons([image], labelled, Chips(60, land=Land(0.06, 0.4, 0.2), fallback=False))
    with pytest.raises(BadInput, match="leave something for training"):
        Strips(0.8, 0.4)


def test_make_splits_by_strips(tmp_path):
    image, labelled = farm(tmp_path, 120, 120)
    asked = [
        "data",
        "make",
        str(image),
        "-p",
        str(labelled.polygons),
        "-o",
        str(tmp_path / "d"),
        "--size",
        "48",
        "--split-by",
        "strips",
        "-q",
    ]
    done = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert load_dataset(tmp_path / "d").splits == ("train", "val", "test")


def test_one_image_falls_back_to_strips_and_says_so(tmp_path):
    """A block of land of 5 km holds all of a farm: without strips nothing was held out."""
    farm(tmp_path, 256, 256)
    asked = ["data", "make", str(tmp_path / "farm.tif"), "-p", str(tmp_path / "farm.gpkg")]
    asked += ["--size", "64", "-o", str(tmp_path / "d")]
    done = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "so each image is parted by strips" in done.output
    data = load_dataset(tmp_path / "d")
    assert data.splits == ("train", "val", "test")
    ends = {}
    for sample in data:
        first = tuple(int(v) for v in sample.key.split("_")[1:])
        for axis in (0, 1):
            last = first[axis] + sample.image.grid.shape[axis]
            low, high = ends.get((axis, sample.split), (999, 0))
            ends[axis, sample.split] = min(low, first[axis]), max(high, last)
    axis = 0 if ends[0, "train"][1] < 256 else 1
    assert ends[axis, "val"][0] - ends[axis, "train"][1] == 2 * (256 // 64)
    asked[-1] += "2"
    with pytest.raises(BadInput, match="No chip is left for val and test of 16"):
        CliRunner().invoke(cli, [*asked, "--split-by", "land"], catch_exceptions=False)
    assert not (tmp_path / "d2").exists()
    done = CliRunner().invoke(cli, [*asked, "--split-by", "strips", "--seed", "3"])
    assert done.exit_code == 2
    assert "not drawn by lot" in done.output


def test_land_away_from_all_outlines_is_not_known(tmp_path):
    """A farm in one corner: its lanes were looked at, the rest of the image was not."""
    farm(tmp_path, 200, 200)
    squares(60, 60).to_file(tmp_path / "some.gpkg", driver="GPKG")  # fields of 16 m, lanes of 4 m
    none = Strips(0.0, 0.0)

    def ids(**said):
        return load_polygons(
            [tmp_path / "farm.tif"],
            Labelled(tmp_path / "some.gpkg", **said),
            Chips(200, land=none),
        )

    (sample,) = found = ids()
    labels = sample.labels.ids
    assert (labels[2:58, 2:58] != 255).all(), "fields and the lanes between them"
    assert (labels[18:22, 4:54] == 0).all(), "a lane is background"
    known = np.zeros((200, 200), bool)
    known[:61, :61] = True  # the outermost field ends at 58, and a rim of three pixels
    assert (labels[~known] == 255).all()
    assert any("lies away from what is outlined" in line for line in found.problems)
    assert "91% of the land" in " ".join(found.problems)
    (sample,) = ids(complete=True)
    assert (sample.labels.ids != 255).all()
    with pytest.raises(BadInput, match="give one of them"):
        ids(complete=True, area=tmp_path / "some.gpkg")


def test_of_two_images_one_is_held_out_whole(tmp_path):
    """Where both splits can have an image: strips beside what was learnt flatter."""
    farm(tmp_path, 128, 128)
    east = Affine.translation(60_000, 0) * PLACE
    values = np.random.default_rng(1).integers(1, 255, (3, 128, 128)).astype("uint8")
    tif(tmp_path / "east.tif", values, transform=east)
    here = geopandas.read_file(tmp_path / "farm.gpkg")
    there = here.assign(geometry=here.translate(60_000))
    both = pd.concat([here, there])
    both.to_file(tmp_path / "both.gpkg", driver="GPKG")
    labelled = Labelled(tmp_path / "both.gpkg", complete=True)
    images = [tmp_path / "farm.tif", tmp_path / "east.tif"]
    for share, seeds in ((0.2, range(4)), (0.5, range(4))):
        for seed in seeds:
            chips = Chips(64, land=Land(5.0, share, 0.0, seed))
            made = load_polygons(images, labelled, chips)
            splits = {sample.key.split("_")[0]: sample.split for sample in made}
            assert sorted(splits.values()) == ["train", "val"]
            assert len({(sample.key.split("_")[0], sample.split) for sample in made}) == 2
    thirds = load_polygons(images, labelled, Chips(64, land=Land(5.0, 0.2, 0.2, 0)))
    assert "parted by strips" in " ".join(thirds.problems)  # three splits of two images


def outlined(folder, side, count):
    """Squares of a side in metres on an image of 1 m, and one that its edge cuts."""
    step, extent = side + 4, (side + 4) * count
    tif(folder / "i.tif", np.ones((3, extent, extent), "uint8"), transform=PLACE)
    x, y = PLACE.c, PLACE.f
    boxes = [
        shapely.box(x + i * step, y - j * step - side, x + i * step + side, y - j * step)
        for i in range(count)
        for j in range(count)
    ]
    cut = shapely.box(x + extent - 3, y - extent, x + extent + 9, y - extent + 3)
    geopandas.GeoDataFrame(geometry=[*boxes, cut], crs="EPSG:32633").to_file(folder / "i.gpkg")
    return load_polygons([folder / "i.tif"], Labelled(folder / "i.gpkg", complete=True))


@pytest.mark.parametrize(
    ("side", "count", "said"),
    [
        # 22,500 m2 on the map, 22,518 on the ground: UTM draws 0.9996 in its middle
        (150, 4, r"The smallest of 16 outlines has 22,5\d\d m2.* --min-area 18000"),
        (20, 5, r"25 of 25 outlines are smaller than 500 m2.* --min-area 320"),
        (30, 4, None),
        (150, 3, None),  # nine are too few
    ],
)
def test_a_fitting_smallest_field_is_named(side, count, said, tmp_path):
    problems = " ".join(outlined(tmp_path, side, count).problems)
    assert ("--min-area" in problems) == bool(said)
    if said:
        assert re.search(said, problems)


@pytest.mark.parametrize(
    ("pixel", "more", "edge", "said"),
    [
        # 256 px at 1.65 m are 422.4 m; 0.75 m of the map are 0.7503 m of the ground here
        (1.0, [], 423, "423 px: a window of fields-rgb-vhr, 256 px at 1.65 m, covers so many"),
        (0.75, [], 563, "563 px: a window of fields-rgb-vhr, 256 px at 1.65 m, covers so many"),
        (2.0, [], 256, "256 px: a window of fields-rgb-vhr, 256 px at 2 m, covers so many"),
        # 128 of 10 m, and chips may be larger than a window
        (10.0, ["-m", "fields-s2-2season"], 256, "256 px: .*256 px at 5 m, covers 128 of 10 m"),
        (0.1, [], 256, "256 px: .*fields-rgb-vhr.* 1.65 m.* too far from 0.1 m"),
        (1.0, ["--size", "100"], 100, ""),
    ],
)
def test_a_chip_holds_a_window_of_the_model_that_will_be_tuned(pixel, more, edge, said, tmp_path):
    """It was 256 px whatever the image: a window of 422 then saw its own reflection."""
    side = 600
    place = PLACE * Affine.scale(pixel)
    tif(tmp_path / "i.tif", np.ones((3, side, side), "uint8"), transform=place)
    outline = shapely.box(*(place * (20, 60)), *(place * (60, 20)))
    geopandas.GeoDataFrame(geometry=[outline], crs="EPSG:32633").to_file(tmp_path / "i.gpkg")
    asked = ["data", "make", str(tmp_path / "i.tif"), "-p", str(tmp_path / "i.gpkg"), "--complete"]
    asked += ["-o", str(tmp_path / "d"), "--val", "0", "--test", "0", *more]
    done = CliRunner().invoke(cli, asked, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert max(s.image.grid.shape[0] for s in load_dataset(tmp_path / "d")) == edge
    assert bool(said) == ("a window of" in done.output)
    assert re.search(said, done.output), done.output


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:32632"])
def test_strips_of_two_images_of_one_place_share_no_land(tmp_path, crs):
    """Two years of a farm, cut out differently: what was learnt in one was tested on in the
    other.
    """
    image, labelled = farm(tmp_path, 256, 256)
    north = tmp_path / "north.tif"
    values = np.random.default_rng(1).integers(1, 255, (3, 150, 200)).astype("uint8")
    place = Affine.translation(20, 0) * PLACE
    if crs != "EPSG:32633":  # the same corner, in the neighbouring zone, where north is elsewhere
        corner = geopandas.GeoSeries([shapely.Point(500_020, 5_300_000)], crs="EPSG:32633")
        moved = corner.to_crs(crs)[0]
        place = Affine(1, 0, moved.x, 0, -1, moved.y)
    tif(north, values, crs=crs, transform=place)
    made = load_polygons([image, north], labelled, Chips(64, land=Strips(0.2, 0.2)))
    lands = {
        sample.key: shapely.transform(
            shapely.box(*sample.image.grid.extent.boundingbox),
            Transformer.from_crs(sample.image.grid.crs, "EPSG:32633", always_xy=True).transform,
            interleaved=False,
        )
        for sample in made
    }
    splits = {sample.key: sample.split for sample in made}
    shared = [
        (one, other)
        for one, other in combinations(lands, 2)
        if splits[one] != splits[other] and lands[one].intersection(lands[other]).area > 1
    ]
    assert shared == []
    assert set(splits.values()) == {"train", "val", "test"}
    (said,) = (line for line in made.problems if "another image keeps" in line)
    alone = [
        load_polygons([one], labelled, Chips(64, land=Strips(0.2, 0.2))) for one in (image, north)
    ]
    lost = sum(len(one) for one in alone) - len(made)
    assert said.startswith(f"{lost} of ")
    assert not [
        sample
        for one in alone
        for sample in one
        if sample.key not in splits and sample.split == "test"
    ]  # what is tested on stays
