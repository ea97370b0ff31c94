"""The sample in the layout of Fields of The World, read with rasterio and geopandas; outlines that
rasterio traces are the truth of its borders.
"""

from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
from rasterio.features import shapes
from scipy import ndimage
from shapely.geometry import LineString

from selion.data import load_dataset
from selion.errors import BadInput, OutputExists, UnknownName
from selion.simulation.chips import ChipOptions, chip_masks, write_chips
from selion.simulation.landscape import simulate

SMALL = ChipOptions(("austria", "kenya"), (2, 1, 1), 96)
MASKS = ("semantic_3class", "semantic_2class", "instance")


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("sample") / "ftw", SMALL)


def values(path):
    with rasterio.open(path) as file:
        return file.read()


def masks(sample, country, aoi):
    return [values(sample / country / "label_masks" / name / f"{aoi}.tif")[0] for name in MASKS]


def chips(sample, country):
    return gpd.read_parquet(sample / country / f"chips_{country}.parquet")


def test_every_chip_of_the_table_has_its_five_files_on_one_grid(sample):
    for country, crs in (("austria", "EPSG:32633"), ("kenya", "EPSG:32737")):
        table = chips(sample, country)
        assert table["split"].tolist() == ["train", "train", "val", "test"]
        assert table["aoi_id"].is_unique
        assert table.crs == "EPSG:4326"
        for aoi, outline in zip(table["aoi_id"], table.geometry, strict=True):
            home = sample / country
            files = [home / "s2_images" / f"window_{w}" / f"{aoi}.tif" for w in "ab"]
            files += [home / "label_masks" / name / f"{aoi}.tif" for name in MASKS]
            for path in files:
                with rasterio.open(path) as file:
                    assert (file.shape, str(file.crs), file.res) == ((96, 96), crs, (10.0, 10.0))
                    box = gpd.GeoSeries([outline], crs=4326).to_crs(crs).total_bounds
                    assert np.abs(box - np.array(file.bounds)).max() < 1  # metres
            for path in files[:2]:
                image = values(path)
                assert (image.shape, image.dtype) == ((4, 96, 96), np.uint16)
                assert 100 < np.median(image) < 6000


def test_our_own_reader_finds_it_and_needs_no_name(sample):
    data = load_dataset(sample)
    assert (data.name, data.groups, data.problems) == ("ftw", ("austria", "kenya"), ())
    assert len(data.select("test")) == 2
    one = data.select("train", "austria")[0]
    three, _, instance = masks(sample, "austria", one.key.partition("/")[2])
    assert (one.labels.ids == three).all()
    assert (one.instances.ids == instance).all()


def test_borders_are_the_outlines_burnt_one_pixel_wide():
    """rasterio traces each field; a point every pixel along its outline hits the pixel on its upper
    left.
    """
    scene = simulate(5, (96, 96), style="smallholder")
    ids = scene.instances.ids
    three, two, instance = chip_masks(scene.instances)
    line = np.zeros((96, 96), bool)
    for found, value in shapes(ids.astype(np.int32), connectivity=4):
        for ring in found["coordinates"] if value > 0 else ():
            points = np.array(LineString(ring).segmentize(1.0).coords)
            x, y = points[(points > 0).all(1) & (points < 96).all(1)].astype(int).T - 1
            line[y, x] = True
    inner = slice(0, 95)  # what lies beyond the last row and column is not known
    assert ((three == 2) == line)[inner, inner].all()
    assert ((two == 1) == (three == 1)).all()
    assert (instance == np.where(three == 1, ids, 0)).all()
    for field in np.unique(instance[instance > 0]):  # a line parts any two fields
        around = ndimage.binary_dilation(instance == field, np.ones((3, 3))) & (instance > 0)
        assert set(np.unique(instance[around])) == {field}


def test_presence_only_countries_label_some_fields_and_the_rest_is_not_known(sample):
    aoi = chips(sample, "kenya")["aoi_id"][0]
    three, two, instance = masks(sample, "kenya", aoi)
    assert set(np.unique(three)) == {1, 2, 3}
    assert set(np.unique(two)) == {0, 1, 3}
    assert ((instance > 0) == (three == 1)).all()
    assert 0.1 < (three == 3).mean() < 0.9
    one = load_dataset(sample).select(groups="kenya")[0]
    assert (one.ignore == (three == 3)).all()


def test_window_a_is_the_earlier_date(sample):
    """The simulation draws its dates in either order; here the first one is always window A."""
    drawn = set()
    for country, number in (("austria", 0), ("kenya", 3)):
        for aoi in chips(sample, country)["aoi_id"]:
            _, split, k = aoi.split("_")
            seed = int(np.random.default_rng([0, number, int(split), int(k)]).integers(2**31))
            style = {"austria": "europe", "kenya": "smallholder"}[country]
            scene = simulate(seed, (96, 96), style=style)
            late = scene.dates[0] > scene.dates[1]
            drawn.add(late)
            a = values(sample / country / "s2_images" / "window_a" / f"{aoi}.tif")
            assert (a == scene.image.values[4:] if late else a == scene.image.values[:4]).all()
    assert drawn == {True, False}


def test_equal_options_give_equal_bytes_and_fewer_countries_the_same_chips(sample, tmp_path):
    again = write_chips(tmp_path / "again", ChipOptions(("kenya",), (2, 1, 1), 96))
    files = sorted(p.relative_to(again) for p in again.rglob("*") if p.is_file())
    assert len(files) == 4 * 5 + 3
    files.remove(Path("sample.json"))
    for name in files:
        assert (again / name).read_bytes() == (sample / name).read_bytes(), name


def test_bad_options_and_existing_folders_are_refused(sample):
    with pytest.raises(UnknownName, match="austria"):
        ChipOptions(("austira",))
    for wrong in ({"countries": ()}, {"chips": (0, 0, 0)}, {"size": 8}, {"seed": -1}):
        with pytest.raises(BadInput, match="wanted"):
            ChipOptions(**wrong)
    with pytest.raises(OutputExists):
        write_chips(sample, SMALL)
