"""A simulated scene on the disk: what lies there is of one scene."""

from __future__ import annotations

import numpy as np

from selion import store
from selion.grid import whole
from selion.pipeline.demo import write_landscape
from selion.simulation.landscape import simulate


def test_clouds_of_a_scene_that_was_replaced_go_with_it(tmp_path):
    clear, cloudy = (simulate(3, (48, 48), clouds=share) for share in (0.0, 0.4))
    write_landscape(cloudy, tmp_path / "a")
    assert (tmp_path / "a" / "scl.tif").is_file()
    write_landscape(clear, tmp_path / "a", force=True)
    assert not (tmp_path / "a" / "scl.tif").exists()

    own = tmp_path / "b" / "scl.tif"
    own.parent.mkdir()
    with store.create_cog(own, clear.image.grid, ["scl"], np.uint8) as sink:
        sink.write(whole(clear.image.grid), np.ones((1, 48, 48), np.uint8))
    write_landscape(clear, tmp_path / "b", force=True)
    assert own.is_file(), "it is somebody else's"
