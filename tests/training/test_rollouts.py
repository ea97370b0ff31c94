"""Answers that are learnt from follow from their place in the run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from language_toys import recipe, sample  # noqa: E402
from selion.errors import BadInput, MissingExtra  # noqa: E402
from selion.models.language.smol import WHEEL  # noqa: E402
from selion.training import rollouts  # noqa: E402
from selion.training.language_recipe import Grpo  # noqa: E402
from selion.training.language_run import plan_talks  # noqa: E402
from selion.training.rollouts import PlacedDraws, draw_numbers, drawn_by  # noqa: E402


def drawn(number, shares, temperature=1.0):
    scores = torch.tensor([shares], dtype=torch.float64).log().float() * temperature
    numbers = np.array([[number]], np.float32)
    left = PlacedDraws(numbers, temperature)(torch.zeros((1, 1), dtype=torch.int64), scores)
    assert int(torch.isfinite(left).sum()) == 1
    return int(left.argmax())


@pytest.mark.parametrize(
    ("number", "token"), [(0.0, 1), (0.19, 1), (0.21, 2), (0.49, 2), (0.51, 4), (0.9999999, 4)]
)
def test_a_number_falls_among_shares_laid_end_to_end(number, token):
    """0.2, 0.3 and 0.5 of the way; tokens without a share never come."""
    assert drawn(number, [0.0, 0.2, 0.3, 0.0, 0.5, 0.0]) == token
    assert drawn(number, [0.0, 0.2, 0.3, 0.0, 0.5, 0.0], temperature=2.5) == token


def test_tokens_follow_their_own_row_and_place():
    numbers = np.array([[0.1, 0.9], [0.9, 0.1]], np.float32)
    draws, even = PlacedDraws(numbers, 1.0), torch.zeros((2, 2))
    asked = torch.zeros((2, 5), dtype=torch.int64)
    assert [draws(asked, even).argmax(-1).tolist() for _ in range(2)] == [[0, 1], [1, 0]]


def test_numbers_follow_from_question_and_answer_alone():
    """Whichever questions are drawn together, and however long answers may be."""
    together = draw_numbers(7, range(2, 6), 3, 50)
    assert together.shape == (12, 50)
    apart = [draw_numbers(7, range(k, k + 1), 3, 60)[:, :50] for k in range(2, 6)]
    assert np.array_equal(together, np.concatenate(apart))
    assert len(np.unique(together[:, 0])) == 12
    assert not np.array_equal(together, draw_numbers(8, range(2, 6), 3, 50))
    assert abs(float(draw_numbers(7, range(50), 4, 50).mean()) - 0.5) < 0.01


def test_what_tells_the_trainer_that_vllm_draws(monkeypatch):
    """And what it cannot do is said before anything is computed."""
    tiny = recipe(grpo=Grpo(steps=1, vllm="server", vllm_url="http://there:1", grammar=True))
    with pytest.raises(BadInput, match="this one is made here; leave it out"):
        drawn_by(tiny)
    folder = replace(tiny.language, tiny="", base="folder/of-a-model")
    made = replace(tiny, language=folder)
    assert drawn_by(recipe(grpo=Grpo(steps=1))) == {}
    with pytest.raises(MissingExtra, match="wants vllm, which is not installed"):
        plan_talks(made, [sample(0)])
    monkeypatch.setattr(rollouts, "available", lambda _: True)
    told = drawn_by(made)
    held = told.pop("generation_kwargs")["structured_outputs"]["grammar"]
    assert held.startswith("root ::= ")
    assert told == {
        "use_vllm": True,
        "vllm_mode": "server",
        "vllm_server_base_url": "http://there:1",
    }
    here = drawn_by(replace(made, grpo=Grpo(steps=1, vllm="colocate", vllm_memory=0.2)))
    assert here == {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": 0.2,
    }
    wheel = replace(made, language=replace(folder, base=WHEEL))
    with pytest.raises(BadInput, match="read from a wheel; leave it out"):
        drawn_by(wheel)
