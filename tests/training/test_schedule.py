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


def test_a_line_falls_by_the_same_step_after_its_warmup():
    """mmsegmentation's "poly" of power 1: lr (1 - step / steps), here over 80 steps."""
    schedule = Schedule(epochs=8, lr=2e-5, floor=0.0, shape="linear", per="step", warmup=0.1)
    ours = [learning_rate(schedule, step, 10) for step in range(80)]
    assert ours[0] == pytest.approx(2e-5 / 8)  # an eighth of the warm-up is over
    assert ours[40] == pytest.approx(1e-5)
    assert ours[60] - ours[70] == pytest.approx(2e-5 * 10 / 80)
    assert ours[79] == pytest.approx(2e-5 / 80)


def test_first_blocks_learn_least():
    """BEiT of 4 blocks at .9: patches .9^5, blocks .9^4, .9^3, .9^2, .9, all else 1."""
    torch = pytest.importorskip("torch", reason="the extra 'train' is not installed")
    pytest.importorskip("timm", reason="the extra 'train' is not installed")
    from selion.errors import BadInput
    from selion.models import build_network
    from selion.training.state import by_depth

    small = {"img_size": 32, "embed_dim": 32, "depth": 4, "num_heads": 2, "hidden": 32}
    family = {"family": "vit-adapter", "encoder": "beit_base_patch16_224"}
    network = build_network(family | small, 3, 2)
    groups = by_depth(network, 0.9)
    found = {id(p): group["share"] for group in groups for p in group["params"]}
    shares = {name: found[id(p)] for name, p in network.named_parameters()}
    start = "backbone.transformer."
    assert shares[f"{start}patch_embed.proj.weight"] == pytest.approx(0.59049)
    assert shares[f"{start}cls_token"] == pytest.approx(0.59049)
    assert shares[f"{start}blocks.0.attn.qkv.weight"] == pytest.approx(0.6561)
    assert shares[f"{start}blocks.3.mlp.fc1.weight"] == pytest.approx(0.9)
    rest = {share for name, share in shares.items() if not name.startswith(start)}
    assert rest == {1.0}
    assert [group["share"] for group in by_depth(network, 1.0)] == [1.0]
    with pytest.raises(BadInput, match="no blocks of a transformer"):
        by_depth(torch.nn.Linear(2, 2), 0.9)
