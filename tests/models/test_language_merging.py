"""Adapters that become part of their base."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
torch = pytest.importorskip("torch")

from command_line import run_here  # noqa: E402
from language_toys import CLASSES, PROMPT, pair, sample, still  # noqa: E402
from selion.models import ModelCard, load_model, read_card, write_card  # noqa: E402
from selion.models.card import sha256_of  # noqa: E402
from selion.segmenter import InputSpec, Scaling, View  # noqa: E402


def write(path, **architecture):
    spec = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, PROMPT.patch, 0.25, 1, 64)
    architecture = {"family": "language", "prompt": PROMPT.to_dict(), **architecture}
    files = {file.name: sha256_of(file) for file in path.iterdir() if file.suffix != ".toml"}
    card = ModelCard("toy", spec, CLASSES, architecture=architecture, format="transformers")
    write_card(replace(card, files=files), path / "card.toml")
    return path


def test_a_merged_adapter_writes_the_same_text(tmp_path):
    with still():
        model, processor = pair()
        base, own = tmp_path / "base", tmp_path / "own"
        for part in (model, processor):
            part.save_pretrained(base)
        torch.manual_seed(5)
        config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
        peft.get_peft_model(model, config).save_pretrained(own)
        processor.save_pretrained(own)
        (own / "note.txt").write_text("of whoever made it")
        write(own, base=str(base))
        done = run_here("models", "export", own, "-o", tmp_path / "merged")
        assert done.returncode == 0, done.stderr
        card = read_card(tmp_path / "merged")
        assert "base" not in card.architecture
        assert not [file for file in card.files if file.startswith("adapter")]
        assert "note.txt" in card.files
        image = sample(3).image
        rois = [(slice(8 * k, 8 * k + 16), slice(16, 32)) for k in range(3)]
        views = [View(image.values[:, *roi].astype(np.float32), roi, None) for roi in rois]
        parted, merged = (
            load_model(path, "torch", threads=1, speaking={"scores": "labels"})
            for path in (own, tmp_path / "merged")
        )
        bare = load_model(write(base), "torch", threads=1, speaking={"scores": "labels"})
        asked = merged.questions(views)
        assert merged.generator.ask(asked) == parted.generator.ask(asked)
        assert merged.generator.ask(asked) != bare.generator.ask(asked)
        assert np.allclose(merged(views), parted(views), atol=1e-4)
        assert type(merged.generator.model).__name__ == type(model).__name__
        again = run_here("models", "export", own, "-o", tmp_path / "merged")
        assert again.returncode == 2
        assert "--force" in again.stderr
        none = run_here("models", "export", base, "-o", tmp_path / "x")
        assert none.returncode == 2
        assert "has no adapter" in none.stderr
        write(own, base=str(base), quantised="nf4")
        held = run_here("models", "export", own, "-o", tmp_path / "x")
        assert held.returncode == 2
        assert "held in 4 bits (nf4)" in held.stderr
        write(own, base=str(base))
        settings = json.loads((base / "config.json").read_text("utf-8"))
        settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
        (base / "config.json").write_text(json.dumps(settings), "utf-8")
        four = run_here("models", "export", own, "-o", tmp_path / "x")
        assert four.returncode == 2
        assert "is quantised" in four.stderr
        assert not (tmp_path / "x").exists()
        net = run_here("models", "export", "fields-s2-2season", "-o", tmp_path / "x")
        assert net.returncode == 2
        assert "no language model" in net.stderr
