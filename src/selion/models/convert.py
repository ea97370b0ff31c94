"""Published checkpoints become safetensors, ONNX and a card.

No code that came with them is run.

A Lightning ``.ckpt`` is a zip with a pickle in it, and unpickling is running a program.  It is read
by :mod:`selion.models.checkpoint`, which makes tensors and plain values only; names of harmless
kinds are passed over, and whatever else the file asks for is refused.  Where the package has the
graph of a network (:mod:`selion.models.skeleton`), torch is not needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from selion.classes import FTW2, FTW3, ClassScheme
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.extras import require
from selion.models.architectures import FAMILIES
from selion.models.assembly import assemble
from selion.models.card import ModelCard
from selion.models.checkpoint import Checkpoint, StoredTensor, kind_of, plain
from selion.models.skeleton import find_skeleton
from selion.segmenter import InputSpec, Scaling

T = TypeVar("T")
_PREFIX = "model."
_SEASON = ("red", "green", "blue", "nir")
FTW_BANDS = {
    4: _SEASON,
    8: tuple(f"{season}:{band}" for season in ("harvest", "planting") for band in _SEASON),
}
"""Channels -> bands of the Fields of The World networks: window b (harvest) comes first, then
window a (planting)."""
_FTW_CLASSES: dict[int, ClassScheme] = {2: FTW2, 3: FTW3}


def import_lightning(
    path: str | Path,
    out: str | Path,
    card: ModelCard | None = None,
    *,
    half: bool = False,
    force: bool = False,
) -> ModelCard:
    """Turn a checkpoint in the published Fields of The World layout into a model folder.

    Parameters
    ----------
    path : path
        A Lightning checkpoint: ``hyper_parameters`` (model, backbone, in_channels, num_classes,
        ...)  and ``state_dict`` with keys ``model.<key of the network>``; the loss's own weights
        (``criterion.*``, ``ce_loss.*``) are left behind.
    out : path
        The folder to write.
    card : ModelCard, optional
        What is known about the model.  Its architecture is taken from the checkpoint; without a
        card, bands, scaling (value / 3000), window and classes are those of Fields of The World,
        the name is the file's, and licence and training data are left open.
    half : bool
        Store float16; by default the published numbers are kept.
    force : bool
        Replace an existing folder.

    Returns
    -------
    ModelCard

    Raises
    ------
    UnsafeFile
        If reading the file would run code.  It is not run.
    UnreadableFile
        If it is no checkpoint, or is truncated.
    BadInput, UnknownName
        If the network is of a family that selion does not build, or the weights do not fit it.
    OutputExists, OutputFailed
        See :func:`selion.models.export`.
    """
    path = Path(path)
    checkpoint = read_checkpoint(path)
    described, state = published_layout(checkpoint)
    card = replace(card or _ftw_card(described, path), architecture=architecture_of(described))
    skeleton = find_skeleton(card.architecture)
    if skeleton is None:
        return _import_on_torch(card, described, path, state, out, half=half, force=force)
    _check_counts(card, described, path)
    return assemble(skeleton, state, card, out, half=half, force=force)


def published_layout(checkpoint: Checkpoint) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    """Return a Lightning checkpoint's hyper-parameters and its network's tensors.

    Raises
    ------
    UnreadableFile
        If it has none, or a tensor cannot be read or is not finite.
    """
    content = checkpoint.content
    described, state = (plain(content.get(key)) for key in ("hyper_parameters", "state_dict"))
    kept = network_state(state) if isinstance(state, Mapping) else None
    if not isinstance(described, Mapping) or kept is None:
        raise UnreadableFile(
            f"{checkpoint.path} is a checkpoint, but not in the published layout: wanted are "
            "hyper_parameters and a state_dict."
        )
    for name, tensor in kept.items():
        if not isinstance(tensor, StoredTensor):
            raise UnreadableFile(
                f"{checkpoint.path} has a {kind_of(tensor)} under {name!r} of its state_dict, "
                "where a tensor is wanted."
            )
    arrays = {name: checkpoint.array(tensor) for name, tensor in kept.items()}
    for name, values in arrays.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise UnreadableFile(
                f"{checkpoint.path} holds numbers that are not finite in {name!r}: it is "
                "damaged, or its training diverged; take another checkpoint."
            )
    return described, arrays


def _import_on_torch(
    card: ModelCard,
    described: Mapping[str, Any],
    path: Path,
    state: Mapping[str, np.ndarray],
    out: str | Path,
    *,
    half: bool,
    force: bool,
) -> ModelCard:
    """Import a network whose graph torch has to write."""
    torch = require("torch", "train")
    from selion.models.blank import build_blank
    from selion.models.export import export
    from selion.models.pixel import fill

    network = build_blank(card.architecture, described["in_channels"], described["num_classes"])
    _check_counts(card, described, path)
    tensors = {name: torch.from_numpy(np.array(tensor)) for name, tensor in state.items()}
    return export(fill(network, tensors, card.name), card, out, half=half, force=force)


def read_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint without executing it.

    Returns
    -------
    Checkpoint
        Its content is a dict.

    Raises
    ------
    UnsafeFile, UnreadableFile
        See :func:`import_lightning`.
    """
    checkpoint = Checkpoint(path)
    if not isinstance(checkpoint.content, dict):
        raise UnreadableFile(
            f"{path} holds a {kind_of(checkpoint.content)}, not a checkpoint: wanted are "
            "hyper_parameters and a state_dict."
        )
    return checkpoint


