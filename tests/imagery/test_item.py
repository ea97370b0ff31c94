"""One STAC item as an image, in the forms that the catalogues write: reflectances by arithmetic."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

import stac_items
from counting_host import counting_host
from product_toys import write_raster
from selion.errors import SelionError, UnreadableFile
from selion.grid import whole
from selion.imagery.item import is_item, open_item
from selion.pipeline.opening import open_dates

RNG = np.random.default_rng(3)
KINDS = np.array([[300, 600, 250, 4000], [2000, 1500, 1000, 2700], [200, 300, 350, 80]])
LAND = np.round(
    KINDS.T[:, np.kron(RNG.choice(3, (8, 8), p=[0.5, 0.4, 0.1]), np.ones((8, 8), int))]
    * RNG.normal(1, 0.05, (64, 64))
).astype(np.uint16)
"""Reflectances x 10000 of vegetation, soil and water: (4, y, x)."""
COLOURS = ("red", "green", "blue", "nir")
SCL = np.full((32, 32), 4, np.uint8)
SCL[2, 3] = 9


def written(folder, item, numbers, scl=SCL):
    """Write an item with its bands beside it."""
    names = {band: stac_items.NUMBERS[band] for band in (*COLOURS, "scl")}
    for values, band in zip(numbers, COLOURS, strict=True):
        write_raster(folder / f"{names[band]}.tif", values, "GTiff")
    write_raster(folder / "SCL.tif", scl, "GTiff", zoom=2)
    path = folder / "item.json"
    path.write_text(json.dumps(item))
    return path


def local(**more):
    return stac_items.item(
        hrefs={band: f"{name}.tif" for band, name in stac_items.NUMBERS.items()}, **more
    )


@pytest.mark.parametrize(
    ("style", "baseline", "added"),
    [
        ("earth-search", "05.10", 0),  # it says that the offset was subtracted
        ("c1", "05.10", 1000),
        ("planetary-computer", "05.10", 1000),
        ("cdse", "05.10", 1000),
        ("planetary-computer", "02.14", 0),
    ],
)
def test_an_item_of_each_catalogue_is_reflectances(style, baseline, added, tmp_path):
    path = written(tmp_path, local(style=style, baseline=baseline), LAND + added)
    source = open_item(path)
    part = pickle.loads(pickle.dumps(source)).read(whole(source.grid))
    np.testing.assert_array_equal(part.values, LAND)
    assert source.bands == COLOURS
    hidden = np.zeros((64, 64), bool)
    hidden[4:6, 6:8] = True
    np.testing.assert_array_equal(part.valid, ~hidden)
    assert "the pixels agree" in source.tags["recognised"]


def test_an_item_is_known_by_its_files_and_its_pixels_agree_with_the_look(tmp_path):
    path = written(tmp_path, local(style="c1"), LAND + 1000)
    opened = open_dates([path])
    assert opened.look.kinds[0].name == "digital"
    assert not opened.look.warnings
    (tmp_path / "B04.tif").unlink()
    write_raster(tmp_path / "B04.tif", LAND[0] + 1001, "GTiff")
    assert open_dates([path]).fingerprint != opened.fingerprint


def bands_1_1():
    """Assets as STAC 1.1 writes them, of a sensor that is not Sentinel-2."""
    centres = {"red": 0.665, "green": 0.56, "blue": 0.49}
    assets = {
        f"a{k}": {
            "href": f"{stac_items.NUMBERS[colour]}.tif",
            "bands": [{"name": f"b{k}", "eo:center_wavelength": centre}],
            "raster:scale": 0.0000275,
            "raster:offset": -0.2,
        }
        for k, (colour, centre) in enumerate(centres.items())
    }
    assets["b"] = {
        "href": "B08.tif",
        "bands": [{"eo:common_name": "nir08", "raster:scale": 0.0000275, "raster:offset": -0.2}],
    }
    assets["visual"] = {"href": "TCI.tif", "bands": [{"eo:common_name": c} for c in COLOURS[:3]]}
    return assets


def test_an_item_of_any_sensor_goes_by_what_it_declares(tmp_path):
    item = local() | {"id": "LC09_L2SP_192027", "collection": "landsat-c2-l2"}
    item["properties"] = {"datetime": "2023-08-03T10:05:21Z"}
    numbers = np.round((LAND / 10_000 + 0.2) / 0.0000275).astype(np.uint16)
    path = written(tmp_path, item | {"assets": bands_1_1()}, numbers)
    source = open_item(path)
    values = source.read(whole(source.grid)).values
    np.testing.assert_allclose(values, (numbers * 0.0000275 - 0.2) * 10_000, atol=0.01)
    assert source.tags["datetime"].startswith("2023-08-03")
    old = {
        name: {
            "href": asset["href"],
            "eo:bands": [{"common_name": colour}],
            "raster:bands": [{"scale": 0.0000275, "offset": -0.2}],
        }
        for (name, asset), colour in zip(bands_1_1().items(), COLOURS, strict=False)
    }
    path.write_text(json.dumps(item | {"assets": old}))
    np.testing.assert_array_equal(open_item(path).read(whole(source.grid)).values, values)
    stacked = {
        "all": {
            "href": "all.tif",
            "eo:bands": [{"common_name": colour} for colour in reversed(COLOURS)],
        }
    }
    write_raster(tmp_path / "all.tif", LAND[::-1], "GTiff")
    path.write_text(json.dumps(item | {"assets": stacked}))
    source = open_item(path)
    np.testing.assert_array_equal(source.read(whole(source.grid)).values, LAND)
    assert "declares no scale" in source.tags["recognised"]


def test_what_is_no_item_or_has_no_bands_is_refused(tmp_path):
    path = tmp_path / "x.json"
    for text, said in (
        ('{"type": "FeatureCollection", "features": []}', "no STAC item"),
        ("[]", "no STAC item"),
        ("nothing", "no STAC item"),
        (json.dumps(local() | {"assets": {}, "collection": "x", "id": "y"}), "does not say which"),
        (json.dumps(local() | {"assets": {}}), "does not say which"),
    ):
        path.write_text(text)
        with pytest.raises(UnreadableFile, match=said):
            open_item(path)
    with pytest.raises(UnreadableFile, match="does not exist"):
        open_item(tmp_path / "no.json")
    assert is_item(path)
    path.write_text('{"type": "FeatureCollection", "features": []}')  # an area
    assert not is_item(path)
    assert not is_item("https://example.org/a.tif")


def test_an_item_of_a_server_is_read_there_and_names_nothing_of_this_machine(tmp_path):
    path = written(tmp_path, local(style="c1"), LAND + 1000)
    with counting_host(tmp_path) as host:
        source = open_item(f"{host.url}/item.json")
        np.testing.assert_array_equal(source.read(whole(source.grid)).values, LAND)
        own = local(style="c1")
        own["assets"]["red"]["href"] = str(tmp_path / "B04.tif")
        path.write_text(json.dumps(own))
        with pytest.raises(SelionError):
            open_item(f"{host.url}/item.json")
