"""Printed markers: found at any angle, somewhat tilted, in uneven light, of the right size; and not
found where there is none.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from skimage.transform import ProjectiveTransform, warp

from selion.closerange import draw_marker, find_markers, write_marker
from selion.closerange.marker import DPI, PAPER
from selion.errors import BadInput, OutputExists
from selion.simulation.landscape import simulate_photo

FOCAL = 3000.0


def place(photo, diameter, centre, turn=0.0, tilt=0.0, light=0.0, blur=0.7, noise=3.0):
    """Lay a marker of ``diameter`` px on a (3, y, x) photograph: turned in its plane and tilted
    (degrees) before a pinhole camera, under light that changes from left to right by the share
    ``light``, through a blurred lens, with noise.
    """
    paper = draw_marker(50.0)
    edge = paper.shape[1]
    paper, scale = paper[:edge].astype(np.float64), 50 / 25.4 * DPI / diameter
    angle, lean = np.radians([turn, tilt])
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    camera = np.array([[FOCAL, 0, centre[0]], [0, FOCAL, centre[1]], [0, 0, 1]])
    plane = np.array([[1, 0, 0], [0, np.cos(lean), 0], [0, np.sin(lean), FOCAL]])
    to_photo = (
        camera
        @ plane
        @ rotation
        @ np.array(
            [[1 / scale, 0, -edge / 2 / scale], [0, 1 / scale, -edge / 2 / scale], [0, 0, 1]]
        )
    )
    back = ProjectiveTransform(np.linalg.inv(to_photo))
    shape = photo.shape[1:]
    printed = warp(ndimage.gaussian_filter(paper, scale / 3), back, output_shape=shape, order=1)
    there = warp(np.ones_like(paper), back, output_shape=shape, order=1) > 0.999
    lit = np.where(there, 25 + 0.85 * printed, photo) * (
        1 + light * (np.arange(shape[1]) / shape[1] - 0.5)
    )
    seen = ndimage.gaussian_filter(lit, (0, blur, blur)) + np.random.default_rng(0).normal(
        0, noise, photo.shape
    )
    return np.clip(seen, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def ground():
    return simulate_photo(1, (480, 640)).image.values


@pytest.mark.parametrize(
    ("diameter", "turn", "tilt", "light"),
    [
        (30, 0, 0, 0),
        (40, 33, 8, 0.8),
        (75, 140, 15, -0.9),
        (150, 71, 4, 0.5),
        (200, 250, 20, -0.5),
        (60, 10, 25, 1.0),
    ],
)
def test_found_and_measured(ground, diameter, turn, tilt, light):
    found = find_markers(place(ground, diameter, (300, 250), turn, tilt, light))
    assert len(found) == 1
    assert found[0].x == pytest.approx(300, abs=1.5)
    assert found[0].y == pytest.approx(250, abs=1.5)
    # the plane is foreshortened in one direction
    seen = diameter * np.sqrt(np.cos(np.radians(tilt)))
    assert found[0].diameter == pytest.approx(seen, rel=0.015)
    assert found[0].gsd(50.0) == pytest.approx(50 / seen, rel=0.015)
    assert found[0].tilt == pytest.approx(1 / np.cos(np.radians(tilt)), abs=0.04)


@pytest.mark.parametrize("diameter", [28, 60, 130])
def test_any_position_in_the_pixel(ground, diameter):
    sizes = [
        find_markers(place(ground, diameter, (320 + k * 0.37, 240 - k * 0.21), 20 * k))[0].diameter
        for k in range(3)
    ]
    assert np.ptp(sizes) < 0.02 * diameter
    assert np.mean(sizes) == pytest.approx(diameter, rel=0.012)


def test_large_photograph_is_measured_at_full_resolution(ground):
    large = np.tile(ground, (1, 3, 5))  # 3,200 pixels long: looked for in halves
    large[:, 600:1400, 1200:2000] = place(
        large[:, 600:1400, 1200:2000], 233.0, (401.3, 399.7), 12, 5
    )
    found = find_markers(large)
    assert [marker.diameter for marker in found] == [
        pytest.approx(233 * np.sqrt(np.cos(np.radians(5))), rel=0.004)
    ]
    assert (found[0].x, found[0].y) == (
        pytest.approx(1601.3, abs=0.7),
        pytest.approx(999.7, abs=0.7),
    )


def test_several(ground):
    both = place(place(ground, 80, (150, 150)), 80, (480, 330), 45)
    assert len(find_markers(both)) == 2


def test_not_found_where_there_is_none(ground):
    assert find_markers(ground) == []
    for seed in (2, 3, 4):
        assert find_markers(simulate_photo(seed, (300, 400)).image.values) == []
    noise = np.random.default_rng(0).integers(0, 256, (3, 300, 400)).astype(np.uint8)
    assert find_markers(noise) == []
    assert find_markers(np.full((3, 200, 200), 90, np.uint8)) == []
    for size in ((1, 1), (5, 5), (40, 300)):
        assert find_markers(np.zeros((3, *size), np.uint8)) == []


def test_other_rings_are_not_markers():
    """The same circles in other proportions, and a marker that hangs out of the photograph."""
    rows, columns = np.mgrid[:300, :300] - 149.5
    away = np.hypot(rows, columns) / 50
    for dot, ring in ((0.1, 0.6), (0.3, 0.9), (0.5, 0.6), (0.0, 0.6)):
        target = np.where((away < dot) | ((away >= ring) & (away < 1)), 20, 230).astype(np.uint8)
        assert find_markers(target) == [], (dot, ring)
    right = np.where((away < 0.3) | ((away >= 0.6) & (away < 1)), 20, 230).astype(np.uint8)
    assert find_markers(right)[0].diameter == pytest.approx(100, rel=0.01)
    assert find_markers(right[110:]) == []


def test_seen_too_obliquely(ground):
    assert find_markers(place(ground, 120, (320, 240), tilt=62)) == []


@pytest.mark.parametrize("millimetres", [20.0, 50.0])
def test_printed_size(tmp_path, millimetres):
    path = write_marker(tmp_path / "marker.png", millimetres)
    with Image.open(path) as image:
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.1)
        drawn = np.asarray(image)
    assert find_markers(np.pad(drawn, 40, constant_values=255))[0].gsd(
        millimetres
    ) == pytest.approx(25.4 / DPI, rel=0.005)
    assert drawn.shape[1] == pytest.approx(PAPER * millimetres / 25.4 * DPI, abs=1)
    assert (drawn[drawn.shape[1] :] < 100).any(), "a line of words says how large it is"
    with pytest.raises(OutputExists):
        write_marker(path, millimetres)


def test_print_as_pdf_and_refusals(tmp_path):
    assert write_marker(tmp_path / "marker.pdf", 30.0).read_bytes().startswith(b"%PDF")
    with pytest.raises(BadInput, match=r"\.png or \.pdf"):
        write_marker(tmp_path / "marker.svg", 30.0)
    with pytest.raises(BadInput, match="5 to 1000 mm"):
        write_marker(tmp_path / "large.png", 5000.0)
