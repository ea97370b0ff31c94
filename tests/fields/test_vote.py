"""BoundaryVote: answers worked out by hand, the public reference where it is installed, and that
blocks, windows and cells of any size give what the whole raster gives.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from odc.geo.geobox import GeoBox
from scipy import ndimage

from fields_scenes import blobs, soft
from selion.classes import ALU, FTW2, FTW3, ClassScheme
from selion.errors import BadInput, UnknownName
from selion.fields import (
    InstanceOptions,
    VoteOptions,
    find_instances,
    map_instances,
    parse_vote,
    votemap,
    voting,
)
from selion.grid import tiles
from selion.raster import Raster

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
PLAIN = VoteOptions(
    min_mean_field_probability=0, refill_field_probability=0, min_area_m2=0, min_line_support=0.3
)
"""Nothing but the flood and the vote."""


def published(field, boundary):
    """Return probabilities in 255ths at 2.5 m; background is what is left."""
    field, boundary = (np.asarray(one).astype(np.uint8) for one in (field, boundary))
    rest = np.clip(255 - field.astype(int) - boundary, 0, 255).astype(np.uint8)
    grid = GeoBox(field.shape, Affine(2.5, 0, 600000, 0, -2.5, 4300020), "EPSG:32610")
    return Raster(np.stack([rest, field, boundary]), grid, FTW3.names)


def ids_of(probs, options=PLAIN, classes=FTW3):
    return find_instances(probs, classes, "vote", InstanceOptions(vote=options)).ids


def two_fields(line):
    """Two fields of 3 x 3 px and between them a column whose boundary is as said, in 255ths."""
    boundary = np.zeros((3, 7))
    boundary[:, 3] = line
    return published(255 - boundary, boundary)


@pytest.mark.parametrize(
    ("line", "support", "count"),
    [
        # fraction of 3 pixels with boundary >= field: 255 - 127 = 128 is more than 127
        ((200, 100, 100), 0.3, 2),
        ((200, 100, 100), 0.34, 1),
        ((128, 128, 100), 0.6, 2),
        ((127, 127, 127), 0.3, 1),
        ((128, 128, 128), 1.0, 2),
    ],
)
def test_a_line_stays_if_enough_pixels_vote_for_it(line, support, count):
    ids = ids_of(two_fields(line), replace(PLAIN, min_line_support=support))
    assert ids.max() == count
    # a line that stays is a gap, one that goes is filled
    assert (ids[:, 3] > 0).all() == (count == 1)
    assert (ids[:, :3] == 1).all()
    assert (ids[:, 4:] == count).all()


@pytest.mark.parametrize(
    ("score", "least", "most"),
    [
        # by hand, for boundary 102, 51, 153 (.4 .2 .6) over field .6 .8 .4
        ("mean_boundary", 0.4, 0.41),
        ("probability_share", 0.39, 0.41),
        ("margin", 0.39, 0.41),  # (.8 + .4 + 1.2) / 2 / 3 = .4
        ("fraction", 1 / 3, 0.34),
    ],
)
def test_what_a_pixel_votes(score, least, most):
    probs = two_fields((102, 51, 153))
    for support, count in ((least, 2), (most, 1)):
        options = replace(PLAIN, line_score=score, min_line_support=support)
        assert ids_of(probs, options).max() == count


def test_a_short_line_goes_and_a_vote_reaches_its_radius():
    assert ids_of(two_fields((200,) * 3), replace(PLAIN, min_line_length=3)).max() == 2
    assert ids_of(two_fields((200,) * 3), replace(PLAIN, min_line_length=4)).max() == 1
    weak = two_fields((200, 100, 100))
    full = replace(PLAIN, min_line_support=1.0)
    assert ids_of(weak, replace(full, support_radius=1)).max() == 1  # two of three are that near
    assert ids_of(weak, replace(full, support_radius=2)).max() == 2


def test_the_depth_of_a_seed_is_counted_in_255ths():
    """0.01 is 2.55 levels: a valley between two tops must be 3 lower than the lower top."""
    for depth, count in ((2, 1), (3, 2)):
        probs = two_fields((depth,) * 3)
        ids = ids_of(probs, replace(PLAIN, line_score="mean_boundary", min_line_support=0))
        assert ids.max() == count
    every = replace(PLAIN, seed_depth=0, line_score="mean_boundary", min_line_support=0)
    assert ids_of(two_fields((1, 1, 1)), every).max() == 2


def test_foregrounds():
    field = np.array([[200, 90, 60, 0]])
    boundary = np.array([[0, 100, 60, 200]])
    probs = published(np.repeat(field, 3, 0), np.repeat(boundary, 3, 0))
    for rule, wanted in (
        ("not_background", [True, True, False, True]),
        ("argmax", [True, False, False, False]),
        (0.3, [True, True, False, False]),
        (0.2, [True, True, True, False]),
    ):
        options = replace(PLAIN, foreground=rule, min_line_support=1, line_score="margin")
        assert ((ids_of(probs, options) > 0)[1] == wanted).all(), rule


def test_a_line_is_filled_where_all_around_is_one():
    """Of three fields two become one; the lines to the third stay.  The crossing touches only the
    field below when the flood comes to it, so it is that field's.
    """
    boundary = np.zeros((9, 9))
    boundary[4, :4] = 60  # weak
    boundary[:5, 4] = boundary[4, 4:] = 200
    ids = ids_of(published(255 - boundary, boundary))
    assert ids.max() == 2
    assert (ids[4, :4] == 1).all()
    assert ids[0, 0] == ids[8, 8] == 1
    assert ids[0, 8] == 2
    assert ids[4, 4] == 1
    assert not ids[:4, 4].any()
    assert not ids[4, 5:].any()


def test_fields_of_little_probability_go_and_the_second_look_adds_what_the_first_missed():
    field, boundary = np.zeros((12, 30)), np.zeros((12, 30))
    field[1:11, 1:9] = 200  # a field
    field[1:11, 11:19] = 60  # 0.235: never wins against the background
    field[1:11, 21:29], boundary[1:11, 21:29] = 60, 140  # wins by boundary, but has 0.235 of field
    probs = published(field, boundary)
    count = {
        (least, second): ids_of(
            probs,
            replace(PLAIN, min_mean_field_probability=least, refill_field_probability=second),
        ).max()
        for least in (0, 0.25, 0.235)
        for second in (0, 0.1)
    }
    assert count == {(0, 0): 2, (0, 0.1): 3, (0.25, 0): 1, (0.25, 0.1): 1} | {
        (0.235, 0): 2,
        (0.235, 0.1): 3,
    }
    looked = replace(PLAIN, refill_field_probability=0.1, refill_min_uncovered=0.34)
    assert ids_of(probs, looked).max() == 2  # 80 of 240 pixels are uncovered: a third
    assert ids_of(probs, replace(looked, refill_min_uncovered=0.33)).max() == 3


def test_small_fields_go_by_the_nearest_number_of_pixels():
    field = np.zeros((20, 30))
    field[2:14, 2:14] = 255  # 144 px are 900 m2
    field[2:13, 16:29] = 255  # 143 px
    probs = published(field, np.zeros((20, 30)))
    for area, count in ((900, 1), (893, 2), (897, 1), (896.8, 2), (0, 2), (901, 1), (905, 0)):
        assert ids_of(probs, replace(PLAIN, min_area_m2=area)).max() == count, area
    given = InstanceOptions(vote=replace(PLAIN, min_area_m2=905), min_area=893)
    assert find_instances(probs, FTW3, "vote", given).min_area == 893


def test_holes_are_filled_below_their_size_away_from_the_edge_and_from_no_data():
    field = np.full((12, 12), 255)
    field[3:5, 3:5], field[0, 8], field[8, 8] = 0, 0, 0
    probs = published(field, np.zeros((12, 12)))
    for most, left in ((0, 6), (1, 6), (2, 5), (4, 5), (5, 1), (-1, 1)):
        assert (ids_of(probs, replace(PLAIN, fill_holes_px=most)) == 0).sum() == left, most
    valid = np.ones((12, 12), bool)
    valid[8, 8] = False
    unseen = Raster(probs.values, probs.grid, probs.bands, valid)
    assert (ids_of(unseen, replace(PLAIN, fill_holes_px=-1)) == 0).sum() == 2


def test_without_a_seed_what_touches_is_one():
    flat = published(np.full((5, 6), 200), np.zeros((5, 6)))
    assert (ids_of(flat) == 1).all()
    nothing = published(np.zeros((5, 6)), np.zeros((5, 6)))
    assert not ids_of(nothing).any()


def test_scores_and_areas():
    field = np.zeros((6, 12))
    field[1:5, 1:5] = 204
    field[1:5, 7:11] = 153
    found = find_instances(
        published(field, 0 * field), FTW3, "vote", InstanceOptions(vote=PLAIN)
    ).table
    assert found["score"].tolist() == pytest.approx([0.8, 0.6])
    assert found["pixels"].tolist() == [16, 16]
    assert found["area"].tolist() == pytest.approx([100, 100], rel=1e-3)  # on the ellipsoid
    assert set(found["class"]) == {"field"}


# blocks, windows, cells


def split(probs, options, block, margin, part, monkeypatch):
    """Return ids and table found block by block, parts and margins small enough to matter."""
    monkeypatch.setattr(voting, "MARGIN", margin)
    monkeypatch.setattr(voting, "PART", part)
    scene = voting.prepare_vote(probs, FTW3, options, None)
    arrays = {name: np.zeros(scene.shape, np.int32) for name in ("ids", "second")}
    arrays["field"] = np.zeros(scene.shape, np.uint8)
    luts, table = votemap.find_blocks(
        probs, scene, votemap.ArrayPlanes(arrays), tiles(scene.shape, block), FTW3, map
    )
    for roi, lut in luts:
        arrays["ids"][roi] = lut[arrays["ids"][roi]]
    return arrays["ids"], table


LEVELS = st.sampled_from([0, 1, 2, 3, 4, 60, 100, 127, 128, 200, 255])
OPTIONS = st.builds(
    VoteOptions,
    foreground=st.sampled_from(["not_background", "argmax", 0.1, 0.5]),
    seed_depth=st.sampled_from([0, 0.01, 0.2]),
    line_score=st.sampled_from(["fraction", "probability_share", "mean_boundary", "margin"]),
    min_line_support=st.sampled_from([0, 0.3, 0.5, 0.8]),
    min_line_length=st.sampled_from([0, 3]),
    support_radius=st.sampled_from([0, 2]),
    min_mean_field_probability=st.sampled_from([0, 0.25]),
    refill_field_probability=st.sampled_from([0, 0.1]),
    refill_min_uncovered=st.sampled_from([0, 0.02]),
    fill_holes_px=st.sampled_from([0, 3, -1]),
    min_area_m2=st.sampled_from([0, 30, 100]),
)


@given(
    hnp.arrays(np.uint8, st.tuples(st.just(2), *[st.integers(1, 26)] * 2), elements=LEVELS),
    OPTIONS,
    st.integers(2, 9),
    st.integers(4, 8),
    st.integers(2, 9),
)
@settings(max_examples=120, deadline=None)
def test_blocks_of_any_size_equal_the_whole(levels, options, block, margin, part):
    probs = published(*levels)
    whole = find_instances(probs, FTW3, "vote", InstanceOptions(vote=options))
    with pytest.MonkeyPatch.context() as patch:
        ids, table = split(probs, options, block, margin, part, patch)
    assert np.array_equal(ids, whole.ids)
    assert table.equals(whole.table)


@pytest.fixture(scope="module")
def scene():
    ids = blobs(300, 14, 1, 0.3)
    grid = GeoBox(ids.shape, Affine(2.5, 0, 600000, 0, -2.5, 4300020), "EPSG:32610")
    values = np.rint(soft(ids) * 255).astype(np.uint8)
    return ids, Raster(values, grid, FTW3.names)


def test_a_map_on_the_disk_is_the_whole_from_any_block_and_thread(scene, tmp_path):
    options = InstanceOptions(vote=replace(VoteOptions(), min_area_m2=50))
    whole = find_instances(scene[1], FTW3, "vote", options)
    assert whole.ids.max() > 50
    for block in (64, 100, 512):
        with ThreadPoolExecutor(2) as pool:
            found = map_instances(
                scene[1], FTW3, tmp_path, "vote", options, block=block, run=pool.map
            )
        assert np.array_equal(found.read(np.s_[0:300, 0:300]).ids, whole.ids)
        assert found.table.equals(whole.table)
        # what was only needed on the way is gone
        assert {path.name for path in tmp_path.iterdir()} == {
            "ids.npy",
            "objects.parquet",
            "instances.json",
        }


def test_cells_cut_and_double_nothing(scene):
    """A raster of many cells gives what one of a single cell gives, fields over borders included;
    the halo is as wide as fields are.
    """
    options = replace(VoteOptions(), min_area_m2=50)
    whole = ids_of(scene[1], options)
    assert np.array_equal(ids_of(scene[1], replace(options, core=100, halo=64)), whole)


def test_a_field_wider_than_the_halo_is_neither_cut_nor_doubled():
    """The reference keeps such a field once in each window; theirs was a known defect."""
    field = np.zeros((90, 400))
    field[10:80, 10:390] = 250
    probs = published(field, np.where(field > 0, 2, 0))
    ids = ids_of(probs, replace(VoteOptions(), core=100, halo=8))
    assert ids.max() == 1
    assert (ids > 0).sum() == 70 * 380


def test_only_what_was_asked_for_is_in_doubt(scene):
    """Parts are flooded once in their margin where fields are smaller than that."""
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        flood = voting._flood
        patch.setattr(voting, "_flood", lambda *given: taken.append(1) or flood(*given))
        split(scene[1], VoteOptions(), 300, 48, 100, patch)
    assert len(taken) == 9 * 2


# the public reference


def random_scene(seed):
    """Return (2, y, x) uint8 levels: noise of few levels, smooth noise, or fields."""
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(3, 160, 2))
    if seed % 3 == 0:
        field, boundary = rng.choice([0, 1, 2, 3, 60, 120, 200, 255], (2, *shape)).astype(float)
    else:
        smooth = ndimage.gaussian_filter(rng.normal(size=(3, *shape)), (0, 2, 2))
        share = np.exp(3 * smooth / smooth.std())
        if seed % 3 == 2:
            edge = np.abs(ndimage.gaussian_filter(rng.normal(size=shape), 5))
            share[2] = 3 * np.exp(-edge / edge.std() * 4) * share[1]
        field, boundary = 255 * share[1:] / share.sum(0)
    over = np.maximum(field + boundary, 255)
    return np.floor(np.stack([field, boundary]) * 255 / over).astype(np.uint8)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(24))
def test_objects_are_the_references(seed):
    """All pixels, up to the order of ids."""
    reference = pytest.importorskip(
        "fbp", reason="ftw-fbp[fast] is not installed (it wants Python 3.12 or newer)"
    )
    rng = np.random.default_rng(seed)
    options = VoteOptions(
        foreground=[("not_background"), "argmax", 0.3][int(rng.integers(3))],
        seed_depth=float(rng.choice([0, 0.01, 0.05])),
        line_score=str(rng.choice(["fraction", "probability_share", "mean_boundary", "margin"])),
        min_line_support=float(rng.choice([0.3, 0.5])),
        min_line_length=int(rng.choice([0, 4])),
        support_radius=int(rng.choice([0, 1])),
        refill_field_probability=float(rng.choice([0, 0.1])),
        fill_holes_px=int(rng.choice([0, -1, 20])),
        min_area_m2=float(rng.choice([0, 60, 900])),
    )
    given = {
        name: getattr(options, name)
        for name in VoteOptions.__dataclass_fields__
        if name not in ("core", "halo")
    }
    probs = published(*random_scene(seed))
    shares = (probs.values / np.float32(255)).astype(np.float32)
    wanted = reference.BoundaryVote(fast=True, **given)(
        shares.argmax(0).astype(np.uint8), shares, pixel_area_m2=6.25
    )
    assert_same_up_to_order(ids_of(probs, options), wanted)


def assert_same_up_to_order(ids, others):
    pairs = np.unique(np.stack([ids.ravel(), others.ravel()]), axis=1)
    assert ((pairs > 0).all(0) | (pairs == 0).all(0)).all()
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


def test_the_defaults_are_those_of_the_published_edition():
    reference = pytest.importorskip(
        "fbp", reason="ftw-fbp is not installed (it wants Python 3.12 or newer)"
    )
    for name in VoteOptions.__dataclass_fields__:
        if name not in ("core", "halo"):
            assert getattr(VoteOptions(), name) == getattr(reference.FTW_2E, name), name


# what is refused


@pytest.mark.parametrize(
    "text",
    [
        "seed_depht=0.1",
        "seed_depth",
        "seed_depth=",
        "seed_depth=deep",
        "min_line_length=0.5",
        "seed_depth=0.1,seed_depth=0.2",
        "seed_depth=2",
        "foreground=otsu",
        "surface=boundary_distance",
        "line_score=most",
        "merge_small_px=3",
        "fast=False",
        "halo=1",
        "fill_holes_px=-2",
        "min_area_m2=-1",
    ],
)
def test_parameters_that_are_none_are_refused_in_a_sentence(text):
    with pytest.raises((BadInput, UnknownName), match=r"\w"):
        parse_vote(text)


def test_parameters_by_their_names():
    assert parse_vote("") == VoteOptions()
    found = parse_vote("seed_depth=0.02, foreground=0.3,min_line_length=4,line_score=margin")
    assert found == VoteOptions(
        seed_depth=0.02, foreground=0.3, min_line_length=4, line_score="margin"
    )
    assert parse_vote("foreground=argmax").foreground == "argmax"


def test_classes_without_a_boundary_are_refused():
    grid = GeoBox((4, 4), Affine(1, 0, 0, 0, -1, 0), "EPSG:32610")
    with pytest.raises(BadInput, match="boundary"):
        find_instances(Raster(np.zeros((2, 4, 4), np.uint8), grid, FTW2.names), FTW2, "vote")


def test_several_classes_vote_for_their_own():
    """Fields of two crops: found as fields, each has the class of its pixels."""
    crops = ClassScheme(("other", "wheat", "beet", "edge"), ("wheat", "beet"), "edge")
    assert ALU.boundary is None or crops.boundary
    values = np.zeros((4, 14, 30), np.uint8)
    values[1, 1:13, 1:14], values[2, 1:13, 16:29] = 250, 250
    values[0] = 255 - values[1:].sum(0)
    grid = GeoBox((14, 30), Affine(2.5, 0, 0, 0, -2.5, 0), "EPSG:32610")
    found = find_instances(Raster(values, grid, crops.names), crops, "vote")
    assert found.table["class"].tolist() == ["wheat", "beet"]


# probabilities as whole numbers


@pytest.mark.parametrize("method", ["watershed", "vote"])
def test_bytes_read_as_whole_numbers_are_the_floats(tmp_path, method):
    """Of both layouts: v / 254 with 255 for no data, and v / 255 without; the same objects as from
    the floats, and not those of the other layout.
    """
    from selion import store
    from selion.grid import whole
    from selion.prediction import ScoreSource

    rng = np.random.default_rng(0)
    levels = random_scene(5)
    levels[:, rng.random(levels.shape[1:]) < 0.02] = 255  # theirs: a score; ours: none
    grid = published(*levels).grid
    unseen = (levels == 255).all(0)
    ours = np.where(unseen, 255, np.minimum(published(*levels).values, 254)).astype(np.uint8)
    layouts = {
        "ours": (FTW3.names, {"classes": json.dumps(FTW3.to_dict())}, ours),
        "theirs": (("field", "boundary"), {"tile_key": "10SFH_0_0"}, levels),
    }
    found = {}
    for name, (bands, tags, values) in layouts.items():
        with store.create_cog(tmp_path / f"{name}.tif", grid, bands, np.uint8, tags=tags) as sink:
            sink.write(whole(grid), values)
        probs = ScoreSource(store.open_raster(tmp_path / f"{name}.tif"))
        floats, counts = probs.read(whole(grid)), probs.read_counts(whole(grid))
        assert np.array_equal(np.rint(floats.values * 65535.0), counts.values)
        assert (floats.valid is None) == (counts.valid is None)
        expected = find_instances(floats, FTW3, method, InstanceOptions(min_area=20))
        mapped = map_instances(probs, FTW3, tmp_path / name, method, InstanceOptions(min_area=20))
        found[name] = mapped.read(whole(grid)).ids
        assert np.array_equal(found[name], expected.ids)
    assert not np.array_equal(found["ours"] > 0, found["theirs"] > 0)
