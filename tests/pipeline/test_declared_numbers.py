"""What a file's own scale and offset say of its numbers, beside those that are right."""

from __future__ import annotations

import numpy as np
import pytest
import rasterio
from affine import Affine

from selion.grid import whole
from selion.pipeline.opening import open_dates

PLACE = {"transform": Affine(10, 0, 5e5, 0, -10, 5.3e6), "crs": "EPSG:32633"}
NAMES = ("red", "green", "blue", "nir")
RNG = np.random.default_rng(3)
KINDS = np.array([[300, 600, 250, 4000], [2000, 1500, 1000, 2700], [200, 300, 350, 80]])
COVER = np.kron(RNG.choice(3, (8, 12), p=[0.5, 0.4, 0.1]), np.ones((8, 8), int))
RIGHT = KINDS.T[:, COVER] + RNG.integers(-15, 16, (4, 64, 96))
"""Crop, soil and water: reflectance times 10000."""


def written(path, values, scale=1.0, offset=0.0, names=NAMES, nodata=None):
    """Write numbers with GDAL's <Scale> and <Offset>, of all bands or one for each."""
    height, width = values.shape[1:]
    shape = {"count": len(values), "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver="GTiff", nodata=nodata, **shape, **PLACE) as file:
        file.write(values)
        file.scales = np.broadcast_to(scale, len(values)).tolist()
        file.offsets = np.broadcast_to(offset, len(values)).tolist()
        for k, name in enumerate(names, 1):
            file.set_band_description(k, name)
    return path


def stored(scale, offset, kind=np.uint16):
    """Return the numbers that give RIGHT: reflectance = number * scale + offset."""
    scale, offset = (np.broadcast_to(one, 4)[:, None, None] for one in (scale, offset))
    return np.round((RIGHT / 10_000 - offset) / scale).astype(kind)


def read(opened):
    return opened.source.read(whole(opened.source.grid))


@pytest.mark.parametrize(
    ("scale", "offset", "kind"),
    [
        (1e-4, -0.1, np.uint16),  # Sentinel-2 since 2022
        (2.75e-5, -0.2, np.uint16),  # Landsat, collection 2
        (2e-5, 0.0, np.uint16),
        (1e-5, 0.3, np.int16),
        ((1e-5, 2e-5, 4e-5, 8e-5), (0.0, -0.05, -0.1, -0.2), np.uint16),
        (0.01, 0.0, np.float32),  # percent
        (1 / 16384, 0.0, np.float32),
    ],
)
def test_the_scale_and_offset_of_a_file_are_applied_and_told(scale, offset, kind, tmp_path):
    opened = open_dates([written(tmp_path / "i.tif", stored(scale, offset, kind), scale, offset)])
    step = 10_000 * np.max(scale)  # numbers are whole
    np.testing.assert_allclose(read(opened).values, RIGHT, atol=0.51 * max(step, 1))
    assert [(kind.gain, kind.shift, kind.doubt) for kind in opened.look.kinds] == [(1, 0, "")]
    assert "own scale" in " ".join(opened.look.said)
    assert ("offset" in " ".join(opened.look.said)) == bool(np.any(offset))
    assert opened.look.warnings == ()


def test_of_two_files_each_is_brought_by_its_own(tmp_path):
    spring = written(tmp_path / "a_2023-04-20.tif", stored(2.75e-5, -0.2), 2.75e-5, -0.2)
    summer = written(tmp_path / "b_2023-08-03.tif", RIGHT.astype(np.uint16))
    opened = open_dates([summer, spring])
    np.testing.assert_allclose(read(opened).values, np.concatenate([RIGHT, RIGHT]), atol=1)
    assert sum("own scale" in text for text in opened.said) == 1
    bands = [
        written(tmp_path / f"{name}.tif", stored(1e-5, -0.1)[k : k + 1], 1e-5, -0.1, ())
        for k, name in enumerate(NAMES)
    ]
    found = open_dates(bands)
    assert found.source.bands == NAMES
    np.testing.assert_allclose(read(found).values, RIGHT, atol=1)


def test_what_stands_for_nothing_is_not_scaled(tmp_path):
    values = stored(1e-4, -0.1)
    values[:, :20] = 0  # as of every product with an offset, whoever forgot to say so
    found = read(open_dates([written(tmp_path / "i.tif", values, 1e-4, -0.1)]))
    assert not found.valid[:20].any()
    assert found.valid[20:].all()
    values[:, :20] = 7
    found = read(open_dates([written(tmp_path / "n.tif", values, 1e-4, -0.1, nodata=7)]))
    assert not found.valid[:20].any()


def test_a_scale_that_cannot_be_right_is_left_aside_with_a_warning(tmp_path):
    """Numbers were converted and the tags stayed, as programs that copy a profile do."""
    path = written(tmp_path / "i.tif", (RIGHT / 1e4).astype(np.float32), 2.75e-5, -0.2)
    opened = open_dates([path])
    np.testing.assert_allclose(read(opened).values, RIGHT / 1e4, atol=1e-6)
    assert "left aside" in " ".join(opened.look.warnings)
    assert opened.look.kinds[0].name == "reflectance"


def test_an_offset_that_was_taken_away_before_is_a_warning(tmp_path):
    """By the tags a crop would reflect less than nothing."""
    opened = open_dates([written(tmp_path / "i.tif", RIGHT.astype(np.uint16), 1e-4, -0.1)])
    assert any("dense vegetation" in kind.doubt for kind in opened.look.kinds)


def test_a_scale_without_an_offset_says_nothing_of_one(tmp_path):
    """HARMONISE forgot: 1000 was added, and the file's scale of 0.0001 does not know it."""
    values = ((RIGHT + 1000) * 5).astype(np.uint16)
    opened = open_dates([written(tmp_path / "i.tif", values, 2e-5)])
    assert [(kind.gain, kind.shift) for kind in opened.look.kinds] == [(1, -1000)]


@pytest.mark.parametrize(("kind", "scale"), [(np.uint8, 1 / 255), (np.uint16, 1e-4)])
def test_bytes_and_digital_numbers_stay_as_they_are(kind, scale, tmp_path):
    values = (RIGHT // 20).astype(kind) if kind is np.uint8 else RIGHT.astype(kind)
    opened = open_dates([written(tmp_path / "i.tif", values, scale)])
    assert opened.source.dtype == kind
    np.testing.assert_array_equal(read(opened).values, values)
