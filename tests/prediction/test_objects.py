from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from predict_toys import utm_grid
from selion import prediction
from selion.classes import FTW2, FTW3
from selion.errors import BadInput, EmptyImage, GridMismatch
from selion.fields import FieldOptions, to_fields
from selion.grid import photo_grid
from selion.labels import Instances, default_min_area
from selion.prediction.detections import _neighbours
from selion.raster import Raster
from selion.segmenter import InputSpec, PlainModel
from selion.store import open_instances


@dataclass
class Finder:
    """Finds what it is fed: pixels hold the true ids, and each window numbers what it sees in an
    order of its own.
    """

    window: int = 64
    overlap: float = 0.25
    classes = FTW2
    seed: int = 0
    told: bool = True
    noise: int = 0
    """Pixels by which an object's score says less."""
    calls: list = field(default_factory=list, repr=False)

    @property
    def inputs(self):
        return InputSpec(("truth",), window=self.window, overlap=self.overlap, multiple=1)

    def __call__(self, views):
        return [self._one(view) for view in views]

    def _one(self, view):
        self.calls.append((view.roi[0].start, view.roi[1].start))
        truth = view.pixels[0].astype(np.int64)
        names = np.unique(truth[truth > 0])
        local = np.random.default_rng([self.seed, *self.calls[-1]]).permutation(len(names)) * 3 + 5
        ids = np.zeros(truth.shape, np.int32)
        for name, k in zip(names, local, strict=True):
            ids[truth == name] = k
        table = pd.DataFrame(
            {
                "id": local,
                "class": pd.array(["field"] * len(names), dtype="string"),
                "score": 0.5 + (names % 7) / 20,
            }
        )
        return Instances(ids, photo_grid(truth.shape), table if self.told else table.iloc[:0])


def discs(shape, count, seed, largest=40):
    """True discs that do not overlap: (y, x) int32 ids."""
    rng = np.random.default_rng(seed)
    truth = np.zeros(shape, np.int32)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for k in range(1, count + 1):
        radius = rng.uniform(3, largest)
        disc = (y - rng.uniform(0, shape[0])) ** 2 + (
            x - rng.uniform(0, shape[1])
        ) ** 2 <= radius**2
        grown = (truth > 0) & disc
        if not grown.any():
            truth[disc] = k
    return truth


def found(truth, model, tmp_path, options=None, grid=None, block=2048, valid=None, name="work"):
    source = Raster(
        truth[None].astype(np.float32), grid or photo_grid(truth.shape), ("truth",), valid
    )
    plan = prediction.plan(
        source, model, prediction.PredictOptions(block=block), sha256(truth.tobytes()).hexdigest()
    )
    journal = prediction.BlockJournal(tmp_path / name / "seen", plan.key)
    return prediction.predict_objects(
        source, model, plan, tmp_path / name, journal=journal, options=options
    )


def everything(result):
    return result.read((slice(0, result.grid.shape[0]), slice(0, result.grid.shape[1])))


def canonical(truth):
    """The same objects, numbered in the order of first pixels."""
    names, first = np.unique(truth[truth > 0], return_index=True)
    lut = np.zeros(truth.max() + 1, np.int32)
    lut[names[np.argsort(first)]] = np.arange(1, len(names) + 1)
    return lut[truth]


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seed=st.integers(0, 10**6),
    shape=st.tuples(st.integers(20, 190), st.integers(20, 190)),
    window=st.sampled_from([48, 64, 65]),
    overlap=st.sampled_from([0.25, 0.5, 0.7]),
    block=st.sampled_from([64, 100, 2048]),
)
def test_many_overlapping_windows_give_the_truth(tmp_path, seed, shape, window, overlap, block):
    # discs up to 80 px across: larger than a window, so some are whole nowhere
    truth = discs(shape, 25, seed)
    result = found(truth, Finder(window, overlap), tmp_path, block=block)
    assert np.array_equal(everything(result).ids, canonical(truth))
    assert result.table["pixels"].tolist() == np.bincount(canonical(truth).ravel())[1:].tolist()


def test_fields_that_touch_and_fill_the_image(tmp_path):
    rng = np.random.default_rng(3)
    sites = rng.uniform(0, 200, (30, 2))
    y, x = np.mgrid[:200, :200]
    truth = ((y[..., None] - sites[:, 0]) ** 2 + (x[..., None] - sites[:, 1]) ** 2).argmin(
        -1
    ).astype(np.int32) + 1
    assert np.array_equal(everything(found(truth, Finder(), tmp_path)).ids, canonical(truth))


