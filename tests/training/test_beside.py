"""Whether fine-tuned weights replace what they started from, and at which scale they are learnt."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from selion import store
from selion.grid import whole
from selion.training import read_recipe
from selion.training.beside import surely_better
from selion.training.datasets import at_scale_of_start
from selion.training.scoring import Scores
from train_toys import grid


def scores(*rows):
    """Of chips: objects found, wrong and missed."""
    counts = np.array([[*row, 90, 5, 5] for row in rows], float)
    return Scores(tuple(map(str, range(len(rows)))), ("",) * len(rows), counts)


@pytest.mark.parametrize(
    ("start", "new", "sure"),
    [
        # 20 objects on four chips, F1 0.75 and 0.80: sqrt(0.5 x 0.775 x 0.225 / 20) = 0.066
        ([(4, 1, 1), (4, 1, 1), (4, 2, 1), (3, 1, 2)], [(4, 1, 1)] * 4, False),
        # F1 0.40 and 0.80 on the same: sqrt(0.5 x 0.6 x 0.4 / 20) = 0.077
        ([(2, 3, 3)] * 4, [(4, 1, 1)] * 4, True),
        # 2,000 objects, 0.75 and 0.80, on each chip alike: the error is 0.0066
        ([(75, 25, 25)] * 20, [(80, 20, 20)] * 20, True),
        # the same sums, but one chip makes all the gain
        ([(75, 25, 25)] * 20, [(75, 25, 25)] * 19 + [(175, -75, -75)], False),
        ([(4, 1, 1)] * 4, [(4, 1, 1)] * 4, False),
        ([(4, 1, 1)] * 4, [(2, 3, 3)] * 4, False),
        # one object found instead of none, and two instead of one
        ([(0, 1, 1)], [(1, 0, 0)], False),
        ([(1, 1, 1)] * 2, [(2, 0, 0)] * 2, False),
        # one chip says nothing of its own spread: 0.60 and 0.80 of 5 objects
        ([(3, 2, 2)], [(4, 1, 1)], False),
    ],
)
def test_a_gain_that_luck_could_give_does_not_replace_the_start(start, new, sure):
    assert surely_better(scores(*new), scores(*start)) is sure


@pytest.mark.parametrize(("chips", "sure"), [(1, False), (2, False), (3, True)])
def test_pixels_of_one_or_two_chips_are_sure_of_nothing(chips, sure):
    """One pixel more in 10,000, on each chip alike: no chip says how far others would differ."""
    start, new = (replace(scores(*[(4, 1, 1)] * chips), metric="pixel_iou") for _ in range(2))
    new.counts[:, 3:] = (91, 4, 4)
    assert surely_better(new, start) is sure


@pytest.mark.parametrize(
    ("metres", "working", "changes"),
    [
        (1.0, 1.65, ()),
        (3.0, (), ()),
        (10.0, 4.5, ()),
        (0.1, None, ()),
        (1.0, None, ("model.keep_start=0.5",)),
        (1.0, None, ("input.bands=['red','green','nir']",)),
        (1.0, None, ("crops.gsd=[2.0, 2.0]",)),
    ],
)
def test_own_polygons_are_learnt_at_the_scale_at_which_the_start_maps(
    metres, working, changes, tmp_path
):
    place = grid(32, metres)
    with store.create_cog(tmp_path / "i.tif", place, ("red", "green", "blue"), np.uint8) as sink:
        sink.write(whole(place), np.zeros((3, 32, 32), np.uint8))
    said = read_recipe(
        "own-polygons", [f"data.image={tmp_path / 'i.tif'}", "data.polygons=p.gpkg", *changes]
    )
    made = at_scale_of_start(said)
    if working is None:
        assert made == said
        return
    assert made.crops.gsd == ((working, working) if working else None)
    assert made.input.gsd == (1.65, 4.5)
