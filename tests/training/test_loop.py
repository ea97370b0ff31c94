"""The loop: it learns, it goes on exactly where it was killed, and nothing good is ever lost."""

from __future__ import annotations

import errno
import json
import math
import platform
import resource
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import language_pairs
from selion.errors import BadInput, OutputFailed, UnreadableFile
from selion.training import loop
from selion.training.checkpoint import BEST, STATE, load_state, save_state
from selion.training.draws import Draw
from selion.training.hardware import kept_memory
from selion.training.loader import Feed, read_ahead
from selion.training.recipe import Crops, Hardware, Schedule, Validate
from selion.training.scoring import Scores
from train_toys import card, network, recipe, sample

SAMPLES = [sample(k) for k in range(3)]


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def fit(made, folder=None, **options):
    return loop.fit(network(), SAMPLES, made, card(made), folder, **options)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Killed(Exception):
    """Stands for a power cut."""


def kill_at(step):
    def listen(stage, done, _total, _detail):
        if stage == "train" and done == step:
            raise Killed

    return listen


def losses_of(trained):
    return [entry["loss"] for entry in trained.history if "loss" in entry]


def test_it_learns():
    made = recipe(
        schedule=Schedule(epochs=25, batch=8, lr=0.03, shape="one-cycle", per="step", warmup=0.2),
        crops=Crops("random", per_epoch=8),
    )
    found = losses_of(fit(made))
    assert np.mean(found[-4:]) < 0.6 * np.mean(found[:2])


