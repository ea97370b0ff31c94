import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import selion
from predict_toys import Constant, ListSink, Procedural, Toy, utm_grid
from selion.classes import ClassScheme
from selion.errors import BadInput, EmptyImage
from selion.grid import ground_sampling_distance, photo_grid, whole
from selion.prediction import (
    NODATA,
    BlockJournal,
    PredictOptions,
    dequantise,
    plan,
    predict,
    predict_block,
    quantise,
    run_plan,
    score_tags,
)
from selion.raster import Raster, image_gsd
from selion.segmenter import PlainModel


@given(st.integers(0, 2**32 - 1))
def test_bytes_are_the_probabilities_to_half_a_step(seed):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1, 1, 1], (9, 7)).astype(np.float32).transpose(2, 0, 1)
    valid = rng.random((9, 7)) > 0.3
    stored = quantise(scores, valid)
    assert (stored[:, ~valid] == NODATA).all()
    assert (stored[:, valid] < NODATA).all()
    back, back_valid = dequantise(stored)
    assert np.array_equal(back_valid, valid)
    assert np.abs(back - scores)[:, valid].max(initial=0) <= 1 / 508 + 1e-6
    assert np.array_equal(quantise(back, back_valid), stored)


def test_background_is_not_nodata():
    scores = np.array([-1e-7, 0, 1, 1 + 1e-6], np.float32)[None, None]
    assert quantise(scores, np.ones((1, 4), bool)).tolist() == [[[0, 0, 254, 254]]]


def test_result_in_memory():
    source, model = Procedural(utm_grid((150, 130)), holes=31), Toy()
    result = predict(source, model)
    assert result.bands == ("background", "field", "boundary")
    assert result.grid == source.grid
    assert result.dtype == np.float32
    scores, valid = predict_block(source, model, plan(source, model), whole(source.grid))
    assert np.array_equal(result.valid, valid)
    assert np.abs(result.values - scores).max() <= 1 / 508 + 1e-6


def test_the_room_can_be_called():
    source, model = Procedural(utm_grid((70, 70))), Constant()
    assert np.allclose(selion.predict(source, model).values[1], 0.7, atol=0.002)


@pytest.mark.parametrize("block", [64, 100, 2048])
@pytest.mark.parametrize("scale", [None, 1.5])
def test_a_sink_gets_the_same_bytes_in_order(block, scale):
    source, model = Procedural(utm_grid((210, 190)), holes=41), Toy()
    wanted = predict(source, model, options=PredictOptions(scale=scale))
    sink = ListSink((3, *wanted.grid.shape))
    assert (
        predict(source, model, sink=sink, options=PredictOptions(scale=scale, block=block)) is None
    )
    assert (sink.times == 1).all()
    assert sink.order == sorted(sink.order)
    scores, valid = dequantise(sink.stored)
    assert np.array_equal(valid, wanted.valid)
    assert scores.tobytes() == wanted.values.tobytes()


def test_nothing_but_nodata(tmp_path):
    source, model = Procedural(utm_grid((200, 200)), holes=-1), Toy()
    journal = BlockJournal(tmp_path, plan(source, model, PredictOptions(block=100)).key)
    for _ in range(2):
        with pytest.raises(EmptyImage, match="nothing but nodata"):
            predict(source, model, options=PredictOptions(block=100), journal=journal)
    assert not model.calls


def test_resumed_blocks_are_not_computed_again(tmp_path):
    source = Procedural(utm_grid((230, 310)), holes=37)
    options = PredictOptions(block=100, batch=1)
    found = plan(source, Toy(), options)
    wanted = predict(source, Toy(), options=options)
    for limit in (2, 9, 20):  # a block is kept a little after its last window was seen
        with pytest.raises(KeyboardInterrupt):
            run_plan(source, Stops(limit), found, journal=BlockJournal(tmp_path, found.key))
    assert 0 < len(list(tmp_path.glob("*.block"))) < len(found.blocks)
    model = Toy()
    result = run_plan(source, model, found, journal=BlockJournal(tmp_path, found.key))
    assert len(model.seen) < len(found.lattice)
    assert result.values.tobytes() == wanted.values.tobytes()
    assert np.array_equal(result.valid, wanted.valid)
    model = Toy()
    again = predict(source, model, options=options, journal=BlockJournal(tmp_path, found.key))
    assert not model.calls
    assert again.values.tobytes() == wanted.values.tobytes()


