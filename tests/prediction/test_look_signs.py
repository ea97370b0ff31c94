"""What pixels show though nothing says it: enlarged, grey, drawn, false colours, dates apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from scipy import ndimage
from tests.prediction.test_look import COLOURS, INPUTS, PAIR, date, raster

from selion.grid import photo_grid
from selion.prediction import judged, look_at, understood
from selion.prediction.look_signs import dim, doubted_colours, enlargement, offset
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "satellite"
RGB = InputSpec(COLOURS[:3], Scaling((255.0,), (0.0,), (0.0, 1.0)), (1.65, 4.5))
RNG = np.random.default_rng(5)
FINE = ndimage.gaussian_filter(RNG.normal(0, 60, (96, 96)), 0.5).cumsum(0).cumsum(1) % 200


def colours(values):
    return dict(zip(("red", "green", "blue"), values.reshape(3, -1).astype(float), strict=True))


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda v: v[:3], ""),
        (lambda v: v[[1, 1, 1]], "grey"),
        (lambda v: v[:3] // 2000 * 2000, "drawn map"),
        (lambda v: v[[3, 0, 1]], "CIR"),
        (lambda v: v[[2, 1, 0]], "--bands 3,2,1"),
        (lambda v: v[:3].max() - v[:3], "negative"),
    ],
)
def test_colours_that_are_none(made, said):
    found = doubted_colours(colours(made(date(3))))
    assert said in " ".join(found) if said else not found


def test_real_colours_are_not_doubted():
    chips = sorted((DATA / "vhr_naip_usa" / "images").glob("*.tif"))[::9]
    if not chips:
        pytest.skip("the NAIP chips are not beside the checkout")
    for path in chips:
        with rasterio.open(path) as file:
            values = file.read(window=((0, 256), (0, 256)))
        assert not doubted_colours(colours(values))
        assert not dim(values.reshape(3, -1))
        assert "at most" in dim(values.reshape(3, -1) // 8)[0]
        assert enlargement([values[:, :64, :64], values[:, 64:128, 64:128]]) == 1
        for times in (4, 8):
            parts = [ndimage.zoom(band[:16, :16].astype(float), times, order=1) for band in values]
            assert enlargement([np.stack(parts)[:, :64, :64]]) >= times / 2
            grown = values[:, :16, :16].repeat(times, 1).repeat(times, 2)
            assert enlargement([grown]) == pytest.approx(times, rel=0.1)


def test_an_image_is_judged_by_the_detail_that_it_shows():
    look = replace(look_at(raster(PAIR[:3], COLOURS[:3], 1.0)), enlarged=10.0)
    assert "no detail finer than about 10 m" in " ".join(judged(look, RGB, chosen=False))
    assert look.shown_gsd == pytest.approx(10, rel=1e-3)
    assert replace(look, enlarged=2.0).shown_gsd == look.gsd


def test_few_pixels_are_said():
    look = look_at(raster(PAIR[:3], COLOURS[:3], 0.05))
    assert "shows no whole field" in " ".join(judged(look, RGB, chosen=False))


@pytest.mark.parametrize("shift", [(0, 0), (5, 5), (-2, 0), (3, -9)])
def test_dates_that_lie_apart(shift):
    path = DATA / "s2_unlabelled" / "ftw_inn_pair" / "s2_pair_8band.tif"
    if not path.exists():
        pytest.skip("the Inn pair is not beside the checkout")
    with rasterio.open(path) as file:
        values = file.read().astype(float)
    last = np.roll(values[4:], shift, (1, 2))
    places = [
        (values[:4, y : y + 64, x : x + 64], last[:, y : y + 64, x : x + 64])
        for y in (20, 130, 240)
        for x in (20, 180, 340)
    ]
    assert offset(places) == shift


def test_dates_apart_are_a_warning_and_others_not():
    fine = np.stack([FINE + 300 * k for k in range(1, 5)])
    said = look_at(raster(np.concatenate([fine, np.roll(fine, 4, 1)]))).warnings
    assert any("4 pixels apart (+4 rows, +0 columns)" in text for text in said)
    assert not any("apart" in text for text in look_at(raster(PAIR)).warnings)


@pytest.mark.parametrize("bands", [slice(0, 8), slice(4, 8)])
def test_a_border_of_zeros_is_missing(bands):
    values = PAIR.astype(np.uint16)
    values[bands, :, :40] = 0
    made, look = understood(raster(values), look_at(raster(values)), INPUTS)
    assert "0 in all bands of a date are taken as missing" in " ".join(look.said)
    part = made.read((slice(0, 96), slice(0, 96)))
    assert not part.valid[:, :40].any()
    assert part.valid[:, 40:].all()


def test_a_photograph_may_be_black_at_its_edge():
    values = RNG.integers(1, 250, (3, 96, 96)).astype(np.uint8)
    values[:, :, :40] = 0
    placed = raster(values, COLOURS[:3])
    assert look_at(placed).fillers == (0.0,)
    assert look_at(Raster(values, photo_grid((96, 96)), COLOURS[:3])).fillers == ()


def test_the_right_order_by_the_user_answers_a_doubt():
    look = look_at(raster(date(1)[[2, 1, 0]], COLOURS[:3]))
    assert "--bands 3,2,1" in " ".join(look.of_order)
    assert set(look.of_order) <= set(look.warnings)


@pytest.mark.parametrize(
    "place",
    [
        np.indices((64, 64)).sum(0)[None] % 2 * 1.0,
        RNG.normal(0, 1, (1, 64, 64)) * 1e200,
        np.full((1, 64, 64), 7.0),
        np.zeros((1, 8, 8)),
    ],
)
def test_odd_numbers_end_in_no_warning(place):
    assert enlargement([place]) >= 1
    assert offset([(place, place)]) == (0, 0)
