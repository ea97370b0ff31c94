"""Two processes of one run of a language model are one with twice the accumulation."""

from __future__ import annotations

import itertools
import os
import signal
import sys
from dataclasses import replace

import pytest

for needed in ("transformers", "tokenizers", "trl", "peft", "datasets", "accelerate"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from transformers import Trainer, TrainerState  # noqa: E402

from language_pairs import adapter_of, made_for, two  # noqa: E402
from language_toys import pair, recipe, sample, still  # noqa: E402
from selion.errors import BadInput, OutputExists  # noqa: E402
from selion.models.language.smol import WHEEL  # noqa: E402
from selion.training import language_run, peers, whole  # noqa: E402
from selion.training.language_recipe import Grpo  # noqa: E402
from selion.training.language_run import (  # noqa: E402
    REWARDED,
    TRAINING,
    forecast,
    plan_talks,
    train_language,
)
from selion.training.processes import Team, check_same_count, join_processes  # noqa: E402
from selion.training.reward import Standing  # noqa: E402
from selion.training.split import check_same_split, split_arguments  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
SAMPLES, HELD = [sample(k) for k in range(2)], [sample(9)]


STANDS = Standing(0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5, {"field": 0.3}, {"field": 0.3}, 2)


@pytest.fixture(scope="module", autouse=True)
def looked_at():
    """How a model stands is of no weight here, and half of the time of so small a run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language_run, "inspect", lambda *_: STANDS)
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model in a folder, as a published one lies in a cache."""
    folder = tmp_path_factory.mktemp("base")
    for part in pair():
        part.save_pretrained(folder)
    return folder


def refuse(rank):
    """What the first process refuses, both refuse; what it finds, both find."""
    team = join_processes("cpu")
    found = team.led(lambda: (rank, team.world))
    with pytest.raises(OutputExists, match="a run already"):
        team.led(lambda: (_ for _ in ()).throw(OutputExists("a run already")))
    return found


def taught(base, accumulate=1):
    """A recipe of both stages: two steps each, that move the adapter."""
    rewards = Grpo(
        steps=2, prompts=1, answers=4, accumulate=accumulate, lr=1e-2, warmup=0.0, gate=0.0,
        validity=0.3, grammar=True, save_every=1,
    )  # fmt: skip
    made = made_for(base, accumulate=accumulate, grpo=rewards)
    return replace(made, hardware=replace(made.hardware, keep=1))


def work(base, folder, resume=False, kill=None):
    """A run of one process; ``kill`` is (rank, owner, name, nth): the call that it dies before."""

    def run(rank):
        if kill and kill[0] == rank:
            _die_before(*kill[1:])
        spoken = []
        plan = plan_talks(taught(base), SAMPLES, HELD)
        done = train_language(
            plan, folder, resume=resume, on_step=lambda *step: spoken.append(step[:3])
        )
        return done.leads, spoken, refuse(rank)

    return run


def _die_before(owner, name, nth):
    calls, real = itertools.count(1), getattr(owner, name)

    def dying(*given, **named):
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given, **named)

    setattr(owner, name, dying)


@pytest.fixture(scope="module")
def undisturbed(base, tmp_path_factory):
    """A run of two processes from its beginning to its end, and what they said."""
    folder = tmp_path_factory.mktemp("two") / "run"
    return folder, two(work(base, folder))


def test_two_processes_are_one_with_twice_the_accumulation(base, undisturbed, tmp_path):
    """Supervised and by reward; the first writes, speaks, and looks at folders for both."""
    folder, found = undisturbed
    steps = [("sft", 2, 2), ("grpo", 1, 2), ("grpo", 2, 2), ("grpo", 2, 2)]
    assert found == [(True, steps, (0, 2)), (False, [], (0, 2))]
    with still():
        train_language(plan_talks(taught(base, 2), SAMPLES, HELD), tmp_path / "one")
    for stage in ("supervised", "model"):
        one, both = (adapter_of(place, stage) for place in (tmp_path / "one", folder))
        assert one.keys() == both.keys()
        assert all(torch.allclose(v, both[n], atol=1e-6) for n, v in one.items())
    before = adapter_of(folder, "supervised")
    assert all(value.any() for value in before.values())
    assert max(float((value - before[n]).abs().max()) for n, value in both.items()) > 1e-3
    files = [{path.name for path in place.iterdir()} for place in (tmp_path / "one", folder)]
    assert files[0] == files[1]
    last = folder / "sft-checkpoints" / "checkpoint-2"
    with pytest.raises(BadInput, match=r"run of 2 processes, and this is one of 1"):
        check_same_count(last)
    with pytest.raises(BadInput, match="begun by 2 processes, and this is a run of 1"), still():
        train_language(plan_talks(taught(base), SAMPLES, HELD), folder, resume=True)


POINTS = [
    # either process; within a checkpoint of either stage, before its mark, in a step, at the end
    (0, Trainer, "_save_optimizer_and_scheduler", 4),
    (1, Trainer, "_save_rng_state", 1),
    (0, whole, "write_mark", 2),
    (1, Trainer, "training_step", 2),
    (0, language_run, "write_card", 2),
    *(
        pytest.param(rank, owner, name, nth, marks=pytest.mark.long)
        for rank, owner, name, nth in [
            (0, Trainer, "save_model", 2),
            (1, Trainer, "_save_rng_state", 4),
            (0, TrainerState, "save_to_json", 2),
            (0, whole, "_remove", 1),
            (0, Trainer, "training_step", 4),
            (0, language_run, "write_card", 1),
        ]
    ),
]


