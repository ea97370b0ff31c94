import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predict_toys import Constant, Procedural, Toy, utm_grid
from selion.errors import BadInput, GridMismatch
from selion.grid import whole
from selion.prediction import PredictOptions, WindowCache, plan, predict_block
from selion.prediction.block import block_task, tasks
from selion.prediction.windows import mirror
from selion.raster import Raster

SHAPE = (230, 310)


def setup(shape=SHAPE, holes=0, dtype="uint16", toy=None, **options):
    source = Procedural(utm_grid(shape), holes=holes, dtype=np.dtype(dtype))
    model = toy or Toy()
    return source, model, plan(source, model, PredictOptions(**options))


def by_blocks(source, model, found, cached):
    cache = WindowCache(found) if cached else None
    scores = np.full((3, *found.lattice.shape), -1, np.float32)
    valid = np.zeros(found.lattice.shape, bool)
    for roi in found.blocks:
        scores[:, *roi], valid[roi] = predict_block(source, model, found, roi, cache)
    return scores, valid


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("flips", [False, True])
@pytest.mark.parametrize("holes", [0, 37])
@pytest.mark.parametrize("scale", [None, 0.6, 1.5])
def test_blocks_equal_the_whole_bit_for_bit(cached, flips, holes, scale):
    toy = Toy(window=32)
    source, model, found = setup(holes=holes, toy=toy, flips=flips, scale=scale, batch=3)
    scores, valid = predict_block(source, model, found, whole(found.grid))
    assert valid.any()
    assert valid.all() == (holes == 0)
    for block in (64, 100, 256) if not flips else (100,):
        again = setup(holes=holes, toy=toy, flips=flips, scale=scale, batch=3, block=block)[2]
        parts, parts_valid = by_blocks(source, model, again, cached)
        assert parts.tobytes() == scores.tobytes()
        assert np.array_equal(parts_valid, valid)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_region_equals_the_whole(data):
    height, width = data.draw(st.integers(1, 150)), data.draw(st.integers(1, 150))
    source, model, found = setup(
        (height, width),
        holes=data.draw(st.sampled_from([0, 29])),
        dtype=data.draw(st.sampled_from(["uint16", "float32"])),
        toy=Toy(window=data.draw(st.integers(1, 50))),
        overlap=data.draw(st.floats(0, 0.75)),
        batch=data.draw(st.integers(1, 5)),
    )
    if len(found.lattice) > 2000:
        return
    scores, valid = predict_block(source, model, found, whole(found.grid))
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    roi = (
        slice(top, data.draw(st.integers(top + 1, height))),
        slice(left, data.draw(st.integers(left + 1, width))),
    )
    part, part_valid = predict_block(source, model, found, roi)
    assert part.tobytes() == np.ascontiguousarray(scores[:, *roi]).tobytes()
    assert np.array_equal(part_valid, valid[roi])
    assert np.abs(scores.sum(0)[valid] - 1).max(initial=0) < 1e-5
    assert not scores[:, ~valid].any()


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 120), st.integers(1, 120), st.integers(1, 70), st.floats(0, 0.75), st.booleans()
)
def test_constant_in_constant_out(height, width, window, share, flips):
    model = Constant(window, share)
    source = Procedural(utm_grid((height, width)))
    found = plan(source, model, PredictOptions(flips=flips))
    if len(found.lattice) > 1500:
        return
    scores, valid = predict_block(source, model, found, whole(found.grid))
    assert valid.all()
    assert np.abs(scores - np.asarray(model.answer, np.float32)[:, None, None]).max() < 2e-6


def test_each_window_is_seen_once_with_a_cache():
    source, model, found = setup(block=100)
    by_blocks(source, model, found, cached=True)
    assert len(model.seen) == len(set(model.seen)) == len(found.lattice)


def test_the_cache_holds_no_more_than_a_row_of_blocks_needs():
    source, model, found = setup((700, 310), block=128)
    cache = WindowCache(found)
    most = 0
    for roi in found.blocks:
        predict_block(source, model, found, roi, cache)
        most = max(most, len(cache.done))
    columns = len(found.lattice.starts[1])
    assert most <= 2 * columns + 4 * 4
    assert not cache.done


def test_tasks_cover_the_lattice_once_and_agree_with_the_cache():
    source, model, found = setup(block=90, batch=3)
    agenda = tasks(found, found.blocks)
    assert sum(task.windows for task in agenda) == len(found.lattice)
    cache = WindowCache(found)
    for task in agenda:
        assert block_task(found, task.roi, cache.done) == task
        predict_block(source, model, found, task.roi, cache)


