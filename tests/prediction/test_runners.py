"""A plan done by runners: the same bytes whoever does it, and whatever dies on the way."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from predict_toys import Constant, Procedural, Toy, utm_grid
from selion.errors import BadInput, EmptyImage, OutputFailed, UnreadableFile
from selion.prediction import (
    BlockJournal,
    JournalSource,
    PredictOptions,
    StripWork,
    plan,
    run_blocks,
    run_plan,
)
from selion.prediction.parallel import cut_strips
from selion.prediction.scores import NODATA
from selion.runners import Serial
from selion.runners.processes import Processes
from strip_toys import Broken, Slow, image

TESTS = Path(__file__).resolve().parents[1]
OPTIONS = PredictOptions(block=100)


@pytest.fixture(scope="module")
def crew():
    with Processes(2, 1) as runner:
        yield runner


def work(folder, source=None, model=None, options=OPTIONS):
    source, model = source or image(), model or Toy()
    decided = plan(source, model, options)
    return StripWork(
        source,
        decided,
        BlockJournal(folder, decided.key),
        partial(type(model), **vars(model)),
        model,
    )


def contents(folder):
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in Path(folder).glob("*.block")
    }


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth")
    job = work(folder)
    whole = run_plan(job.source, job.model, job.plan)
    assert run_blocks(job, Serial()) == ()
    assert np.array_equal(
        JournalSource(job.journal, job.plan).read((slice(0, 300), slice(0, 300))).values,
        whole.values,
    )
    return contents(folder)


def test_any_number_of_processes_comes_to_the_same_bytes(crew, truth, tmp_path):
    assert run_blocks(work(tmp_path / "two"), crew) == ()
    assert contents(tmp_path / "two") == truth
    alone = Processes(1, 1, _running=crew._running[:1])
    assert run_blocks(work(tmp_path / "one"), alone) == ()
    assert contents(tmp_path / "one") == truth


def test_windows_of_neighbours_are_computed_once_within_a_strip():
    assert cut_strips(range(9), 0) == [tuple(range(9))]
    assert cut_strips([], 0) == cut_strips([], 2) == []
    for workers in (1, 2, 7):
        strips = cut_strips(range(100), workers)
        assert [k for strip in strips for k in strip] == list(range(100))
        assert max(map(len, strips)) <= 16
        assert len(strips) >= min(4 * workers - 3, 100)


def test_a_worker_that_is_killed_in_the_middle_changes_nothing(crew, truth, tmp_path):
    mark = tmp_path / "die"
    mark.touch()
    job = work(tmp_path / "scores", model=Toy())
    job.load = partial(Slow, die_at=str(mark))
    job.plan.decided["model"]["type"] = "strip_toys.Slow"
    assert run_blocks(job, crew) == ()
    assert not mark.exists()
    assert contents(tmp_path / "scores").keys() == truth.keys()
    stored = JournalSource(job.journal, job.plan).stored((slice(0, 300), slice(0, 300)))
    sound = work(tmp_path / "sound")
    assert run_blocks(sound, Serial()) == ()
    assert np.array_equal(
        stored, JournalSource(sound.journal, sound.plan).stored((slice(0, 300), slice(0, 300)))
    )


class Looked(list):
    """Blocks that count how many of them are looked at."""

    times = 0

    def __getitem__(self, index):
        self.times += 1
        return super().__getitem__(index)

    def __iter__(self):
        self.times += len(self)
        return super().__iter__()


def test_a_region_is_read_without_a_look_at_the_blocks_that_it_does_not_touch(tmp_path):
    """Thousands of plots on tens of thousands of blocks would otherwise be hours."""
    decided = plan(image(), Toy(), PredictOptions(block=10))
    assert len(decided.blocks) == 900
    journal = BlockJournal(tmp_path, decided.key)
    random_ = np.random.default_rng(0)
    whole = random_.integers(0, 251, (len(decided.classes.names), 300, 300), np.uint8)
    for rows, columns in decided.blocks:
        journal.save((rows, columns), whole[:, rows, columns])
    decided.__dict__["blocks"] = looked = Looked(decided.blocks)
    source = JournalSource(journal, decided)
    for rows, columns, touched in (
        (slice(0, 1), slice(0, 1), 1),
        (slice(9, 11), slice(299, 300), 2),
        (slice(10, 20), slice(10, 20), 1),
        (slice(285, 300), slice(95, 131), 10),
        (slice(0, 300), slice(290, 300), 30),
        (slice(10, 10), slice(0, 300), 0),
    ):
        looked.times = 0
        assert np.array_equal(source.stored((rows, columns)), whole[:, rows, columns])
        assert looked.times <= 2 * touched


@pytest.mark.parametrize("who", ["serial", "processes"])
def test_a_poisoned_block_is_set_aside_and_tried_again_by_the_next_run(who, crew, truth, tmp_path):
    runner = Serial() if who == "serial" else crew
    mark = tmp_path / "broken"
    mark.touch()
    options = PredictOptions(block=100, batch=1)
    source = Broken(
        utm_grid((300, 300)), holes=40, hole=(slice(10, 11), slice(290, 291)), mark=str(mark)
    )
    job = work(tmp_path / "scores", source, options=options)
    aside = run_blocks(job, runner)
    assert [(one.roi, one.tries) for one in aside] == [((slice(0, 100), slice(200, 300)), 3)]
    assert "cannot be read there" in aside[0].why
    assert len(contents(tmp_path / "scores")) == 8, "the rest is done"
    stored = JournalSource(job.journal, job.plan, frozenset({(0, 200)})).stored(
        (slice(0, 100), slice(150, 300))
    )
    assert (stored[:, :, 50:] == NODATA).all()
    assert not (stored[:, :, :50] == NODATA).all()
    mark.unlink()
    assert run_blocks(work(tmp_path / "scores", source, options=options), runner) == ()
    sound = work(tmp_path / "sound", options=options)
    assert run_blocks(sound, Serial()) == ()
    assert contents(tmp_path / "scores") == contents(tmp_path / "sound")


def test_an_image_of_which_nothing_can_be_read_is_its_own_error(crew, tmp_path):
    mark = tmp_path / "broken"
    mark.touch()
    source = Broken(utm_grid((300, 300)), hole=(slice(0, 300), slice(0, 300)), mark=str(mark))
    for runner in (Serial(), crew):
        with pytest.raises(UnreadableFile, match="cannot be read there"):
            run_blocks(work(tmp_path / "scores", source), runner)


def test_errors_of_the_whole_run_are_told_at_once(crew, tmp_path, monkeypatch):
    dark = Procedural(utm_grid((300, 300)), dtype=np.dtype(np.float32))
    scaled = Toy(gain=1.0)
    dark.read, read = lambda roi: _darker(read(roi)), dark.read
    with pytest.raises(BadInput, match="not on the scale"):
        run_blocks(work(tmp_path / "dark", dark, scaled), crew)
    with pytest.raises(EmptyImage):
        run_blocks(work(tmp_path / "empty", Procedural(utm_grid((300, 300)), holes=-1)), crew)

    def full(self, name, content, *, replace=False):
        raise OutputFailed("There is no space left.")

    job = work(tmp_path / "full")
    monkeypatch.setattr("selion.store.blocks.FolderStore.put", full)
    with pytest.raises(OutputFailed, match="space"):
        run_blocks(job, Serial())


def _darker(part):
    part.values[:] = part.values / 1e9
    return part


def test_progress_ends_with_all_windows(crew, tmp_path):
    for name, runner in (("serial", Serial()), ("processes", crew)):
        seen = []
        job = work(tmp_path / name)
        run_blocks(job, runner, progress=seen.append)
        assert (seen[0].done, seen[-1].done) == (0, len(job.plan.lattice))
        assert [state.done for state in seen] == sorted(state.done for state in seen)
        again = []
        run_blocks(work(tmp_path / name), runner, progress=again.append)
        assert again[-1].done == len(job.plan.lattice)


def test_another_processor_among_the_workers_is_told_once(crew, tmp_path):
    job, said = work(tmp_path), []
    job.load = partial(Constant, answer=(0.1, 0.8, 0.1))
    run_blocks(job, crew, on_note=said.append)
    assert len(said) == 1
    assert "last bit" in said[0]


def test_a_driver_killed_at_random_moments_is_gone_on_from(truth, tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(tests=str(TESTS)))
    moments, folder = random.Random(4), tmp_path / "scores"
    for _ in range(2):
        before = len(contents(folder))
        driver = subprocess.Popen(
            [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE
        )
        deadline = time.monotonic() + 600
        wanted = before + moments.randint(1, 3)
        while (
            len(contents(folder)) < wanted and driver.poll() is None and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        driver.stdout.close()
        assert {name: truth[name] for name in contents(folder)} == contents(folder)
    assert 0 < len(contents(folder)) <= 9
    assert run_blocks(work(folder), Serial()) == ()
    assert contents(folder) == truth


DRIVER = """
import sys
sys.path.insert(0, {tests!r})
from functools import partial
from predict_toys import Toy
from strip_toys import Slow, image
from selion.prediction import BlockJournal, PredictOptions, StripWork, plan, run_blocks
from selion.runners.processes import Processes

if __name__ == "__main__":
    decided = plan(image(), Toy(), PredictOptions(block=100))
    with Processes(2, 1) as run:
        journal = BlockJournal(sys.argv[1], decided.key)
        run_blocks(StripWork(image(), decided, journal, partial(Slow, pause=0.05), Toy()), run)
"""
