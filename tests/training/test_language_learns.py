"""Shown to learn: a tiny model reads patches of the simulated countryside from two images, and
needs both of them.
"""

from __future__ import annotations

import pytest

for needed in ("transformers", "tokenizers", "trl", "peft", "datasets"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from language_toys import pair, recipe, sample, still  # noqa: E402
from selion.training import grpo as by_reward  # noqa: E402
from selion.training import read_recipe  # noqa: E402
from selion.training.conversations import Talks  # noqa: E402
from selion.training.language_recipe import Grpo  # noqa: E402
from selion.training.language_run import plan_language, train_language  # noqa: E402
from selion.training.reward import text_of  # noqa: E402


@pytest.mark.slow
def test_a_tiny_model_learns_to_read_patches_with_their_whole_image(tmp_path):
    """Better than any constant answer, than with the images of others, and than with another whole
    image or another patch alone.
    """
    recipe = read_recipe(
        "magseg-context",
        ["sft.steps=500", "simulate.scenes=8", "simulate.validation=3", "inspect.patches=128"],
    )
    threads = torch.get_num_threads()
    with still():
        result = train_language(plan_language(recipe), tmp_path / "run")
    torch.set_num_threads(threads)
    found = result.supervised
    assert found is not None
    assert found.valid >= 0.95, found
    assert found.dice > found.best_constant + 0.04, found.lines()
    assert found.dice > found.shuffled + 0.08, found.lines()
    assert found.dice > found.shuffled_context + 0.03, found.lines()
    assert found.dice > found.shuffled_patch + 0.02, found.lines()


@pytest.mark.slow
@pytest.mark.parametrize("lr", [6e-3, 0.0])
def test_rewards_are_earned_and_weights_move(tmp_path, monkeypatch, lr):
    """A model of random weights, paid for the digits in its answers: it comes to write more of
    them.  With a rate of 0 nothing moves, which this test would notice.
    """

    def digits(completions, **_):
        texts = [text_of(answer) for answer in completions]
        return [sum(char.isdigit() for char in text) / max(len(text), 1) for text in texts]

    monkeypatch.setattr(by_reward, "dice_reward", lambda *_: digits)
    monkeypatch.setattr(by_reward, "_room", lambda *_: 24)
    steps = 30
    made = recipe(grpo=Grpo(steps=steps, prompts=2, answers=8, lr=lr, beta=0.0, alarm=1.0))
    model, processor = pair()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with still():
        talks = Talks([sample(1), sample(2)], made, 2 * steps)
        found = by_reward.reinforce(model, processor, talks, made, tmp_path)
    worth = [step["reward"] for step in found.history]
    after = found.model.state_dict()
    moved = [name for name in before if not torch.equal(before[name], after[name].cpu())]
    rise = worth[-1] - worth[0]
    assert bool(moved) == bool(lr)
    assert (rise > 0.05) == bool(lr), worth