def test_the_order_of_windows_and_of_their_ids_changes_nothing(tmp_path, monkeypatch):
    truth = discs((170, 150), 20, 5)
    noisy = np.where(np.random.default_rng(1).random(truth.shape) < 0.02, 0, truth)
    first = found(noisy, Finder(), tmp_path, name="a")
    from selion.prediction import objects

    forward = objects._positions
    monkeypatch.setattr(
        objects, "_look", lambda s, m, p, j, g: _look_backwards(s, m, p, j, forward)
    )
    second = found(noisy, Finder(seed=9), tmp_path, name="b")
    assert np.array_equal(everything(first).ids, everything(second).ids)
    pd.testing.assert_frame_equal(first.table, second.table)


def _look_backwards(source, model, plan, journal, positions):
    from selion.prediction import objects
    from selion.prediction.block import group_frame, group_of

    for group in reversed(list(dict.fromkeys(group_of(plan, p) for p in positions(plan)))):
        for position, planes in reversed(
            objects.segment_group(
                source, model, plan, group, source.read(group_frame(plan, [group]))
            ).items()
        ):
            journal.save(plan.lattice_roi(*position), planes)


def test_a_cut_object_is_replaced_by_the_neighbours_whole_one(tmp_path):
    truth = np.zeros((64, 112), np.int32)
    truth[20:40, 50:75] = 1  # windows at columns 0..64 and 48..112

    @dataclass
    class Sloppy(Finder):
        def _one(self, view):
            answer = super()._one(view)
            if view.roi[1].start == 0:
                answer.ids[18:42, 46:64] = 5  # bleeds two pixels where it is cut
            return answer

    assert np.array_equal(everything(found(truth, Sloppy(), tmp_path)).ids, truth)


def test_what_a_window_sees_at_its_rim_only_yields_to_who_sees_it_well(tmp_path):
    truth = np.zeros((64, 112), np.int32)

    @dataclass
    class Ghost(Finder):
        def _one(self, view):
            ids = np.zeros((64, 64), np.int32)
            if view.roi[1].start == 0:
                ids[10:30, 60:64] = 1
            return Instances(ids, photo_grid((64, 64)))

    assert not everything(found(truth, Ghost(), tmp_path)).ids.any()


def test_the_better_of_two_whole_ones_is_kept_and_the_other_dropped(tmp_path):
    @dataclass
    class Doubtful(Finder):
        def _one(self, view):
            ids = np.zeros((64, 64), np.int32)
            left = view.roi[1].start == 0
            ids[10:30, (50 if left else 4) : (60 if left else 13)] = 1
            table = pd.DataFrame({"id": [1], "class": ["field"], "score": [0.9 if left else 0.6]})
            return Instances(ids, photo_grid((64, 64)), table)

    result = found(np.zeros((64, 112), np.int32), Doubtful(), tmp_path)
    assert len(result.table) == 1
    assert result.table["score"][0] == pytest.approx(0.9, abs=1e-4)
    ids = everything(result).ids
    assert ids[10:30, 50:60].all()
    assert ids.sum() == 200


def test_scores_classes_areas_and_the_folder(tmp_path):
    truth = discs((120, 130), 12, 8)
    result = found(truth, Finder(), tmp_path, grid=utm_grid(truth.shape))
    again = open_instances(tmp_path / "work")
    pd.testing.assert_frame_equal(again.table, result.table)
    names = [int(truth[everything(result).ids == k][0]) for k in result.table["id"]]
    assert result.table["score"].tolist() == pytest.approx(
        [0.5 + (k % 7) / 20 for k in names], abs=1e-4
    )
    assert set(result.table["class"]) == {"field"}
    assert result.table["area"].tolist() == pytest.approx(
        (result.table["pixels"] * 100).tolist(), rel=1e-2
    )
    assert result.min_area == again.min_area == pytest.approx(default_min_area(10.0), rel=1e-2)
    frame = to_fields(result, FieldOptions(min_area=0))
    assert len(frame) == len(result.table)
    assert frame["metrics:area"].sum() == pytest.approx(result.table["area"].sum(), rel=0.05)


def test_a_model_without_a_table_tells_no_scores(tmp_path):
    result = found(discs((70, 80), 5, 2), Finder(told=False), tmp_path)
    assert len(result.table)
    assert result.table["score"].isna().all()


