"""The greedy choice: equal to the paper's pseudo-code, never a scene that brings nothing, quick."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selion.errors import BadInput, GridMismatch
from selion.grid import whole
from selion.imagery.choose import choose
from selion.store import open_raster

CLOUDS = (
    Path(__file__).resolve().parents[3]
    / "shared"
    / "data"
    / "satellite"
    / "clouds"
    / "eolearn_slovenia_68dates"
)
MASKS = st.tuples(st.integers(0, 9), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(bool, shape)
)


def literal(valid_mask, target_coverage=5, max_scenes=10):
    """PRUE, Algorithm 3, line by line; where it would select a null index it stops."""
    coverage_depth = np.zeros(valid_mask.shape[1:], int)
    remaining = list(range(len(valid_mask)))
    selected = []
    for _ in range(max_scenes):
        best_idx, best_gain = None, -1
        for idx in remaining:
            undercovered = coverage_depth < target_coverage
            new_valid = valid_mask[idx] & undercovered
            gain = new_valid.sum()
            if gain > best_gain:
                best_gain, best_idx = gain, idx
        if best_gain == 0 or best_idx is None:
            break
        selected.append(best_idx)
        coverage_depth = coverage_depth + valid_mask[best_idx]
        remaining.remove(best_idx)
    return selected, coverage_depth


@given(MASKS, st.integers(1, 6), st.integers(1, 11))
@settings(max_examples=300, deadline=None)
def test_equals_the_papers_pseudo_code(valid, target, limit):
    order, depth = literal(valid, target, limit)
    found = choose(valid, target, limit)
    assert list(found.order) == order
    assert np.array_equal(found.depth, depth)


@given(MASKS, st.data())
@settings(max_examples=200, deadline=None)
def test_laws(valid, data):
    inside = data.draw(st.none() | arrays(bool, valid.shape[1:]))
    target = data.draw(st.integers(1, 4))
    prefer = data.draw(
        st.none()
        | st.lists(st.sampled_from([0.0, 1.0, 2.0]), min_size=len(valid), max_size=len(valid))
    )
    found = choose(valid, target, 5, inside, prefer)
    assert len(set(found.order)) == len(found.order) == len(found.gains) <= 5
    assert all(gain > 0 for gain in found.gains)
    assert list(found.gains) == sorted(found.gains, reverse=True)
    assert np.array_equal(found.depth, valid[list(found.order)].sum(0))
    counted = (
        np.minimum(found.depth, target)
        if inside is None
        else np.minimum(found.depth, target) * inside
    )
    assert counted.sum() == sum(found.gains)
    # it stopped by itself: no other scene would bring anything
    if len(found.order) < min(5, len(valid)):
        lacking = (found.depth < target) & (True if inside is None else inside)
        rest = [k for k in range(len(valid)) if k not in found.order]
        assert not (valid[rest] & lacking).any()


@given(MASKS, st.data())
@settings(max_examples=100, deadline=None)
def test_outside_does_not_count(valid, data):
    inside = data.draw(arrays(bool, valid.shape[1:]))
    noise = data.draw(arrays(bool, valid.shape))
    assert (
        choose(valid, inside=inside).order
        == choose(np.where(inside, valid, noise), inside=inside).order
        == choose(valid & inside).order
    )


def test_ties():
    same = np.ones((4, 3, 3), bool)
    assert choose(same, target=2).order == (0, 1)
    assert choose(same, target=2, prefer=[5, 1, 3, 1]).order == (1, 3)
    better = np.concatenate([same[:1] & False, same])
    better[1, 0, 0] = False
    assert choose(better, target=1, prefer=[0, 0, 9, 9, 9]).order == (2,)  # gain comes first


def test_nothing_to_choose():
    for valid in (np.zeros((0, 4, 4), bool), np.zeros((3, 4, 4), bool)):
        found = choose(valid)
        assert (found.order, found.gains) == ((), ())
        assert found.depth.shape == (4, 4)
    assert choose(np.ones((3, 4, 4), bool), inside=np.zeros((4, 4), bool)).order == ()


def test_refusals():
    with pytest.raises(GridMismatch, match="bool"):
        choose(np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(GridMismatch, match="does not fit"):
        choose(np.zeros((2, 3, 3), bool), inside=np.zeros((3, 4), bool))
    with pytest.raises(BadInput, match="one per scene"):
        choose(np.zeros((2, 3, 3), bool), prefer=[1])
    with pytest.raises(BadInput, match="target of 0"):
        choose(np.zeros((2, 3, 3), bool), target=0)


def test_quick():
    random = np.random.default_rng(0)
    valid = random.random((60, 1098, 1098)) < random.random((60, 1, 1))
    choose(valid[:2])
    begun = time.process_time()
    assert len(choose(valid).order) == 10
    assert time.process_time() - begun < 1


@pytest.mark.skipif(not CLOUDS.is_dir(), reason="shared/data/satellite/clouds is not there")
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_real_clouds_of_slovenia():
    source = open_raster(CLOUDS / "cloud_mask.tif")
    valid = source.read(whole(source.grid)).values == 0
    dates = np.array(json.loads((CLOUDS / "timestamps.json").read_text()), "datetime64[D]")
    assert valid.shape == (68, 101, 100)
    for year in (2016, 2017):
        for first, last in ((91, 151), (244, 304)):  # PRUE's windows north of 45 degrees
            days = (dates - np.datetime64(f"{year}-01-01")).astype(int) + 1
            season = valid[(days >= first) & (days <= last)]
            found = choose(season)
            order, depth = literal(season)
            assert list(found.order) == order
            assert np.array_equal(found.depth, depth)
            assert len(order) <= len(season)
    everything = choose(valid)
    assert everything.order == tuple(literal(valid)[0])
    assert everything.depth.min() >= 5
    assert len(everything.order) == 5  # 29 of the 68 dates have no cloud at all
