"""Fields of The World as it lies on disk."""

import pickle

import numpy as np
import pandas as pd
import pytest

from data_folders import field_ids, ftw, masks_of, tif
from selion.classes import ALU, FTW2, FTW3, IGNORE
from selion.data import load_dataset
from selion.errors import BadInput, GridMismatch, UnknownName, UnreadableFile
from selion.grid import whole

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def test_a_country_is_read_whole(tmp_path):
    ftw(tmp_path)
    data = load_dataset("ftw", tmp_path)
    assert data.keys == ("austria/g1", "austria/g2", "austria/g3")
    assert (data.splits, data.groups, data.problems, data.licence) == (
        ("train", "val", "test"),
        ("austria",),
        (),
        "CC-BY-4.0",
    )
    sample = data[0]
    three, _, instance = masks_of(field_ids())
    assert (sample.labels.ids == three).all()
    assert (sample.instances.ids == instance).all()
    assert sample.labels.classes is FTW3
    assert sample.ignore is None


def test_bands_are_named_a_then_b_and_hold_what_the_files_hold(tmp_path):
    home = ftw(tmp_path)
    for k, window in enumerate(("window_a", "window_b")):
        tif(
            home / "s2_images" / window / "g1.tif",
            np.stack([np.full((32, 32), 10 * k + b, np.uint16) for b in range(4)]),
        )
    sample = load_dataset("ftw", tmp_path)[0]
    assert sample.image.bands[0] == "window_a:red"
    assert sample.image.bands[7] == "window_b:nir"
    raster = sample.image.read(whole(sample.image.grid))
    assert raster.values[:, 0, 0].tolist() == [0, 1, 2, 3, 10, 11, 12, 13]
    assert raster.valid is None


def test_two_classes_are_the_files_of_two_classes(tmp_path):
    ftw(tmp_path)
    sample = load_dataset("ftw", tmp_path, classes=FTW2)[0]
    assert (sample.labels.ids == masks_of(field_ids())[1]).all()
    with pytest.raises(UnknownName, match="class scheme"):
        load_dataset("ftw", tmp_path, classes=ALU)


@pytest.mark.parametrize("marked", [True, False])
def test_presence_only_background_is_not_known(tmp_path, marked):
    """Also where the mask says 0 and not 3."""
    ftw(tmp_path, "kenya", presence_only=marked)
    ftw(tmp_path, "austria")
    data = load_dataset("ftw", tmp_path)
    kenya, austria = data.select(groups="kenya")[0], data.select(groups="austria")[0]
    three = masks_of(field_ids())[0]
    assert (kenya.labels.ids == np.where(three == 0, IGNORE, three)).all()
    assert (kenya.ignore == (three == 0)).all()
    assert austria.ignore is None
    assert data.presence_only == ("brazil", "india", "kenya", "rwanda")
    assert data.licence == "CC-BY-4.0; GPL-2.0-or-later"


def test_missing_imagery_masks_and_splits_are_named(tmp_path):
    chips = (("g1", "train"), ("g2", "train"), ("g3", "none"), ("g4", "test"), ("g5", None))
    home = ftw(tmp_path, chips=chips, without_image=("g2",))
    (home / "label_masks" / "semantic_3class" / "g4.tif").unlink()
    data = load_dataset("ftw", tmp_path)
    assert data.keys == ("austria/g1",)
    assert data.problems == (
        "austria: 1 chips lack imagery: g2",
        "austria: 1 chips lack masks: g4",
        "austria: 2 chips were given to no split by the publisher: g3, g5",
    )


def test_one_country_alone_and_recognised_without_a_name(tmp_path):
    home = ftw(tmp_path)
    assert len(load_dataset(home)) == 3
    assert load_dataset(home).name == "ftw"
    assert load_dataset(tmp_path, split="val").keys == ("austria/g2",)


def test_samples_survive_pickling(tmp_path):
    ftw(tmp_path)
    data = pickle.loads(pickle.dumps(load_dataset("ftw", tmp_path)))
    assert data[1].key == "austria/g2"
    assert data[:2].keys == data.keys[:2]
    assert [s.key for s in data] == list(data.keys)


def test_unknown_values_and_other_sizes_are_refused(tmp_path):
    home = ftw(tmp_path)
    data = load_dataset("ftw", tmp_path)
    tif(home / "label_masks" / "semantic_3class" / "g1.tif", np.full((32, 32), 7, np.uint8))
    with pytest.raises(BadInput, match=r"semantic_3class/g1.tif holds the value 7"):
        data[0]
    tif(home / "label_masks" / "semantic_3class" / "g1.tif", np.zeros((31, 32), np.uint8))
    with pytest.raises(GridMismatch):
        data[0]


def test_a_table_that_is_none(tmp_path):
    home = ftw(tmp_path)
    (home / "chips_austria.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UnreadableFile, match="table of chips"):
        load_dataset("ftw", tmp_path)
    pd.DataFrame({"aoi_id": ["g1", "g1"], "split": ["train", "test"]}).to_parquet(
        home / "chips_austria.parquet"
    )
    with pytest.raises(BadInput, match="twice"):
        load_dataset("ftw", tmp_path)
    with pytest.raises(UnreadableFile, match="No country"):
        load_dataset("ftw", home / "s2_images")


def test_unknown_countries_are_told_the_nearest(tmp_path):
    ftw(tmp_path)
    with pytest.raises(UnknownName, match="did you mean 'austria'"):
        load_dataset("ftw", tmp_path, groups="austia")
