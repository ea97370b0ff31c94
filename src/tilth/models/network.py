"""One door to every network: what a card says of its architecture, and what its encoder starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tilth.errors import BadInput, FetchFailed, UnknownName
from tilth.extras import require
from tilth.models.unet import build

if TYPE_CHECKING:
    import torch

PRETRAINED = ("", "imagenet")


def build_network(architecture: Mapping[str, Any], bands: int, classes: int, pretrained: str = "") -> torch.nn.Module:
    """Build the network of an architecture.

    Parameters
    ----------
    architecture : mapping
        As in a model card: ``family``, ``encoder``, and the family's options.
    bands, classes : int
        Channels in and out.
    pretrained : {"", "imagenet"}
        Start the encoder from random weights, or from those published for ImageNet; the first convolution is then repeated over the bands and scaled.

    Returns
    -------
    torch.nn.Module
        (view, band, y, x) float32 -> (view, class, y, x) logits.

    Raises
    ------
    UnknownName
        If family, encoder or weights are not known.
    BadInput
        If the family has no encoder that such weights exist for.
    FetchFailed
        If the weights are not in the cache and cannot be downloaded.
    """
    if pretrained not in PRETRAINED:
        raise UnknownName.among("set of pretrained weights", pretrained, PRETRAINED)
    network = build(architecture, bands, classes)
    if pretrained:
        _fill_encoder(network, architecture, bands, pretrained)
    return network


def _fill_encoder(network: torch.nn.Module, architecture: Mapping[str, Any], bands: int, pretrained: str) -> None:
    smp = require("segmentation_models_pytorch", "train")
    name = str(architecture.get("encoder", ""))
    if not name or not hasattr(network, "encoder"):
        message = f"The family {architecture.get('family')!r} has no encoder with {pretrained} weights: take model.pretrained = '' instead."
        raise BadInput(message)
    try:
        encoder = smp.encoders.get_encoder(name, in_channels=bands, depth=int(architecture.get("encoder_depth", 5)), weights=pretrained)
    except (KeyError, ValueError) as error:
        message = f"There are no {pretrained} weights for the encoder {name!r}: take model.pretrained = '' or another encoder."
        raise BadInput(message) from error
    except (OSError, RuntimeError) as error:
        message = (
            f"The {pretrained} weights of {name} are not on this machine and could not be downloaded ({type(error).__name__}): "
            "go online once, or take model.pretrained = ''."
        )
        raise FetchFailed(message) from error
    network.get_submodule("encoder").load_state_dict(encoder.state_dict())
