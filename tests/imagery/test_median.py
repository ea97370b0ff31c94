from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selion.errors import BadInput
from selion.imagery.median import (
    BOTH,
    CHUNK,
    LARGEST,
    LEAST,
    masked_median,
    merge_exchange,
    needed,
    network,
)


def reference(stack):
    """The same by NumPy's masked arrays; halves rounded up."""
    seen = np.ma.masked_equal(stack, 0).astype(np.float64)
    return np.floor(np.ma.median(seen, axis=0).filled(0) + 0.5).astype(np.uint16), (stack > 0).sum(
        0
    ).astype(np.uint8)


def agrees(stack, **options):
    median, count = masked_median(stack, **options)
    expected, depth = reference(stack)
    np.testing.assert_array_equal(count, depth)
    np.testing.assert_array_equal(median, expected)
    assert median.dtype == np.uint16
    assert count.dtype == np.uint8


def noise(views, height, width, unseen=0.45, top=65536, seed=0):
    rng = np.random.default_rng(seed)
    stack = rng.integers(1, top, (views, height, width)).astype(np.uint16)
    stack[rng.random(stack.shape) < unseen] = 0
    return stack


@pytest.mark.parametrize("views", range(1, 42))
def test_every_number_of_views(views):
    agrees(noise(views, 3, 97, seed=views))
    agrees(noise(views, 2, 50, unseen=0.9, top=4, seed=views))  # mostly unseen, many ties


@pytest.mark.parametrize("views", [64, 100, 255])
def test_deep_stacks(views):
    agrees(noise(views, 1, 40, seed=views))


@given(
    arrays(
        np.uint16,
        st.tuples(st.integers(1, 45), st.integers(1, 3), st.integers(1, 5)),
        elements=st.sampled_from([0, 0, 1, 2, 3, 9999, 65534, 65535]),
    )
)
def test_law_of_the_median(stack):
    agrees(stack)


@given(
    arrays(
        np.uint16,
        st.tuples(st.integers(1, 25), st.integers(1, 4), st.integers(1, 6)),
        elements=st.integers(0, 65535),
    ),
    st.randoms(),
)
def test_order_of_time_does_not_matter(stack, random):
    order = list(range(len(stack)))
    random.shuffle(order)
    for one, other in zip(masked_median(stack), masked_median(stack[order]), strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    arrays(
        np.uint16,
        st.tuples(st.integers(1, 12), st.integers(1, 3), st.integers(1, 4)),
        elements=st.integers(0, 300),
    )
)
def test_a_view_of_nothing_changes_nothing(stack):
    wider = np.concatenate([stack, np.zeros_like(stack[:1])])
    for one, other in zip(masked_median(stack), masked_median(wider), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("threads", [1, 2, 3, 7, 50])
def test_threads_do_not_change_the_bytes(threads):
    agrees(noise(9, 11, CHUNK + 13), threads=threads)


@pytest.mark.parametrize("width", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 31])
def test_rows_longer_than_a_chunk(width):
    agrees(noise(6, 2, width))


def test_strided_input_and_given_output():
    stack = noise(8, 10, 60)
    out = np.full((5, 20), 7, np.uint16), np.full((5, 20), 7, np.uint8)
    median, count = masked_median(stack[:, ::2, ::3], out=out)
    assert median is out[0]
    assert count is out[1]
    np.testing.assert_array_equal(median, reference(stack[:, ::2, ::3])[0])


def test_halves_are_rounded_up_without_overflow():
    stack = np.array([[[65534, 1, 7, 65535]], [[65535, 2, 8, 65535]]], np.uint16)
    np.testing.assert_array_equal(masked_median(stack)[0], [[65535, 2, 8, 65535]])


def test_empty_area():
    median, count = masked_median(np.zeros((3, 0, 4), np.uint16))
    assert median.shape == count.shape == (0, 4)


@pytest.mark.parametrize(
    "stack",
    [
        np.zeros((0, 2, 2), np.uint16),
        np.zeros((256, 1, 1), np.uint16),
        np.zeros((2, 2), np.uint16),
        np.zeros((2, 2, 2), np.int16),
    ],
)
def test_what_is_no_stack_is_refused(stack):
    with pytest.raises(BadInput, match="wanted is"):
        masked_median(stack)


@pytest.mark.parametrize("lines", range(1, 15))
def test_networks_sort_all_zeros_and_ones(lines):
    """The 0-1 principle: a network that sorts all sequences of zeros and ones sorts everything."""
    values = np.array(list(itertools.product([0, 1], repeat=lines))).T
    for first, second in merge_exchange(lines):
        values[[first, second]] = (
            np.minimum(values[first], values[second]),
            np.maximum(values[first], values[second]),
        )
    np.testing.assert_array_equal(values, np.sort(values, axis=0))


@pytest.mark.parametrize("lines", range(1, 15))
def test_what_is_left_out_does_not_reach_the_middle(lines):
    values = np.array(list(itertools.product([0, 1], repeat=lines))).T
    expected = np.sort(values, axis=0)
    pairs, middle = network(lines)
    for first, second, what in pairs:
        low, high = (
            np.minimum(values[first], values[second]),
            np.maximum(values[first], values[second]),
        )
        if what in (BOTH, LEAST):
            values[first] = low
        if what in (BOTH, LARGEST):
            values[second] = high
    for line in middle:
        np.testing.assert_array_equal(values[line], expected[line])
    assert len(pairs) <= len(merge_exchange(lines))


def test_only_the_first_line_takes_minima_only():
    assert needed([(0, 1), (1, 2), (0, 1)], {0}) == [(0, 1, BOTH), (1, 2, LEAST), (0, 1, LEAST)]
