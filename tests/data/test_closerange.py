"""Close range: each published layout in miniature, with the traps that it is known for."""

import numpy as np
import pytest

from data_folders import SHARED, png
from selion.classes import CROP
from selion.data import check_dataset, load_dataset
from selion.errors import BadInput, UnreadableFile

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
EWS = SHARED / "data" / "closerange" / "ews_wheat"
SIZE = (18, 22)


def leaf(seed=0):
    """A green photograph of a disc on soil, and where the disc is."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    plant = (y - 9) ** 2 + (x - 5 - seed % 10) ** 2 < 20
    image = np.where(plant[..., None], [50, 150, 40], [150, 120, 90]) + np.random.default_rng(
        seed
    ).normal(0, 5, (*SIZE, 3))
    return image.clip(0, 255).astype("uint8"), plant


def one(name, root):
    """Open a dataset and compare the mask of every sample with the disc of its photograph."""
    data = load_dataset(name, root)
    assert data.classes is CROP or data.classes.names[0] == "soil"
    for sample in data:
        image = sample.image.read((slice(0, SIZE[0]), slice(0, SIZE[1]))).values
        green = image[1].astype(int) > image[0]
        assert ((sample.labels.ids > 0) == green).all()
    return data


def test_cwfid_is_inverted_and_leaks(tmp_path):
    for k in (2, 28, 1, 5):
        image, plant = leaf(k)
        png(tmp_path / "images" / f"{k:03d}_image.png", image)
        png(tmp_path / "masks" / f"{k:03d}_mask.png", np.where(plant, 0, 255), mode="1")
        colours = np.zeros((*SIZE, 3), np.uint8)
        colours[plant] = [0, 255, 0] if k % 2 else [255, 0, 0]
        png(tmp_path / "annotations" / f"{k:03d}_annotation.png", colours)
    (tmp_path / "train_test_split.yaml").write_text("train: [2, 5, 28]\ntest: [1, 28]\n")
    data = one("cwfid", tmp_path)
    assert [(e.key, e.split) for e in data.entries] == [
        ("001", "test"),
        ("002", "train"),
        ("005", "train"),
        ("028", "test"),
    ]
    assert data.problems == ("028 stands in train and in test: it is kept in test only.",)
    apart = one("cwfid-weeds", tmp_path)
    assert sorted(np.unique(apart[0].labels.ids)) == [0, 1]
    assert sorted(np.unique(apart[1].labels.ids)) == [0, 2]
    assert check_dataset(data).faults == ()
    for k in (2, 28, 1, 5):  # somebody turned the masks without saying so
        png(tmp_path / "masks" / f"{k:03d}_mask.png", np.where(leaf(k)[1], 255, 0), mode="1")
    assert {f.kind for f in check_dataset("cwfid", root=tmp_path).faults} == {"inverted"}


def test_ews_is_inverted_as_published_and_not_as_converted(tmp_path):
    for split, k in (("train", 1), ("validation", 2), ("test", 3)):
        image, plant = leaf(k)
        png(tmp_path / "a" / split / f"FPWW{k}.png", image)
        png(tmp_path / "a" / split / f"FPWW{k}_mask.png", np.where(plant, 0, 255))
    data = one("ews", tmp_path / "a")
    assert [(e.key, e.split) for e in data.entries] == [
        ("FPWW3", "test"),
        ("FPWW1", "train"),
        ("FPWW2", "val"),
    ]
    for plot in range(12):
        for date in ("20180101", "20180201"):
            image, plant = leaf(plot)
            png(tmp_path / "b" / "images" / f"FPWW022{plot:04d}_RGB1_{date}_6.png", image)
            png(
                tmp_path / "b" / "masks" / f"FPWW022{plot:04d}_RGB1_{date}_6.png",
                np.where(plant, 255, 0),
            )
    data = one("ews", tmp_path / "b")
    for plot in range(12):
        assert len({e.split for e in data.entries if f"FPWW022{plot:04d}" in e.key}) == 1


def test_cvppp_has_palettes_and_leaves(tmp_path):
    for group, root in (("A1", tmp_path), ("A4", tmp_path)):
        image, plant = leaf(4)
        png(root / group / "plant001_rgb.png", image)
        png(root / group / "plant001_fg.png", plant.astype("uint8"))
        leaves = np.where(plant, 1 + (np.arange(SIZE[1]) > 9), 0)
        png(root / group / "plant001_label.png", leaves, palette=[0, 0, 0, 255, 0, 0, 0, 255, 0])
    data = one("cvppp", tmp_path)
    assert data.keys == ("A1/plant001", "A4/plant001")
    assert data.groups == ("A1", "A4")
    assert sorted(np.unique(data[0].instances.ids)) == [0, 1, 2]
    for sub in ("A1", "A4"):
        (tmp_path / "training").mkdir(exist_ok=True)
        (tmp_path / sub).rename(tmp_path / "training" / sub)
    assert len(load_dataset("cvppp", tmp_path)) == 2


def test_phenobench_counts_weeds_and_parts_as_vegetation(tmp_path):
    for split in ("train", "val", "test"):
        image, plant = leaf(6)
        png(tmp_path / split / "images" / "05-15_00028_P0030852.png", image)
        if split != "test":
            png(
                tmp_path / split / "semantics" / "05-15_00028_P0030852.png",
                np.where(plant, 1 + np.arange(SIZE[1]) % 4, 0).astype("uint16"),
            )
            png(
                tmp_path / split / "plant_instances" / "05-15_00028_P0030852.png",
                (plant * 700).astype("uint16"),
            )
    data = one("phenobench", tmp_path)
    assert data.splits == ("train", "val")
    ids = data[0].instances.ids
    crop = np.isin(np.arange(SIZE[1]) % 4, (0, 2))  # columns of crop 700; the weed 700 is another
    assert set(np.unique(ids[:, crop])) == {0, 700}
    assert set(np.unique(ids[:, ~crop])) == {0, 1400}


def test_gwfss_in_colours_and_in_ids(tmp_path):
    """Heads are 1 and (50, 255, 132), stems 2 and (50, 132, 255), leaves 3 and (214, 255, 50)."""
    colours = np.array([(0, 0, 0), (50, 255, 132), (50, 132, 255), (214, 255, 50)], np.uint8)
    ids = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 4
    image, _ = leaf(1)
    full = tmp_path / "full" / "GWFSS_v1.0_labelled"
    for domain in ("ETHZ", "UTokyo", "UQ_new", "USASK"):
        png(full / "images" / domain / "1.png", image)
        png(full / "masks" / domain / "1.png", colours[ids])
    data = load_dataset("gwfss", tmp_path / "full")
    assert {e.group: e.split for e in data.entries} == {
        "ETHZ": "train",
        "UTokyo": "val",
        "UQ_new": "test",
        "USASK": "",
    }
    assert (data[0].labels.ids == ids).all()
    assert data.classes.names == ("background", "head", "stem", "leaf")
    part = tmp_path / "part" / "gwfss_competition_train"
    png(part / "images" / "domain1_00a.png", image)
    png(part / "class_id" / "domain1_00a.png", ids.astype(np.uint8))
    data = load_dataset("gwfss", tmp_path / "part")
    assert [(e.split, e.group) for e in data.entries] == [("train", "domain1")]
    assert (data[0].labels.ids == ids).all()


def test_vegann_has_a_table_and_255_is_vegetation(tmp_path):
    for k in range(4):
        image, plant = leaf(k)
        png(tmp_path / "images" / f"VegAnn_{k}.png", image)
        png(tmp_path / "annotations" / f"VegAnn_{k}.png", np.where(plant, 255, 0))
    rows = ["Name;System;Orientation;Species;TVT-split1;TVT-split2"]
    rows += [
        f"VegAnn_{k}.png;Handheld;Nadir;{crop};{split};Test"
        for k, (crop, split) in enumerate(
            (("Wheat", "Training"), ("Wheat", "Validation"), ("Rice", "Test"))
        )
    ]
    (tmp_path / "VegAnn_dataset.csv").write_text("\n".join(rows) + "\n")
    data = one("vegann", tmp_path)
    assert [(e.split, e.group) for e in data.entries] == [
        ("train", "Wheat"),
        ("val", "Wheat"),
        ("test", "Rice"),
        ("", ""),
    ]
    assert data.problems == ("1 samples stand in no split of VegAnn_dataset.csv: VegAnn_3",)


@pytest.mark.parametrize("prefix", ["", "data/"])
def test_cropandweed_keeps_sessions_together_and_255_is_vegetation(tmp_path, prefix):
    for session in range(12):
        for shot in range(2):
            image, plant = leaf(session)
            png(tmp_path / f"{prefix}images" / f"ave-{session:04d}-{shot:04d}.jpg", image)
            png(
                tmp_path
                / f"{prefix}labelIds"
                / "CropAndWeed"
                / f"ave-{session:04d}-{shot:04d}.png",
                np.where(plant, (1, 99, 255)[session % 3], 0),
            )
    data = load_dataset("cropandweed", tmp_path)
    assert len(data) == 24
    assert {len({e.split for e in data.entries if f"ave-{s:04d}" in e.key}) for s in range(12)} == {
        1
    }
    assert ((data[5].labels.ids == 1) == leaf(2)[1]).all()
    assert not (data[5].labels.ids == 255).any()


@pytest.mark.parametrize(
    ("name", "path", "group"),
    [
        ("cwd30", "bean/0001.jpg", "bean"),
        ("deepweeds", "images/20160928-140314-0.jpg", ""),
        ("plant-seedlings", "Black-grass/1.png", "Black-grass"),
        ("apple-leaf", "Healthy/1.JPG", "Healthy"),
        ("pdd271", "PDD271/11/11_2_1.JPG", "11"),
    ],
)
def test_photographs_without_masks(tmp_path, name, path, group):
    image, _ = leaf()
    target = tmp_path / path
    png(target.with_suffix(".png"), image).rename(target)
    data = load_dataset(name, tmp_path)
    assert (len(data), data.entries[0].group) == (1, group)
    sample = data[0]
    assert sample.labels is None
    assert sample.image.bands == ("red", "green", "blue")
    assert check_dataset(data).faults == ()


@pytest.mark.parametrize(
    ("name", "splits"), [("night-rice", ("train", "test")), ("night-soybean", ("test",))]
)
def test_night_photographs(tmp_path, name, splits):
    for split in splits:
        image, plant = leaf(3)
        png(tmp_path / split / "images" / "a.jpg", image)
        png(tmp_path / split / "masks" / "a.png", np.where(plant, 255, 0))
    data = load_dataset(name, tmp_path)
    assert data.splits == splits
    assert ((data[0].labels.ids == 1) == leaf(3)[1]).all()


def test_masks_saved_as_jpeg_are_refused_not_rounded(tmp_path):
    image, plant = leaf(2)
    png(tmp_path / "images" / "VegAnn_1.png", image)
    png(tmp_path / "annotations" / "VegAnn_1.png", np.where(plant, 251, 3))
    (tmp_path / "x.csv").write_text("Name;Species;TVT-split1\nVegAnn_1.png;Rice;Test\n")
    with pytest.raises(BadInput, match="values 3, 251"):
        load_dataset("vegann", tmp_path)[0]


def test_wrong_folders_name_what_was_wanted(tmp_path):
    with pytest.raises(UnreadableFile, match=r"wanted is images/\{key\}_image.png"):
        load_dataset("cwfid", tmp_path)
    with pytest.raises(UnreadableFile, match="or images/"):
        load_dataset("ews", tmp_path)


@pytest.mark.skipif(
    not EWS.is_dir(), reason="the wheat photographs are not here (shared/data/closerange/ews_wheat)"
)
def test_real_wheat():
    data = load_dataset("ews", EWS)
    assert len(data) == 142
    assert data.problems == ()
    plots = {}
    for entry in data.entries:
        plots.setdefault(entry.key[:11], set()).add(entry.split)
    assert len(plots) == 76
    assert all(len(splits) == 1 for splits in plots.values())
    assert all(len(data.select(split)) >= 10 for split in ("train", "val", "test"))
    cover = [float((sample.labels.ids == 1).mean()) for sample in data[::8]]
    assert 0.004 < min(cover) < 0.05
    assert max(cover) < 0.78
