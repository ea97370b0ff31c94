"""Outlines: ids -> polygons -> ids, GDAL's rings, seams, coverage."""

import numpy as np
import pytest
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from cc3d import connected_components
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox

from fields_scenes import UTM, blobs, instances
from selion.errors import BadInput, GridMismatch
from selion.fields import polygonise as module
from selion.fields.polygonise import outline, polygonise
from selion.grid import photo_grid
from selion.labels import Instances

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
few = hnp.arrays(
    np.int32, st.tuples(st.integers(1, 13), st.integers(1, 13)), elements=st.integers(0, 3)
)


def gdal(given_):
    shapes = rasterio.features.shapes(
        given_.ids, mask=given_.ids > 0, connectivity=4, transform=given_.grid.transform
    )
    return [(int(value), shapely.geometry.shape(geometry)) for geometry, value in shapes]


def canonical(ids, polygons):
    return sorted(
        zip(
            (int(k) for k in ids),
            shapely.to_wkb(shapely.normalize(np.asarray(polygons, dtype=object))),
            strict=True,
        )
    )


@pytest.fixture
def small_tiles(monkeypatch):
    """Cut small rasters into tiles; the real size is far above what a test can draw."""

    def set_to(size):
        monkeypatch.setattr(module, "TILE", size)

    return set_to


@given(few)
@settings(max_examples=150, deadline=None)
def test_rings_are_gdals(ids):
    given_ = instances(ids)
    expected = gdal(given_)
    assert canonical(*polygonise(given_)) == canonical(
        [k for k, _ in expected], [p for _, p in expected]
    )


@given(few, st.integers(2, 7))
@settings(max_examples=150, deadline=None)
def test_tiles_do_not_show(ids, tile):
    given_ = instances(ids)
    expected = polygonise(given_)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TILE", tile)
        found = polygonise(given_)
    assert np.array_equal(found[0], expected[0])
    # Point by point, start and order of holes included, not only as sets of points.
    assert list(shapely.to_wkb(found[1])) == list(shapely.to_wkb(expected[1]))


@given(few, st.integers(2, 20), st.sampled_from([0.0, 0.8, 1.5, 3.0, 50.0]))
@settings(max_examples=150, deadline=None)
def test_lines_make_a_coverage(ids, tile, simplify):
    given_ = instances(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TILE", tile)
        patch.setattr(module, "SMALL", 1e9)  # let nothing hold the lines but the topology
        found, polygons = polygonise(given_, simplify=simplify, nodes=True)
    raw = polygonise(given_)
    assert np.array_equal(found, raw[0])  # no object, and no part of one, is lost
    assert shapely.is_valid(polygons).all()
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons)).all()
    if len(polygons):
        assert shapely.coverage_is_valid(polygons)
        assert (
            shapely.get_num_interior_rings(polygons).sum()
            == shapely.get_num_interior_rings(raw[1]).sum()
        )


def test_simplified_scene_is_a_coverage_and_stays_near():
    given_ = instances(connected_components(blobs(ragged=0.5), connectivity=4).astype(np.int32))
    ids, raw = polygonise(given_)
    same, simple = polygonise(given_, simplify=1.5)
    assert np.array_equal(ids, same)
    assert shapely.coverage_is_valid(simple)
    assert shapely.is_valid(simple).all()
    assert shapely.get_num_coordinates(simple).sum() < 0.6 * shapely.get_num_coordinates(raw).sum()
    assert shapely.area(simple).sum() == pytest.approx(shapely.area(raw).sum(), rel=0.01)
    large = shapely.area(raw) > 2000
    iou = shapely.area(shapely.intersection(raw, simple)) / shapely.area(shapely.union(raw, simple))
    assert iou[large].min() > 0.7  # small cells with an edge of noise: what goes is the noise
    assert np.median(iou[large]) > 0.85


def test_simplified_neighbours_share_points_in_any_projection(small_tiles):
    small_tiles(40)
    import geopandas

    _, polygons = polygonise(instances(blobs(seed=3)), simplify=1.5)
    lonlat = geopandas.GeoSeries(polygons, crs="EPSG:32632").to_crs("EPSG:4326").to_numpy()
    assert shapely.coverage_is_valid(lonlat)


