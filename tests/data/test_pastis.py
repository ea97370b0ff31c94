"""PASTIS and AI4Boundaries."""

import json

import numpy as np
import pytest
from affine import Affine

from data_folders import field_ids, masks_of, pastis, tif
from selion.classes import FTW2, FTW3, IGNORE
from selion.data import find_dataset, load_dataset
from selion.data.pastis import PastisDates, load_pastis
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.grid import whole
from selion.labels import Instances, class_labels

pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def test_folds_seasons_and_void_parcels(tmp_path):
    pastis(tmp_path)
    data = load_dataset("pastis", tmp_path)
    assert (data.keys, data.splits, data.groups) == (
        ("10000", "10001", "10002"),
        ("train", "val", "test"),
        ("t31tfm",),
    )
    sample = data[0]
    series = np.load(tmp_path / "DATA_S2" / "S2_10000.npy")
    raster = sample.image.read(whole(sample.image.grid))
    assert raster.bands[:2] == ("window_a:red", "window_a:green")
    assert (raster.values[0] == np.median(series[1:4, 2], axis=0)).all()  # April to May, B4
    # July to August, B8
    assert (raster.values[7] == np.round(np.median(series[4:6, 6], axis=0))).all()
    ids = field_ids(16)
    assert ((sample.labels.ids == IGNORE) == (ids == 4)).all()
    assert set(np.unique(sample.instances.ids)) == {0, 1, 2, 3}
    assert sample.image.grid.crs is None


def test_labels_come_from_parcels(tmp_path):
    pastis(tmp_path)
    ids = field_ids(16)
    kept, void = np.where(ids == 4, 0, ids), ids == 4
    three, two = load_dataset(tmp_path, classes=FTW3)[0], load_dataset(tmp_path, classes=FTW2)[0]
    assert (three.labels.ids == class_labels(Instances(kept, three.image.grid), 1, void).ids).all()
    assert (two.labels.ids == np.where(void, IGNORE, kept > 0)).all()


def test_other_windows_and_all_dates(tmp_path):
    from dataclasses import replace

    pastis(tmp_path)
    made = find_dataset("pastis")
    all_dates = load_pastis(replace(made, settings={"windows": {}}), tmp_path, None, 1)[0]
    assert len(all_dates.image.bands) == 24
    assert all_dates.image.bands[0] == "20180920:red"
    with pytest.raises(BadInput, match="no date from 01-01 to 02-01"):
        load_pastis(
            replace(made, settings={"windows": {"window_a": ["01-01", "02-01"]}}), tmp_path, None, 1
        )[0]


def test_seasons_may_pass_the_years_end():
    winter = PastisDates("w", "11-01", "02-15")
    assert [winter.holds(d) for d in ("20181101", "20190215", "20190216", "20180701")] == [
        True,
        True,
        False,
        False,
    ]


def test_missing_files_and_broken_metadata(tmp_path):
    pastis(tmp_path)
    (tmp_path / "DATA_S2" / "S2_10001.npy").unlink()
    assert load_dataset("pastis", tmp_path).problems == ("1 patches lack files: 10001",)
    np.save(tmp_path / "DATA_S2" / "S2_10000.npy", np.zeros((3, 10, 16, 16), np.int16))
    with pytest.raises(BadInput, match="wanted is \\(6 dates"):
        load_dataset("pastis", tmp_path)[0]
    (tmp_path / "metadata.geojson").write_text(json.dumps({"features": [{"properties": {}}]}))
    with pytest.raises(UnreadableFile, match="ID_PATCH"):
        load_dataset("pastis", tmp_path)


def test_pickled_arrays_are_never_run(tmp_path):
    pastis(tmp_path)
    np.save(
        tmp_path / "DATA_S2" / "S2_10000.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True
    )
    with pytest.raises(BadInput, match="cannot be read as an array"):
        load_dataset("pastis", tmp_path)[0]


LAEA = Affine(10, 0, 4_500_000, 0, -10, 2_700_000)


def boundaries_mask(ids):
    three, _, instance = masks_of(ids)
    number = np.where(instance > 0, instance + 1, -1000)
    return np.stack([three > 0, three == 2, np.zeros_like(three), number]).astype("float32")


