"""Normalised training times at the scale of a tiny model: what the paper's table gives for models
of billions, on a processor.

    selion train magseg-context -o ctx --set grpo.steps=50
    python runs/times_magseg.py ctx

The language model's two stages are taken from its run's ``times.json``.  The others are timed here,
each learning patches of the same size: the embedding-as-mask family (LISA; with a reject token,
GSVA) on the very language model that the run trained, with a Segment Anything of 0.1 million random
weights, and the U-Net whose weights come with selion.  Seconds are the processor's, one thread; the
supervised stage is 1.  What the paper's times are multiples of, our copy of it does not say.  A
sample is one patch with all of its classes; by reward, one patch with all of its answers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from selion.metrics.report import markdown_table
from selion.models import find_card
from selion.models.card import read_card
from selion.models.embedded.network import Asking, EmbeddedMasks, fit
from selion.models.language.network import load_pair
from selion.models.language.quiet import quiet
from selion.models.network import build_network
from selion.training.language_run import MODEL, TIMES

STEPS, BATCH = 12, 8
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
    "output_channels": 16,
    "num_pos_feats": 8,
    "window_size": 2,
    "global_attn_indexes": [1],
}


def tiny_sam() -> Any:
    """Return a Segment Anything of 0.1 million random weights."""
    from transformers import SamConfig, SamModel

    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16}
    return SamModel(
        SamConfig(
            vision_config=VISION,
            prompt_encoder_config=prompt,
            mask_decoder_config={"hidden_size": 16, "mlp_dim": 128},
        )
    )


def lessons(edge: int, classes: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Give batches of noise: what is learnt does not matter here."""
    made = torch.Generator().manual_seed(0)
    while True:
        yield (
            torch.rand((BATCH, 3, edge, edge), generator=made),
            torch.randint(classes, (BATCH, edge, edge), generator=made),
        )


def of_embedded(run: Path, *, reject: bool) -> tuple[float, int]:
    """Return seconds for each sample of the embedding-as-mask family, and parameters; the first
    steps warm up and do not count.
    """
    card = read_card(run / MODEL)
    model, processor = load_pair(run / MODEL, run / MODEL, torch.float32, card.name)
    network = EmbeddedMasks(model, processor, tiny_sam(), card.classes, Asking(reject=reject))
    batches = lessons(card.inputs.window, len(card.classes))
    fit(network, batches, steps=2)
    began = time.process_time()
    fit(network, batches, steps=STEPS)
    return (time.process_time() - began) / (STEPS * BATCH), count(network)


def of_unet(name: str, edge: int) -> tuple[float, int]:
    """Return seconds for each sample of the U-Net that comes with selion, and parameters."""
    card = find_card(name)
    network = build_network(card.architecture, len(card.inputs.bands), len(card.classes), "")
    optimizer, batches, spent = (
        torch.optim.AdamW(network.parameters()),
        lessons(edge, len(card.classes)),
        0.0,
    )
    for step in range(STEPS + 2):
        images, labels = next(batches)
        began = time.process_time()
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        spent += (time.process_time() - began) * (step >= 2)
    return spent / (STEPS * BATCH), count(network)


def count(network: Any) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", type=Path, help="the folder of a language model's run with both stages"
    )
    parser.add_argument("--unet", default="fields-rgb-vhr")
    args = parser.parse_args()
    torch.set_num_threads(1)
    card = read_card(args.run / MODEL)
    stages = json.loads((args.run / TIMES).read_text("utf-8"))
    with quiet():
        size = count(load_pair(args.run / MODEL, args.run / MODEL, torch.float32, card.name)[0])
        found = {
            f"text as mask, {name.replace('_', ' ')}": (
                stage["processor_seconds"] / stage["samples"],
                size,
            )
            for name, stage in stages.items()
        }
        found["embedding as mask (LISA)"] = of_embedded(args.run, reject=False)
        found["embedding as mask, reject token (GSVA)"] = of_embedded(args.run, reject=True)
        found[f"U-Net ({args.unet})"] = of_unet(args.unet, card.inputs.window)
    unit = next(iter(found.values()))[0]
    rows = [
        [name, f"{1000 * each:.1f}", f"{each / unit:.2f}", f"{size / 1e6:.2f} M"]
        for name, (each, size) in found.items()
    ]
    print(markdown_table(["", "ms a sample", "normalised", "parameters"], rows))


if __name__ == "__main__":
    main()
