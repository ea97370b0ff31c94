"""The cut: the hierarchy against a slow one, the choice against all choices, features by hand."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from cut_toys import TOY, random_score, score_of_stumps, stump, with_score
from fields_scenes import blobs, raster, soft
from selion.classes import FTW3, ClassScheme
from selion.errors import BadInput, ChecksumMismatch, UnreadableFile
from selion.fields import (
    InstanceOptions,
    choose_method,
    find_instances,
    read_node_score,
    score_of,
)
from selion.fields.cutting import grow, worth
from selion.fields.hierarchy import agglomerate, best_cut, inside
from selion.fields.instances import cut, prepare
from selion.fields.node_score import CutSettings
from selion.fields.nodes import FEATURES, Features, sum_borders
from selion.fields.seams import join
from selion.grid import whole
from selion.models import load_model
from selion.models.card import sha256_of
from selion.prediction import predict
from selion.raster import Raster
from selion.segmenter import PlainCard
from selion.simulation.landscape import simulate

# affine 3 through odc-geo
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")


def slowly(count, borders):
    """Join the weakest pair, found by looking at all of them each time."""
    node = {k: k for k in range(count)}
    table = {frozenset(pair): np.array(sums) for pair, sums in borders.items()}
    children, between = [], []
    while table:
        pair = min(table, key=lambda p: table[p][1] / table[p][0])
        gone, kept = pair
        children.append((node[gone], node[kept]))
        between.append(table.pop(pair))
        node[kept] = count + len(children) - 1
        for other in [p for p in table if gone in p]:
            key = frozenset((kept, *(other - {gone})))
            table[key] = table.get(key, 0) + table.pop(other)
    return children, between


def sets(count, children):
    """The basins of every node."""
    found = [frozenset([k]) for k in range(count)]
    for a, b in children:
        found.append(found[a] | found[b])
    return found


@st.composite
def graphs(draw):
    count = draw(st.integers(2, 8))
    pairs = list(itertools.combinations(range(count), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=len(pairs)))
    # strengths that do not tie, also not as sums: powers of two over lengths of one
    order = draw(st.permutations(range(len(chosen))))
    return count, {p: (1, 1000 + 2**k) for p, k in zip(chosen, order, strict=True)}


@given(graphs())
@settings(max_examples=200, deadline=None)
def test_the_hierarchy_is_the_slow_one(graph):
    count, borders = graph
    one, other = (np.array([p[k] for p in borders], np.int64) for k in (0, 1))
    sums = np.array(list(borders.values()), np.int64).reshape(-1, 2)
    children, between = agglomerate(count, one, other, sums)
    wanted, fell = slowly(count, borders)
    assert sets(count, children.tolist()) == sets(count, wanted)
    assert [row.tolist() for row in between] == [row.tolist() for row in fell]


def test_a_border_is_as_strong_as_the_mean_along_it():
    # 0-1 falls first (10); then 01-2 is one border of 4 pixels, 4 * 40 + ... = 45 on average, and
    # 2-3 with 42 falls before it although 0-2 alone has 40
    borders = {(0, 1): (1, 10), (0, 2): (2, 80), (1, 2): (2, 100), (2, 3): (1, 42)}
    one, other = (np.array([p[k] for p in borders]) for k in (0, 1))
    children, between = agglomerate(4, one, other, np.array(list(borders.values())))
    assert children.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert between.tolist() == [[1, 10], [1, 42], [4, 180]]


@given(st.integers(1, 7), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
def test_the_cut_is_the_best_of_all(count, random):
    roots, children = list(range(count)), []
    while len(roots) > 1 and random.random() < 0.85:
        a, b = random.sample(roots, 2)
        roots = [r for r in roots if r not in (a, b)] + [count + len(children)]
        children.append((a, b))
    brings = np.array(
        [random.choice([-1.0, 0.0, 0.5, 1.0, 1.25, 2.0]) for _ in range(count + len(children))]
    )
    inside = sets(count, children)
    best = 0.0
    for size in range(len(brings) + 1):
        for some in itertools.combinations(range(len(brings)), size):
            if all(not inside[a] & inside[b] for a, b in itertools.combinations(some, 2)):
                best = max(best, sum(brings[list(some)]))
    chosen = best_cut(np.array(children, np.int64).reshape(-1, 2), brings)
    nodes = set(chosen[chosen >= 0].tolist())
    assert sum(brings[list(nodes)]) == pytest.approx(best)
    assert all(brings[k] > 0 for k in nodes)
    for k in range(count):
        assert chosen[k] < 0 or k in inside[chosen[k]]


def tree_of(probs, settings=None):
    settings = settings or CutSettings()
    options = with_score("cut", score=score_of_stumps(stump("field", 0.5, 0, 1), settings=settings))
    scene = prepare(probs, FTW3, "cut", options)
    labels, block = cut(probs, whole(probs.grid), scene)
    leaves, tree = grow(join([block], scene.shape[1]), settings, scene.unit)
    return (
        leaves.pieces[labels - 1],
        tree,
        Features(tree)(np.arange(tree.count)),
    )


def test_features_of_a_rectangle_by_hand():
    """30 x 20 px of 10 m, probability 0.9 of field, in nothing."""
    values = np.zeros((3, 60, 70), np.float32)
    values[0] = 1
    values[:, 10:30, 20:50] = np.array([0.05, 0.9, 0.05])[:, None, None]
    leaves, _, table = tree_of(raster(values), CutSettings(smoothing=0))
    inside = np.unique(leaves[10:30, 20:50])
    assert len(inside) == 1
    assert not (leaves == inside[0])[values[0] == 1].any()
    said = dict(zip(FEATURES, table[inside[0]], strict=True))
    # UTM at 48 N, zone 32, on the central meridian: a pixel of 10 m has 100 m2 within 0.1 %
    assert said["log_area"] == pytest.approx(np.log(600 * 100), abs=2e-3)
    assert said["log_pixels"] == pytest.approx(np.log(600))
    assert said["core"] == 1
    assert said["rim"] == 0
    assert said["field"] == pytest.approx(0.9, abs=1e-4)
    assert said["field_sd"] == pytest.approx(0, abs=6e-3)
    assert said["boundary"] == pytest.approx(0.05, abs=1e-4)
    assert said["elongation"] == pytest.approx(1.5, rel=1e-6)
    assert said["fill"] == pytest.approx(600 / (4 * np.pi * np.sqrt(30**2 / 12 * 20**2 / 12)))
    assert said["log_minor"] == pytest.approx(np.log(4 * np.sqrt(20**2 / 12) * 10), abs=1e-3)
    assert said["compactness"] == pytest.approx(4 * np.pi * 600 / 100**2)
    assert said["log_width"] == pytest.approx(np.log(2 * 600 / 100 * 10), abs=1e-3)
    assert said["beside"] == pytest.approx(1)
    # strength is 0.5 outside and 0.075 inside, smoothed: a background pixel beside the straight
    # edge has 0.75 * 0.5 + 0.25 * 0.075
    assert said["strength"] == pytest.approx(0.394, abs=0.01)
    assert said["weaker_1"] == 0
    assert said["weaker_2"] == pytest.approx(1)
    assert np.isnan(said["larger_field"])
    assert said["inner_length"] == said["formed"] == 0


def test_sums_of_nodes_are_those_of_their_pixels():
    """Perimeter, strength and moments of every node, counted again on the merged picture."""
    probs = raster(soft(blobs(60, 9, 3)))
    leaves, tree, table = tree_of(probs)
    bottom = tree.count - len(tree.children)
    members = sets(bottom, tree.children.tolist())
    y, x = np.mgrid[:60, :60]
    for node in range(bottom, tree.count, 7):
        mask = np.isin(leaves, list(members[node]))
        across = (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum()
        assert tree.outer[node, 0] == across
        said = dict(zip(FEATURES, table[node], strict=True))
        assert said["log_pixels"] == pytest.approx(np.log(mask.sum()), rel=1e-6)
        assert said["field"] == pytest.approx(probs.values[1][mask].mean(), abs=1e-4)
        assert said["field_sd"] == pytest.approx(probs.values[1][mask].std(), abs=5e-3)
        spread = np.cov(np.stack([y[mask], x[mask]]), bias=True) + np.eye(2) / 12
        low, high = np.linalg.eigvalsh(spread)
        assert said["elongation"] == pytest.approx(np.sqrt(high / low), rel=1e-4)
        edge = mask[[0, -1]].sum() + mask[1:-1, [0, -1]].sum()
        assert said["rim"] == pytest.approx(edge / np.sqrt(mask.sum()), rel=1e-5)


def test_borders_are_those_of_all_pairs_of_pixels():
    """More pairs of basins than the table begins with, each counted pixel by pixel."""
    rng = np.random.default_rng(4)
    labels = rng.permutation(90 * 90).reshape(90, 90).astype(np.int32) // 2 + 1
    kind = rng.integers(0, 2, labels.shape).astype(np.uint8)
    line = rng.random(labels.shape) < 0.5
    relief, strength, stuff = rng.integers(0, 65536, (3, *labels.shape)).astype(np.uint16)
    wanted = {}
    for down, (first, second) in enumerate(
        [(np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])]
    ):
        for i, j in np.argwhere(labels[first] != labels[second]).tolist():
            here, there = (i, j), (i + down, j + 1 - down)
            pair = tuple(sorted((int(labels[here]) - 1, int(labels[there]) - 1)))
            upper = line[here] if relief[here] >= relief[there] else line[there]
            rise = int(max(relief[here], relief[there]))
            if kind[here] != kind[there]:
                rise, upper = 65535, True
            way = (rise << 46) | (2 * ((i + 7) * 500 + j + 3) + down)
            strong, beside = (int(max(v[here], v[there])) for v in (strength, stuff))
            bins = np.arange(4) == strong // 16384
            row = wanted.setdefault(pair, [way, *[0] * 8])
            row[0] = min(row[0], way)
            for k, value in enumerate((1, int(upper), strong, beside, *bins.astype(int))):
                row[k + 1] += int(value)
    found = sum_borders(labels, kind, relief, line, strength, stuff, 7, 3, 500)
    assert len(wanted) > 2**13
    assert {(a, b): row for a, b, *row in found.tolist()} == wanted


def test_a_node_is_torn_by_the_worst_join_inside():
    # 0 and 1 join over 10, 2 and 3 over 40, both over 20
    children = np.array([[0, 1], [2, 3], [4, 5]])
    between = np.array([[1, 10], [2, 80], [1, 20]])
    pixels = np.array([50, 30, 5, 100, 80, 105, 185])
    found = inside(children, between, pixels).tolist()
    assert found[:4] == [[1, 50, 0, 0], [1, 30, 0, 0], [1, 5, 0, 0], [1, 100, 0, 0]]
    assert found[4] == [2, 50, 10 * 30, 100 * 30]
    assert found[5] == [2, 100, 40 * 5, 1600 * 5]
    assert found[6] == [4, 100, 20 * 80, 400 * 80]


def test_trees_ask_as_they_are_written():
    score = score_of_stumps(
        stump("field", 0.5, 0.1, 0.4),
        stump("sibling_field", 0.5, 0.2, 0.3, missing_left=False),
        base=0.05,
    )
    values = np.zeros((3, len(FEATURES)), np.float32)
    values[:, FEATURES.index("field")] = 0.5, 0.500001, 0.9
    values[:, FEATURES.index("sibling_field")] = 0.2, 0.8, np.nan
    assert score.predict(values).tolist() == pytest.approx([0.35, 0.75, 0.75])


def walked(score, row):
    """The sum of a row's leaves, one question after the other; numbers compared as numpy does."""
    total = 0.0
    for root in score.roots:
        at = root
        while score.feature[at] >= 0:
            x = row[score.feature[at]]
            left = score.missing_left[at] == 1 if np.isnan(x) else float(x) <= score.threshold[at]
            at = score.left[at] if left else score.right[at]
        total += score.value[at]
    return np.clip(total + score.base, 0.0, 1.0)


