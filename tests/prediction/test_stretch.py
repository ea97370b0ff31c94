"""Percentiles of the whole image become 0 and 255: exact, and whatever is read of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion import models, prediction
from selion.classes import FTW2
from selion.errors import BadInput
from selion.grid import photo_grid, tiles, whole
from selion.models.card import read_card, write_card
from selion.prediction import stretch
from selion.prediction.stretch import Stretched, percentiles_of
from selion.raster import Raster
from selion.segmenter import InputSpec, PlainModel


@pytest.fixture(autouse=True)
def small_squares(monkeypatch):
    """Many squares are read where one would do."""
    monkeypatch.setattr(stretch, "READ", 32)


def image(values, valid=None):
    values = np.asarray(values)
    names = tuple(f"b{k}" for k in range(len(values)))
    return Raster(values, photo_grid(values.shape[1:]), names, valid)


def by_numpy(values, valid, percentiles):
    """The same by numpy over all numbers at once."""
    kept = values[np.isfinite(values) & (values > 0) & (True if valid is None else valid)]
    return np.percentile(kept.astype(np.float64), percentiles) if kept.size else (0, 255)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(["uint16", "int16", "int8", "float32", "float16", "int32"]),
    percentiles=st.sampled_from([(1, 99), (0, 100), (2.5, 50), (33, 33.5)]),
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    masked=st.booleans(),
)
def test_percentiles_are_numpys(seed, kind, percentiles, shape, masked):
    rng = np.random.default_rng(seed)
    values = rng.normal(40, 40, (2, *shape)) * rng.choice([0.01, 1, 100])
    values = np.clip(values, -120, 30000 if kind != "int8" else 127)
    values = values.clip(0) if kind == "uint16" else values
    values = values.astype(kind)
    if kind.startswith("float"):
        values[0, 0, 0] = np.nan
        values[1, -1, -1] = np.inf
    valid = rng.random(shape) < 0.7 if masked else None
    found = percentiles_of(image(values, valid), (1, 0), percentiles)
    for got, plane in zip(found, values[::-1], strict=True):
        # float16 is exact in float32, and so is every number here
        assert got == pytest.approx(by_numpy(plane, valid, percentiles), rel=1e-12)


def test_a_stretch_by_hand():
    values = np.zeros((2, 1, 101), np.uint16)
    values[0, 0] = np.arange(1000, 1101)  # percentiles 1 and 99 are 1001 and 1099
    values[1, 0] = 7
    found = Stretched(image(values), (1.0, 99.0), (0,)).read(whole(photo_grid((1, 101))))
    assert found.dtype == np.float32
    assert found.values[0, 0, [0, 1, 50, 99, 100]].tolist() == [0, 0, 127.5, 255, 255]
    assert (found.values[1] == 7).all()  # a band that the model does not see


def test_nothing_above_zero_and_a_flat_band():
    empty = Stretched(image(np.zeros((1, 4, 4), np.int16)), chosen=(0,))
    assert empty.bounds.tolist() == [[0, 255]]
    flat = Stretched(image(np.full((1, 4, 4), 9, np.int16)), chosen=(0,))
    assert not flat.read((slice(0, 4), slice(0, 4))).values.any()


def test_parts_equal_the_whole_and_holes_stay():
    rng = np.random.default_rng(2)
    values = rng.gamma(3, 400, (3, 90, 110)).astype(np.float32)
    values[:, 5, 7] = np.nan
    valid = rng.random((90, 110)) < 0.9
    source = image(values, valid)
    entire = Stretched(source, chosen=(0, 1, 2)).read(whole(source.grid))
    for roi in tiles((90, 110), 37):
        part = Stretched(source, chosen=(0, 1, 2)).read(roi)
        assert np.array_equal(part.values, entire.values[:, *roi], equal_nan=True)
        assert np.array_equal(part.valid, valid[roi])
    assert np.isnan(entire.values[:, 5, 7]).all()


class Kept:
    """Answers background and keeps what it is shown."""

    classes = FTW2

    def __init__(self, percentiles=(1.0, 99.0), **more):
        bands = ("b0", "b1", "b2")
        self.inputs = InputSpec(bands, window=64, multiple=1, stretch=percentiles, **more)
        self.seen = {}

    def __call__(self, views):
        for view in views:
            self.seen[view.roi[0].start, view.roi[1].start] = view.pixels
        shape = views[0].pixels.shape[1:]
        return np.stack([np.stack([np.ones(shape), np.zeros(shape)]) for _ in views]).astype("f4")


@pytest.mark.parametrize("block", [64, 100, 2048])
def test_every_window_is_stretched_by_the_whole_image(block):
    values = np.random.default_rng(0).gamma(2, 500, (3, 150, 170)).astype(np.uint16)
    values[:, :64, :64] //= 10  # a dark corner stays dark
    model = Kept()
    options = prediction.PredictOptions(block=block)
    prediction.predict(image(values), PlainModel(model), options=options)
    for (top, left), pixels in model.seen.items():
        own = values[:, top : top + 64, left : left + 64].astype(float)
        for band, plane in enumerate(own):
            low, high = np.percentile(values[band][values[band] > 0], [1, 99])
            expected = ((plane - low) / (high - low)).clip(0, 1) * 255
            seen = pixels[band, : plane.shape[0], : plane.shape[1]]
            assert np.allclose(seen, expected, atol=1e-3)
    assert model.seen[0, 0].mean() < 20


def test_bytes_stay_bytes_and_the_plan_says_what_is_done():
    values = np.random.default_rng(0).integers(0, 200, (3, 64, 64))
    for kind, stretched in (("uint8", False), ("uint16", True)):
        model = Kept()
        plan = prediction.plan(image(values.astype(kind)), PlainModel(model))
        assert any("percentiles 1 and 99 of the whole" in note for note in plan.notes) == stretched
        prediction.predict(image(values.astype(kind)), PlainModel(model))
        assert np.array_equal(model.seen[0, 0], values) == (not stretched)
    other = prediction.plan(image(values.astype("uint16")), PlainModel(Kept((2.0, 98.0))))
    assert other.key != plan.key


def test_percentiles_that_cannot_be():
    with pytest.raises(BadInput, match=r"percentiles \(99.0, 1.0\).*the lower one first"):
        Kept((99.0, 1.0))


def test_cards_carry_it(tmp_path):
    card = models.find_card("DelineateAnything")
    assert card.inputs.stretch == (1.0, 99.0)
    write_card(card, tmp_path / "card.toml")
    assert read_card(tmp_path) == card
    assert "percentiles 1 and 99 of the image" in models.describe(card)["window"]
    assert models.find_card("sam-vit-base").inputs.stretch == (1.0, 99.0)
    assert models.find_card("FTW_PRUE_EFNET_B3").inputs.stretch is None
