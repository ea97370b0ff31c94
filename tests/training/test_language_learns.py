"""Shown to learn: a tiny model reads patches of the simulated countryside from two images, and
needs both of them.
"""

from __future__ import annotations

import pytest

for needed in ("transformers", "tokenizers", "trl", "peft", "datasets"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from language_toys import still  # noqa: E402
from selion.training import read_recipe  # noqa: E402
from selion.training.language_run import plan_language, train_language  # noqa: E402


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
