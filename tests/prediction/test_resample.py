import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predict_toys import Procedural, utm_grid
from selion.errors import BadInput, GridMismatch
from selion.grid import photo_grid, whole
from selion.prediction.resample import Axis, Resampled, scale_to, snap, working_grid
from selion.raster import Raster


def image(values, valid=None, gsd=10.0):
    values = np.asarray(values)
    return Raster(
        values,
        utm_grid(values.shape[1:], gsd),
        tuple(f"band{k}" for k in range(len(values))),
        valid,
    )


scales = st.sampled_from([0.11, 0.25, 1 / 3, 0.5, 0.6, 0.97, 1.0, 1.3, 2.0, 2.5, 3.7])


@settings(max_examples=60, deadline=None)
@given(
    scales, scales, st.sampled_from([0, 5, -1]), st.sampled_from(["uint16", "float32"]), st.data()
)
def test_a_region_alone_equals_the_whole(scale_y, scale_x, holes, dtype, data):
    source = Resampled(
        Procedural(utm_grid((61, 47)), dtype=np.dtype(dtype), holes=holes), (scale_y, scale_x)
    )
    full = source.read(whole(source.grid))
    height, width = source.grid.shape
    top = data.draw(st.integers(0, height - 1))
    left = data.draw(st.integers(0, width - 1))
    roi = (
        slice(top, data.draw(st.integers(top + 1, height))),
        slice(left, data.draw(st.integers(left + 1, width))),
    )
    part = source.read(roi)
    assert part.values.tobytes() == np.ascontiguousarray(full.values[:, *roi]).tobytes()
    assert part.grid == source.grid[roi]
    ones = np.ones(full.values.shape[1:], bool)
    assert np.array_equal(
        part.valid if part.valid is not None else ones[roi],
        (full.valid if full.valid is not None else ones)[roi],
    )
    assert np.isfinite(full.values).all()


@given(st.integers(1, 200), st.integers(1, 200))
def test_taps_are_weights_within_the_axis(size_in, size_out):
    index, weights = Axis(size_in, size_out).taps(0, size_out)
    assert index.min() >= 0
    assert index.max() < size_in
    assert (weights >= 0).all()
    assert np.abs(weights.sum(0) - 1).max() < 1e-5
    # pixel centres keep their place: the weighted mean of the input centres is the output centre
    # (away from the clamped edges)
    centre = (weights * (index + 0.5)).sum(0) * size_out / size_in
    inner = (
        slice(None)
        if size_in >= size_out
        else slice(-(-size_out // size_in), size_out - -(-size_out // size_in))
    )
    # an average of whole pixels moves the centre of mass by less than half an input pixel
    if size_in >= size_out:
        assert (
            np.abs(centre - (np.arange(size_out) + 0.5))[inner].max()
            <= 0.5 * size_out / size_in + 1e-4
        )
    elif size_in > 2:
        assert np.abs(centre - (np.arange(size_out) + 0.5))[inner].max(initial=0) < 1e-3


def test_halving_is_the_mean_of_two_by_two():
    values = np.arange(2 * 6 * 8, dtype=np.uint16).reshape(2, 6, 8)
    down = Resampled(image(values), (0.5, 0.5))
    wanted = values.reshape(2, 3, 2, 4, 2).mean((2, 4))
    assert np.array_equal(down.read(whole(down.grid)).values, wanted.astype(np.float32))
    assert down.grid.shape == (3, 4)
    assert down.grid.transform.a == 20.0
    assert down.dtype == np.float32


@given(st.integers(1, 60), st.integers(1, 60))
def test_averaging_down_keeps_the_mean(height, width):
    source = Procedural(utm_grid((60, 60)), dtype=np.dtype(np.float32))
    down = Resampled(source, (height / 60, width / 60))
    values = down.read(whole(down.grid)).values
    assert values.shape[1:] == (height, width)
    assert np.allclose(
        values.mean((1, 2)), source.read(whole(source.grid)).values.mean((1, 2)), rtol=1e-5
    )


def test_doubling_interpolates_between_centres():
    up = Resampled(image([[[0, 4, 8]]]), (1.0, 2.0))
    assert up.read(whole(up.grid)).values.tolist() == [[[0, 1, 3, 5, 7, 8]]]
    ramp = Resampled(image(np.arange(50, dtype=np.float32)[None, None].repeat(9, 1)), (3.0, 3.0))
    wanted = (np.arange(150) + 0.5) / 3 - 0.5
    assert np.allclose(ramp.read(whole(ramp.grid)).values[0, 4, 2:-2], wanted[2:-2], atol=1e-5)


def test_same_scale_changes_nothing():
    source = Procedural(utm_grid((9, 7)))
    same = Resampled(source, (1.0, 1.0))
    assert np.array_equal(
        same.read(whole(same.grid)).values, source.read(whole(source.grid)).values
    )


def test_nodata_does_not_bleed():
    values = np.full((1, 8, 8), 100.0, np.float32)
    valid = np.ones((8, 8), bool)
    values[:, 2:5, 3:6] = -9999
    valid[2:5, 3:6] = False
    values[0, 7, 7] = np.nan
    for scale in (0.5, 0.7, 1.4, 2.0):
        source = Resampled(image(values, valid), (scale, scale))
        part = source.read(whole(source.grid))
        assert np.allclose(part.values[:, part.valid], 100, atol=1e-3)
        assert not part.values[:, ~part.valid].any()
        assert 0 < (~part.valid).mean() < 0.3
    double = Resampled(image(values, valid), (2.0, 2.0)).read((slice(0, 16), slice(0, 16)))
    # never grows, never shrinks
    assert np.array_equal(double.valid[:14, :14], np.kron(valid, np.ones((2, 2), bool))[:14, :14])
    assert not double.valid[14:, 14:].any()


@given(st.floats(0.05, 5), st.integers(1, 3000), st.integers(1, 3000))
def test_working_grid_keeps_the_extent_and_the_crs(scale, height, width):
    grid = utm_grid((height, width))
    work = working_grid(grid, (scale, scale))
    assert work.crs == grid.crs
    assert np.allclose(work.extent.boundingbox.bbox, grid.extent.boundingbox.bbox, rtol=1e-12)
    assert all(
        abs(n - max(1, m * scale)) <= 0.5 + 1e-9
        for n, m in zip(work.shape, grid.shape, strict=True)
    )


def test_a_scale_is_measured_on_the_ground():
    source = Procedural(utm_grid((100, 100)))
    assert Resampled(source, scale_to(source.grid, 5.0)).grid.shape == (200, 200)
    assert Resampled(source, scale_to(source.grid, 20.0)).grid.shape == (50, 50)
    with pytest.raises(GridMismatch, match="no CRS"):
        scale_to(photo_grid((10, 10)), 5.0)
    assert Resampled(Procedural(photo_grid((10, 10))), (2.0, 2.0)).grid.crs is None
    with pytest.raises(BadInput, match="scale"):
        working_grid(source.grid, (0.0, 1.0))


def test_snap():
    assert [snap(v) for v in (1.9992, 0.50005, 1.02, 0.6, 1.0004)] == [2.0, 0.5, 1.02, 0.6, 1.0]


def test_it_travels():
    source = Resampled(Procedural(utm_grid((9, 7))), (2.0, 2.0))
    roi = slice(3, 9), slice(2, 8)
    assert np.array_equal(
        pickle.loads(pickle.dumps(source)).read(roi).values, source.read(roi).values
    )
