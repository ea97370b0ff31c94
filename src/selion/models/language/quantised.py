"""A base in 4 bits, so that a large model fits where its adapter learns (QLoRA)."""

from __future__ import annotations

import logging
from typing import Any

from selion.errors import MissingExtra
from selion.extras import available, require

EYES = (
    r".*(vision|visual|image_newline|connector|projector|modality_projection|aligner|merger)\w*",
    "lm_head",
)
"""What stays as it is: the tower that sees, what joins it to the words, and the last layer."""


def check_quantised(quantise: str, name: str) -> None:
    """Refuse a base in 4 bits where there is nothing that computes with it.

    Parameters
    ----------
    quantise : str
        "nf4", or empty.
    name : str
        For the message.

    Raises
    ------
    MissingExtra
    """
    if quantise and not available("bitsandbytes"):
        raise MissingExtra(
            f"The base of {name} is to be held in 4 bits ({quantise}), as bitsandbytes does, and "
            "it is not installed: pip install 'selion[qlora]', or set language.quantise = "
            "'' in the recipe (architecture.quantised = '' in a card) for the base as it is."
        )


def four_bits(quantise: str, dtype: Any, name: str) -> dict[str, Any]:
    """Return what a base is loaded with to be held in 4 bits; nothing where it is not to be.

    Parameters
    ----------
    quantise : str
        "nf4", or empty.
    dtype : torch dtype
        Of the multiplications.
    name : str
        For messages.

    Raises
    ------
    MissingExtra

    Notes
    -----
    Dettmers et al., QLoRA (arXiv 2305.14314): 4-bit normal floats in blocks of 64, whose scales are
    quantised once more.  Two departures: what sees stays as it is, and weights are only held in 4
    bits, not multiplied in them, on a processor, too.
    """
    check_quantised(quantise, name)
    if not quantise:
        return {}
    # it speaks of kernels that one could have
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    from transformers import BitsAndBytesConfig

    asked = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=quantise,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(EYES),
    )
    return {"quantization_config": asked}


def keep_unpacked(model: Any) -> Any:
    """Keep a model's 4-bit weights in the layout that gradients can go through.

    On some processors the library packs them anew at the first answer, and from then on gives wrong
    gradients without a word.
    """
    if getattr(model, "is_loaded_in_4bit", False):
        library = require("bitsandbytes", "qlora")
        for module in model.modules():
            if isinstance(module, library.nn.Linear4bit):
                module.support_avx512bf16_for_cpu = False
    return model
