"""Areas: files, boxes and GeoJSON in any CRS, on both sides of the antimeridian, broken and absurd
ones.
"""

import json
import time

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer
from shapely.geometry import mapping, shape

from selion.errors import BadInput, GridMismatch, UnreadableFile
from selion.imagery.area import read_area
from selion.imagery.globe import boxes_of, cut, square_kilometres, unwrap

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
FARM = shapely.Polygon(
    [(12, 48), (12.3, 48), (12.3, 48.2), (12.1, 48.25), (12, 48.2)],
    [[(12.1, 48.1), (12.2, 48.1), (12.2, 48.15)]],
)
RING = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
REACH = 5 + 0.3 * np.sin(200 * RING) + 0.02 * np.sin(5000 * RING)
COUNTRY = shapely.Polygon(np.c_[10 + REACH * np.cos(RING), 48 + REACH * np.sin(RING)])


def frame(*shapes, crs="OGC:CRS84"):
    return geopandas.GeoDataFrame(
        {"name": [str(k) for k in range(len(shapes))]}, geometry=list(shapes), crs=crs
    )


# whatever describes an area


@pytest.mark.parametrize("ending", ["geojson", "gpkg", "fgb", "shp", "parquet"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:32633", "EPSG:3035"])
def test_files_in_any_crs(tmp_path, ending, crs):
    path = tmp_path / f"farm.{ending}"
    # fine enough that an edge is straight in both
    table = frame(shapely.segmentize(FARM, 0.005)).to_crs(crs)
    table.to_parquet(path) if ending == "parquet" else table.to_file(path)
    area = read_area(path)
    assert area.name == "farm"
    assert area.notes == ()
    assert area.km2 == pytest.approx(read_area(mapping(FARM)).km2, rel=1e-5)
    assert np.allclose(area.boxes[0], FARM.bounds, atol=1e-6)
    assert shapely.area(shapely.symmetric_difference(area.geometry, FARM)) < 1e-5 * FARM.area


def test_long_edges_of_another_crs_are_bent():
    corners = [(2e6, 2e6), (5e6, 2e6), (5e6, 4e6), (2e6, 4e6)]
    whole = read_area(
        {
            **mapping(shapely.Polygon(corners)),
            "crs": {"type": "name", "properties": {"name": "EPSG:3035"}},
        }
    )
    fine = read_area(
        {
            **mapping(shapely.segmentize(shapely.Polygon(corners), 1000)),
            "crs": {"type": "name", "properties": {"name": "EPSG:3035"}},
        }
    )
    assert whole.km2 == pytest.approx(fine.km2, rel=2e-4)  # EPSG:3035 keeps areas: 6 million km2
    assert whole.km2 == pytest.approx(6e6, rel=2e-3)


def test_geojson_in_all_its_forms(tmp_path):
    geometry = mapping(FARM)
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    forms = [
        geometry,
        feature,
        {"type": "FeatureCollection", "features": [feature]},
        {"type": "GeometryCollection", "geometries": [geometry]},
        mapping(shapely.MultiPolygon([FARM])),
        json.dumps(feature),
        mapping(shapely.force_3d(FARM, 310.5)),
    ]
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    for form in [*forms, tmp_path / "a.geojson", str(tmp_path / "a.geojson")]:
        assert read_area(form).geometry.equals(shapely.MultiPolygon([FARM]))


@pytest.mark.parametrize(
    "given",
    [
        "12,48,13,49",
        " 12, 48, 13, 49 ",
        "[12,48,13,49]",
        "12 48 13 49",
        "12;48;13;49",
        (12, 48, 13, 49),
        [12, 48, 0, 13, 49, 9],
    ],
)
def test_boxes(given):
    area = read_area(given)
    assert area.boxes == ((12, 48, 13, 49),)
    assert area.centre == pytest.approx((12.5, 48.5))
    assert area.km2 == pytest.approx(8218.6, rel=1e-3)  # 111.2 km x 73.9 km


def test_km2_is_that_of_the_ellipsoid():
    # An edge along a parallel is no geodesic: without densifying, ten degrees at 60 N are 1.3 % too
    # large.
    ellipsoid = Geod(ellps="WGS84")
    strips = (
        sum(
            abs(ellipsoid.geometry_area_perimeter(shapely.box(0 + k / 8, 60, 0.125 + k / 8, 61))[0])
            for k in range(80)
        )
        / 1e6
    )
    assert read_area("0,60,10,61").km2 == pytest.approx(strips, rel=1e-5)
    assert read_area("-180,-90,180,90").km2 == pytest.approx(510_065_622, rel=1e-5)


def test_holes_overlaps_and_islands():
    hole = read_area(mapping(FARM))
    assert hole.km2 < read_area(mapping(shapely.Polygon(FARM.exterior))).km2 - 10
    twice = read_area(
        {
            "type": "GeometryCollection",
            "geometries": [
                mapping(shapely.box(0, 50, 1, 51)),
                mapping(shapely.box(0.5, 50, 1.5, 51)),
            ],
        }
    )
    assert twice.km2 == pytest.approx(read_area("0,50,1.5,51").km2, rel=1e-9)
    islands = read_area(
        mapping(shapely.MultiPolygon([shapely.box(0, 50, 1, 51), shapely.box(5, 50, 6, 51)]))
    )
    assert len(islands.geometry.geoms) == 2
    assert islands.boxes == ((0, 50, 6, 51),)


def test_other_shapes_beside_polygons_are_left_out_and_said():
    area = read_area(
        {
            "type": "GeometryCollection",
            "geometries": [mapping(FARM), {"type": "Point", "coordinates": [5, 5]}],
        }
    )
    assert area.boxes[0] == FARM.bounds
    assert area.notes == () or "no polygons" in area.notes[0]
    features = [
        {"type": "Feature", "properties": {}, "geometry": mapping(shape)}
        for shape in (FARM, shapely.Point(0, 0), shapely.LineString([(0, 0), (1, 1)]))
    ]
    area = read_area(
        {
            "type": "FeatureCollection",
            "features": [*features, {"type": "Feature", "properties": {}, "geometry": None}],
        }
    )
    assert area.notes == ("2 of its shapes are no polygons and were left out.",)


def test_invalid_polygons_are_repaired_and_said():
    bow = {"type": "Polygon", "coordinates": [[[0, 50], [2, 52], [2, 50], [0, 52], [0, 50]]]}
    area = read_area(bow)
    assert area.geometry.is_valid
    assert area.geometry.area == pytest.approx(2)  # both halves
    assert "1 of its polygons was not valid" in area.notes[0]


# the antimeridian

west = st.floats(-179, 179).map(lambda x: round(x, 3))
size = st.floats(0.01, 40).map(lambda x: round(x, 3))
south = st.floats(-80, 60).map(lambda x: round(x, 3))


def back(longitude):
    return longitude - 360 if longitude > 180 else longitude


@settings(max_examples=60, deadline=None)
@given(west, south, size, st.floats(0.01, 20).map(lambda x: round(x, 3)), st.booleans())
def test_three_ways_to_write_a_box_are_one(west, south, width, height, clockwise):
    east, north = round(west + width, 3), round(south + height, 3)
    box = read_area((west, south, back(east), north))
    ring = [(west, south), (east, south), (east, north), (west, north), (west, south)][
        :: -1 if clockwise else 1
    ]
    on = read_area({"type": "Polygon", "coordinates": [ring]})
    before = read_area({"type": "Polygon", "coordinates": [[(x - 360, y) for x, y in ring]]})
    jump = read_area({"type": "Polygon", "coordinates": [[(back(x), y) for x, y in ring]]})
    for other in (on, before, jump):
        assert other.geometry.symmetric_difference(box.geometry).area < 1e-9
        assert other.km2 == pytest.approx(box.km2, rel=1e-6)
        assert np.allclose(other.boxes, box.boxes, atol=1e-9)
    low, _, high, _ = box.geometry.bounds
    assert -180 <= low < high <= 180
    assert len(box.boxes) == (2 if east > 180 else 1)
    middle = west + width / 2
    assert (box.centre[0] - middle + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    if east - 180 > 0.001:
        assert jump.notes
        assert box.boxes[0][2] == 180
        assert box.boxes[1][0] == -180


def test_hole_across_the_antimeridian():
    shell = [(179, -17), (-179, -17), (-179, -16), (179, -16), (179, -17)]
    for hole in (
        [(179.5, -16.7), (-179.5, -16.7), (-179.5, -16.3), (179.5, -16.3)],
        [(-179.8, -16.7), (-179.2, -16.7), (-179.2, -16.3), (-179.8, -16.3)],
    ):
        area = read_area({"type": "Polygon", "coordinates": [shell, [*hole, hole[0]]]})
        inside = (hole[1][0] - hole[0][0]) % 360 * 0.4
        assert area.geometry.area == pytest.approx(2 - inside)


def test_islands_on_both_sides_make_no_box_around_the_globe():
    area = read_area(
        mapping(
            shapely.MultiPolygon(
                [
                    shapely.box(177, -19, 179, -17),
                    shapely.box(-179.5, -17, -179, -16),
                    shapely.box(-180, -18, -179.8, -17),
                ]
            )
        )
    )
    assert area.boxes == ((177, -19, 180, -16), (-180, -19, -179, -16))
    # America and Asia, but not around the Pacific: the widest gap is outside
    area = read_area(
        mapping(shapely.MultiPolygon([shapely.box(-100, 0, -40, 10), shapely.box(20, 0, 80, 10)]))
    )
    assert area.boxes == ((-100, 0, 80, 10),)
    assert read_area("-180,10,180,20").boxes == ((-180, 10, 180, 20),)
    assert boxes_of(np.array([shapely.box(179, 0, 180, 1), shapely.box(-180, 0, -179, 1)])) == (
        (179, 0, 180, 1),
        (-180, 0, -179, 1),
    )


def test_around_a_pole_is_refused():
    around = [(-170, -60), (-60, -60), (60, -60), (170, -60), (-170, -60)]
    with pytest.raises(BadInput, match="around a pole"):
        read_area({"type": "Polygon", "coordinates": [around]})


def test_utm_across_the_antimeridian(tmp_path):
    frame(shapely.box(780000, 8100000, 880000, 8150000), crs="EPSG:32760").to_file(
        tmp_path / "fiji.gpkg"
    )
    area = read_area(tmp_path / "fiji.gpkg")
    assert len(area.boxes) == 2
    assert area.km2 == pytest.approx(5000, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(100, 260), st.floats(-40, 40)), min_size=3, max_size=8, unique=True
    )
)
def test_cut_keeps_the_area(points):
    hull = shapely.MultiPoint(points).convex_hull
    if hull.geom_type != "Polygon" or hull.area < 1e-6:
        return
    parts = cut(np.array([hull]))
    assert shapely.area(parts).sum() == pytest.approx(hull.area)
    assert all(part.bounds[0] >= -180 and part.bounds[2] <= 180 for part in parts)
    folded = shapely.transform(hull, lambda xy: np.c_[(xy[:, 0] + 180) % 360 - 180, xy[:, 1]])
    steps = np.abs(np.diff(np.array(hull.exterior.coords)[:, 0]))
    if steps.max() < 179:
        assert unwrap(folded)[0].area == pytest.approx(hull.area)


# size


def test_country_of_a_hundred_thousand_points_is_quick():
    began = time.process_time()
    area = read_area(mapping(COUNTRY))
    assert shapely.get_num_coordinates(area.geometry) >= 100_000  # as exact as given
    (outline,) = area.outlines
    assert area.km2 > 300_000
    assert len(area.boxes) == 1
    seconds = time.process_time() - began
    assert shapely.get_num_coordinates(shape(outline)) <= 200
    assert shape(outline).covers(area.geometry)
    assert shape(outline).area < 1.6 * area.geometry.area
    assert seconds < 10  # 1 s on a quiet core
    began = time.process_time()
    area.mask(GeoBox((1098, 1098), Affine(100, 0, 300000, 0, -100, 5_400_000), "EPSG:32632"))
    assert time.process_time() - began < 5  # 0.05 s


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 40))
def test_outlines_cover_the_area(seed, islands):
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, (islands, 60)), axis=1)
    reach = random.uniform(0.2, 1, (islands, 60))
    x, y = random.uniform(165, 195, (islands, 1)), random.uniform(-30, 30, (islands, 1))
    shapes = [
        shapely.Polygon(np.c_[a, b])
        for a, b in zip(x + reach * np.cos(angles), y + reach * np.sin(angles), strict=True)
    ]
    area = read_area(mapping(shapely.MultiPolygon(shapes)))
    cover = shapely.union_all([shape(outline) for outline in area.outlines])
    assert cover.buffer(1e-9).covers(area.geometry)
    assert all(shapely.get_num_coordinates(shape(outline)) <= 200 for outline in area.outlines)


