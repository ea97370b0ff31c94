"""Learning rates beside torch's own schedulers."""

from __future__ import annotations

import itertools

import pytest
import torch

from selion.errors import BadInput
from selion.training.recipe import Schedule
from selion.training.schedule import learning_rate


def optimizer(lr):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)


def test_cosine_per_epoch_is_torchs():
    schedule, steps = Schedule(epochs=10, lr=1e-3, floor=1e-6), 7
    sgd = optimizer(1e-3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=10, eta_min=1e-6)
    for epoch in range(10):
        for step in range(steps):
            assert learning_rate(schedule, epoch * steps + step, steps) == pytest.approx(
                sgd.param_groups[0]["lr"], rel=1e-9
            )
        sgd.step()
        theirs.step()


def test_a_cosine_that_outlasts_the_run_is_torchs():
    schedule, steps = Schedule(epochs=6, period=20, lr=1e-3, floor=1e-6), 3
    sgd = optimizer(1e-3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=20, eta_min=1e-6)
    for epoch in range(6):
        assert learning_rate(schedule, epoch * steps, steps) == pytest.approx(
            sgd.param_groups[0]["lr"], rel=1e-9
        )
        sgd.step()
        theirs.step()
    # of no schedule but a cosine, and no shorter than the run: else it would rise again
    for changes in ({"period": 5}, {"period": -1}, {"period": 20, "shape": "constant"}):
        with pytest.raises(BadInput, match=r"schedule\.period = .*6, or more"):
            Schedule(epochs=6, **changes)


def test_one_cycle_is_torchs():
    schedule, steps, total = (
        Schedule(epochs=5, lr=2e-3, shape="one-cycle", per="step", warmup=0.1),
        20,
        100,
    )
    sgd = optimizer(2e-3)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        sgd, 2e-3, total_steps=total + 1, pct_start=11 / 101, cycle_momentum=False
    )
    ours = [learning_rate(schedule, step, steps) for step in range(total)]
    found = []
    for _ in range(total):
        found.append(sgd.param_groups[0]["lr"])
        sgd.step()
        theirs.step()
    assert ours == pytest.approx(found, rel=1e-9)
    assert max(ours) == pytest.approx(2e-3)


def test_warmup_rises_to_the_rate_and_constant_stays():
    schedule = Schedule(epochs=4, lr=1e-2, shape="constant", per="step", warmup=0.25)
    ours = [learning_rate(schedule, step, 10) for step in range(40)]
    assert ours[:10] == pytest.approx([1e-3 * (k + 1) for k in range(10)])
    assert set(ours[10:]) == {1e-2}


def test_cosine_per_step_falls_at_every_step_to_near_its_floor():
    schedule = Schedule(epochs=3, lr=1e-2, floor=1e-4, per="step")
    ours = [learning_rate(schedule, step, 50) for step in range(150)]
    assert all(a > b for a, b in itertools.pairwise(ours))
    assert 1e-4 < ours[-1] < 1.1e-4