class Stops(Toy):
    """Somebody presses Ctrl-C after ``limit`` calls."""

    def __init__(self, limit):
        super().__init__()
        self.limit = limit

    def __call__(self, views):
        if len(self.calls) >= self.limit:
            raise KeyboardInterrupt
        return super().__call__(views)


@pytest.mark.parametrize("missing", [(0,), (5,), (1, 2, 6), (3, 7, 11), (0, 4, 8, 11)])
def test_any_set_of_finished_blocks_gives_the_same(tmp_path, missing):
    source = Procedural(utm_grid((230, 310)))
    options = PredictOptions(block=80, batch=3)
    found = plan(source, Toy(), options)
    wanted = predict(source, Toy(), options=options, journal=BlockJournal(tmp_path, found.key))
    for k in missing:
        rows, columns = found.blocks[k]
        (tmp_path / f"{rows.start}-{rows.stop}_{columns.start}-{columns.stop}.block").unlink()
    states = []
    model = Toy()
    again = predict(
        source,
        model,
        options=options,
        journal=BlockJournal(tmp_path, found.key),
        progress=states.append,
    )
    assert again.values.tobytes() == wanted.values.tobytes()
    assert 0 < len(model.seen) < len(found.lattice)
    assert states[0].done == len(found.lattice) - len(model.seen)
    assert states[-1].done == states[-1].total == len(found.lattice)


def test_a_broken_block_is_computed_again(tmp_path):
    source = Procedural(utm_grid((230, 310)))
    options = PredictOptions(block=80)
    key = plan(source, Toy(), options).key
    wanted = predict(source, Toy(), options=options, journal=BlockJournal(tmp_path, key))
    files = sorted(tmp_path.glob("*.block"))
    files[2].write_bytes(files[2].read_bytes()[:-9])
    files[7].write_bytes(b"")
    model = Toy()
    again = predict(source, model, options=options, journal=BlockJournal(tmp_path, key))
    assert model.calls
    assert again.values.tobytes() == wanted.values.tobytes()


def test_a_changed_parameter_never_reuses(tmp_path):
    source = Procedural(utm_grid((150, 150)))
    for options, gain in (
        ({}, 1.0),
        ({"overlap": 0.5}, 1.0),
        ({"flips": True}, 1.0),
        ({"bands": (2, 1)}, 1.0),
        ({}, 3.0),
    ):
        model = Toy(gain=gain)
        chosen = PredictOptions(block=100, **options)
        fresh = predict(source, Toy(gain=gain), options=chosen)
        result = predict(
            source,
            model,
            options=chosen,
            journal=BlockJournal(tmp_path, plan(source, model, chosen).key),
        )
        assert len(set(model.seen)) == len(plan(source, model, chosen).lattice)
        assert result.values.tobytes() == fresh.values.tobytes()
    with pytest.raises(BadInput, match="belongs to another run"):
        predict(source, Toy(gain=5.0), journal=BlockJournal(tmp_path, "x"))


def test_another_block_size_may_reuse_but_never_differs(tmp_path):
    source = Procedural(utm_grid((230, 230)))
    key = plan(source, Toy()).key
    wanted = predict(
        source, Toy(), options=PredictOptions(block=64), journal=BlockJournal(tmp_path, key)
    )
    result = predict(
        source, Toy(), options=PredictOptions(block=100), journal=BlockJournal(tmp_path, key)
    )
    assert result.values.tobytes() == wanted.values.tobytes()


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from predict_toys import ListSink, Procedural, Toy, utm_grid
from selion.prediction import BlockJournal, PredictOptions, plan, run_plan

class Slow(Toy):
    def __call__(self, views):
        time.sleep(0.01)
        return super().__call__(views)

folder, out = Path(sys.argv[1]), Path(sys.argv[2])

def whole_run():
    source, model = Procedural(utm_grid((400, 330)), holes=53), Slow()
    decided = plan(source, model, PredictOptions(block=96))
    sink, journal = ListSink((3, *decided.grid.shape)), BlockJournal(folder, decided.key)
    run_plan(source, model, decided, sink=sink, journal=journal)
    part = out.with_suffix(".part")
    part.write_bytes(sink.stored.tobytes())
    part.replace(out)
    journal.remove()

def killed_run(blocks, wait):
    before, child = finished(), os.fork()
    if not child:
        whole_run()
        os._exit(0)
    while finished() < before + blocks:
        time.sleep(0.0005)
        if os.waitpid(child, os.WNOHANG)[0]:
            sys.exit("the run ended by itself")
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    return os.WTERMSIG(os.waitpid(child, 0)[1])