# masks

GRIDS = {
    "utm": (FARM, GeoBox((300, 260), Affine(100, 0, 275000, 0, -100, 5_346_000), "EPSG:32633")),
    "neighbouring zone": (
        FARM,
        GeoBox((300, 260), Affine(100, 0, 720000, 0, -100, 5_352_000), "EPSG:32632"),
    ),
    "degrees": (FARM, GeoBox((150, 200), Affine(0.002, 0, 11.95, 0, -0.002, 48.27), "EPSG:4326")),
    "mercator": (
        FARM,
        GeoBox((300, 300), Affine(150, 0, 1_330_000, 0, -150, 6_155_000), "EPSG:3857"),
    ),
    "equal area": (
        FARM,
        GeoBox((300, 300), Affine(100, 0, 4_460_000, 0, -100, 2_790_000), "EPSG:3035"),
    ),
}
FIJI = shapely.Polygon([(179.7, -17), (180.2, -17.1), (180.3, -16.6), (179.8, -16.5)])
OVER = {
    "zone 60": GeoBox((800, 800), Affine(100, 0, 780000, 0, -100, 8_180_000), "EPSG:32760"),
    "zone 1": GeoBox((800, 800), Affine(100, 0, 140000, 0, -100, 8_180_000), "EPSG:32701"),
    "mercator beyond its edge": GeoBox(
        (400, 500), Affine(200, 0, 20037508 - 50000, 0, -200, -1_850_000), "EPSG:3857"
    ),
    "mercator before its edge": GeoBox(
        (400, 500), Affine(200, 0, -20037508 - 50000, 0, -200, -1_850_000), "EPSG:3857"
    ),
    "degrees on": GeoBox((400, 400), Affine(0.002, 0, 179.6, 0, -0.002, -16.4), "EPSG:4326"),
    "degrees back": GeoBox((400, 400), Affine(0.002, 0, -180.4, 0, -0.002, -16.4), "EPSG:4326"),
    "degrees, eastern edge": GeoBox(
        (400, 400), Affine(0.002, 0, 179.2, 0, -0.002, -16.4), "EPSG:4326"
    ),
}


