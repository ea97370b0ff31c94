"""Objects: blocks equal the whole, fields are parted where the boundary is, small things and
holes.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyproj import Geod
from scipy import ndimage

from cut_toys import random_score, with_score
from fields_scenes import blobs, raster, soft
from selion.classes import ALU, FTW2, FTW3
from selion.errors import BadInput, BandMismatch, OutputFailed, UnknownName, UnreadableFile
from selion.fields import METHODS, InstanceOptions, find_instances, map_instances
from selion.fields.instances import JOINS
from selion.grid import photo_grid, pixel_areas, tiles
from selion.raster import Raster
from selion.store import open_instances

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
ALL = InstanceOptions(min_area=0, max_hole=0)


def share_found(truth, prediction):
    """Share of true objects that a prediction has at an IoU above one half."""
    pairs, both = np.unique(
        np.stack([truth.ravel(), prediction.ravel()]), axis=1, return_counts=True
    )
    keep = pairs.all(axis=0)
    t, g = pairs[:, keep]
    iou = both[keep] / (
        np.bincount(truth.ravel())[t] + np.bincount(prediction.ravel())[g] - both[keep]
    )
    return (iou > 0.5).sum() / len(np.unique(truth[truth > 0]))


@pytest.fixture(scope="module")
def scene():
    ids = blobs(150, 15, 1, 0.3)
    return ids, raster(soft(ids))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("block", [64, 77, 128])
def test_blocks_equal_the_whole(scene, method, block, tmp_path):
    options = with_score(method)
    whole = find_instances(scene[1], FTW3, method, options)
    with ThreadPoolExecutor(2) as pool:
        found = map_instances(scene[1], FTW3, tmp_path, method, options, block=block, run=pool.map)
    assert np.array_equal(found.read((slice(0, 150), slice(0, 150))).ids, whole.ids)
    assert found.table.equals(whole.table)
    assert whole.ids.max() > 20


class Blocked:
    """Blocks smaller than what users may ask for, so that Hypothesis finds small
    counterexamples.
    """

    def __init__(self, probs, method, options, block):
        from selion.fields.instances import conclude, cut, prepare
        from selion.grid import pad_roi

        scene = prepare(probs, FTW3, method, options)
        self.ids = np.zeros(scene.shape, np.int32)
        parts = []
        for roi in tiles(scene.shape, block):
            frame = pad_roi(roi, scene.halo, scene.shape)
            parts.append(cut(probs.read(frame), roi, scene, frame))
        lut, self.table = conclude([one for _, one in parts], scene, FTW3, method, options)
        start = 0
        for labels, one in parts:
            self.ids[one.roi] = lut[start + labels]
            start += len(one.basins)


@given(
    hnp.arrays(
        np.uint8,
        st.tuples(st.just(3), st.integers(1, 14), st.integers(1, 14)),
        elements=st.sampled_from([0, 60, 120, 200, 255]),
    ),
    st.integers(1, 6),
    st.sampled_from(sorted(JOINS)),
    st.sampled_from([0.0, 10.0, 25.0]),
    st.sampled_from([0.0, 300.0, 700.0]),
    st.sampled_from([0.0, 50.0]),
)
@settings(max_examples=150, deadline=None)
def test_blocks_of_any_size_equal_the_whole(values, block, method, smoothing, area, spur):
    options = InstanceOptions(smoothing=smoothing, min_area=area, max_hole=area, spur=spur)
    options = with_score(method, options, random_score())
    whole = find_instances(raster(values), FTW3, method, options)
    found = Blocked(raster(values), method, options, block)
    assert np.array_equal(found.ids, whole.ids)
    assert found.table.equals(whole.table)


@pytest.mark.parametrize("method", ["watershed", "cut"])
def test_blocks_settle_most_on_their_own_and_nothing_else(scene, method):
    """The table of the whole raster is short because blocks join first what no neighbour can
    change; the objects are the same as without that.
    """
    from dataclasses import replace

    from selion.fields.instances import conclude, cut, prepare
    from selion.grid import pad_roi

    options = with_score(method)
    ready = prepare(scene[1], FTW3, method, options)
    tables, sizes = [], []
    for variant in (ready, replace(ready, first=None)):
        parts = []
        for roi in tiles(ready.shape, 75):
            frame = pad_roi(roi, ready.halo, ready.shape)
            parts.append(cut(scene[1].read(frame), roi, variant, frame)[1])
        sizes.append(sum(len(part.basins) for part in parts))
        tables.append(conclude(parts, variant, FTW3, method, options)[1])
        assert not parts, "they are let go of where memory is at its highest"
    assert tables[0].equals(tables[1])
    assert sizes[0] < 0.8 * sizes[1]


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))))
@settings(max_examples=100, deadline=None)
def test_components_are_scipys(mask):
    found = find_instances(
        raster(np.stack([~mask, mask]).astype(np.float32)), FTW2, "components", ALL
    )
    expected, count = ndimage.label(mask)
    assert len(found.table) == count
    assert np.array_equal(found.ids, expected)  # scipy, too, counts in row-major order
    assert found.table["pixels"].tolist() == np.bincount(expected.ravel())[1:].tolist()


def test_watershed_parts_what_components_leave_together(scene):
    truth, probs = scene
    kept = truth * np.isin(truth, np.flatnonzero(np.bincount(truth.ravel()) >= 5))
    shares = {
        method: share_found(kept, find_instances(probs, FTW3, method, with_score(method)).ids)
        for method in METHODS
    }
    assert shares["cut"] > 0.85
    assert shares["watershed"] > 0.93
    assert shares["vote"] > 0.85
    assert shares["watershed"] > shares["components"] + 0.02


def test_boundary_pixels_are_given_to_fields(scene):
    probs = scene[1]
    found = find_instances(probs, FTW3, "watershed", ALL)
    extent = probs.values[1:].sum(axis=0) > 0.5
    assert (found.ids > 0)[extent].mean() > 0.999
    narrow = find_instances(
        probs, FTW3, "watershed", InstanceOptions(extent="field", min_area=0, max_hole=0)
    )
    assert not (narrow.ids > 0)[probs.values[2] > 0.5].any()
    assert 0.4 < (narrow.ids > 0).sum() / (found.ids > 0).sum() < 0.9


def ridge(height):
    """Two fields, 9 x 10 px each, and a boundary of some height between them."""
    boundary = np.zeros((9, 21), np.float32)
    boundary[:, 10] = height
    return raster(np.stack([np.zeros_like(boundary), 1 - boundary, boundary]))


def test_depth_decides_at_its_value():
    for height, count in ((0.25, 1), (0.35, 2)):
        options = InstanceOptions(depth=0.3, smoothing=0, min_area=0)
        assert len(find_instances(ridge(height), FTW3, "watershed", options).table) == count


def test_scores_are_mean_probabilities():
    p = np.full((2, 4, 4), 0.2, np.float32)
    p[1] = 0.8
    p[1, 0], p[0, 0] = 0.6, 0.4
    found = find_instances(raster(p), FTW2, "components", ALL)
    assert found.table["score"].tolist() == pytest.approx([0.75], abs=1e-4)
    q = find_instances(raster(np.round(p * 255).astype(np.uint8)), FTW2, "components", ALL)
    assert q.table["score"].tolist() == pytest.approx([0.75], abs=1e-2)
    assert np.array_equal(q.ids, found.ids)


def field_of(shape, *boxes):
    field = np.zeros(shape, np.float32)
    for rows, columns in boxes:
        field[rows, columns] = 1
    return raster(np.stack([1 - field, field]))


def test_small_objects_go_and_tiny_basins_join():
    probs = field_of((20, 20), (slice(2, 8), slice(2, 8)), (slice(12, 14), slice(12, 14)))
    assert len(find_instances(probs, FTW2, "components", InstanceOptions(min_area=390)).table) == 2
    found = find_instances(probs, FTW2, "components", InstanceOptions(min_area=410))
    assert found.table["pixels"].tolist() == [36]
    boundary = np.zeros((9, 21), np.float32)
    boundary[:, 18] = 0.3  # a strip of two columns behind a weak line
    probs = raster(np.stack([np.zeros_like(boundary), 1 - boundary, boundary]))
    for absorb, pixels in ((0.5, [189]), (0.1, [19 * 9])):
        options = InstanceOptions(min_area=2500, smoothing=0, absorb=absorb, depth=0.2)
        assert find_instances(probs, FTW3, "watershed", options).table["pixels"].tolist() == pixels


def test_holes_are_filled_below_their_size_only():
    field = np.ones((20, 20), np.float32)
    field[3, 3] = field[8:12, 8:12] = field[0, 9] = field[15, 15] = 0
    valid = np.ones((20, 20), bool)
    valid[15, 15] = False
    probs = raster(np.stack([1 - field, field]), valid=valid)
    found = find_instances(probs, FTW2, "components", InstanceOptions(max_hole=1000, min_area=0))
    assert found.ids[3, 3] == 1
    assert (found.ids[8:12, 8:12] == 0).all()  # 1600 m2
    assert found.ids[0, 9] == 0  # open to the edge
    assert found.ids[15, 15] == 0  # not known
    assert (
        find_instances(probs, FTW2, "components", InstanceOptions(max_hole=2000, min_area=0))
        .ids[8:12, 8:12]
        .all()
    )


def test_a_hole_between_two_fields_or_with_an_island_stays():
    field = np.ones((9, 9), np.float32)
    field[2:7, 2:7] = 0
    field[4, 4] = 1
    probs = raster(np.stack([1 - field, field]))
    found = find_instances(probs, FTW2, "components", InstanceOptions(max_hole=1e6, min_area=0))
    assert len(found.table) == 2
    assert found.ids[3, 3] == 0
    # the island is too small to be kept
    filled = find_instances(probs, FTW2, "components", InstanceOptions(max_hole=1e6, min_area=200))
    assert (filled.ids == 1).all()
    assert filled.table["pixels"].tolist() == [81]


def test_spurs_are_cut():
    probs = field_of((20, 30), (slice(4, 16), slice(4, 16)), (slice(9, 10), slice(16, 30)))
    assert find_instances(probs, FTW2, "components", InstanceOptions(spur=0)).table[
        "pixels"
    ].tolist() == [144 + 14]
    assert find_instances(probs, FTW2, "components", InstanceOptions(spur=30)).table[
        "pixels"
    ].tolist() == [144]


def test_classes_do_not_mix():
    p = np.zeros((6, 8, 8), np.float32)
    p[1, :, :4], p[4, :, 4:] = 1, 1
    found = find_instances(raster(p), ALU, "watershed", ALL)
    assert found.table["class"].tolist() == ["field", "pond"]
    assert (found.ids[:, :4] == 1).all()
    assert (found.ids[:, 4:] == 2).all()


def test_nan_and_nodata_are_no_field():
    p = np.stack([np.zeros((6, 6)), np.ones((6, 6))]).astype(np.float32)
    p[:, 0] = np.nan
    found = find_instances(raster(p), FTW2, "watershed", ALL)
    assert (found.ids[0] == 0).all()
    assert (found.ids[1:] == 1).all()


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32632", Affine(10, 0, 500_000, 0, -10, 5_300_000)),
        ("EPSG:3857", Affine(10, 0, 1_000_000, 0, -10, 8_000_000)),
        ("EPSG:4326", Affine(1e-4, 0, 10, 0, -1e-4, 48)),
        ("EPSG:2263", Affine(30, 0, 1_000_000, 0, -30, 200_000)),  # US survey feet
    ],
)
def test_areas_are_geodesic_in_any_crs(crs, transform):
    from pyproj import Transformer

    field = np.zeros((300, 300), np.float32)
    field[100:200, 50:250] = 1
    found = find_instances(raster(np.stack([1 - field, field]), crs, transform), FTW2, "components")
    corners = np.array([(50, 100), (250, 100), (250, 200), (50, 200), (50, 100)], float)
    ring = np.column_stack(
        [np.interp(np.linspace(0, 4, 801), range(5), corners[:, k]) for k in range(2)]
    )
    x, y = transform @ (ring[:, 0], ring[:, 1])
    lon, lat = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True).transform(x, y)
    area = abs(Geod(ellps="WGS84").polygon_area_perimeter(lon, lat)[0])
    assert found.table["area"].item() == pytest.approx(area, rel=2e-4)
    # The least area is on the ground, too: just above it drops the field, just below it does not.
    for factor, count in ((1.001, 0), (0.999, 1)):
        assert (
            len(
                find_instances(
                    raster(np.stack([1 - field, field]), crs, transform),
                    FTW2,
                    "components",
                    InstanceOptions(min_area=area * factor),
                ).table
            )
            == count
        )


def test_photographs_count_pixels():
    grid = photo_grid((30, 40))
    field = np.zeros((30, 40), np.float32)
    field[5:15, 5:15] = 1
    found = find_instances(
        Raster(np.stack([1 - field, field]), grid, ("soil", "crop")),
        FTW2,
        "components",
        InstanceOptions(min_area=99),
    )
    assert found.table["area"].tolist() == [100]
    assert pixel_areas(grid)[1] * pixel_areas(grid)[0][0, 0] == 1


def test_nothing_found(tmp_path):
    probs = field_of((70, 70))
    assert len(find_instances(probs, FTW2).table) == 0
    found = map_instances(probs, FTW2, tmp_path, block=64)
    assert len(found.table) == 0
    assert not found.read((slice(0, 70), slice(0, 70))).ids.any()


def test_a_map_is_opened_again_and_an_unfinished_one_is_not(scene, tmp_path):
    made = map_instances(scene[1], FTW3, tmp_path / "a", block=64)
    again = open_instances(tmp_path / "a")
    assert again.grid == made.grid
    assert again.table.equals(made.table)
    assert np.array_equal(
        again.read((slice(10, 90), slice(3, 50))).ids, made.read((slice(10, 90), slice(3, 50))).ids
    )
    (tmp_path / "a" / "instances.json").unlink()
    with pytest.raises(UnreadableFile, match="no finished map"):
        open_instances(tmp_path / "a")


def test_bad_input_is_explained(tmp_path):
    probs = field_of((8, 8))
    with pytest.raises(UnknownName, match="watershed"):
        find_instances(probs, FTW2, "watersheds")
    with pytest.raises(BandMismatch, match="at least 3"):
        find_instances(probs, FTW3)
    with pytest.raises(BadInput, match="softmax"):
        find_instances(raster(probs.values * 7), FTW2)
    with pytest.raises(BadInput, match="int32"):
        find_instances(raster(probs.values.astype(np.int32)), FTW2)
    with pytest.raises(UnknownName, match="extent"):
        InstanceOptions(extent="fields")
    with pytest.raises(BadInput, match="depth"):
        InstanceOptions(depth=1.5)
    with pytest.raises(BadInput, match="min_area"):
        InstanceOptions(min_area=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFailed, match="workspace with 1 MB"):
        map_instances(probs, FTW2, tmp_path / "file" / "below")
    with pytest.raises(BadInput, match="64"):
        map_instances(probs, FTW2, tmp_path, block=8)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.0, 2.0, 2.5, 3.3, 5.0, 12.0])
def test_smoothing_is_nearly_gaussian_in_whole_numbers(sigma):
    from selion.fields import basins
    from selion.fields.instances import _kernel

    passes, radii = _kernel(sigma)
    spread = passes / 2 + sum(r * (r + 1) / 3 for r in radii)
    assert np.sqrt(spread) == pytest.approx(sigma, abs=0.1 + 0.08 * sigma)
    rng = np.random.default_rng(0)
    values = rng.integers(0, 65535, (40, 60)).astype(np.uint16)
    values[10:30, 20:40] //= 8
    found = basins.smooth(values, passes)
    for radius in radii:
        expected = ndimage.uniform_filter(found.astype(float), 2 * radius + 1, mode="nearest")
        found = basins.blur(found, radius)
        assert np.abs(found - expected).max() <= 1
    if 1 <= sigma <= 5:
        inner = (slice(13, -13), slice(13, -13))  # at the edge repeated filters go on differently
        exact = ndimage.gaussian_filter(values.astype(float), np.sqrt(spread), mode="nearest")
        assert np.abs(found - exact)[inner].max() < 0.04 * 65535


def test_smoothing_is_in_metres():
    from selion.fields.instances import prepare

    nothing = np.zeros((3, 100, 100), np.float32)
    fine = raster(nothing, transform=Affine(2, 0, 500_000, 0, -2, 5_300_000))
    coarse = raster(nothing, transform=Affine(30, 0, 500_000, 0, -30, 5_300_000))
    options = InstanceOptions(smoothing=10)
    assert prepare(fine, FTW3, "watershed", options).radii == (5, 4, 4)
    assert prepare(coarse, FTW3, "watershed", options).passes == 2
    assert prepare(fine, FTW3, "components", options).halo == 1
