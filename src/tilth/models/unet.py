"""Networks of segmentation_models_pytorch, built from what a model card says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tilth.errors import BadInput, UnknownName
from tilth.extras import require

if TYPE_CHECKING:
    import torch

_UNET_KEYS = ("family", "encoder", "encoder_depth", "decoder_channels", "decoder_attention_type")


def build_unet(architecture: Mapping[str, Any], in_channels: int, classes: int) -> torch.nn.Module:
    """Build smp's U-Net without pretrained weights.

    Parameters
    ----------
    architecture : mapping
        ``encoder`` (smp's name), and optionally ``encoder_depth``, ``decoder_channels``, ``decoder_attention_type``.
    in_channels, classes : int

    Raises
    ------
    UnknownName
        If smp has no such encoder, or a key is not known.
    BadInput
        If no encoder is named.
    """
    smp = require("segmentation_models_pytorch", "train")
    for key in architecture:
        if key not in _UNET_KEYS:
            raise UnknownName.among("architecture key", key, _UNET_KEYS)
    encoder = str(architecture.get("encoder", ""))
    if not encoder:
        message = "The architecture names no encoder: wanted is a name such as 'efficientnet-b3'."
        raise BadInput(message)
    known = smp.encoders.get_encoder_names()
    if encoder not in known and not encoder.startswith("tu-"):
        raise UnknownName.among("encoder", encoder, known)
    options = {key: value for key, value in architecture.items() if key not in {"family", "encoder"}}
    return smp.Unet(encoder, encoder_weights=None, in_channels=in_channels, classes=classes, **options)


FAMILIES: dict[str, Callable[[Mapping[str, Any], int, int], torch.nn.Module]] = {"unet": build_unet}
"""Architecture family -> what builds it from (architecture, in_channels, classes)."""


def build(architecture: Mapping[str, Any], in_channels: int, classes: int) -> torch.nn.Module:
    """Build the network that a card describes, with random weights.

    Raises
    ------
    UnknownName
        If the family is not known.
    """
    family = str(architecture.get("family", ""))
    if family not in FAMILIES:
        raise UnknownName.among("architecture", family, FAMILIES)
    return FAMILIES[family](architecture, in_channels, classes)