def check_mask(area, grid, polygon):
    """Every pixel whose centre is inside is in, and none that is further away than its diagonal."""
    mask = area.mask(grid)
    assert mask.shape == tuple(grid.shape)
    rows, columns = np.mgrid[: grid.shape[0], : grid.shape[1]]
    x = grid.transform.c + grid.transform.a * (columns + 0.5)
    y = grid.transform.f + grid.transform.e * (rows + 0.5)
    if not grid.crs.geographic:
        x, y = Transformer.from_crs(grid.crs.to_wkt(), "OGC:CRS84", always_xy=True).transform(x, y)
    x = np.where(x < 0, x + 360, x) if polygon is FIJI else x
    inside = shapely.contains_xy(polygon, x, y)
    assert inside.sum() > 1000
    assert mask[inside].all()
    pixel = np.hypot(np.diff(x, axis=1).max(), np.abs(np.diff(y, axis=0)).max())
    assert (shapely.distance(polygon, shapely.points(x[mask], y[mask])) < 0.6 * pixel).all()
    assert not mask.all()


@pytest.mark.parametrize("name", GRIDS)
def test_mask(name):
    polygon, grid = GRIDS[name]
    check_mask(read_area(mapping(polygon)), grid, polygon)


@pytest.mark.parametrize("name", OVER)
def test_mask_across_the_antimeridian(name):
    area = read_area(mapping(FIJI))
    grid = OVER[name]
    if name == "degrees, eastern edge":
        mask = area.mask(grid)
        assert mask[:, :400].any()
        assert not mask[:, :240].any()
        return
    check_mask(area, grid, FIJI)


