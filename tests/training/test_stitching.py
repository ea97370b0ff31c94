"""Chips of several images are put together again as the images were."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine

from selion import data
from selion.cli.main import main
from selion.data.burning import Burning
from selion.data.polygons import Chips, Labelled, load_polygons
from selion.data.strips import Strips
from selion.training.stitching import stitched

SIZE, FIELD = (700, 520), 70
"""Rows and columns of an image, and pixels from one field to the next."""


def write_image(path, east, seed):
    """An aerial photograph of 1 m whose numbers say where they are, and its fields."""
    rng = np.random.default_rng(seed)
    values = rng.integers(1, 255, (3, *SIZE), dtype=np.uint8)
    place = Affine(1, 0, 3e5 + east, 0, -1, 5.4e6)
    with rasterio.open(
        path, "w", driver="GTiff", width=SIZE[1], height=SIZE[0], count=3, dtype=np.uint8,
        crs="EPSG:32633", transform=place,
    ) as file:  # fmt: skip
        file.write(values)
        for k, name in enumerate(("red", "green", "blue"), 1):
            file.set_band_description(k, name)
    boxes = []
    for row in range(0, SIZE[0] - FIELD + 1, FIELD):
        for column in range(0, SIZE[1] - FIELD + 1, FIELD):
            (x, y), (u, v) = place * (column + 5, row + 5), place * (column + 66, row + 60)
            boxes.append(shapely.box(x, v, u, y))
    return values, boxes


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two images 20 km apart, of which all fields are outlined."""
    folder = tmp_path_factory.mktemp("own")
    made = {name: write_image(folder / f"{name}.tif", 2e4 * k, k) for k, name in enumerate("ab")}
    boxes = [box for _, mine in made.values() for box in mine]
    geopandas.GeoDataFrame(geometry=boxes, crs="EPSG:32633").to_parquet(folder / "f.parquet")
    return folder, {name: values for name, (values, _) in made.items()}


def labelled(folder):
    return Labelled(folder / "f.parquet", burning=Burning(width=1), complete=True)


def test_chips_of_two_images_are_the_images_again(two):
    """Pixel by pixel, and each field, which chips of 200 px cut, is one again."""
    folder, images = two
    files = [folder / "a.tif", folder / "b.tif"]
    chips = load_polygons(files, labelled(folder), Chips(200, land=Strips(0.0)))
    assert len(chips) == 24
    found = stitched(chips)
    assert [one.key for one in found] == ["a_00000_00000", "b_00000_00000"]
    for one, name in zip(found, images, strict=True):
        assert (one.image.values == images[name]).all()
        assert one.image.valid.all()
        assert one.image.grid.crs == "EPSG:32633"
        ids, count = np.unique(one.instances.ids, return_counts=True)
        assert set(count[1:].tolist()) == {61 * 55}
        assert len(ids) - 1 == (SIZE[0] // FIELD) * (SIZE[1] // FIELD) == 70
        assert one.ignore is None


def test_large_images_come_in_large_pieces(two):
    folder, images = two
    chips = load_polygons([folder / "a.tif"], labelled(folder), Chips(200, land=Strips(0.0)))
    found = stitched(chips, largest=400)
    assert [tuple(one.image.grid.shape) for one in found] == [(350, 260)] * 4
    joined = np.block([[found[0].image.values, found[1].image.values],
                       [found[2].image.values, found[3].image.values]])  # fmt: skip
    assert (joined == images["a"]).all()
    assert len(found[1:3]) == 2


def test_what_no_chip_shows_is_not_known_nor_what_reaches_into_it(two):
    folder, images = two
    chips = load_polygons([folder / "a.tif"], labelled(folder), Chips(200, land=Strips(0.0)))
    one = stitched([chips[k] for k in range(len(chips)) if k != 4])[0]
    roi = tuple(slice(start, start + side) for start, side in zip(
        map(int, chips[4].key.split("_")[1:]), chips[4].image.grid.shape, strict=True
    ))  # fmt: skip
    missing = np.zeros(SIZE, bool)
    missing[roi] = True
    for k in range(len(chips)):  # chips overlap
        if k != 4:
            row, column = map(int, chips[k].key.split("_")[1:])
            height, width = chips[k].image.grid.shape
            missing[row : row + height, column : column + width] = False
    assert missing.any()
    assert (one.image.valid == ~missing).all()
    assert (one.image.values[:, ~missing] == images["a"][:, ~missing]).all()
    assert one.ignore[missing].all()
    for number in np.unique(one.instances.ids[one.instances.ids > 0]):
        assert (one.instances.ids == number).sum() == 61 * 55, "none is cut"


def test_samples_that_are_no_chips_of_an_image_are_none(two):
    folder, _ = two
    chips = load_polygons([folder / "a.tif"], labelled(folder), Chips(200, land=Strips(0.0)))
    from dataclasses import replace

    one = chips[0]
    assert len(stitched([one])) == 0  # one alone
    other = replace(one, key="a_00000_00199")  # its place says otherwise
    assert len(stitched([one, other])) == 0
    assert len(stitched([replace(chips[k], key=f"chip{k}") for k in range(4)])) == 0


def test_a_folder_of_data_make_holds_its_images(two, tmp_path):
    folder, images = two
    main(
        [
            "data", "make", str(folder / "a.tif"), str(folder / "b.tif"),
            "-p", str(folder / "f.parquet"), "-o", str(tmp_path / "chips"),
            "--complete", "--size", "200", "--test", "0", "--val", "0",
        ]
    )  # fmt: skip
    found = stitched(data.load_dataset(tmp_path / "chips"))
    assert [one.key for one in found] == ["a_00000_00000", "b_00000_00000"]
    for one, name in zip(found, images, strict=True):
        assert (one.image.values == images[name]).all()
        sizes = np.bincount(one.instances.ids.ravel())[1:]
        assert set(sizes[sizes > 0].tolist()) == {61 * 55}
