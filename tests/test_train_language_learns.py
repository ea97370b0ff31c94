"""Shown to learn: a tiny model reads patches of the simulated countryside from two images, better than any constant answer and than with other images."""

from __future__ import annotations

import pytest

for needed in ("transformers", "tokenizers", "trl", "peft", "datasets"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from language_toys import still  # noqa: E402
from tilth.train import read_recipe  # noqa: E402
from tilth.train.language_run import plan_language, train_language  # noqa: E402


@pytest.mark.slow
def test_a_tiny_model_learns_to_read_the_countryside(tmp_path):
    recipe = read_recipe("magseg-tiny", ["sft.steps=500", "simulate.scenes=16", "inspect.patches=96"])
    threads = torch.get_num_threads()
    with still():
        result = train_language(plan_language(recipe), tmp_path / "run")
    torch.set_num_threads(threads)
    found = result.supervised
    assert found is not None
    assert found.valid >= 0.95, found
    assert found.dice > found.best_constant + 0.04, found.lines()
    assert found.dice > found.shuffled + 0.06, found.lines()
    assert found.dice > found.shuffled_patch + 0.06, found.lines()