def test_mask_holds_long_edges_where_they_are():
    # Half a degree of a parallel is 30 m off a straight line in UTM.
    area = read_area("12.0,48.0,13.5,48.2")
    grid = GeoBox((60, 3000), Affine(10, 0, 320_000, 0, -10, 5_319_300), "EPSG:32633")
    check_mask(area, grid, shapely.box(12, 48, 13.5, 48.2))


def test_mask_far_away_is_empty_and_a_touched_pixel_is_in():
    area = read_area(mapping(FARM))
    assert not area.mask(
        GeoBox((10, 10), Affine(10, 0, 500000, 0, -10, 5_000_000), "EPSG:32719")
    ).any()
    tiny = read_area((12.00001, 48.00001, 12.0002, 48.0002))
    mask = tiny.mask(GeoBox((3, 3), Affine(0.1, 0, 11.95, 0, -0.1, 48.15), "EPSG:4326"))
    assert mask.sum() == 1
    with pytest.raises(GridMismatch, match="photograph"):
        area.mask(GeoBox((3, 3), Affine.identity(), None))


# what cannot be used


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("1,2,3", "3 numbers"),
        ("1,2,3,4,5", "5 numbers"),
        ((1, 2, 3), "3 numbers"),
        ("5,50,6,nan", "wanted are four"),
        ("5,51,6,50", "no size"),
        ("5,50,5,51", "no size"),
        ("5,50,6,50", "no size"),
        ("48,190,49,12", "outside of the globe"),
        ("10,120,11,121", "longitude and latitude swapped"),
        ("48,-100,49,-99", "longitude and latitude swapped"),
        ("500000,5000000,600000,5100000", "outside of the globe"),
        ("{not json", "begins like GeoJSON"),
        ({"type": "FeatureCollection", "features": []}, "is empty"),
        ({"type": "Feature", "geometry": None}, "is empty"),
        ({"type": "Polygon", "coordinates": []}, "is empty|holds Polygon"),
        ({"type": "Nonsense"}, "cannot be read"),
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]}, "cannot be read"),
        ({"type": "Polygon", "coordinates": "here"}, "cannot be read"),
        (
            {"type": "Point", "coordinates": [5, 50]},
            "holds Point, and no polygon: draw the area, or buffer",
        ),
        ({"type": "LineString", "coordinates": [[5, 50], [6, 50]]}, "holds LineString"),
        ({"type": "Polygon", "coordinates": [[[5, 50], [6, 50], [7, 50], [5, 50]]]}, "no size"),
        (
            {
                "type": "Polygon",
                "coordinates": [[[5, 50], [5.00001, 50], [5.00001, 50.00001], [5, 50]]],
            },
            "no size",
        ),
        (
            {"type": "Polygon", "coordinates": [[[10, 120], [11, 120], [11, 121], [10, 120]]]},
            "swapped",
        ),
        (
            {"type": "Polygon", "coordinates": [[[5e5, 5e6], [6e5, 5e6], [6e5, 6e6], [5e5, 5e6]]]},
            "outside of the globe",
        ),
        (
            {**mapping(FARM), "crs": {"type": "name", "properties": {"name": "EPSG:999999"}}},
            "PROJ does not know",
        ),
        (
            {"type": "Polygon", "coordinates": [[[1, 50], [2, float("inf")], [2, 51], [1, 50]]]},
            "corners without a place",
        ),
    ],
)
def test_what_is_no_area_is_said_in_one_sentence(given, says):
    with pytest.raises(BadInput, match=says) as caught:
        read_area(given)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text