def test_many_rows_go_down_the_packaged_trees_as_each_does_by_itself():
    """Values lie on thresholds, on the float32 to either side, beyond all, and are missing."""
    score, rng = score_of(load_model("fields-s2-2season").card), np.random.default_rng(5)
    values = rng.normal(0, 1, (300, len(FEATURES))).astype(np.float32)
    for column in range(len(FEATURES)):
        asked = score.threshold[score.feature == column]
        if len(asked):
            near = rng.choice(asked, 300).astype(np.float32)
            to = rng.choice([-np.inf, np.inf], 300).astype(np.float32)
            values[:, column] = np.where(rng.random(300) < 0.5, near, np.nextafter(near, to))
    for odd in (np.nan, np.inf, -np.inf):
        values[rng.random(values.shape) < 0.04] = odd
    assert score.predict(values).tolist() == [walked(score, row) for row in values]


def test_thresholds_beyond_what_float32_holds_part_as_they_did():
    for threshold, left in ((1e300, [True, True, False]), (-1e300, [True, False, False])):
        score = score_of_stumps(stump("field", threshold, 0.1, 0.9))
        values = np.zeros((3, len(FEATURES)), np.float32)
        values[:, FEATURES.index("field")] = -np.inf, 0.0, np.inf
        assert score.predict(values).tolist() == [0.1 if one else 0.9 for one in left]