@given(few)
@settings(max_examples=100, deadline=None)
def test_rasterised_polygons_are_the_ids(ids):
    given_ = instances(ids)
    found, polygons = polygonise(given_)
    assert shapely.area(polygons).sum() == (ids > 0).sum() * 100
    back = np.zeros_like(given_.ids)
    if len(found):
        back = rasterio.features.rasterize(
            zip(polygons, found, strict=True), ids.shape, transform=UTM, dtype=np.int32
        )
    assert np.array_equal(back, given_.ids)


def test_touching_diagonals_stay_apart_and_a_ring_closes_over_one():
    ids, polygons = polygonise(instances([[1, 0], [0, 1]]))
    assert ids.tolist() == [1, 1]
    assert shapely.area(polygons).tolist() == [100, 100]
    around = [[1, 1, 1], [1, 0, 1], [1, 1, 0]]  # the hole touches the exterior in a point
    (one,) = polygonise(instances(around))[1]
    assert one.is_valid
    assert len(one.interiors) == 1
    assert one.area == 700
    # two holes touch in a point
    two_holes = [[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]]
    (one,) = polygonise(instances(two_holes))[1]
    assert one.is_valid
    assert len(one.interiors) == 2


def test_single_pixels_whole_rasters_and_nothing():
    ids, polygons = polygonise(instances([[0, 0], [0, 7]]))
    assert ids.tolist() == [7]
    assert polygons[0].equals(shapely.box(500_010, 5_299_980, 500_020, 5_299_990))
    ids, polygons = polygonise(instances(np.full((50, 70), 3)), simplify=2)
    assert ids.tolist() == [3]
    assert polygons[0].equals(shapely.box(500_000, 5_299_500, 500_700, 5_300_000))
    ids, polygons = polygonise(instances(np.zeros((5, 5))), simplify=2)
    assert len(ids) == len(polygons) == 0


def test_small_objects_keep_their_shape():
    ids = np.zeros((12, 12), np.int32)
    ids[2:4, 2:4], ids[6, 6], ids[8:11, 1:4] = 1, 2, 3
    found, polygons = polygonise(instances(ids), simplify=2.0)
    assert found.tolist() == [1, 2, 3]
    assert shapely.area(polygons).tolist() == [400, 100, 900]


def test_a_lens_on_a_seam_does_not_vanish(small_tiles):
    # Two lines between the same two points, one on each side of a tile's border: neither may fall
    # onto the border.
    small_tiles(8)
    module_small, module.SMALL = module.SMALL, 1e9
    try:
        ids = np.zeros((16, 16), np.int32)
        ids[3:6, 7:9] = 1
        found, polygons = polygonise(instances(ids), simplify=50)
    finally:
        module.SMALL = module_small
    assert found.tolist() == [1]
    assert polygons[0].area > 0
    assert polygons[0].is_valid


def test_runner_does_not_matter(small_tiles):
    from concurrent.futures import ThreadPoolExecutor

    small_tiles(20)
    given_ = instances(blobs())
    alone = outline(given_, simplify=1.5)
    with ThreadPoolExecutor(2) as pool:
        together = outline(given_, simplify=1.5, run=pool.map)
    assert np.array_equal(alone.points[alone.starts], together.points[together.starts])
    assert list(shapely.to_wkb(alone.polygons())) == list(shapely.to_wkb(together.polygons()))


def test_photographs_and_bad_input():
    ids, polygons = polygonise(Instances(np.ones((2, 3), np.int32), photo_grid((2, 3))))
    assert ids.tolist() == [1]
    assert polygons[0].equals(shapely.box(0, 0, 3, 2))
    assert shapely.is_ccw(shapely.get_exterior_ring(polygons[0]))
    with pytest.raises(GridMismatch, match="rotated"):
        polygonise(
            Instances(
                np.ones((2, 3), np.int32), GeoBox((2, 3), UTM @ Affine.rotation(20), "EPSG:32632")
            )
        )
    with pytest.raises(BadInput, match="simplification"):
        polygonise(instances([[1]]), simplify=-1)