def test_files_that_are_no_area(tmp_path):
    with pytest.raises(UnreadableFile, match=r"no file .*none\.geojson"):
        read_area(tmp_path / "none.geojson")
    with pytest.raises(UnreadableFile, match="no file Bavaria"):
        read_area("Bavaria")
    with pytest.raises(UnreadableFile, match="folder"):
        read_area(tmp_path)
    for name in ("a.geojson", "a.gpkg", "a.parquet", "a.shp"):
        (tmp_path / name).write_text("no shapes at all")
        with pytest.raises(UnreadableFile, match=name.replace(".", r"\.")):
            read_area(tmp_path / name)
    (tmp_path / "empty.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": []})
    )
    with pytest.raises(BadInput, match=r"empty|without geometry"):
        read_area(tmp_path / "empty.geojson")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(BadInput, match="table without geometry"):
        read_area(tmp_path / "table.csv")
    frame().drop(columns="geometry").to_parquet(tmp_path / "plain.parquet")
    with pytest.raises(BadInput, match="plain"):
        read_area(tmp_path / "plain.parquet")


@pytest.mark.filterwarnings("ignore:'crs' was not provided")  # that is the point
def test_no_crs(tmp_path):
    frame(FARM, crs=None).to_file(tmp_path / "degrees.shp")
    assert read_area(tmp_path / "degrees.shp").km2 == pytest.approx(read_area(mapping(FARM)).km2)
    frame(shapely.box(5e5, 5e6, 6e5, 5.1e6), crs=None).to_file(tmp_path / "metres.shp")
    with pytest.raises(BadInput, match=r"has no CRS, and its numbers .* are not degrees.*ogr2ogr"):
        read_area(tmp_path / "metres.shp")


