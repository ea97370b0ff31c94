"""Families of vision-language models, as tiny random ones of the library's own classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

for needed in ("transformers", "tokenizers", "peft", "trl"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

from language_pairs import adapter_of  # noqa: E402
from language_toys import CLASSES, PROMPT, pair, recipe, sample, still  # noqa: E402
from selion import prediction  # noqa: E402
from selion.errors import BadInput, UnknownName  # noqa: E402
from selion.models import load_model  # noqa: E402
from selion.models.language.generation import GenerationOptions, TextGenerator  # noqa: E402
from selion.models.language.sight import count_visual  # noqa: E402
from selion.models.language.tiny import FAMILIES, make_tiny  # noqa: E402
from selion.training import language_run, sft  # noqa: E402
from selion.training.conversations import Talks  # noqa: E402
from selion.training.inspect_language import question  # noqa: E402
from selion.training.language_recipe import Draws, Grpo, Lora, Sft  # noqa: E402
from selion.training.language_run import plan_talks, train_language  # noqa: E402
from selion.training.reward import Standing  # noqa: E402
from selion.training.sft import lora_config, make_pair  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    smolvlm = pytest.importorskip("transformers.models.smolvlm.processing_smolvlm")
    # for videos, of which there are none here
    monkeypatch.setattr(smolvlm, "num2words", str, raising=False)
    with still():
        yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_asked_taught_and_shares_its_image(family):
    """Logits behind the shared image are those of the whole question; an adapter on the language
    tower alone learns from a right answer; an image costs the tokens that its size says.
    """
    model, processor = pair(family)
    made = recipe(draws=Draws(step=8, turn=False))
    talks = [Talks([sample(0)], made, 9)[k] for k in range(9)]
    other = next(talk for talk in talks[1:] if talk.place != talks[0].place)
    generator = TextGenerator(
        model.eval(), processor, PROMPT, CLASSES.names, GenerationOptions(batch=2)
    )
    first, later = question(talks[0]), question(other)
    prefix = generator.prefix(first)
    assert prefix is not None
    assert len(prefix.ids) > 16
    wholly = generator.first_logits(generator.together([later]))
    behind = generator.first_logits(generator.behind([later], prefix))
    assert torch.allclose(behind, wholly, atol=1e-4)
    blind = generator.first_logits(generator.together([replace(later, images=first.images)]))
    assert not torch.allclose(blind, wholly, atol=1e-4)
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(model, lora_config(model, Lora(r=2, alpha=4, dropout=0.0)))
    inputs = generator.together([later])
    adapted(**inputs, labels=inputs["input_ids"]).loss.backward()
    learning = {n: p for n, p in adapted.named_parameters() if p.requires_grad}
    assert not [name for name in learning if "vision" in name or "visual" in name]
    assert all(p.grad is not None for p in learning.values())
    assert any(p.grad.any() for name, p in learning.items() if "lora_B" in name)
    eyes = "<IMG_CONTEXT>" if family == "internvl" else processor.image_token
    eyes = "<image>" if family == "gemma3" else eyes
    seen = inputs["input_ids"] == processor.tokenizer.convert_tokens_to_ids(eyes)
    assert int(seen.sum()) == 2 * 16  # two images of 16 px in patches of 4
    assert count_visual(processor, 16) == 16


STANDS = Standing(0.5, 0.5, 1.0, 0.5, 0.5, 0.5, 0.5, {"field": 0.3}, {"field": 0.3}, 2)
"""How a model stands is of no weight here, and half of the time of so small a run."""


@pytest.mark.parametrize(
    "family",
    [one if one == "qwen3_vl" else pytest.param(one, marks=pytest.mark.long) for one in FAMILIES],
)
def test_a_family_goes_the_whole_road(family, tmp_path, monkeypatch):
    """Taught, rewarded, loaded, and a map behind the shared image that is the one without it."""
    for part in pair(family):
        part.save_pretrained(tmp_path / "base")
    monkeypatch.setattr(language_run, "inspect", lambda *_: STANDS)
    rewards = Grpo(
        steps=2, prompts=2, answers=4, lr=1e-2, warmup=0.0, gate=0.0, grammar=True, temperature=3.0
    )
    made = recipe(sft=Sft(2, 2, 1, lr=1e-2, warmup=0.0), grpo=rewards)
    adapter, base = Lora(r=2, alpha=4, dropout=0.0), str(tmp_path / "base")
    made = replace(made, language=replace(made.language, tiny="", base=base, lora=adapter))
    train_language(plan_talks(made, [sample(0), sample(1)], [sample(9)]), tmp_path / "run")
    taught, rewarded = (adapter_of(tmp_path / "run", name) for name in ("supervised", "model"))
    assert all(value.any() for value in taught.values())
    assert max(float((value - taught[n]).abs().max()) for n, value in rewarded.items()) > 1e-3
    loaded = load_model(tmp_path / "run" / "model", "torch", threads=1)
    held = dict(loaded.generator.model.named_parameters())
    for name, value in rewarded.items():
        assert torch.equal(held[name.replace(".weight", ".default.weight")], value)
    behind = prediction.predict(sample(5).image, loaded)
    loaded.generator.options = replace(loaded.generator.options, share=False)
    alone = prediction.predict(sample(5).image, loaded)
    assert np.array_equal(behind.values, alone.values)
    assert len(np.unique(behind.values.argmax(0))) > 1


def test_families_that_are_not_taken(monkeypatch):
    with pytest.raises(BadInput, match="paligemma, which puts all images before all words"):
        make_tiny("paligemma", [])
    with pytest.raises(UnknownName, match="did you mean 'qwen3_vl'"):
        make_tiny("qwen3vl", [])
    config = type("Config", (), {"model_type": "paligemma"})
    found = [type("Model", (), {"config": config}), type("Processor", (), {"chat_template": ""})]
    monkeypatch.setattr(sft, "load_pair", lambda *_: found)
    made = recipe()
    made = replace(made, language=replace(made.language, tiny="", base="pali"))
    with pytest.raises(BadInput, match="pali is of the family paligemma"):
        make_pair(made, Talks([sample(0)], made, 1))
    config.model_type = "llava"
    with pytest.raises(BadInput, match="has no chat template"):
        make_pair(made, Talks([sample(0)], made, 1))