def finished():
    return len(list(folder.glob("*.block")))

for blocks, wait in ((0, 0.0), (0, 0.02), (1, 0.0), (2, 0.007), (1, 0.0), (3, 0.013), (4, 0.0)):
    print(killed_run(blocks, wait), finished(), out.exists(), flush=True)
whole_run()
print("whole")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_kill_at_any_moment_then_again_gives_the_identical_file(tmp_path):
    """One process forks runs and kills each at another moment; the last one may end."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONWARNINGS": "ignore",
    }
    command = [
        sys.executable,
        "-c",
        SCRIPT,
        str(tmp_path / "journal"),
        str(tmp_path / "scores.bin"),
    ]
    told = subprocess.run(
        command, env=environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert told.pop() == "whole"
    moments = [line.split() for line in told]
    assert len(moments) == 7
    assert all(end == str(int(signal.SIGKILL)) and there == "False" for end, _, there in moments)
    kept = [int(count) for _, count, _ in moments]
    assert kept == sorted(kept)
    assert 11 <= kept[-1] < 20
    assert not (tmp_path / "journal").exists()
    sink = ListSink((3, 400, 330))
    predict(
        Procedural(utm_grid((400, 330)), holes=53),
        Toy(),
        sink=sink,
        options=PredictOptions(block=96),
    )
    assert (tmp_path / "scores.bin").read_bytes() == sink.stored.tobytes()


def test_progress_is_sane():
    source, model, states = Procedural(utm_grid((230, 310))), Toy(), []
    predict(source, model, options=PredictOptions(block=100), progress=states.append)
    done = [state.done for state in states]
    assert done == sorted(done)
    assert done[0] == 0
    assert done[-1] == states[-1].total == len(model.seen)
    assert states[0].seconds_left is None
    assert states[0].km2_per_second is None
    assert abs(states[-1].km2 - 230 * 310 * 1e-4) < 0.01 * 7.13
    assert states[-1].seconds_left == 0
    assert all(state.seconds_left >= 0 and state.km2_per_second > 0 for state in states[1:])
    middle = states[len(states) // 2]
    left = (middle.total - middle.done) / middle.done * middle.seconds
    assert abs(middle.seconds_left - left) < 1e-6 + 0.01 * left


def test_a_photo_has_no_square_kilometres():
    states = []
    predict(Procedural(photo_grid((100, 100))), Constant(), progress=states.append)
    assert states[-1].km2 is None
    assert states[-1].km2_per_second is None
    assert states[-1].seconds_left == 0


def test_reading_goes_on_while_the_model_works():
    main, where = threading.get_ident(), {"read": set(), "write": set()}

    class Watched(Procedural):
        def read(self, roi):
            where["read"].add(threading.get_ident())
            return super().read(roi)

    class WatchedSink(ListSink):
        def write(self, roi, values):
            where["write"].add(threading.get_ident())
            super().write(roi, values)

    predict(
        Watched(utm_grid((230, 310))),
        Toy(),
        sink=WatchedSink((3, 230, 310)),
        options=PredictOptions(block=100),
    )
    assert where["read"] == where["write"]
    assert len(where["read"]) == 1
    assert main not in where["read"]
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("selion-blocks")
    ]


@pytest.mark.parametrize("failing", ["read", "write"])
def test_failures_of_the_background_come_out(failing):
    class Broken(Procedural):
        def read(self, roi):
            if failing == "read" and roi[0].start > 50:
                raise BadInput("torn tape")
            return super().read(roi)

    class BrokenSink(ListSink):
        def write(self, roi, values):
            if failing == "write" and roi[0].start > 50:
                raise BadInput("torn tape")

    with pytest.raises(BadInput, match="torn tape"):
        predict(
            Broken(utm_grid((230, 310))),
            Toy(),
            sink=BrokenSink((3, 230, 310)),
            options=PredictOptions(block=100),
        )
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("selion-blocks")
    ]


def test_hardly_a_pixel_is_read_twice():
    source = Procedural(utm_grid((1000, 1000)))
    predict(
        source,
        Constant(window=100),
        sink=ListSink((3, 1000, 1000)),
        options=PredictOptions(block=400),
    )
    assert source.pixels_read < 1.2 * 1000 * 1000


class Nothing:
    def write(self, roi, values):
        pass


class Lean(Procedural):
    """Computes its pixels without large intermediates, so that what is measured is ours."""

    def read(self, roi):
        y = (np.arange(roi[0].start, roi[0].stop) % 200).astype(np.uint8)
        x = (np.arange(roi[1].start, roi[1].stop) % 50).astype(np.uint8)
        plane = y[:, None] + x
        return Raster(np.stack([plane, plane]), self.grid[roi], self.bands)


def peak(height):
    source = Lean(utm_grid((height, 4096)), dtype=np.dtype(np.uint8))
    tracemalloc.start()
    predict(source, Constant(window=512), sink=Nothing(), options=PredictOptions(block=1024))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


@pytest.mark.slow
def test_memory_does_not_grow_with_the_height():
    peak(1024)
    low, high = peak(4096), peak(8192)
    assert high < 1.1 * low
    assert high < 0.3 * 8192 * 4096 * 3 * 4  # the result alone would be this, in float32


def test_tags_say_what_it_is():
    source, model = Procedural(utm_grid((100, 100))), Toy()
    found = plan(source, model, fingerprint="abc")
    tags = score_tags(found)
    assert ClassScheme.from_dict(json.loads(tags["classes"])) == model.classes
    assert json.loads(tags["scores"])["nodata"] == NODATA
    provenance = json.loads(tags["provenance"])
    assert provenance["key"] == found.key
    assert provenance["input"] == "abc"
    assert provenance["selion"] == selion.__version__
    assert all(isinstance(value, str) for value in tags.values())


def test_probabilities_know_the_pixels_of_their_image():
    """Also where they lie on a finer grid, and in each of their parts."""
    image = Procedural(utm_grid((100, 100))).read((slice(0, 100), slice(0, 100)))
    said = predict(image, Toy(), options=PredictOptions(scale=2.0))
    assert said.grid.shape == (200, 200)
    for probabilities in (said, said.read((slice(3, 9), slice(0, 8)))):
        assert image_gsd(probabilities) == image_gsd(image) == ground_sampling_distance(image.grid)
        assert "scores" not in probabilities.tags, "these are no bytes"
    photograph = Raster(image.values, photo_grid((100, 100)), image.bands)
    assert image_gsd(predict(photograph, Toy())) is None


def test_a_raster_is_its_own_source():
    part = Procedural(utm_grid((90, 90))).read((slice(0, 90), slice(0, 90)))
    with_nan = Raster(part.values.astype(np.float32), part.grid, part.bands)
    with_nan.values[:, 10:20, 10:20] = np.nan
    result = predict(with_nan, Toy())
    assert (~result.valid).sum() == 100
    assert np.isfinite(result.values).all()


@dataclass
class Many(Toy):
    """May be asked by several threads at once; later questions are answered first."""

    under_way: int = 0
    most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, views):
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            number = len(self.calls)
            self.calls.append(len(views))
        time.sleep(0.002 * (3 - number % 3))
        answers = np.stack([self._one(view, len(views)) for view in views])
        with self.lock:
            self.under_way -= 1
        return answers


def test_calls_at_once_change_no_byte_and_are_not_more_than_the_model_takes():
    source, options = Procedural(utm_grid((210, 190)), holes=41), PredictOptions(block=100, batch=2)
    wanted, model = predict(source, Toy(), options=options), Many()
    found = predict(source, PlainModel(model, at_once=3), options=options)
    assert found.values.tobytes() == wanted.values.tobytes()
    assert np.array_equal(found.valid, wanted.valid)
    assert 1 < model.most <= 3
    assert len(model.seen) == len(set(model.seen))


def test_an_error_among_calls_at_once_is_told_and_ends_the_threads():
    class Failing(Many):
        def __call__(self, views):
            if len(self.calls) == 5:
                raise BadInput("the sixth")
            return super().__call__(views)

    with pytest.raises(BadInput, match="the sixth"):
        predict(
            Procedural(utm_grid((210, 190))),
            PlainModel(Failing(), at_once=3),
            options=PredictOptions(block=100, batch=2),
        )
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("selion-")]


def test_a_model_that_says_nothing_of_threads_is_asked_by_the_callers():
    """So Ctrl-C reaches it: an answer of a language model takes minutes."""
    where = set()

    class Here(Toy):
        def __call__(self, views):
            where.add(threading.get_ident())
            return super().__call__(views)

    predict(Procedural(utm_grid((210, 190))), Here(), options=PredictOptions(block=100))
    assert where == {threading.get_ident()}