def test_the_score_is_the_objects_confidence_and_the_price_decides():
    values = np.zeros((3, 40, 60), np.float32)
    values[0] = 1
    for left in (5, 35):
        values[:, 10:30, left : left + 20] = np.array([0.02, 0.96, 0.02])[:, None, None]
    probs = raster(values)
    for price, count in ((0.5, 2), (0.7, 0)):
        settings = CutSettings(price=price, land=0)
        score = score_of_stumps(
            stump("field", 0.9, 0.0, 0.6), stump("log_pixels", 6.2, 0.0, -0.6), settings=settings
        )
        found = find_instances(probs, FTW3, "cut", InstanceOptions(score=score))
        assert len(found.table) == count
        assert found.table["score"].tolist() == pytest.approx([0.6] * count, abs=1e-4)
    # 400 px of 100 m2 are 4 ha, and fields are certain to 2 * 0.98 - 1: worth 0.05 * 4 * 0.96 more
    settings = CutSettings(price=0.7, land=0.05)
    score = score_of_stumps(
        stump("field", 0.9, 0.0, 0.6), stump("log_pixels", 6.2, 0.0, -0.6), settings=settings
    )
    assert len(find_instances(probs, FTW3, "cut", InstanceOptions(score=score)).table) == 2
    _, tree, _ = tree_of(probs, settings)
    brings = worth(tree, np.full(tree.count, 0.6), settings)
    pixels = tree.rows[:, 2]
    assert brings[pixels == 400] == pytest.approx(-0.1 + 0.05 * 4 * 0.96, abs=2e-3)
    unlikely = worth(tree, np.full(tree.count, 0.2), replace(settings, floor=0.25))
    assert unlikely[pixels == 400].tolist() == pytest.approx([0.2 - 0.7] * 2)


