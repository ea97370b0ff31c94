"""Two layouts of probabilities on disk, told apart by what the file says: v / 254 and v / 255."""

from __future__ import annotations

import json

import numpy as np
import pytest

from selion.classes import FTW3
from selion.errors import BadInput
from selion.grid import whole
from selion.prediction import ScoreSource, score_classes
from selion.store import create_cog, open_raster
from world_tiles import Planted, write_tile

LADDER = np.stack(
    [np.tile(np.arange(256, dtype=np.uint8), (64, 1)), np.full((64, 256), 20, np.uint8)]
)


def tile(path, **given):
    return str(write_tile(Planted("10SFH_0_0", 32610, 600000, 4300020, LADDER), path, **given))


def test_a_published_tile_is_v_over_255_everywhere(tmp_path):
    source = open_raster(tile(tmp_path / "tile.tif"))
    assert score_classes(source, "tile") == FTW3
    read = ScoreSource(source).read(whole(source.grid))
    assert read.bands == FTW3.names
    assert read.valid is None or read.valid.all()
    assert read.values[1, 0].tolist() == [np.float32(v) / np.float32(255) for v in range(256)]
    assert read.values[1, 0, 255] == 1  # in ours that is "no data"
    left = np.maximum(255 - np.arange(256) - 20, 0) / 255
    assert np.abs(read.values[0, 0] - left).max() < 1e-7


def test_ours_is_v_over_254_and_255_is_no_data(tmp_path):
    source = open_raster(tile(tmp_path / "tile.tif"))
    path = tmp_path / "ours.tif"
    values = np.concatenate([np.zeros((1, 64, 256), np.uint8), LADDER])
    tags = {"classes": json.dumps(FTW3.to_dict())}
    with create_cog(path, source.grid, FTW3.names, np.uint8, nodata=255, tags=tags) as sink:
        sink.write(whole(source.grid), values)
    ours = open_raster(path)
    read = ScoreSource(ours).read(whole(ours.grid))
    assert not read.valid[:, 255].any()
    assert read.valid[:, :255].all()
    assert read.values[1, 0, 254] == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tags": {}}, "has none of the tags tile_key and quantization"),
        ({"nodata": 255}, "declares 255 as no data"),
        ({"bands": ("red", "nir")}, "no tag 'classes'; bands red, nir"),
    ],
)
def test_what_is_neither_is_refused_in_one_sentence(tmp_path, given, said):
    source = open_raster(tile(tmp_path / "tile.tif", **given))
    with pytest.raises(BadInput, match=r"^[^\n]*$") as caught:
        score_classes(source, "tile.tif")
    assert said in str(caught.value)