@pytest.mark.parametrize(
    "schedule",
    [
        Schedule(epochs=3, batch=4, lr=3e-3, per="step"),
        Schedule(
            epochs=3,
            batch=2,
            lr=3e-3,
            amsgrad=True,
            average=0.9,
            accumulate=3,
            clip=0.1,
            shape="one-cycle",
            per="step",
            warmup=0.1,
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_killed_run_ends_with_the_same_weights(tmp_path, schedule, step):
    made = recipe(
        schedule=schedule, hardware=Hardware("cpu", "float32", threads=1, workers=0, save_every=0)
    )
    whole = fit(made, tmp_path / "whole")
    with pytest.raises(Killed):
        fit(made, tmp_path / "cut", on_step=kill_at(step))
    if not (tmp_path / "cut" / STATE).exists():
        assert step == 1
        return
    resumed = fit(made, tmp_path / "cut", resume=True)
    assert same(whole.weights, resumed.weights)
    strip = [
        {k: v for k, v in e.items() if k in ("step", "epoch", "loss", "lr")}
        for e in resumed.history
    ]
    assert strip == [
        {k: v for k, v in e.items() if k in ("step", "epoch", "loss", "lr")} for e in whole.history
    ]
    lines = [json.loads(line) for line in (tmp_path / "cut" / "log.jsonl").read_text().splitlines()]
    assert [e["step"] for e in lines] == [e["step"] for e in whole.history]


def test_a_run_killed_twice_and_in_bfloat16_too(tmp_path):
    made = recipe(
        hardware=Hardware("cpu", "bfloat16", threads=1, workers=2, save_every=0),
        schedule=Schedule(epochs=4, batch=4, lr=3e-3, average=0.5),
    )
    whole = fit(made)
    with pytest.raises(Killed):
        fit(made, tmp_path, on_step=kill_at(3))
    with pytest.raises(Killed):
        fit(made, tmp_path, resume=True, on_step=kill_at(6))
    assert same(whole.weights, fit(made, tmp_path, resume=True).weights)


def test_a_finished_run_resumes_to_itself(tmp_path):
    made = recipe()
    whole = fit(made, tmp_path)
    again = fit(made, tmp_path, resume=True)
    assert same(whole.weights, again.weights)
    assert again.history == whole.history


def compare_workers(**hardware):
    made = recipe(schedule=Schedule(epochs=2, batch=3))
    other = replace(made, hardware=replace(made.hardware, **hardware))
    places = [(epoch, k) for epoch in range(2) for k in range(3)]
    for one, two in zip(
        read_ahead(Feed(SAMPLES, made), places),
        read_ahead(Feed(SAMPLES, other), places),
        strict=True,
    ):
        assert np.array_equal(one.pixels, two.pixels)
        assert np.array_equal(one.labels, two.labels)


@pytest.mark.parametrize("workers", [1, 3])
def test_threads_change_nothing(workers):
    compare_workers(workers=workers)


@pytest.mark.slow
def test_processes_change_nothing():
    """In a process of its own: twice, on a busy machine, the test runner's worker had gone when
    torch's loader was done, and left no word.  Transformers, seconds to import, is for who wants
    its networks.
    """
    script = (
        "import sys; from training import test_loop; assert 'transformers' not in sys.modules; "
        "test_loop.compare_workers(workers=1, kind='process'); print('the same')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "the same"), ended.stderr


def test_the_batch_size_changes_no_window():
    views = []
    for size in (2, 5):
        feed = Feed(
            SAMPLES, recipe(schedule=Schedule(batch=size), augment=replace(recipe().augment))
        )
        views.append(np.concatenate([feed.batch((1, k)).pixels for k in range(feed.batches)]))
    assert np.array_equal(*views)


def test_an_epoch_has_every_chip_once_and_another_order_each_time():
    feed = Feed(SAMPLES * 5, recipe(crops=Crops("chip"), schedule=Schedule(batch=4)))
    epochs = [
        [index for k in range(feed.batches) for index, _ in feed.draws((epoch, k))]
        for epoch in range(2)
    ]
    assert feed.batches == 4
    # nobody is left alone
    assert [len(Feed(SAMPLES * 3, feed.recipe).draws((0, k))) for k in range(2)] == [4, 5]
    assert [sorted(e) for e in epochs] == [list(range(15))] * 2
    assert epochs[0] != epochs[1]
    assert feed.draws((1, 1))[0][1] == Draw(7, 1, 4, 1)


def test_masks_are_read_once_while_there_is_room():
    class Counting(list):
        opened = 0

        def __getitem__(self, index):
            Counting.opened += 1
            return super().__getitem__(index)

    size = SAMPLES[0].labels.ids.nbytes + SAMPLES[0].instances.ids.nbytes
    assert size < 2**20
    for keep, least in ((1, 3), (0, 16)):
        Counting.opened = 0
        made = recipe()
        feed = Feed(Counting(SAMPLES), replace(made, hardware=replace(made.hardware, keep_mb=keep)))
        kept = [feed.batch((epoch, k)).pixels for epoch in range(2) for k in range(feed.batches)]
        assert Counting.opened == least
        assert len(kept) == 4


def test_a_reader_that_fails_says_so_and_ends():
    class Broken(list):
        def __getitem__(self, index):
            raise UnreadableFile("chip 2 is torn.")

    for workers in (0, 2):
        made = recipe(hardware=Hardware("cpu", "float32", threads=1, workers=workers))
        with pytest.raises(UnreadableFile, match="torn"):
            list(read_ahead(Feed(Broken(SAMPLES), made), [(0, 0), (0, 1)]))


def test_accumulated_batches_make_the_gradient_of_their_mean():
    model = torch.nn.Conv2d(8, 3, 1)
    torch.nn.init.constant_(model.bias, 0.1)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    made = recipe(
        schedule=Schedule(
            epochs=1, batch=2, accumulate=4, lr=1e-2, shape="constant", weight_decay=0
        ),
        augment=replace(recipe().augment),
    )
    loop.fit(model, SAMPLES, made, card(made))
    feed, expected = Feed(SAMPLES, made), torch.nn.Conv2d(8, 3, 1)
    expected.load_state_dict(start)
    adam = torch.optim.AdamW(expected.parameters(), lr=1e-2, weight_decay=0)
    parts = [feed.batch((0, k)) for k in range(4)]
    from selion.training.criterion import make_loss

    loss = (
        sum(
            make_loss(made.loss)(expected(torch.from_numpy(b.pixels)), torch.from_numpy(b.labels))
            for b in parts
        )
        / 4
    )
    loss.backward()
    adam.step()
    for name, value in expected.state_dict().items():
        assert model.state_dict()[name] == pytest.approx(value, abs=1e-6)


def test_the_average_of_the_weights_is_exported_with_live_statistics():
    made = recipe(schedule=Schedule(epochs=4, batch=4, lr=3e-2, average=0.7))
    model = network()
    trained = loop.fit(model, SAMPLES, made, card(made))
    live = model.state_dict()
    assert not torch.equal(trained.weights["0.weight"], live["0.weight"])
    assert torch.equal(trained.weights["1.running_var"], live["1.running_var"])


def test_a_loss_that_is_no_number_stops_the_run_and_names_samples(tmp_path):
    made = recipe(schedule=Schedule(epochs=3, batch=8, lr=1e30, shape="constant"))
    with pytest.raises(
        BadInput, match=r"The loss is (nan|inf) at step \d .*toy\d.*lower schedule.lr"
    ) as caught:
        fit(made, tmp_path)
    assert "\n" not in str(caught.value)
    tensors, facts = load_state(tmp_path / STATE)
    assert all(
        torch.isfinite(t).all() for name, t in tensors.items() if name.startswith("network.")
    )
    assert str(tmp_path) in str(caught.value)
    assert facts["epoch"] >= 1


def test_a_changed_recipe_or_other_data_is_refused_but_hardware_and_name_may_change(tmp_path):
    made = recipe()
    with pytest.raises(Killed):
        fit(made, tmp_path, on_step=kill_at(4), data="3 samples a")
    for change, words in (
        ({"schedule": replace(made.schedule, lr=1.0)}, "schedule.lr was 0.003 and is now 1.0"),
        (
            {"seed": 8, "loss": replace(made.loss, kind="dice", weights=())},
            "seed was 7 and is now 8; loss.kind was 'ce\\+dice' and is now 'dice'",
        ),
    ):
        with pytest.raises(BadInput, match=words) as caught:
            fit(replace(made, **change), tmp_path, resume=True, data="3 samples a")
        assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="made with other samples"):
        fit(made, tmp_path, resume=True, data="4 samples b")
    other = replace(made, name="new", hardware=replace(made.hardware, workers=2))
    assert fit(other, tmp_path, resume=True, data="3 samples a").history[-1]["epoch"] == 3


def test_nothing_to_resume(tmp_path):
    with pytest.raises(UnreadableFile, match="no checkpoint"):
        fit(recipe(), tmp_path, resume=True)
    with pytest.raises(BadInput, match="without a folder"):
        fit(recipe(), resume=True)
    (tmp_path / STATE).write_bytes(b"torn")
    with pytest.raises(UnreadableFile, match="cannot be read as a checkpoint"):
        fit(recipe(), tmp_path, resume=True)


def test_a_full_disk_is_one_sentence_and_the_last_good_checkpoint_survives(tmp_path, monkeypatch):
    from selion.training import checkpoint

    made = recipe(schedule=Schedule(epochs=4, batch=4))
    good = checkpoint._write
    written = []

    def full(stream, tensors, facts):
        written.append(1)
        if len(written) < 3:
            return good(stream, tensors, facts)
        stream.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint, "_write", full)
    with pytest.raises(
        OutputFailed, match=r"no space left.*last good checkpoint.*--resume"
    ) as caught:
        fit(made, tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert load_state(tmp_path / STATE)[1]["epoch"] == 2
    assert {p.name for p in tmp_path.iterdir() if not p.name.startswith("events")} == {
        STATE,
        "log.jsonl",
    }
    whole = fit(made)
    assert same(whole.weights, fit(made, tmp_path, resume=True).weights)


def test_a_disk_that_is_full_in_earnest(tmp_path):
    """A file system with a quota of a few kilobytes, where the machine has one that can be
    limited.
    """
    resource = pytest.importorskip("resource")
    import signal

    tensors = {"a": torch.ones(1000)}
    save_state(tmp_path / STATE, tensors, {"epoch": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OutputFailed, match="no space left"):
            save_state(tmp_path / STATE, {"a": torch.zeros(1000)}, {"epoch": 2}, " of epoch 1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    found, facts = load_state(tmp_path / STATE)
    assert torch.equal(found["a"], tensors["a"])
    assert facts["epoch"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [STATE]


def test_checkpoints_are_plain_safetensors(tmp_path):
    from safetensors.torch import load_file

    tensors = {
        "a": torch.arange(6.0).reshape(2, 3).T,
        "b": torch.tensor(3),
        "c": torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    tensors["d"] = torch.tensor([True, False])
    save_state(tmp_path / "x.safetensors", tensors, {"note": "ä"})
    assert same(load_file(tmp_path / "x.safetensors"), tensors)
    found, facts = load_state(tmp_path / "x.safetensors")
    assert same(found, tensors)
    assert facts == {"note": "ä"}


def test_validation_scores_and_the_best_weights_are_kept(tmp_path):
    made = recipe(
        schedule=Schedule(epochs=3, batch=4, lr=3e-2, keep="best"),
        validate=Validate(every=1, limit=2),
    )
    trained = fit(made, tmp_path, validation=SAMPLES)
    seen = [e for e in trained.history if "val/pixel_iou" in e]
    assert [e["epoch"] for e in seen] == [1, 2, 3]
    assert len(trained.scores.keys) == 3
    assert {"val/object_f1", "val/iou_field"} <= seen[0].keys()
    assert (tmp_path / BEST).exists()
    assert (
        trained.scores.interval("pixel_iou").low
        <= trained.scores.pixel_iou
        <= trained.scores.interval("pixel_iou").high
    )


def test_the_best_of_a_few_samples_are_compared_on_all(tmp_path, monkeypatch):
    """The first epoch scores 0.9 on the few that each is judged on, 0.4 on all; the last 0.5."""
    few, whole, limits = [0.9, 0.6], [0.5, 0.4], []

    def validated(_run, _weights, limit):
        limits.append(limit)
        hits = (few if limit else whole).pop(0)
        counts = np.array([[0, 0, 0, hits, 1 - hits, 0]])
        return Scores(("a",), ("",), counts, metric="pixel_iou"), 0.0

    monkeypatch.setattr(loop, "_validate", validated)
    made = recipe(
        schedule=Schedule(epochs=3, batch=4, lr=3e-2, keep="best"),
        validate=Validate(every=1, limit=2, metric="pixel_iou"),
    )
    trained = fit(made, tmp_path, validation=SAMPLES)
    assert limits == [2, 2, 0, 0]
    assert trained.scores.pixel_iou == 0.5
    assert same(trained.weights, fit(made).weights)


def test_validation_leaves_the_training_alone():
    made = recipe(schedule=Schedule(epochs=3, batch=4, average=0.5), validate=Validate(every=1))
    assert same(fit(made).weights, fit(made, validation=SAMPLES).weights)


def test_progress_counts_every_step_and_tells_the_time_left():
    seen = []
    fit(recipe(), on_step=lambda *a: seen.append(a))
    assert [a[:3] for a in seen] == [("train", k, 6) for k in range(1, 7)]
    assert all("left" in a[3] and "images/s" in a[3] for a in seen)


def test_event_files_hold_the_curves(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trained = fit(recipe(), tmp_path, validation=SAMPLES[:1])
    events = accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert {"loss", "lr", "images_per_s", "waited", "val/pixel_iou"} <= set(
        events.Tags()["scalars"]
    )
    found = {e.step: e.value for e in events.Scalars("loss")}
    assert found == pytest.approx(
        {e["step"]: e["loss"] for e in trained.history if "loss" in e}, rel=1e-6
    )


def test_devices_that_are_not_there_are_refused():
    for hardware, words in (
        (Hardware("cuda"), "torch sees none"),
        (Hardware("cpu", "float16"), "wants CUDA"),
        (Hardware("cpu", devices=2), "accelerate launch --num_processes 2"),
    ):
        if hardware.device == "cuda" and torch.cuda.is_available():
            continue
        with pytest.raises(BadInput, match=words):
            fit(recipe(hardware=hardware))


def test_waiting_is_measured():
    trained = fit(recipe())
    assert 0 < trained.waited < 1
    assert math.isfinite(trained.images_per_second)
    assert "CPU, float32, channels last" in trained.engine


def convolutions():
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(8, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_two_processes_are_one_with_twice_the_accumulation(tmp_path):
    """Without batch statistics, the mean gradient over two processes is that of two batches added
    up.
    """
    pytest.importorskip("accelerate")
    schedule = Schedule(epochs=2, batch=2, lr=1e-2, per="step", average=0.5)
    hardware = Hardware("cpu", "float32", devices=2, threads=1, workers=0)
    shared = recipe(schedule=schedule, hardware=hardware)

    def work(rank):
        done = loop.fit(convolutions(), SAMPLES, shared, card(shared))
        torch.save(done.weights, tmp_path / f"{rank}.pt")
        return done.leads, done.engine

    (leads, engine), (follows, _) = language_pairs.two(work)
    assert (leads, follows) == (True, False)
    assert "2 processes" in engine
    found = [torch.load(tmp_path / f"{k}.pt", weights_only=True) for k in range(2)]
    assert same(*found)
    made = recipe(schedule=replace(schedule, accumulate=2))
    single = loop.fit(convolutions(), SAMPLES, made, card(made))
    for name, value in single.weights.items():
        assert found[0][name] == pytest.approx(value, abs=1e-6)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's malloc is told")
def test_arrays_after_a_training_are_not_cleared_anew_page_by_page():
    """What is told to malloc ends its own growth of thresholds, and it does not begin again."""

    def faults(arrays):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(arrays):
            np.ones(8 * 2**20, np.uint8)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with kept_memory(torch.device("cpu")):
        pass
    faults(3)
    assert faults(20) < 1000, "more than 5,000 before"
