"""Straight lines and right angles: corners and angles of drawn blocks, and lines that stay a
coverage whatever is drawn.
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import shapely
from affine import Affine
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from scipy import ndimage

from fields_scenes import UTM, blobs, instances
from selion import store
from selion.cli import main
from selion.cli.map_choices import map_options
from selion.errors import BadInput
from selion.fields import FieldOptions, to_fields
from selion.fields.polygonise import polygonise
from selion.labels import Instances
from selion.simulation.landscape import simulate

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
LABELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "satellite"
LABELS = LABELS / "s2_fields" / "estonia_t35vme_west" / "instances.tif"
RUN = {"runner": "serial", "workers": None, "profile": False}
WIDE, HIGH = 40.3, 27.7


def blocks(degrees, *, noise=0.0, gap=0.0, shape=(3, 2), size=150, seed=0):
    """Draw blocks of 40.3 by 27.7 px at an angle, their edges ragged by ``noise`` px; the ids, and
    by id the four corners as (x, y) lattice points.
    """
    rng = np.random.default_rng(seed)
    turn = np.array(
        [
            [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))],
            [-np.sin(np.radians(degrees)), np.cos(np.radians(degrees))],
        ]
    )
    y, x = np.mgrid[:size, :size] + 0.5 - size / 2
    shake = ndimage.gaussian_filter(rng.normal(0, 1, (2, size, size)), (0, 1, 1))
    shake *= noise / shake.std()
    u, v = np.einsum("ij,jyx->iyx", turn, np.stack([x, y]) + shake)
    rows, columns = shape
    column, row = np.floor(u / WIDE + columns / 2), np.floor(v / HIGH + rows / 2)
    inside = (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
    inside &= np.abs(u - (column - columns / 2 + 0.5) * WIDE) < WIDE / 2 - gap
    inside &= np.abs(v - (row - rows / 2 + 0.5) * HIGH) < HIGH / 2 - gap
    ids = np.where(inside, 1 + column + columns * row, 0).astype(np.int32)
    corners = {}
    for i in range(columns):
        for j in range(rows):
            west, east = (i - columns / 2) * WIDE + gap, (i + 1 - columns / 2) * WIDE - gap
            low, high = (j - rows / 2) * HIGH + gap, (j + 1 - rows / 2) * HIGH - gap
            drawn = np.array([[west, low], [east, low], [east, high], [west, high]])
            corners[1 + i + columns * j] = drawn @ turn + size / 2
    return ids, corners


def on_lattice(frame):
    """Bring outlines of a 10 m grid back to its lattice."""
    back = ~UTM
    return shapely.transform(
        frame.geometry.to_numpy(),
        lambda xy: np.stack(back * (xy[:, 0], xy[:, 1]), axis=1),
    )


def angles(polygon):
    """Return the inner angles of a polygon in degrees, those of its real corners."""
    at = shapely.get_coordinates(shapely.simplify(polygon, 0.6).exterior)[:-1]
    one, other = np.roll(at, 1, 0) - at, np.roll(at, -1, 0) - at
    size = np.hypot(*one.T) * np.hypot(*other.T)
    return np.degrees(np.arccos(np.einsum("ni,ni->n", one, other) / size))


def near(polygons, corners):
    return polygons[np.argmin(shapely.distance(polygons, shapely.Point(corners.mean(axis=0))))]


def lines_of(polygons):
    return shapely.union_all(shapely.boundary(polygons))


def furthest(lines, others):
    points = shapely.points(shapely.get_coordinates(shapely.segmentize(lines, 0.2)))
    return shapely.distance(points, others).max()


def check_coverage(frame):
    for crs in (None, "EPSG:4326") if frame.crs else (None,):
        shapes = (frame.to_crs(crs) if crs else frame).geometry.to_numpy()
        assert shapely.is_valid(shapes).all()
        assert shapely.coverage_is_valid(shapes)


@pytest.mark.parametrize("gap", [0.0, 2.0])
@pytest.mark.parametrize("degrees", [0, 7, 23, 44, 61.5, 88])
def test_blocks_at_any_angle_get_their_corners_back(degrees, gap):
    ids, corners = blocks(degrees, gap=gap)
    frame = to_fields(instances(ids), FieldOptions(regularise="auto"))
    check_coverage(frame)
    found, plain = on_lattice(frame), on_lattice(to_fields(instances(ids)))
    for wanted in corners.values():
        polygon = near(found, wanted)
        distance = shapely.distance(
            shapely.points(wanted), shapely.MultiPoint(shapely.get_coordinates(polygon))
        )
        # a pixel says no more than half of its diagonal along the axes
        assert distance.max() < (0.5 if degrees else 0.71)
        assert np.abs(angles(polygon) - 90).max() < 2
        assert len(angles(polygon)) == 4
    if degrees:
        assert shapely.get_num_coordinates(found).sum() < shapely.get_num_coordinates(plain).sum()


@pytest.mark.parametrize("degrees", [7, 23, 61.5])
def test_ragged_blocks_become_straight_too(degrees):
    ids, corners = blocks(degrees, noise=0.4)
    frame = to_fields(instances(ids), FieldOptions(regularise=20, min_area=9000))
    check_coverage(frame)
    found = on_lattice(frame)
    right, off = [], []
    for wanted in corners.values():
        polygon = near(found, wanted)
        off += shapely.distance(
            shapely.points(wanted), shapely.MultiPoint(shapely.get_coordinates(polygon))
        ).tolist()
        right.append(np.abs(angles(polygon) - 90).max())
    assert np.median(off) < 0.5
    assert np.median(right) < 2


@pytest.mark.parametrize("tolerance", [0.6, 1.5, 4.0])
def test_no_line_moves_further_than_the_tolerance(tolerance):
    scene = simulate(3, (60, 60), style="smallholder", crs="EPSG:32632", origin=(5e5, 5.3e6))
    for given_ in (instances(blocks(23, noise=0.5)[0]), instances(scene.instances.ids)):
        options = FieldOptions(regularise=10 * tolerance, min_area=0)
        new = lines_of(on_lattice(to_fields(given_, options)))
        plain = on_lattice(to_fields(given_, FieldOptions(min_area=0)))
        pixels = on_lattice(to_fields(given_, FieldOptions(simplify=0, min_area=0)))
        both = shapely.union_all([lines_of(plain), lines_of(pixels)])
        assert furthest(new, both) <= tolerance + 0.01
        corners = shapely.points(shapely.get_coordinates(plain))
        assert shapely.distance(corners, new).max() <= tolerance + 0.01


def test_round_fields_stay_as_they_are():
    y, x = np.mgrid[:200, :200]
    ids = np.zeros((200, 200), np.int32)
    for k, (row, column, radius) in enumerate(((50, 50, 40), (150, 60, 25), (60, 150, 15))):
        ids[(y - row) ** 2 + (x - column) ** 2 < radius**2] = k + 1
    ids[((y - 150) / 40) ** 2 + ((x - 150) / 22) ** 2 < 1] = 4
    straight = to_fields(instances(ids), FieldOptions(regularise="auto"))
    plain = to_fields(instances(ids))
    one, other = straight.geometry.to_numpy(), plain.geometry.to_numpy()
    changed = ~shapely.equals(one, other)
    assert not changed.any()


few = hnp.arrays(
    np.int32, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.integers(0, 3)
)


@given(few, st.sampled_from([0.6, 1.0, 2.0, 5.0, 9.0]))
@settings(max_examples=60, deadline=None)
def test_whatever_is_drawn_stays_a_coverage(ids, tolerance):
    given_ = instances(ids)
    options = FieldOptions(regularise=tolerance * 10, min_area=0)
    frame = to_fields(given_, options)
    assert len(frame) == len(np.unique(ids[ids > 0]))
    if len(frame):
        check_coverage(frame)
        parts = shapely.get_num_geometries(frame.geometry.to_numpy()).sum()
        assert parts == len(polygonise(given_)[0])


@given(st.integers(0, 100), st.floats(0, 1), st.sampled_from([0.7, 1.5, 4.0]))
@settings(max_examples=12, deadline=None)
def test_ragged_cells_stay_a_coverage(seed, ragged, tolerance):
    given_ = instances(blobs(80, 16, seed, ragged))
    frame = to_fields(given_, FieldOptions(regularise=tolerance * 10, min_area=0))
    check_coverage(frame)
    plain = to_fields(given_, FieldOptions(min_area=0))
    assert len(frame) == len(plain)


def test_the_same_twice_with_threads_and_beside_other_fields():
    ids, _ = blocks(23, noise=0.4)
    first = to_fields(instances(ids), FieldOptions(regularise="auto"))
    with ThreadPoolExecutor(3) as pool:
        again = to_fields(instances(ids), FieldOptions(regularise="auto"), run=pool.map)
    assert first.geometry.to_wkb().tolist() == again.geometry.to_wkb().tolist()
    wide = np.zeros((ids.shape[0], 2 * ids.shape[1] + 10), np.int32)
    wide[:, : ids.shape[1]] = ids
    wide[:, ids.shape[1] + 10 :] = np.where(ids > 0, ids + 6, 0)
    both = to_fields(instances(wide), FieldOptions(regularise="auto"))
    west = both.cx[: UTM.c + 10 * ids.shape[1], :]
    assert west.geometry.to_wkb().tolist() == first.geometry.to_wkb().tolist()


def test_right_angles_are_right_on_the_ground_in_degrees_too():
    ids, corners = blocks(23, shape=(2, 2), size=130)
    step = 10 / 111_195
    stretched = ndimage.zoom(ids, (1, 2), order=0, grid_mode=True, mode="grid-constant")
    grid = GeoBox(stretched.shape, Affine(step, 0, 12, 0, -step, 60), "EPSG:4326")
    frame = to_fields(Instances(stretched, grid), FieldOptions(regularise="auto"))
    check_coverage(frame)
    # two pixels of half the width at 60 degrees north are one square pixel
    shapes = frame.geometry.to_crs("EPSG:32633").to_numpy()
    assert len(shapes) == len(corners)
    for shape in shapes:
        at = shapely.simplify(shape, 6)
        assert np.abs(angles(at) - 90).max() < 2.5


def test_a_photograph_has_straight_lines_too():
    ids, _ = blocks(7)
    frame = to_fields(
        Instances(ids, GeoBox(ids.shape, Affine.identity(), None)),
        FieldOptions(regularise=1.5, min_area=0),
    )
    check_coverage(frame)
    assert max(map(len, map(angles, frame.geometry))) == 4


@pytest.mark.parametrize("value", [0, -1, np.nan, np.inf])
def test_nonsense_is_refused(value):
    with pytest.raises(BadInput, match="regularise"):
        FieldOptions(regularise=value)


def test_lengths_that_fit_no_pixel_are_refused():
    given_ = instances(blocks(7)[0])
    for value in (4.0, 101.0):
        with pytest.raises(BadInput, match=r"half a pixel to ten, 5\.002 to 100\.04"):
            to_fields(given_, FieldOptions(regularise=value))


def test_the_command_line_passes_the_length_on_and_refuses_nonsense(tmp_path):
    assert map_options(RUN | {"regularise": 12.5}).outlines.regularise == 12.5
    assert map_options(RUN | {"regularise": "auto"}).outlines.regularise == "auto"
    assert map_options(RUN).outlines.regularise is None
    for value in ("0", "-3", "nan", "inf", "much"):
        done = CliRunner().invoke(
            main.cli, ["fields", "x.tif", "-o", str(tmp_path / "o.parquet"), "--regularise", value]
        )
        assert done.exit_code == 2
        assert "wanted is a length above 0, or auto" in done.output


def test_published_outlines_are_not_straightened(tmp_path):
    words = ["map", "11,47,11.1,47.1", "--year", "2025", "--from", "ftw-2e:fields"]
    done = CliRunner().invoke(
        main.cli, [*words, "-o", str(tmp_path / "o.parquet"), "--regularise", "auto"]
    )
    assert done.exit_code == 2
    assert "--regularise" in done.output


@pytest.mark.skipif(
    not LABELS.is_file(), reason="the Estonian tile is not here (shared/data/satellite/s2_fields)"
)
def test_real_fields_keep_their_place():
    source = store.open_raster(LABELS)
    found = source.read((slice(0, 512), slice(0, 256)))
    given_ = Instances(found.values[0].astype(np.int32), found.grid)
    plain = to_fields(given_, FieldOptions(min_area=0))
    frame = to_fields(given_, FieldOptions(regularise="auto", min_area=0))
    check_coverage(frame)
    one, other = plain.geometry.to_numpy(), frame.geometry.to_numpy()
    assert len(one) == len(other) > 50
    shared = shapely.area(shapely.intersection(one, other))
    ratio = shared / (shapely.area(one) + shapely.area(other) - shared)
    assert ratio.min() > 0.89
    assert np.median(ratio) > 0.95
    assert shapely.get_num_coordinates(other).sum() < shapely.get_num_coordinates(one).sum()