def aerial(root):
    rng = np.random.default_rng(0)
    for country, key in (("AT", "AT_1"), ("FR", "FR_2"), ("FR", "FR_3")):
        tif(
            root / "orthophoto" / "images" / country / f"{key}_ortho_1m_512.tif",
            rng.integers(0, 255, (3, 32, 32)).astype("uint8"),
            "EPSG:3035",
        )
        if key != "FR_3":
            tif(
                root / "orthophoto" / "masks" / country / f"{key}_ortholabel_1m_512.tif",
                boundaries_mask(field_ids()),
                "EPSG:3035",
            )
    (root / "ai4boundaries_ftp_urls_all.csv").write_text(
        "file_id,split\nAT_1,train\nFR_2,test\nFR_9,\n"
    )


def test_ai4boundaries_aerial(tmp_path):
    aerial(tmp_path)
    data = load_dataset("ai4boundaries-ortho", tmp_path)
    assert [(e.key, e.split, e.group) for e in data.entries] == [
        ("AT_1", "train", "AT"),
        ("FR_2", "test", "FR"),
    ]
    assert data.problems == ("1 images have no mask: FR_3",)
    three, _, instance = masks_of(field_ids())
    assert (data[0].labels.ids == three).all()
    assert ((data[0].instances.ids > 0) == (instance > 0)).all()
    assert data[0].image.bands == ("red", "green", "blue")
    two = load_dataset(tmp_path, classes=FTW2)[0]
    assert (two.labels.ids == (three == 1)).all()


def test_ai4boundaries_months(tmp_path):
    folder = tmp_path / "sentinel2" / "images" / "AT"
    folder.mkdir(parents=True)
    data = netcdf(folder / "AT_1_S2_10m_256.nc")
    tif(
        tmp_path / "sentinel2" / "masks" / "AT" / "AT_1_S2label_10m_256.tif",
        boundaries_mask(field_ids()),
        "EPSG:3035",
        LAEA,
    )
    sample = load_dataset("ai4boundaries", tmp_path)[0]
    raster = sample.image.read(whole(sample.image.grid))
    assert raster.bands == tuple(
        f"window_{w}:{c}" for w in "ab" for c in ("red", "green", "blue", "nir")
    )
    assert (raster.values[0] == data["B4"][1]).all()  # April
    assert (raster.values[7] == data["B8"][4]).all()  # July


def netcdf(path):
    """Write a netCDF 3 file of B2, B3, B4, B8, each of six months, north up, in Europe's equal-area
    projection.
    """
    from pyproj import CRS
    from scipy.io import netcdf_file

    rng = np.random.default_rng(1)
    data = {
        name: rng.integers(0, 9000, (6, 32, 32)).astype("int16")
        for name in ("B2", "B3", "B4", "B8")
    }
    with netcdf_file(path, "w") as file:
        mapping = file.createVariable("spatial_ref", "i4", ())
        mapping.spatial_ref = CRS.from_epsg(3035).to_wkt("WKT1_GDAL").encode()
        mapping.grid_mapping_name = b"lambert_azimuthal_equal_area"
        for name, size in (("time", 6), ("y", 32), ("x", 32)):
            file.createDimension(name, size)
            axis = file.createVariable(name, "f8", (name,))
            axis[:] = {
                "time": np.arange(6),
                "y": 2_700_000 - 10 * (np.arange(32) + 0.5),
                "x": 4_500_000 + 10 * (np.arange(32) + 0.5),
            }[name]
            if name != "time":
                axis.standard_name, axis.units = f"projection_{name}_coordinate".encode(), b"m"
        for name, values in data.items():
            variable = file.createVariable(name, "i2", ("time", "y", "x"))
            variable[:] = values
            variable.grid_mapping = b"spatial_ref"
    return data


def test_ai4boundaries_refuses_what_it_is_not(tmp_path):
    aerial(tmp_path)
    with pytest.raises(UnreadableFile, match="sentinel2/images"):
        load_dataset("ai4boundaries", tmp_path)
    tif(
        tmp_path / "orthophoto" / "masks" / "AT" / "AT_1_ortholabel_1m_512.tif",
        np.zeros((1, 32, 32), "float32"),
        "EPSG:3035",
    )
    with pytest.raises(BadInput, match="wanted are 4"):
        load_dataset("ai4boundaries-ortho", tmp_path)[0]
    with pytest.raises(UnknownName, match="class scheme"):
        load_dataset("ai4boundaries-ortho", tmp_path, classes=find_dataset("cwfid").classes)