def test_nodata_parts_and_is_no_object():
    values = np.zeros((3, 30, 50), np.float32)
    values[1] = 1
    valid = np.ones((30, 50), bool)
    valid[:, 24:26] = False
    score = score_of_stumps(stump("log_pixels", 1.0, 0.0, 0.9))
    found = find_instances(raster(values, valid=valid), FTW3, "cut", InstanceOptions(score=score))
    assert len(found.table) == 2
    assert not found.ids[~valid].any()
    assert (found.ids[valid] > 0).all()


def test_a_score_comes_back_from_its_file(tmp_path):
    score = random_score(3)
    score.save(tmp_path / "cut.safetensors")
    back = read_node_score(tmp_path / "cut.safetensors")
    probs = raster(soft(blobs(80, 9, 1)))
    first, second = (
        find_instances(probs, FTW3, "cut", InstanceOptions(score=one)) for one in (score, back)
    )
    assert first.table.equals(second.table)
    assert np.array_equal(first.ids, second.ids)
    score.save(tmp_path / "again.safetensors")
    assert sha256_of(tmp_path / "again.safetensors") == sha256_of(tmp_path / "cut.safetensors")


def rewrite(source, target, about=None, **tensors):
    from safetensors import safe_open
    from safetensors.numpy import save_file

    with safe_open(source, "np") as found:
        said = json.loads(found.metadata()["cut"])
        held = {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
    save_file(held | tensors, target, {"cut": json.dumps(said | (about or {}))})


@pytest.mark.parametrize(
    "change",
    [
        {"about": {"features": ["area", "colour"]}},
        {"about": {"settings": []}},
        {"about": {"settings": {"smoothing": 1.0, "colour": 2}}},
        {"about": {"settings": {"smoothing": "wide"}}},
        {"about": {"settings": {"depth": float("nan")}}},
        {"about": {"settings": {"smoothing": 1e300}}},
        {"about": {"settings": {"price": float("nan")}}},
        {"about": {"base": "half"}},
        {"about": {"base": float("nan")}},
        {"left": np.array([1, 0, 0, 4, 0, 0, 7, 0, 0], "f4")},
        {"value": np.full(9, np.nan)},
        {"value": np.zeros((9, 1))},
        {"feature": np.full((9, 1), -1, "i2")},
        {"left": np.zeros(9, "i4")},  # a tree that comes back to its root
        {"right": np.full(9, 9, "i4")},  # a child beyond the table
        {"roots": np.array([-1], "i4")},
        {"feature": np.full(9, len(FEATURES), "i2")},
        {"value": np.zeros(8)},
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, change):
    TOY.save(tmp_path / "cut.safetensors")
    rewrite(tmp_path / "cut.safetensors", tmp_path / "bad.safetensors", **change)
    with pytest.raises(UnreadableFile, match="--method watershed"):
        read_node_score(tmp_path / "bad.safetensors")


def test_a_file_that_is_no_safetensors_is_refused(tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"pickle")
    with pytest.raises(UnreadableFile, match=r"cut\.safetensors"):
        read_node_score(tmp_path / "cut.safetensors")


def test_the_method_follows_the_card(tmp_path):
    TOY.save(tmp_path / "cut.safetensors")
    plain = PlainCard("plain")
    files = {"cut.safetensors": sha256_of(tmp_path / "cut.safetensors")}
    learnt = PlainCard("learnt", files=files, folder=tmp_path)
    options = InstanceOptions()
    assert choose_method("auto", options, FTW3, None) == ("watershed", options)
    assert choose_method("auto", options, FTW3, plain) == ("watershed", options)
    assert choose_method("vote", options, FTW3, learnt) == ("vote", options)
    method, chosen = choose_method("auto", options, FTW3, learnt)
    assert method == "cut"
    assert chosen.score.settings == CutSettings()
    refined = ClassScheme((*FTW3.names, "outline"), FTW3.things, FTW3.boundary)
    assert choose_method("auto", options, refined, learnt)[0] == "watershed"
    with pytest.raises(BadInput, match="refiner"):
        choose_method("cut", options, refined, learnt)
    changed = PlainCard("changed", files={"cut.safetensors": "0"}, folder=tmp_path)
    with pytest.raises(ChecksumMismatch, match="changed"):
        choose_method("auto", options, FTW3, changed)
    with pytest.raises(BadInput, match="plain has no learnt score"):
        choose_method("cut", options, FTW3, plain)
    with pytest.raises(BadInput, match="no learnt score"):
        score_of(plain)


@pytest.fixture(scope="module")
def seen():
    """What the packaged model of two dates says of a simulated scene, and its score."""
    model = load_model("fields-s2-2season")
    return predict(simulate(7, (192, 192), 10.0, "europe").image, model), score_of(model.card)


@pytest.mark.parametrize("least", [1e4, 3e4, 1e5, 1e6])
def test_a_smallest_field_drops_fields_and_joins_none(seen, least):
    probs, score = seen
    options = InstanceOptions(score=score, max_hole=0)
    usual = find_instances(probs, FTW3, "cut", options)
    found = find_instances(probs, FTW3, "cut", replace(options, min_area=least))
    kept = usual.table["area"].to_numpy() >= least
    assert len(found.table) == kept.sum() < len(usual.table)
    assert np.array_equal(found.ids > 0, np.concatenate([[False], kept])[usual.ids])
    assert found.table["score"].tolist() == usual.table["score"][kept].tolist()


@pytest.mark.parametrize("threshold", [0.5, 0.8])
def test_no_object_has_pixels_that_are_likelier_none(seen, threshold):
    probs, score = seen
    options = InstanceOptions(score=score, max_hole=0, threshold=threshold)
    found = find_instances(probs, FTW3, "cut", options)
    assert len(found.table) > 5
    assert (probs.values[1:].sum(0)[found.ids > 0] > threshold - 1e-3).all()


def plots(count, side, gap, edge):
    """Probabilities of square plots with a ring of boundary, ``gap`` px of background apart."""
    size = count * (side + gap) + gap
    values = np.zeros((3, size, size), np.float32)
    values[0] = 1
    for k, m in itertools.product(range(count), repeat=2):
        top, left = gap + k * (side + gap), gap + m * (side + gap)
        here = np.s_[:, top : top + side, left : left + side]
        values[here] = np.array([0.02, 0.08, 0.9])[:, None, None]
        inner = np.s_[:, top + edge : top + side - edge, left + edge : left + side - edge]
        values[inner] = np.array([0.02, 0.93, 0.05])[:, None, None]
    return raster(values, transform=Affine(1, 0, 500_000, 0, -1, 5_300_000))


@pytest.mark.parametrize(("gap", "edge"), [(0, 2), (4, 2)])
@pytest.mark.parametrize("side", [18, 60])
def test_plots_are_never_one_field(side, gap, edge):
    """Of 324 m2 they are below the smallest field, and nothing; of 3,600 m2 they are 36."""
    score = score_of(load_model("fields-rgb-vhr").card)
    probs = plots(6, side, gap, edge)
    found = find_instances(probs, FTW3, "cut", InstanceOptions(score=score))
    assert (found.table["area"] < 1.1 * side**2).all()
    assert len(found.table) == (36 if side == 60 else 0)


def test_what_lies_under_the_mask_changes_nothing(seen):
    probs, score = seen
    valid = np.ones(probs.values.shape[1:], bool)
    valid[:, 150:260] = False
    tables = []
    for value in (0.0, 1.0):
        values = probs.values.copy()
        values[:, ~valid] = np.array([1 - value, value, 0])[:, None]
        hidden = Raster(values, probs.grid, probs.bands, valid)
        tables.append(find_instances(hidden, FTW3, "cut", InstanceOptions(score=score)).table)
    assert tables[0].equals(tables[1])
    assert len(tables[0]) > 5


def test_the_cut_wants_a_score_and_one_class_of_objects():
    probs = raster(soft(blobs(40, 9, 1)))
    with pytest.raises(BadInput, match="learnt score"):
        find_instances(probs, FTW3, "cut")
    two = ClassScheme(("a", "b", "c"), ("a", "b"), "c")
    with pytest.raises(BadInput, match="a, b"):
        find_instances(probs, two, "cut", with_score("cut"))
