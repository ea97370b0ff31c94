"""How a network of the embedding-as-mask family comes here: two published models are put together.

And how it is written: configs, processor and weights flat beside the card.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import torch

from selion.classes import ClassScheme
from selion.errors import BadInput, UnreadableFile
from selion.models.card import CARD, WEIGHTS, ModelCard, sha256_of, write_card
from selion.models.embedded.network import Asking, EmbeddedMasks

FORMAT = "embedded"
"""What the card of such a model says of its files."""
SAM_CONFIG = "sam_config.json"


def build_embedded(
    vlm: str | Path, sam: str | Path, classes: ClassScheme, asking: Asking | None = None
) -> EmbeddedMasks:
    """Put a published vision-language model and a published SAM together; the projection is new.

    Parameters
    ----------
    vlm, sam : path or str
        Folders, or ids that the library can download.
    classes : ClassScheme
    asking : Asking, optional

    Raises
    ------
    UnreadableFile
        If one of them cannot be loaded.
    BadInput
        If the model cannot see.
    """
    from transformers import SamModel

    from selion.models.language.network import load_pair

    model, processor = load_pair(vlm, None, torch.float32, str(vlm))
    try:
        prompted = SamModel.from_pretrained(sam, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise UnreadableFile(
            f"Segment Anything cannot be loaded from {sam} "
            f"({str(error).strip().splitlines()[0][:200]}): give a folder that holds one, or its "
            "id."
        ) from error
    return EmbeddedMasks(model, processor, prompted, classes, asking or Asking())


def save_embedded(network: EmbeddedMasks, card: ModelCard, folder: Path) -> ModelCard:
    """Write configs, processor, weights and the card; return the card with its checksums.

    Raises
    ------
    BadInput
        If card and network differ in how many classes they have, or the card has not three bands.
    """
    from safetensors.torch import save_model

    if len(card.classes) != len(network.classes) or len(card.inputs.bands) != 3:
        raise BadInput(
            f"{card.name} has {len(card.inputs.bands)} bands and the classes "
            f"{', '.join(card.classes.names)}: wanted are 3, and the network's classes."
        )
    folder.mkdir(parents=True, exist_ok=True)
    network.vlm.config.save_pretrained(folder)
    network.processor.save_pretrained(folder)
    (folder / SAM_CONFIG).write_text(network.sam.config.to_json_string(use_diff=False), "utf-8")
    save_model(network, str(folder / WEIGHTS))
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != CARD)
    architecture = {
        "family": "embedded",
        **asdict(network.asking),
        "phrases": list(network.asked),
    }
    written = replace(
        card,
        format=FORMAT,
        architecture=architecture,
        files={name: sha256_of(folder / name) for name in names},
        folder=folder,
    )
    write_card(written, folder / CARD)
    return written