@pytest.mark.parametrize(("rank", "owner", "name", "nth"), POINTS)
def test_a_run_whose_process_was_killed_goes_on(
    base, undisturbed, tmp_path, rank, owner, name, nth
):
    """The other says so, and what comes of it is the same to the bit."""
    ends = two(work(base, tmp_path / "run", kill=(rank, owner, name, nth)))
    assert ends[rank] == -signal.SIGKILL
    assert "PeerLost('Another of the 2 processes of this run ended" in ends[1 - rank]
    assert [end[0] for end in two(work(base, tmp_path / "run", resume=True))] == [True, False]
    folders = undisturbed[0], tmp_path / "run"
    curves = [(folder / "rewards.json").read_text() for folder in folders]
    assert curves[0] == curves[1]
    assert curves[0].count("frac_reward_zero_std") == 2
    for stage in ("supervised", "model"):
        expected, found = (adapter_of(folder, stage) for folder in folders)
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[n]) for n, value in expected.items())


def test_a_process_that_stands_still_is_lost(monkeypatch, capfd):
    """The other waits where nothing reaches it, says so, and ends."""
    monkeypatch.setattr(peers, "GRACE", 0.1)

    def stopped(rank):
        with peers.watched(join_processes("cpu"), 1.0):
            if rank:
                os.kill(os.getpid(), signal.SIGSTOP)
            torch.distributed.barrier()

    def watch(running):
        running[0].join()
        running[1].kill()

    assert two(stopped, watch) == [2, -signal.SIGKILL]
    assert "did not answer for 1 s (hardware.patience): see what" in capfd.readouterr().err


def test_how_much_several_processes_read(monkeypatch):
    plan = plan_talks(recipe(grpo=Grpo(steps=2, prompts=3, answers=2)), SAMPLES, HELD)
    alone = [len(plan.talks(kind)) for kind in (TRAINING, REWARDED)]
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert [len(plan.talks(kind)) for kind in (TRAINING, REWARDED)] == [2 * n for n in alone]
    assert "2 steps of 4 conversations by 2 processes, 8 in all" in forecast(plan)[0]


def split(base, folder, held, resume=False, kill=None):
    """A run that splits; ``held``: of all numbers of the model, those that this process has."""

    def run(rank):
        if kill and kill[0] == rank:
            _die_before(*kill[1:])
        real = language_run.whole_weights

        def weighed(model):
            parts = [p.to_local() if hasattr(p, "to_local") else p for p in model.parameters()]
            found.append(sum(map(torch.numel, parts)) / sum(map(torch.numel, model.parameters())))
            return real(model)

        found, language_run.whole_weights = [], weighed
        made = taught(base)
        made = replace(made, hardware=replace(made.hardware, split=True))
        train_language(plan_talks(made, SAMPLES, HELD), folder, resume=resume)
        return held(found)

    return run


def same_adapters(one, other):
    for stage in ("supervised", "model"):
        expected, found = (adapter_of(folder, stage) for folder in (one, other))
        assert expected.keys() == found.keys()
        assert all(torch.allclose(value, found[n], atol=1e-6) for n, value in expected.items())


def test_a_model_that_is_split_learns_the_same(base, undisturbed, tmp_path):
    """Each process holds half of it, and they write the adapter that whole copies do."""
    assert (
        two(split(base, tmp_path / "run", lambda parts: [0.4 < p < 0.6 for p in parts]))
        == [[True, True]] * 2
    )
    same_adapters(undisturbed[0], tmp_path / "run")
    last = tmp_path / "run" / "grpo-checkpoints" / "checkpoint-2"
    check_same_split(last, split=True)
    with pytest.raises(BadInput, match=r"written with hardware.split = true, and this run has fal"):
        check_same_split(last, split=False)


@pytest.mark.long
@pytest.mark.parametrize(
    ("rank", "name", "nth"), [(0, "training_step", 2), (1, "training_step", 4)]
)
def test_a_split_run_that_was_killed_goes_on(base, undisturbed, tmp_path, rank, name, nth):
    ends = two(split(base, tmp_path / "run", len, kill=(rank, Trainer, name, nth)))
    assert ends[rank] == -signal.SIGKILL
    assert all(isinstance(end, int) for end in two(split(base, tmp_path / "run", len, resume=True)))
    same_adapters(undisturbed[0], tmp_path / "run")


def test_where_a_model_is_not_split(base, monkeypatch):
    made = taught(base)
    alone = replace(made, hardware=replace(made.hardware, split=True))
    with pytest.raises(BadInput, match=r"wants a run of several processes"):
        plan_talks(alone, SAMPLES, HELD)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert plan_talks(alone, SAMPLES, HELD)
    whole = replace(made.language, lora=replace(made.language.lora, r=0))
    with pytest.raises(BadInput, match=r"hardware.split"):
        replace(alone, language=whole)
    from_a_wheel = replace(alone, language=replace(alone.language, base=WHEEL))
    with pytest.raises(BadInput, match=r"read from a wheel"):
        plan_talks(from_a_wheel, SAMPLES, HELD)
    with pytest.raises(BadInput, match=r"does not say which layers"):
        split_arguments(torch.nn.Linear(2, 2))
    monkeypatch.delenv("WORLD_SIZE")
    assert join_processes("cpu") == Team(0, 1)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(BadInput, match=r"split the model by FSDP: .* hardware.split = true"):
        plan_talks(made, SAMPLES, HELD)
