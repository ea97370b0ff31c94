"""LISA, LISAt and GSVA as an architecture of a recipe: which two models are put together.

A full one names published checkpoints; a tiny one is made here, with random weights.
"""

from __future__ import annotations

from typing import Any

import torch

from selion.classes import ClassScheme
from selion.errors import BadInput
from selion.models.embedded.convert import build_embedded
from selion.models.embedded.network import REJ, SEG, Asking, EmbeddedMasks, asking_of
from selion.models.language.quiet import quiet
from selion.models.language.tiny import TinySize, make_tiny

TINY = "tiny:"
"""Before the family of a language model that is made here: ``tiny:gemma3``."""
TINY_SAM = "tiny"
SIZE = TinySize(image=32, patch=8, hidden=64, layers=3, vision_hidden=64, vision_layers=1)
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
    "initializer_range": 0.02,  # the published 1e-10 is meant for weights that are loaded
}
"""Of a Segment Anything of 0.1 million weights."""
LEARNS = ("lora", "all")


def make_embedded(bands: int, classes: int, **options: Any) -> EmbeddedMasks:
    """Put a vision-language model and a Segment Anything together.

    Parameters
    ----------
    bands, classes : int
        Three bands; the first class is the background.
    **options
        ``vlm`` and ``sam``, each a folder, an id that the library can download, or a tiny one with
        random weights (``tiny:gemma3``, ``tiny``); ``phrases``, what each class after the first is
        asked for by; ``learns``, "lora" (what learns in LISA) or "all"; and what
        :class:`~selion.models.embedded.network.Asking` has.

    Raises
    ------
    BadInput
        If these do not fit each other, or no language model is named.
    UnreadableFile, UnknownName
        If one of the two cannot be loaded, or there is no such tiny family.
    """
    phrases = tuple(map(str, options.get("phrases", ())))
    if len(set(phrases)) != classes - 1 or bands != 3:
        raise BadInput(
            f"phrases = {list(phrases)} was given for {classes} classes and {bands} bands: wanted "
            "are a phrase for each class after the first, no two alike, and three bands."
        )
    vlm, sam, learns = (str(options.get(key, "")) for key in ("vlm", "sam", "learns"))
    if not vlm or not sam:
        raise BadInput(
            f"model.architecture.vlm = {vlm!r} and sam = {sam!r} were given: name a "
            "vision-language model and a Segment Anything, each a folder or an id."
        )
    if (learns or LEARNS[0]) not in LEARNS:
        raise BadInput(f"learns = {learns!r} was given; wanted is one of {', '.join(LEARNS)}.")
    asking = asking_of(options)
    if learns == LEARNS[1] and asking.lora:
        raise BadInput(
            f"lora = {asking.lora} was given where all weights learn: take lora = 0, or learns = "
            f"{LEARNS[0]!r}."
        )
    scheme = ClassScheme(("background", *phrases))
    tiny = vlm.startswith(TINY), sam == TINY_SAM
    if any(tiny) and not all(tiny):
        raise BadInput(f"vlm = {vlm!r} and sam = {sam!r} were given: make both tiny, or neither.")
    with quiet():
        network = (
            _tiny(vlm.removeprefix(TINY), scheme, asking)
            if all(tiny)
            else build_embedded(vlm, sam, scheme, asking=asking)
        )
    if learns == LEARNS[1]:
        network.rest()
    else:
        network.freeze()
    return network


def _tiny(family: str, classes: ClassScheme, asking: Asking) -> EmbeddedMasks:
    """Make both with random weights that follow from torch's seed."""
    from transformers import SamConfig, SamModel

    asked = classes.names[1:]
    texts = [
        asking.instruction.format(classes=", ".join(asked)),
        ", ".join(f"{name}: {word}" for name in asked for word in (SEG, REJ)),
    ]
    seed = int(torch.randint(2**31, ()))
    vlm, processor = make_tiny(family, texts, SIZE, seed)
    sam = SamModel(
        SamConfig(
            vision_config=VISION,
            prompt_encoder_config={"hidden_size": 16, "image_size": 64, "patch_size": 16},
            mask_decoder_config={"hidden_size": 16, "mlp_dim": 128, "iou_head_hidden_dim": 16},
        )
    )
    return EmbeddedMasks(vlm, processor, sam, classes, asking)
