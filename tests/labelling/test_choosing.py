"""The best of several cuts, on depth whose ground is tilted: truth by arithmetic, and by rays."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from selion.labelling import ThresholdOptions, choose_mask
from selion.labelling.choosing import CLEAR
from selion.labelling.quality import judge
from selion.labelling.threshold import depth_mask, ground_plane

SCENES = Path(__file__).parents[2] / "bench" / "plant_scenes.py"


def iou(one, other):
    return (one & other).sum() / (one | other).sum()


def leaves(shape=(120, 160)):
    """Discs above the ground."""
    y, x = np.indices(shape)
    places = ((30, 30), (40, 120), (90, 60), (95, 140), (20, 80))
    return np.any([(y - r) ** 2 + (x - c) ** 2 < 12**2 for r, c in places], 0)


def slope(shape=(120, 160), down=3.0, right=-2.0):
    y, x = np.indices(shape)
    return down * y / shape[0] + right * x / shape[1]


def test_the_plane_of_the_ground_is_found_under_the_plants():
    truth = slope()
    rough = np.random.default_rng(0).normal(0, 0.01, truth.shape)
    found = ground_plane(truth + rough + leaves())
    apart = found - truth  # the ground is a low percentile of each tile: a constant lower
    assert np.ptp(apart) < 0.02
    assert abs(apart.mean()) < 0.2


def test_a_map_too_small_to_hold_tiles_has_no_plane():
    assert not ground_plane(np.random.default_rng(0).random((11, 40))).any()


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_tilted_ground_is_parted_from_plants(noise):
    depth = slope() + leaves() + np.random.default_rng(1).normal(0, noise, (120, 160))
    flat = [depth_mask(depth, ThresholdOptions(curve)).mask for curve in ("contour", "histogram")]
    assert max(iou(mask, leaves()) for mask in flat) < 0.5, "the test would prove nothing"
    assert iou(choose_mask(depth).mask, leaves()) > 0.97
    alone = choose_mask(depth, None, ThresholdOptions(ground="flat")).mask
    assert iou(alone, leaves()) < 0.5, "--ground flat means it"


def test_half_a_photograph_of_plants_is_no_tilted_ground():
    depth = np.zeros((120, 160))
    depth[:, 80:] = 1
    depth += np.random.default_rng(2).normal(0, 0.01, depth.shape)
    assert iou(choose_mask(depth).mask, depth > 0.5) > 0.99


def test_colours_that_mislead_do_not_outvote_a_clear_edge():
    """Green soil, red leaves: the colour rule is the mask's negative."""
    depth = np.random.default_rng(3).normal(0, 0.02, (120, 160)) + leaves()
    image = np.where(
        leaves(), np.array([180, 60, 60])[:, None, None], np.array([60, 150, 60])[:, None, None]
    )
    found = choose_mask(depth, image.astype(np.uint8))
    assert iou(found.mask, leaves()) > 0.97
    wrong = depth_mask(depth, ThresholdOptions("histogram", ground="tilted"))
    assert judge(found).contrast > judge(wrong).contrast - CLEAR


def test_a_constant_map_says_why():
    assert "constant" in choose_mask(np.full((40, 40), 2.0)).why


def test_scenes_of_another_generator_with_tilted_cameras():
    spec = importlib.util.spec_from_file_location("plant_scenes", SCENES)
    scenes = importlib.util.module_from_spec(spec)
    sys.modules["plant_scenes"] = scenes
    spec.loader.exec_module(scenes)
    before, after = [], []
    for seed in (300, 302, 305, 306):
        scene = scenes.draw_scene(seed, (180, 240), 25.0)
        plain = depth_mask(scene.inverse, ThresholdOptions("contour", ground="flat")).mask
        before.append(iou(plain, scene.crop))
        after.append(iou(choose_mask(scene.inverse, scene.image).mask, scene.crop))
    assert np.mean(before) < 0.35
    assert np.mean(after) > 0.75
