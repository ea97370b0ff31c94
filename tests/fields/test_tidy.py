"""Areas and lengths on the ground, and simplification of polygons from elsewhere."""

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from fields_scenes import blobs, instances
from selion.errors import BadInput, GridMismatch
from selion.fields import FieldOptions, measure, simplify_coverage, to_fields
from selion.fields.polygonise import polygonise
from selion.fields.table import geohash, place_names
from selion.grid import photo_grid
from selion.labels import Instances

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
PLACES = [
    ("EPSG:32632", 500_000, 5_300_000, 1),
    ("EPSG:32632", 250_000, 9_000_000, 1),
    ("EPSG:3857", 1_000_000, 9_000_000, 1),
    ("EPSG:4326", 10, 48, 1e-5),
    ("EPSG:4326", -60, -35, 1e-5),
    ("EPSG:4326", 179.999, 0.5, 1e-5),
    ("EPSG:2263", 1_000_000, 200_000, 3),
    ("EPSG:3035", 4_300_000, 3_200_000, 1),
    ("EPSG:3413", -1_500_000, -800_000, 1),
]


def truth(polygon, crs):
    """Geodesic area and perimeter with many points per edge, so that edges stay straight in the
    CRS.
    """
    dense = shapely.segmentize(polygon, polygon.length / 2000)
    to_lonlat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    found = [
        Geod(ellps="WGS84").polygon_area_perimeter(
            *to_lonlat.transform(*shapely.get_coordinates(ring).T)
        )
        for ring in shapely.get_rings(dense)
    ]
    return abs(found[0][0]) - sum(abs(area) for area, _ in found[1:]), sum(
        length for _, length in found
    )


@pytest.mark.parametrize(("crs", "x", "y", "unit"), PLACES)
@pytest.mark.parametrize("size", [30, 700, 40_000])
def test_measures_are_geodesic(crs, x, y, unit, size):
    size = min(size, 5000) if x == 179.999 else size
    s = size * unit
    outer, hole = [(0, 0), (1, 0.2), (0.8, 1), (0, 0.6)], [(0.2, 0.3), (0.3, 0.5), (0.4, 0.3)]
    polygon = shapely.Polygon(
        np.array([x, y]) + s * np.array(outer), [np.array([x, y]) + s * np.array(hole)]
    )
    area, perimeter = measure(np.array([polygon]), crs)
    wanted = truth(polygon, crs)
    assert area[0] == pytest.approx(wanted[0], rel=2e-5)
    assert perimeter[0] == pytest.approx(wanted[1], rel=2e-4)


def test_parts_are_added_and_pixels_are_the_unit_without_a_crs():
    both = shapely.MultiPolygon([shapely.box(0, 0, 2, 3), shapely.box(5, 5, 6, 6)])
    area, perimeter = measure(np.array([both, shapely.box(0, 0, 1, 1)]), None)
    assert area.tolist() == [7, 1]
    assert perimeter.tolist() == [14, 4]
    assert [len(v) for v in measure(np.array([], object), "EPSG:32632")] == [0, 0]


def test_what_lies_nowhere_is_refused():
    with pytest.raises(GridMismatch, match="globe"):
        measure(np.array([shapely.box(1e9, 1e9, 1e9 + 10, 1e9 + 10)]), "EPSG:32632")


@given(
    st.integers(0, 50),
    st.sampled_from([("EPSG:32632", 10.0), ("EPSG:4326", 1e-4), ("EPSG:2263", 32.8)]),
)
@settings(max_examples=15, deadline=None)
def test_any_coverage_is_simplified_without_gap_or_overlap(seed, place):
    crs, pixel = place
    ids = blobs(40, 8, seed, 0.4)
    origin = (
        (10, 48)
        if crs == "EPSG:4326"
        else (1_000_000, 200_000)
        if crs == "EPSG:2263"
        else (500_000, 5_300_000)
    )
    grid = GeoBox(ids.shape, Affine(pixel, 0, origin[0], 0, -pixel, origin[1]), crs)
    _, polygons = polygonise(Instances(ids, grid), nodes=True)
    frame = geopandas.GeoDataFrame(geometry=polygons, crs=crs)
    simple = simplify_coverage(frame, 12)
    assert shapely.coverage_is_valid(simple.geometry.to_numpy())
    assert shapely.is_valid(simple.geometry.to_numpy()).all()
    share = (
        shapely.get_num_coordinates(simple.geometry.to_numpy()).sum()
        / shapely.get_num_coordinates(polygons).sum()
    )
    # the tolerance is in metres: none, or all, would go if it were in degrees or feet
    assert 0.2 < share < 0.8
    with pytest.raises(BadInput, match="tolerance"):
        simplify_coverage(frame, -1)


def test_the_unit_of_simplification_is_the_metre():
    ids = blobs(60, 12, 5, 0.5)
    counts = []
    for crs, pixel, x, y in (
        ("EPSG:32632", 10, 500_000, 5_300_000),
        ("EPSG:2263", 32.80833, 1_000_000, 200_000),
        ("EPSG:4326", 10 / 111_195, 10, 0.01),
    ):
        grid = GeoBox(ids.shape, Affine(pixel, 0, x, 0, -pixel, y), crs)
        frame = to_fields(Instances(ids, grid), FieldOptions(simplify=14.7))
        counts.append(int(shapely.get_num_coordinates(frame.geometry.to_numpy()).sum()))
        assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    assert max(counts) - min(counts) < 0.02 * max(counts)


