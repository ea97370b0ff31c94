"""Canny's edges beside the algorithm written out pixel by pixel, and agreement of labels with
them.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selion.training.edges import canny, edge_agreement


def slow_canny(image, low, high):
    """One pixel after the other, with a stack for the hysteresis."""
    rows, columns = image.shape

    def at(i, j):
        return int(image[min(max(i, 0), rows - 1), min(max(j, 0), columns - 1)])

    dx, dy = {}, {}
    for i in range(rows):
        for j in range(columns):
            dx[i, j] = sum(
                w * (at(i + k, j + 1) - at(i + k, j - 1)) for k, w in ((-1, 1), (0, 2), (1, 1))
            )
            dy[i, j] = sum(
                w * (at(i + 1, j + k) - at(i - 1, j + k)) for k, w in ((-1, 1), (0, 2), (1, 1))
            )
    size = {p: abs(dx[p]) + abs(dy[p]) for p in dx}
    kept = {}
    for (i, j), here in size.items():
        x, y = abs(dx[i, j]), abs(dy[i, j]) << 15
        if here <= low:
            continue
        if y < x * 13573:
            good = here > size.get((i, j - 1), 0) and here >= size.get((i, j + 1), 0)
        elif y > x * 13573 + (x << 16):
            good = here > size.get((i - 1, j), 0) and here >= size.get((i + 1, j), 0)
        else:
            s = -1 if (dx[i, j] ^ dy[i, j]) < 0 else 1
            good = here > size.get((i - 1, j - s), 0) and here > size.get((i + 1, j + s), 0)
        if good:
            kept[i, j] = here
    stack = [p for p, here in kept.items() if here > high]
    found = np.zeros(image.shape, bool)
    while stack:
        i, j = stack.pop()
        if not found[i, j]:
            found[i, j] = True
            stack += [
                (i + a, j + b)
                for a in (-1, 0, 1)
                for b in (-1, 0, 1)
                if (i + a, j + b) in kept and not found[i + a, j + b]
            ]
    return found


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 3]))
def test_equals_the_algorithm_written_out(seed, smooth):
    from scipy import ndimage

    image = np.random.default_rng(seed).random((17, 23))
    image = ndimage.gaussian_filter(image, smooth)
    image = ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)
    assert np.array_equal(canny(image, 50, 150), slow_canny(image, 50, 150))


def test_a_step_has_one_line_and_an_even_image_none():
    step = np.zeros((20, 20), np.uint8)
    step[:, 10:] = 200
    found = canny(step, 50, 150)
    assert found.sum() == 20
    assert found[:, 9].all() or found[:, 10].all()
    assert not canny(np.full((20, 20), 7, np.uint8), 50, 150).any()


def test_labels_stay_only_where_some_band_has_an_edge():
    pixels = np.zeros((3, 20, 20), np.float32)
    pixels[0, :, 10:] = 5000
    pixels[2, 10:] = 3
    labels = np.ones((20, 20), np.uint8)
    labels[0] = 255
    found = edge_agreement(pixels, labels)
    lines = canny((pixels[0] / 5000 * 255).astype(np.uint8), 50, 150) | canny(
        (pixels[2] / 3 * 255).astype(np.uint8), 50, 150
    )
    assert np.array_equal(found == 1, lines & (labels == 1))
    assert set(np.unique(found)) == {1, 255}
    assert lines.sum() == pytest.approx(39, abs=3)
