"""Own chips set how a learnt score chooses fields; the network and its score are as written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from odc.geo.geobox import GeoBox

from cut_toys import score_of_stumps, stump
from selion.classes import FTW3, IGNORE
from selion.fields import CutSettings, InstanceOptions, find_by_settings, find_instances
from selion.fields.cutting import worth
from selion.fields.hierarchy import best_cut
from selion.fields.node_score import read_node_score
from selion.fields.nodes import Tree
from selion.labels import Instances, LabelMap
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec, Scaling, as_model
from selion.training.recipe import Validate
from selion.training.tuned_cut import LANDS, PRICES, SIZES, settings_tried, tune_cut

SIDE, CELL = 80, 20
GRID = GeoBox((SIDE, SIDE), Affine(10, 0, 5e5, 0, -10, 5.4e6), "EPSG:32633")


class SaysItsImage:
    """A segmenter whose probabilities are the bands of the image."""

    inputs = InputSpec(FTW3.names, Scaling(), None, window=96)
    classes = FTW3

    def __call__(self, views):
        return np.stack([view.pixels for view in views])


def chip(key, *, parted, seed=0, ignore=None):
    """16 plots of 4 ha, of which each two have a weaker boundary between them.

    As truth each plot is a field, or each two of them are one.
    """
    rng = np.random.default_rng(seed)
    edge = np.full((SIDE, SIDE), 0.02)
    for k in range(0, SIDE, CELL):
        edge[[k, k + CELL - 1]] = 0.8
    for k in range(0, SIDE, CELL):
        weak = (k % (2 * CELL) > 0, k % (2 * CELL) == 0)
        for column, soft in zip((k, k + CELL - 1), weak, strict=True):
            edge[:, column] = np.where(edge[:, column] < 0.8, 0.4 if soft else 0.8, 0.8)
    edge = np.where(edge > 0.1, edge + rng.uniform(-0.02, 0.02, edge.shape), edge)
    probs = np.stack([np.full_like(edge, 0.02), 0.98 - edge, edge]).astype(np.float32)
    rows, columns = np.indices((SIDE, SIDE)) // CELL
    ids = (rows * 8 + (columns if parted else columns // 2) + 1).astype(np.int32)
    labels = None
    if ignore is not None:
        labels = LabelMap(np.where(ignore, IGNORE, 1).astype(np.uint8), GRID, FTW3)
        ids = np.where(ignore, 0, ids)
    return Sample(key, Raster(probs, GRID, FTW3.names), labels, Instances(ids, GRID))


PAIRS = score_of_stumps(stump("log_area", 11.0, 0.5, 0.75))
"""Two plots together, 8 ha, are likelier one field than each of them: 0.75 against 0.5."""
SPEC = Validate(method="watershed", metric="object_f1")


def tuned(*chips, score=PAIRS):
    return tune_cut(as_model(SaysItsImage()), score, chips, SPEC)


def test_own_chips_say_that_fields_are_smaller():
    """By 0.75 - 0.4 beside 2 (0.5 - 0.4) two plots are one; by a price of 0.25 and a size of -0.1,
    with 4 ha 0.1 and 8 ha 0.4 above the middle: 0.71 - 0.25 = 0.46 beside 2 (0.49 - 0.25) = 0.48.
    """
    chips = [chip(f"c{k}", parted=True, seed=k) for k in range(3)]
    found = tuned(*chips)
    assert found.before.object_f1 == pytest.approx(2 / 3)  # an IoU of a half counts: 8 of 16
    assert found.after.object_f1 == 1.0
    assert found.after.pixel_iou >= found.before.pixel_iou
    assert (found.score.settings.price, found.score.settings.size) == (0.25, -0.1)
    options = InstanceOptions(score=found.score, min_area=500)
    for one in chips:
        ids = find_instances(one.image, FTW3, "cut", options).ids
        assert len(np.unique(ids[ids > 0])) == 16
    assert "object F1 is 1.000 instead of 0.667" in found.sentence("it")
    assert "48 own fields" in found.sentence("it")
    assert found.to_dict()["settings"] == {"price": 0.25, "land": 0.0, "size": -0.1}


def test_where_the_score_is_right_nothing_is_changed():
    assert tuned(*(chip(f"c{k}", parted=False, seed=k) for k in range(3))) is None


def test_what_is_not_known_counts_nowhere():
    """Four plots of each chip are outlined, and of the rest nothing is known: too little."""
    away = np.ones((SIDE, SIDE), bool)
    away[:CELL] = False
    assert tuned(*(chip(f"c{k}", parted=True, ignore=away) for k in range(2))) is None
    many = tuned(*(chip(f"c{k}", parted=True, ignore=away) for k in range(6)))
    assert many.before.counts[:, :3].sum(0).tolist() == [12, 0, 12]
    assert many.after.counts[:, :3].sum(0).tolist() == [24, 0, 0]


def test_chips_without_objects_choose_nothing():
    bare = replace(chip("c", parted=True), instances=None)
    assert tuned(bare) is None


def test_draining_once_gives_what_each_setting_gives_by_itself():
    probs = chip("c", parted=True).image
    options = InstanceOptions(min_area=500)
    tried = settings_tried(PAIRS.settings)
    assert tried[0] == PAIRS.settings
    assert len(tried) == len(PRICES) * len(LANDS) * len(SIZES)
    many = list(find_by_settings(probs, FTW3, PAIRS, tried, options))
    for one, ids in list(zip(tried, many, strict=True))[::9]:
        alone = replace(options, score=replace(PAIRS, settings=one))
        np.testing.assert_array_equal(ids, find_instances(probs, FTW3, "cut", alone).ids)


@pytest.mark.parametrize(("size", "wanted"), [(0.0, [2]), (-0.2, [0, 1]), (0.2, [2])])
def test_a_size_moves_what_a_node_brings(size, wanted):
    """Two of 1 ha of 0.6 each, and both together, 2 ha, of 0.9; price 0.4, by hand:

    together 0.9 - 0.4 = 0.5, apart 2 (0.6 - 0.4) = 0.4.  With -0.2, 1 ha has 10 ** -0.5 of
    3.16 ha, so 0.1 more: 2 (0.7 - 0.4) = 0.6; 2 ha has 0.04 more: 0.54.
    """
    found = worth_of(size)
    chosen = best_cut(np.array([[0, 1]]), found)
    assert sorted(set(chosen.tolist())) == wanted
    more = size * (np.log10([1e4, 1e4, 2e4]) - 4.5)
    np.testing.assert_allclose(found, np.array([0.6, 0.6, 0.9]) + more - 0.4, atol=1e-9)


def worth_of(size):
    from selion.fields.seams import AREA, CORE, PIXELS

    rows = np.zeros((3, 40), np.int64)
    rows[:, AREA] = rows[:, PIXELS] = [1, 1, 2]
    rows[:, CORE] = 1
    tree = Tree.__new__(Tree)
    object.__setattr__(tree, "rows", rows)
    object.__setattr__(tree, "unit", 1e4)
    return worth(tree, np.array([0.6, 0.6, 0.9]), CutSettings(land=0.0, size=size))


def test_a_size_is_kept_in_the_file_and_absent_where_there_is_none(tmp_path):
    made = replace(PAIRS, settings=CutSettings(price=0.3, size=-0.1))
    made.save(tmp_path / "s")
    assert read_node_score(tmp_path / "s").settings == made.settings
    PAIRS.save(tmp_path / "p")
    assert b"size" not in (tmp_path / "p").read_bytes()[:400]
    assert read_node_score(tmp_path / "p").settings.size == 0.0