def test_nodata_holds_no_object_and_nothing_but_nodata_is_refused(tmp_path):
    truth = np.ones((100, 100), np.int32)
    valid = np.ones(truth.shape, bool)
    valid[:, 40:60] = False
    ids = everything(found(truth, Finder(), tmp_path, valid=valid)).ids
    assert not ids[~valid].any()
    assert ids[valid].all()
    with pytest.raises(EmptyImage):
        found(truth, Finder(), tmp_path, valid=np.zeros(truth.shape, bool), name="empty")
    assert not len(found(np.zeros_like(truth), Finder(), tmp_path, name="bare").table)


def test_an_interrupted_run_goes_on(tmp_path):
    truth = discs((150, 150), 15, 4)

    class Stop(Exception):
        pass

    @dataclass
    class Failing(Finder):
        def __call__(self, views):
            if len(self.calls) > 3:
                raise Stop
            return super().__call__(views)

    source = Raster(truth[None].astype(np.float32), photo_grid(truth.shape), ("truth",))
    plan = prediction.plan(source, Finder(), prediction.PredictOptions(batch=2), "x")
    with pytest.raises(Stop):
        prediction.predict_objects(
            source,
            Failing(),
            plan,
            tmp_path,
            journal=prediction.BlockJournal(tmp_path / "seen", plan.key),
        )
    rest = Finder()
    states = []
    result = prediction.predict_objects(
        source,
        rest,
        plan,
        tmp_path,
        journal=prediction.BlockJournal(tmp_path / "seen", plan.key),
        progress=states.append,
    )
    assert 0 < len(rest.calls) < len(plan.lattice)
    assert states[-1].done == states[-1].total == len(plan.lattice)
    assert np.array_equal(everything(result).ids, canonical(truth))
    with pytest.raises(BadInput, match="another run"):
        prediction.predict_objects(
            source,
            rest,
            plan,
            tmp_path,
            journal=prediction.BlockJournal(tmp_path / "seen", "other"),
        )


@pytest.mark.parametrize(
    ("ids", "table", "error", "words"),
    [
        (np.zeros((3, 3), np.int32), {}, GridMismatch, "shape"),
        (
            np.full((64, 64), 7, np.int32),
            {"id": [1], "class": ["field"], "score": [0.5]},
            BadInput,
            "id 7",
        ),
        (
            np.full((64, 64), 1, np.int32),
            {"id": [1], "class": ["background"], "score": [0.5]},
            BadInput,
            "background",
        ),
    ],
)
def test_answers_that_do_not_fit(tmp_path, ids, table, error, words):
    @dataclass
    class Wrong(Finder):
        def _one(self, view):
            return Instances(ids, photo_grid(ids.shape), pd.DataFrame(table))

    with pytest.raises(error, match=words):
        found(np.zeros((64, 64), np.int32), Wrong(), tmp_path)


def test_flips_are_refused_and_options_checked():
    source = Raster(np.zeros((1, 64, 64), np.float32), photo_grid((64, 64)), ("truth",))
    finder = PlainModel(Finder(), "objects")
    with pytest.raises(BadInput, match="objects"):
        prediction.plan(source, finder, prediction.PredictOptions(flips=True))
    with pytest.raises(BadInput, match="returns objects, not probabilities"):
        prediction.predict(source, finder)
    with pytest.raises(BadInput, match="agreement"):
        prediction.ObjectOptions(agreement=0.3)


def test_neighbours_are_all_pairs_that_share_pixels():
    from selion.grid import Lattice, overlap

    lattice = Lattice((150, 200), 48, 0.6)
    positions = [
        (r, c) for r in range(len(lattice.starts[0])) for c in range(len(lattice.starts[1]))
    ]
    wanted = {
        (p, q)
        for p in positions
        for q in positions
        if p < q and overlap(lattice.window_roi(*p), lattice.window_roi(*q))
    }
    pairs = list(_neighbours(lattice, positions))
    assert set(pairs) == wanted
    assert len(pairs) == len(wanted)


def test_a_dry_run_estimates(tmp_path):
    truth = discs((150, 150), 15, 4)
    source = Raster(truth[None].astype(np.float32), photo_grid(truth.shape), ("truth",))
    model = PlainModel(Finder(), "objects")
    plan = prediction.plan(source, model, prediction.PredictOptions(), "x")
    cost = prediction.estimate(source, model, plan)
    assert cost.windows == len(plan.lattice)
    assert cost.seconds > 0
    assert dataclasses.replace(plan, classes=FTW3).key == plan.key
