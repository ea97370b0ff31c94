"""Grids of mosaics: the CRS that serves an area, a lattice that neighbours share, and refusals."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from selion.errors import BadInput, GridMismatch
from selion.grid import ground_sampling_distance
from selion.imagery.area import read_area
from selion.imagery.target import equal_area_crs, period, target_grid, utm_crs

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def epsg(grid):
    return grid.crs.epsg


@pytest.mark.parametrize(
    ("box", "wanted"),
    [
        ((12.5, 47, 13, 47.5), 32633),
        ((10.6, 47, 17.9, 47.5), 32633),  # 1.4 degrees to the west
        ((10.4, 47, 17.9, 47.5), None),  # 1.6
        ((5, 46, 16, 49), None),
        ((4, 60, 5, 61), 32632),  # Norway
        ((10, 78, 15, 79), 32633),  # Svalbard
        ((13, -1, 14, -0.5), 32733),
        ((13, -0.5, 14, 1), 32633),
        ((179.7, -17, -179.5, -16), 32701),
        ((179.2, -17, -179.9, -16), 32760),
        ((10, 84.5, 12, 85), None),
    ],
)
def test_auto_takes_the_zone_or_equal_area(box, wanted):
    grid = target_grid(read_area(box))
    assert epsg(grid) == wanted
    if wanted is None:
        assert "Lambert Azimuthal Equal Area" in grid.crs.to_wkt()


@settings(max_examples=60, deadline=None)
@given(
    west=st.floats(-180, 179.9),
    south=st.floats(-70, 70),
    width=st.floats(0.001, 3),
    height=st.floats(0.001, 3),
    crs=st.sampled_from(["auto", "utm", "equal-area", "EPSG:3857", "EPSG:4326", "EPSG:6933"]),
    gsd=st.sampled_from([10.0, 20.0, 7.5]),
)
def test_the_area_lies_inside_on_the_lattice(west, south, width, height, crs, gsd):
    east = west + width if west + width <= 180 else west + width - 360
    assume(west != east and abs(east - west) > 1e-4)
    area = read_area((west, south, east, south + height))
    grid = target_grid(area, crs, gsd)
    pixel = grid.transform.a
    assert grid.transform.c / pixel == pytest.approx(round(grid.transform.c / pixel), abs=1e-6)
    assert grid.transform.f / pixel == pytest.approx(round(grid.transform.f / pixel), abs=1e-6)
    along = np.linspace(0, 1, 23)
    lon = np.concatenate(
        [west + width * along, west + width * along, np.full(23, west), np.full(23, west + width)]
    )
    lat = np.concatenate(
        [
            np.full(23, south),
            np.full(23, south + height),
            south + height * along,
            south + height * along,
        ]
    )
    x, y = Transformer.from_crs("OGC:CRS84", grid.crs.to_wkt(), always_xy=True).transform(
        (lon + 180) % 360 - 180, lat
    )
    around = period(grid.crs)
    middle = grid.transform.c + pixel * grid.shape[1] / 2
    x = x if around is None else x - around * np.round((x - middle) / around)
    columns, rows = (x - grid.transform.c) / pixel, (y - grid.transform.f) / -pixel
    assert columns.min() > -0.1
    assert rows.min() > -0.1
    assert columns.max() < grid.shape[1] + 0.1
    assert rows.max() < grid.shape[0] + 0.1
    assert columns.max() > grid.shape[1] - 1.2  # and no wider than it needs to be
    assert columns.min() < 1.2


def test_neighbours_share_the_lattice():
    one, other = (
        target_grid(read_area(box))
        for box in ((12.1, 47, 12.3, 47.1), (12.2003, 47.05, 12.9, 47.2))
    )
    assert one.crs == other.crs
    assert (one.transform.c - other.transform.c) % 10 == 0
    assert (one.transform.f - other.transform.f) % 10 == 0
    one, other = (
        target_grid(read_area(box), "equal-area")
        for box in ((12.1, 47, 12.3, 47.1), (12.2003, 47.05, 12.6, 47.2))
    )
    assert one.crs == other.crs


def test_alignment_to_shards():
    grid = target_grid(read_area((12.1, 47, 12.3, 47.1)), align=20480)
    assert grid.transform.c % 20480 == 0
    assert grid.transform.f % 20480 == 0
    assert all(size % 2048 == 0 for size in grid.shape)
    plain = target_grid(read_area((12.1, 47, 12.3, 47.1)))
    assert grid.boundingbox.bbox[0] <= plain.boundingbox.bbox[0]
    assert grid.boundingbox.bbox[3] >= plain.boundingbox.bbox[3]


def test_what_ten_metres_are():
    area = read_area((12.1, 60, 12.3, 60.1))
    for crs in ("utm", "equal-area"):
        assert ground_sampling_distance(target_grid(area, crs)) == pytest.approx(10, rel=2e-3)
    paper = target_grid(area, "EPSG:3857")
    assert paper.transform.a == 10
    assert ground_sampling_distance(paper) == pytest.approx(
        10 * np.cos(np.radians(60.05)), rel=5e-3
    )
    for crs in ("EPSG:3857", "EPSG:4326", "EPSG:6933"):
        assert ground_sampling_distance(target_grid(area, crs, ground=True)) == pytest.approx(
            10, rel=2e-3
        )
    assert target_grid(area, "EPSG:4326").transform.a == pytest.approx(8.983152841e-5)
    # US survey feet
    assert target_grid(
        read_area((-121, 40, -120.9, 40.1)), "EPSG:2225", 9.144
    ).transform.a == pytest.approx(30, rel=1e-5)


def test_over_the_antimeridian_x_goes_on():
    area = read_area((179.9, -17, -179.8, -16.8))
    degrees = target_grid(area, "EPSG:4326")
    assert degrees.boundingbox.left == pytest.approx(179.9, abs=1e-4)
    assert degrees.boundingbox.right == pytest.approx(180.2, abs=2e-4)
    metres = target_grid(area, "EPSG:3857")
    assert metres.boundingbox.left < 20037508 < metres.boundingbox.right
    assert area.mask(metres).mean() > 0.95
    assert target_grid(area).shape[1] < 4000


def test_a_country_and_the_world_cost_nothing():
    assert max(target_grid(read_area((-125, 25, -66, 49))).shape) > 450_000
    assert target_grid(read_area((-180, -60, 180, 60)), "EPSG:3857").shape[1] == 4_007_502


def test_crs_of_points():
    assert utm_crs(180, 10) == "EPSG:32601"
    assert utm_crs(-180, -10) == "EPSG:32701"
    assert utm_crs(8.9, 75) == "EPSG:32631"
    assert equal_area_crs(12.4, -7.6).startswith("+proj=laea +lat_0=-8 +lon_0=12 ")


@pytest.mark.parametrize(
    ("box", "options", "error", "said"),
    [
        ((12, 47, 13, 48), {"gsd": 0}, BadInput, "positive size"),
        ((12, 47, 13, 48), {"gsd": float("nan")}, BadInput, "positive size"),
        ((12, 47, 13, 48), {"align": 15}, BadInput, "multiple of the pixel"),
        ((12, 47, 13, 48), {"align": 0}, BadInput, "multiple of the pixel"),
        ((12, 47, 13, 48), {"crs": "EPSG:999999"}, BadInput, "not known to PROJ"),
        ((12, 47, 13, 48), {"crs": "nonsense"}, BadInput, "not known to PROJ"),
        ((12, 47, 13, 48), {"crs": "EPSG:4978"}, BadInput, "neither projected"),
        ((100, 0, 101, 1), {"crs": "EPSG:32633"}, GridMismatch, "cannot be drawn in EPSG:32633"),
        ((10, 84.5, 12, 86), {"crs": "utm"}, GridMismatch, "has no zones"),
        ((10, 84.5, 12, 86), {"crs": "EPSG:3857"}, GridMismatch, "cannot be drawn"),
        ((-180, -60, 180, 60), {"crs": "EPSG:3857", "gsd": 0.01}, GridMismatch, "larger pixels"),
    ],
)
def test_refusals(box, options, error, said):
    with pytest.raises(error, match=said):
        target_grid(read_area(box), **options)