def test_wrong_crs(tmp_path):
    frame(shapely.box(5e9, 5e9, 6e9, 5.1e9), crs="EPSG:32633").to_file(tmp_path / "far.gpkg")
    with pytest.raises(BadInput, match="nowhere on the globe"):
        read_area(tmp_path / "far.gpkg")


def test_many_areas_are_measured_by_one_projection(monkeypatch):
    """A plan of 20,000 jobs measures 40,000 areas; to make the projection took most of its time."""
    made, usual = [], Transformer.from_crs
    monkeypatch.setattr(Transformer, "from_crs", lambda *a, **k: made.append(a) or usual(*a, **k))
    boxes = [shapely.box(10, y, 11, y + 1) for y in range(-60, 60, 20)]
    areas = [square_kilometres(box) for box in boxes]
    geod = Geod(ellps="WGS84")
    for box, km2 in zip(boxes, areas, strict=True):  # by geodesics, of which a parallel is none
        told = abs(geod.geometry_area_perimeter(shapely.segmentize(box, 0.01))[0]) / 1e6
        assert km2 == pytest.approx(told, rel=1e-6)
    assert len(made) <= 1


def test_an_image_is_no_area_and_how_it_is_mapped_is_said(tmp_path):
    (tmp_path / "scene.tif").write_bytes(b"II*\0")
    with pytest.raises(BadInput, match="without --year, maps the image itself"):
        read_area(tmp_path / "scene.tif")
