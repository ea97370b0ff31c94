"""AI4SmallFarms and the layout of agricultural landscape understanding."""

import geopandas
import numpy as np
import pytest
import shapely

from data_folders import SHARED, UTM, field_ids, png, tif
from selion.classes import ALU, FTW2, FTW3
from selion.data import load_dataset
from selion.errors import UnknownName, UnreadableFile
from selion.labels import class_labels

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def squares(ids):
    """The fields of an id raster as rectangles in the coordinates of UTM."""
    found = []
    for k in np.unique(ids[ids > 0]):
        rows, columns = np.nonzero(ids == k)
        left, top = UTM * (columns.min(), rows.min())
        right, bottom = UTM * (columns.max() + 1, rows.max() + 1)
        found.append(shapely.box(left, bottom, right, top))
    return geopandas.GeoDataFrame({"id": range(len(found))}, geometry=found, crs="EPSG:32648")


def tiles(root, with_masks=True):
    home = root / "sentinel-2-asia"
    (home / "reference").mkdir(parents=True)
    for split, tile in (("train", "1_vietnam"), ("validate", "2_cambodia"), ("test", "3_cambodia")):
        tif(
            home / split / "images" / f"{tile}.tif",
            np.arange(4 * 32 * 32).reshape(4, 32, 32).astype("float32"),
            "EPSG:32648",
        )
        if with_masks:
            tif(
                home / split / "masks" / f"{tile}.tif",
                (field_ids() > 0).astype("uint8"),
                "EPSG:32648",
            )
    for tile in ("1_vietnam", "2_cambodia"):
        squares(field_ids()).to_file(home / "reference" / f"{tile}_areas.gpkg")
    return root


def test_polygons_become_objects_with_boundaries(tmp_path):
    data = load_dataset("ai4smallfarms", tiles(tmp_path))
    assert [(e.key, e.split, e.group) for e in data.entries] == [
        ("1_vietnam", "train", "vietnam"),
        ("2_cambodia", "val", "cambodia"),
    ]
    assert data.problems == ("1 tiles have neither polygons nor a mask: 3_cambodia.tif",)
    sample = data[0]
    assert sample.image.bands == ("blue", "green", "red", "nir")
    assert ((sample.instances.ids > 0) == (field_ids() > 0)).all()
    assert (sample.labels.ids == class_labels(sample.instances).ids).all()
    assert len(np.unique(sample.instances.ids)) == 5


def test_masks_stand_in_where_there_are_no_polygons(tmp_path):
    data = load_dataset(tiles(tmp_path), classes=FTW2)
    assert data.name == "ai4smallfarms"
    assert (data[2].labels.ids == (field_ids() > 0)).all()
    assert data[2].instances is None
    assert data.select(groups=("cambodia",)).keys == ("2_cambodia", "3_cambodia")


def test_other_names_of_tiles_and_what_is_missing(tmp_path):
    root = tiles(tmp_path, with_masks=False)
    reference = root / "sentinel-2-asia" / "reference"
    (reference / "1_vietnam_areas.gpkg").rename(reference / "01_vietnam_fields.gpkg")
    assert load_dataset("ai4smallfarms", root).keys == ("1_vietnam", "2_cambodia")
    with pytest.raises(UnreadableFile, match="No tile"):
        load_dataset("ai4smallfarms", reference)
    with pytest.raises(UnknownName, match="class scheme"):
        load_dataset("ai4smallfarms", root, classes=ALU)


def test_the_real_polygons_of_vietnam_are_burnt(tmp_path):
    path = SHARED / "data" / "satellite" / "polygons" / "fiboa_countries" / "ai4sf_vietnam.parquet"
    if not path.is_file():
        pytest.skip("the real polygons are not here (shared/data/satellite/polygons)")
    frame = geopandas.read_parquet(path)
    west, _, _, north = frame.total_bounds
    home = tmp_path / "sentinel-2-asia"
    width, height = (
        int(np.ceil(side / 10))
        for side in (frame.total_bounds[2] - west, north - frame.total_bounds[1])
    )
    transform = UTM.translation(west, north) * UTM.scale(10, -10)
    tif(
        home / "train" / "images" / "1_vietnam.tif",
        np.zeros((4, height, width), "uint16"),
        frame.crs.to_string(),
        transform,
    )
    (home / "reference").mkdir()
    frame.to_file(home / "reference" / "1_vietnam_areas.gpkg")
    sample = load_dataset("ai4smallfarms", tmp_path, classes=FTW3)[0]
    burnt = (sample.instances.ids > 0).sum() * 100.0
    assert burnt == pytest.approx(
        shapely.union_all(shapely.make_valid(frame.geometry.to_numpy())).area, rel=0.05
    )


def test_landscape_understanding(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 6, (20, 24)).astype("uint8")
    ids[0, 0] = 255
    for split in ("train", "validation"):
        png(
            tmp_path / split / "images" / "a.png", rng.integers(0, 255, (20, 24, 3)).astype("uint8")
        )
        png(tmp_path / split / "masks" / "a.png", ids)
        png(
            tmp_path / split / "instances" / "a.png",
            np.arange(480).reshape(20, 24).astype("uint16"),
        )
    data = load_dataset("alu", tmp_path)
    assert (data.splits, data.keys, data.classes) == (
        ("train", "val"),
        ("train/a", "validation/a"),
        ALU,
    )
    sample = data.select("val")[0]
    assert (sample.labels.ids == ids).all()
    assert sample.instances.ids.max() == 479
