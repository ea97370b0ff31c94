"""The scene classification: which codes are clear, unknown ones, margins, real scenes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selion.errors import BadInput
from selion.grid import whole
from selion.imagery.clouds import (
    CLASSES,
    CLOUDY,
    EXCLUDED,
    clear,
    names_of,
    parse_excluded,
    widened,
)
from selion.store import open_raster

REAL = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "satellite"
    / "clouds"
    / "s2_l2a_29RKH_overview"
)


def test_codes_of_the_paper():
    codes = np.arange(256, dtype=np.uint8).reshape(16, 16)
    seen = clear(codes)
    assert set(codes[seen].tolist()) == {2, 4, 5, 6, 11}
    assert {0, 1, 3, 7, 8, 9, 10} == EXCLUDED
    assert set(codes[clear(codes, {0, 2, 11})].tolist()) == {1, 3, 4, 5, 6, 7, 8, 9, 10}


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int64", "int32"])
def test_unknown_codes_are_not_clear_in_any_type(dtype):
    codes = np.array([[-1, 4, 12, 120, 5, 0]]).astype(dtype)
    if dtype in ("int16", "uint16", "int64", "int32"):
        codes = np.concatenate([codes, np.array([[256 + 4, 260, 4, 4, 4, 300]]).astype(dtype)], 1)
    assert np.flatnonzero(clear(codes)).tolist() == [
        k for k, code in enumerate(codes[0]) if code in (4, 5)
    ]


def test_floats_are_refused():
    with pytest.raises(BadInput, match="whole numbers"):
        clear(np.zeros((3, 3)))


def test_margin_is_measured_in_metres():
    codes = np.full((21, 21), 4, np.uint8)
    codes[10, 10] = 9
    rows, columns = np.mgrid[:21, :21] - 10
    distance = 20 * np.hypot(rows, columns)
    assert np.array_equal(clear(codes, margin=60), distance > 60)
    assert np.array_equal(clear(codes, margin=60, gsd=10), distance / 2 > 60)
    assert np.array_equal(clear(codes), codes == 4)


def test_margin_is_laid_around_clouds_only():
    codes = np.full((9, 9), 4, np.uint8)
    codes[4, 4] = 0  # no data, no cloud
    assert clear(codes, margin=40).sum() == 80
    codes[4, 4] = 77
    assert clear(codes, margin=40).sum() == 80
    codes[4, 4] = 10
    assert clear(codes, margin=40).sum() < 80
    assert clear(codes, EXCLUDED - {10}, margin=40).sum() == 81


@given(arrays(np.uint8, (7, 9), elements=st.integers(0, 13)), st.floats(0, 90), st.floats(0, 90))
@settings(max_examples=60, deadline=None)
def test_a_wider_margin_never_shows_more(codes, one, other):
    less, more = sorted((one, other))
    assert not (clear(codes, margin=more) & ~clear(codes, margin=less)).any()
    assert not (clear(codes, margin=more) & ~clear(codes)).any()


def test_stacks():
    codes = np.random.default_rng(0).integers(0, 12, (3, 8, 8)).astype(np.uint8)
    assert np.array_equal(
        clear(codes, margin=30), np.stack([clear(layer, margin=30) for layer in codes])
    )
    assert not widened(np.zeros((2, 3, 3), bool), 2).any()


def test_parsing_and_names():
    assert parse_excluded("0, 1;3") == {0, 1, 3}
    assert parse_excluded("") == frozenset()
    assert names_of({10, 3}) == "cloud shadow (3), thin cirrus (10)"
    for bad in ("0,12", "cloud", [4.5, "x"]):
        with pytest.raises(BadInput, match="not a class"):
            parse_excluded(bad)
    with pytest.raises(BadInput, match="leave at least one"):
        parse_excluded(CLASSES)
    with pytest.raises(BadInput, match="margin"):
        clear(np.zeros((2, 2), np.uint8), margin=-1)
    with pytest.raises(BadInput, match="not a class"):
        clear(np.zeros((2, 2), np.uint8), {99})


@pytest.mark.skipif(not REAL.is_dir(), reason="shared/data/satellite/clouds is not there")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_real_scene():
    source = open_raster(REAL / "SCL.tif")
    codes = source.read(whole(source.grid)).values[0]
    seen = clear(codes)
    assert set(np.unique(codes)) == {2, 5, 7, 8, 9, 10}
    assert seen.mean() == pytest.approx(0.9594, abs=0.001)
    assert (codes[~seen][:, None] == sorted(CLOUDY)).any(1).all()
    red = open_raster(REAL / "B04.tif")
    numbers = red.read(whole(red.grid)).values[0]
    # what is left out is brighter
    fine = seen.repeat(2, axis=0).repeat(2, axis=1)  # 20 m to 10 m: both share their corner
    assert np.median(numbers[fine]) < np.median(numbers[~fine])