def test_windows_of_nodata_are_not_shown_to_the_model():
    values = np.ones((2, 256, 256), np.uint16)
    valid = np.zeros((256, 256), bool)
    valid[200, 10] = True
    source = Raster(values, utm_grid((256, 256)), ("red", "green"), valid)
    model = Toy()
    found = plan(source, model)
    scores, seen = predict_block(source, model, found, whole(found.grid))
    holding = [
        (r, c)
        for r in found.lattice.starts[0]
        for c in found.lattice.starts[1]
        if r <= 200 < r + 64 and c <= 10 < c + 64
    ]
    assert sorted(model.seen) == sorted(holding)
    assert 0 < len(holding) < len(found.lattice)
    assert np.array_equal(seen, valid)
    assert abs(scores[:, 200, 10].sum() - 1) < 1e-5
    assert not scores[:, ~valid].any()


def test_fill_is_the_mean_of_the_window_and_never_reaches_the_result():
    values = np.full((2, 64, 64), 5.0, np.float32)
    values[:, :, 10] = 9.0
    values[0, 3, 3] = np.nan
    values[1, 4, 4] = np.inf
    valid = np.ones((64, 64), bool)
    valid[20:30, 20:30] = False
    source = Raster(values, utm_grid((64, 64)), ("red", "green"), valid)

    class Look(Toy):
        def __call__(self, views):
            self.pixels = views[0].pixels
            return super().__call__(views)

    model = Look()
    _, seen = predict_block(source, model, plan(source, model), whole(source.grid))
    hole = ~valid
    hole[3, 3] = hole[4, 4] = True
    assert np.array_equal(~seen, hole)
    for band in (0, 1):
        assert np.allclose(model.pixels[band][hole], values[band][~hole].mean(dtype=np.float64))


@pytest.mark.parametrize("shape", [(1, 1), (1, 100), (63, 2), (20, 64), (64, 64)])
@pytest.mark.parametrize("flips", [False, True])
def test_smaller_than_a_window(shape, flips):
    source, model, found = setup(shape, flips=flips)
    scores, valid = predict_block(source, model, found, whole(found.grid))
    assert scores.shape == (3, *shape)
    assert valid.all()
    assert np.abs(scores.sum(0) - 1).max() < 1e-5


def test_mirror_is_numpys_reflect():
    for size in range(2, 9):
        axis = np.arange(size)
        assert np.array_equal(mirror(size, 30), np.pad(axis, (0, 30 - size), mode="reflect"))


def test_flips_make_an_image_and_its_turn_agree():
    """With all eight orientations a turned image gives the turned map, though the model answers by
    place.
    """

    values = np.random.default_rng(0).uniform(0, 900, (2, 64, 64)).astype(np.float32)
    grid = utm_grid((64, 64))
    model = Toy()
    maps = []
    for turns in range(4):
        source = Raster(
            np.ascontiguousarray(np.rot90(values, turns, (1, 2))), grid, ("red", "green")
        )
        maps.append(
            predict_block(
                source, model, plan(source, model, PredictOptions(flips=True)), whole(grid)
            )[0]
        )
    for turns in range(4):
        assert np.allclose(np.rot90(maps[turns], -turns, (1, 2)), maps[0], atol=1e-6)
    plain = predict_block(source, model, plan(source, model), whole(grid))[0]
    assert np.abs(plain - maps[3]).max() > 0.01


def test_context_is_the_wider_image():
    shown = []

    class Look(Toy):
        def __call__(self, views):
            shown.extend(views)
            return super().__call__(views)

    source, model, found = setup(toy=Look(context=128), holes=37)
    scores, _ = predict_block(source, model, found, whole(found.grid))
    view = next(v for v in shown if v.roi[0].start == 48 and v.roi[1].start == 96)
    assert view.context.values.shape == (2, 128, 128)
    assert np.isfinite(view.context.values).all()
    assert view.context.grid == source.grid[view.context_roi]
    for seen in shown:
        around, inner = (
            seen.context_roi,
            found.lattice_roi(
                *next(
                    p
                    for p in found.lattice.touching(seen.roi)
                    if found.lattice.window_roi(*p) == seen.roi
                )
            ),
        )
        assert all(
            a.start <= b.start and b.stop <= a.stop for a, b in zip(around, inner, strict=True)
        )
    assert len({id(v.context) for v in shown}) < len(shown) / 2
    part, _ = predict_block(source, model, found, (slice(30, 90), slice(100, 200)))
    assert part.tobytes() == np.ascontiguousarray(scores[:, 30:90, 100:200]).tobytes()


def test_a_model_that_answers_nonsense():
    class Wrong(Toy):
        def __call__(self, views):
            return super().__call__(views)[:, :2]

    class NotFinite(Toy):
        def __call__(self, views):
            return super().__call__(views) * np.float32("nan")

    source = Procedural(utm_grid((100, 100)))
    for model, error in ((Wrong(), GridMismatch), (NotFinite(), BadInput)):
        with pytest.raises(error, match="The model returned"):
            predict_block(source, model, plan(source, model), whole(source.grid))


def test_selected_bands_alone_decide_validity():
    values = np.ones((3, 70, 70), np.float32)
    values[2, 5] = np.nan
    source = Raster(values, utm_grid((70, 70)), ("red", "green", "thermal"))
    model = Toy()
    _, valid = predict_block(source, model, plan(source, model), whole(source.grid))
    assert valid.all()