def architecture_of(described: Mapping[str, Any]) -> dict[str, object]:
    """Read the architecture from a checkpoint's hyper-parameters.

    Raises
    ------
    UnknownName
        If selion does not build that family.
    BadInput
        If what is needed is missing.
    """
    for key in ("model", "backbone", "in_channels", "num_classes"):
        if described.get(key) is None:
            raise BadInput(
                f"The checkpoint's hyper-parameters name no {key!r}, so its network cannot be "
                "built: wanted is the published layout."
            )
        if key in {"in_channels", "num_classes"} and not (
            isinstance(described[key], int) and described[key] > 0
        ):
            raise BadInput(
                f"The checkpoint's hyper-parameters say {key} = {described[key]!r}; wanted is a "
                "whole number above 0."
            )
    family = str(described["model"])
    if family not in FAMILIES:
        raise UnknownName.among(
            "architecture (as named by the checkpoint) that selion builds", family, FAMILIES
        )
    options = described.get("model_kwargs") or {}
    if not FAMILIES[family].encoders:
        filters = described.get("num_filters")
        return {
            "family": family,
            **({"filters": filters} if family == "fcn" and filters else {}),
            **options,
        }
    return {"family": family, "encoder": str(described["backbone"]), **options}


def network_state(state: Mapping[str, T]) -> dict[str, T]:
    """Keep the network's tensors.

    Strip the leading ``model.`` (only that one), and leave the loss's behind.
    """
    return {key[len(_PREFIX) :]: tensor for key, tensor in state.items() if key.startswith(_PREFIX)}


def _ftw_card(described: Mapping[str, Any], path: Path) -> ModelCard:
    architecture_of(described)
    bands, classes = (
        FTW_BANDS.get(described["in_channels"]),
        _FTW_CLASSES.get(described["num_classes"]),
    )
    if bands is None or classes is None:
        raise BadInput(
            f"{path} has {described['in_channels']} channels and {described['num_classes']} "
            "classes; without a card, 4 or 8 channels and 2 or 3 classes are understood: give a "
            "card that names bands and classes."
        )
    loss = f"loss {described['loss']}" if described.get("loss") else ""
    # as the published ones in registry.toml
    inputs = InputSpec(bands, Scaling((3000.0,)), (10.0, 10.0), window=512, overlap=0.125)
    return ModelCard(path.stem, inputs, classes, licence="not stated", notes=loss)


def _check_counts(card: ModelCard, described: Mapping[str, Any], path: Path) -> None:
    wanted = len(card.inputs.bands), len(card.classes)
    found = described["in_channels"], described["num_classes"]
    if wanted != found:
        raise BadInput(
            f"{path} has {found[0]} channels and {found[1]} classes, but the card of {card.name} "
            f"{wanted[0]} and {wanted[1]}: correct the card."
        )
