"""An image is seen in colour whatever its bands are called."""

from __future__ import annotations

import numpy as np
import pytest

from selion.web.view.colours import find_colours
from selion.web.view.rasters import open_geotiff
from view_scenes import write_raster

# what land looks like in Sentinel-2: median and spread of blue, green, red, near infrared
LAND = {"blue": (400, 150), "green": (700, 180), "red": (650, 300), "nir": (3000, 600)}


def land(order, seed=0):
    chance = np.random.default_rng(seed)
    return np.stack([chance.normal(*LAND[colour], 4096) for colour in order])


def bands(found):
    return [tuple(date.bands[c] for c in ("red", "green", "blue")) for date in found]


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("R_a G_a B_a NIR_a R_b G_b B_b NIR_b", [(1, 2, 3), (5, 6, 7)]),
        ("05-01_B02 05-01_B03 05-01_B04 09-01_B02 09-01_B03 09-01_B04", [(3, 2, 1), (6, 5, 4)]),
        ("B02 B03 B04 B08 B02 B03 B04 B08", [(3, 2, 1), (7, 6, 5)]),
        ("S2A_red S2A_green S2A_blue S2A_nir", [(1, 2, 3)]),
        ("SR_B2 SR_B3 SR_B4 SR_B5", [(3, 2, 1)]),
        ("443nm 490nm 560nm 665nm 705nm 842nm", [(4, 3, 2)]),
    ],
)  # fmt: skip
def test_names_say_it(names, wanted):
    found = find_colours(names.split())
    assert bands(found) == wanted
    assert not any(date.note for date in found)


@pytest.mark.parametrize(
    ("order", "wanted"),
    [
        ("red green blue nir red green blue nir", [(1, 2, 3), (5, 6, 7)]),
        ("blue green red nir blue green red nir", [(3, 2, 1), (7, 6, 5)]),
        ("nir red green blue", [(2, 3, 4)]),
        ("red red green green blue blue nir nir", [(1, 3, 5), (2, 4, 6)]),
    ],
)
def test_values_say_it_where_names_do_not(order, wanted):
    colours = order.split()
    found = find_colours([f"band{k}" for k in range(len(colours))], lambda: land(colours))
    assert bands(found) == wanted
    assert all("do not say" in date.note for date in found)


def test_two_bands_have_no_colours():
    assert find_colours(["a", "b"]) == ()


def test_an_eight_band_pair_without_names_opens_in_colour(tmp_path):
    values = land(["blue", "green", "red", "nir"] * 2).reshape(8, 64, 64).clip(1, 9000)
    path = write_raster(
        tmp_path / "pair.tif", values.astype(np.uint16), [f"x{k}" for k in range(8)]
    )
    seen = open_geotiff(path).renderings
    assert [(each.kind, each.bands) for each in seen] == [
        ("colour", (3, 2, 1)), ("colour", (4, 3, 2)), ("colour", (7, 6, 5)), ("colour", (8, 7, 6)),
    ]  # fmt: skip
