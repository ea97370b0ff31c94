import numpy as np
import pandas as pd
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, GridMismatch
from selion.grid import photo_grid
from selion.labels import Instances
from selion.metrics import (
    ImageOptions,
    overlap_of_sources,
    overlap_table,
    regular_grid,
    score_ids,
    score_sources,
)
from selion.metrics import streamed as streamed_module
from selion.raster import Raster
from selion.store import InstanceMap

IDS = arrays(np.int32, (9, 11), elements=st.sampled_from([0, 1, 2, 5, 9]))
COLUMNS = (
    "truth_ids",
    "truth_area",
    "prediction_ids",
    "prediction_area",
    "prediction_ignored",
    "truth_index",
    "prediction_index",
    "shared",
)


class Mask:
    def __init__(self, mask):
        self.mask, self.grid = mask, photo_grid(mask.shape)

    def known(self, roi):
        return self.mask[roi]


def assert_equal_tables(one, other):
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@settings(deadline=None)
@given(IDS, IDS, arrays(bool, (9, 11)), st.integers(1, 12))
def test_cutting_into_blocks_gives_the_same_table(truth, prediction, known, block):
    grid = photo_grid(truth.shape)
    streamed = overlap_of_sources(
        Instances(truth, grid), Raster(prediction[None], grid, ("id",)), Mask(known), block=block
    )
    assert_equal_tables(streamed, overlap_table(truth, prediction, ~known))
    assert_equal_tables(
        overlap_of_sources(Instances(truth, grid), Instances(prediction, grid), block=block),
        overlap_table(truth, prediction),
    )


@settings(deadline=None, max_examples=50)
@given(IDS, IDS, arrays(bool, (9, 11)), st.integers(1, 12), st.integers(1, 2))
def test_scores_by_block_equal_the_whole(truth, prediction, known, block, width):
    grid, options = photo_grid(truth.shape), ImageOptions(edge_width=width)
    one = score_sources(
        "x",
        Instances(truth, grid),
        Instances(prediction, grid),
        Mask(known),
        options=options,
        block=block,
    )
    other = score_ids("x", truth, prediction, ignore=~known, options=options)
    assert_equal_tables(one.table, other.table)
    assert (one.area, one.edge, one.ignored, one.unit) == (
        other.area,
        other.edge,
        other.ignored,
        other.unit,
    )
    pd.testing.assert_frame_equal(one.distances, other.distances)


def test_maps_on_disk_are_read_by_block_only(tmp_path):
    grid = GeoBox((96, 80), Affine(10, 0, 600000, 0, -10, 5300000), "EPSG:32633")
    ids = regular_grid((96, 80), 16)
    seen = []

    class Watched(InstanceMap):
        def read(self, roi):
            seen.append((roi[0].stop - roi[0].start) * (roi[1].stop - roi[1].start))
            return super().read(roi)

    for name, values in (("truth", ids), ("prediction", np.roll(ids, 2, 0))):
        np.save(tmp_path / f"{name}.npy", values)
    sides = [
        Watched(tmp_path / f"{name}.npy", grid, pd.DataFrame()) for name in ("truth", "prediction")
    ]
    table = overlap_of_sources(*sides, block=32)
    assert max(seen) == 32 * 32
    assert_equal_tables(table, overlap_table(ids, np.roll(ids, 2, 0)))


def test_distances_stop_where_memory_would(monkeypatch):
    ids = regular_grid((32, 32), 8)
    side = Instances(ids, photo_grid(ids.shape))
    assert score_sources("x", side, side).distances is not None
    monkeypatch.setattr(streamed_module, "WHOLE", 1000)
    assert score_sources("x", side, side).distances is None


def test_bad_input_is_refused():
    ids = regular_grid((8, 8), 4)
    side = Instances(ids, photo_grid((8, 8)))
    with pytest.raises(GridMismatch, match="prediction"):
        overlap_of_sources(side, Instances(ids[:4], photo_grid((4, 8))))
    with pytest.raises(GridMismatch, match="extent"):
        overlap_of_sources(side, side, Mask(np.ones((4, 8), bool)))
    with pytest.raises(BadInput, match="1 px or more"):
        overlap_of_sources(side, side, block=0)
    with pytest.raises(BadInput, match="float32"):
        overlap_of_sources(side, Raster(ids[None].astype(np.float32), photo_grid((8, 8)), ("id",)))
    with pytest.raises(BadInput, match="below 0"):
        overlap_of_sources(side, Instances(-ids, photo_grid((8, 8))))