def test_columns_and_order_of_fields():
    import pandas as pd

    ids = np.zeros((30, 30), np.int32)
    ids[2:10, 2:10], ids[2:10, 10:20], ids[20:22, 20:22] = 1, 2, 3
    table = pd.DataFrame(
        {"id": [1, 2, 3], "class": ["field", "field", "pond"], "score": [0.9, 0.8, 0.7]}
    )
    given_ = Instances(ids, instances(ids).grid, table)
    frame = to_fields(given_, FieldOptions(simplify=0))
    assert frame.columns.tolist() == [
        "id",
        "class",
        "metrics:area",
        "metrics:perimeter",
        "confidence",
        "geometry",
    ]
    assert frame["class"].tolist() == ["field", "field", "pond"]
    assert frame["confidence"].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert frame["metrics:area"].to_numpy() == pytest.approx([6400, 8000, 400], rel=1e-3)
    assert frame["metrics:perimeter"].to_numpy() == pytest.approx([320, 360, 80], rel=1e-3)
    assert frame["metrics:area"].dtype == np.float32
    assert frame.crs.to_epsg() == 32632
    assert to_fields(given_, FieldOptions(min_area=1000))["class"].tolist() == ["field", "field"]
    assert to_fields(given_, FieldOptions(max_area=7000))["class"].tolist() == ["field", "pond"]
    bare = to_fields(Instances(ids, given_.grid))
    assert bare["class"].isna().all()
    assert bare["confidence"].isna().all()
    with pytest.raises(BadInput, match="smaller area first"):
        FieldOptions(min_area=5, max_area=2)


def test_fields_are_as_large_as_their_own_pixels_in_degrees_and_mercator():
    """Those of the middle of a raster decided: from 60 to 70 degrees a field at the lower edge is a
    fifth larger than they said, and was dropped although it was large enough."""
    ids = np.zeros((10_000, 16), np.int32)
    ids[20:30, 3:13], ids[-30:-20, 3:13] = 1, 2
    grid = GeoBox(ids.shape, Affine(0.001, 0, 25, 0, -0.001, 70), "EPSG:4326")
    north, south = (
        abs(
            Geod(ellps="WGS84").geometry_area_perimeter(shapely.box(25.003, y, 25.013, y + 0.01))[0]
        )
        for y in (69.97, 60.02)
    )
    assert 1.4 < south / north < 1.5
    large = to_fields(Instances(ids, grid), FieldOptions(simplify=0, min_area=0.99 * south))
    assert large["metrics:area"].to_numpy() == pytest.approx([south], rel=1e-4)
    small = to_fields(Instances(ids, grid), FieldOptions(simplify=0, max_area=1.01 * north))
    assert small["metrics:area"].to_numpy() == pytest.approx([north], rel=1e-4)


def test_parts_of_one_object_are_one_field():
    frame = to_fields(instances([[1, 0, 0, 1], [1, 2, 2, 1]]), FieldOptions(simplify=0))
    assert frame.geometry.geom_type.tolist() == ["MultiPolygon", "Polygon"]
    assert frame["metrics:area"].to_numpy() == pytest.approx([400, 200], rel=1e-3)


def test_names_say_where_and_are_unique():
    frame = to_fields(instances(blobs(60, 6, 2, 0.2)))
    assert frame["id"].is_unique
    lonlat = frame.representative_point().to_crs("EPSG:4326")
    assert frame["id"].tolist() == geohash(lonlat.x.to_numpy(), lonlat.y.to_numpy())
    assert (
        geohash(np.array([-5.60302734375, 112.5584]), np.array([42.60498046875, 37.8324]))[0]
        == "ezs42s000000"
    )
    photo = to_fields(
        Instances(np.array([[1, 1, 0, 2]], np.int32), photo_grid((1, 4))), FieldOptions(simplify=0)
    )
    assert photo["id"].tolist() == ["x1.0y0.5", "x3.5y0.5"]
    assert photo.crs is None
    twins = np.array([shapely.box(0, 0, 1, 1)] * 2)
    assert place_names(twins, photo_grid((2, 2))) == ["x0.5y0.5", "x0.5y0.5-2"]


def test_no_objects_make_an_empty_table():
    frame = to_fields(instances(np.zeros((4, 4))))
    assert len(frame) == 0
    assert frame.columns.tolist() == [
        "id",
        "class",
        "metrics:area",
        "metrics:perimeter",
        "confidence",
        "geometry",
    ]


def test_what_is_empty_measures_nothing():
    """It has no place on the globe; whatever lay in memory was taken for one."""
    import shapely

    one = shapely.box(12, 50, 12.01, 50.01)
    shapes = np.array([shapely.Polygon(), one, shapely.MultiPolygon(), shapely.Polygon()], object)
    for _ in range(20):
        area, perimeter = measure(shapes, "OGC:CRS84")
        alone = measure(np.array([one], object), "OGC:CRS84")
        assert area.tolist() == [0, alone[0][0], 0, 0]
        assert perimeter.tolist() == [0, alone[1][0], 0, 0]
