"""Warm start: the weights of another model, wherever they fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput
from selion.models import find_card
from selion.models.card import CARD, WEIGHTS, check_files, read_card
from selion.models.foundation.cards import encoder_cards
from selion.models.narrow import widen
from selion.training.checkpoint import STATE, load_state

if TYPE_CHECKING:
    import torch


def take_weights(network: torch.nn.Module, start_from: str) -> str:
    """Fill a network with another's weights where names and shapes are the same.

    The rest keeps its start.

    Parameters
    ----------
    network : torch.nn.Module
    start_from : str
        A model's name or folder, or the folder of a run (its exported model, or its last
        checkpoint).

    Returns
    -------
    str
        A sentence: how much was taken, and what was not.

    Raises
    ------
    UnknownName, UnreadableFile, ChecksumMismatch
        If there is no such model, or it is damaged.
    BadInput
        If nothing fits.
    """
    theirs, ours = _weights(start_from), network.state_dict()
    fitting = {
        name: tensor
        for name, tensor in theirs.items()
        if name in ours and ours[name].shape == tensor.shape
    }
    if not any(tensor.ndim > 1 for tensor in fitting.values()):
        raise BadInput(
            f"None of the {len(theirs)} tensors of {start_from} fits the network: give "
            "model.architecture the family and encoder of that model."
        )
    network.load_state_dict(fitting, strict=False)
    left = [name for name in ours if name not in fitting]
    shown = f"; not {', '.join(left[:3])}{' ...' if len(left) > 3 else ''}" if left else ""
    return f"{len(fitting)} of {len(ours)} tensors start from {start_from}{shown}."


def start_notes(start_from: str, architecture: Mapping[str, Any]) -> list[str]:
    """Say what a run would load and under which licence, and how good that was found to be.

    Parameters
    ----------
    start_from : str
        As for :func:`take_weights`; empty: nothing.
    architecture : mapping
        Of the recipe; an encoder of a foundation model is a start, too.
    """
    notes = []
    if start_from:
        folder = Path(start_from).expanduser()
        if (folder / "model" / CARD).is_file():
            card = read_card(folder / "model")
        elif (folder / STATE).is_file():
            return [f"Starts from {start_from}, a run that has exported no model yet."]
        else:
            card = find_card(start_from)
        scores = ", ".join(
            f"{name} {value:.3f}"
            for name, value in card.scores.items()
            if isinstance(value, int | float)
        )
        notes.append(
            f"Starts from {card.name}, licence {card.licence or 'not said'}; its scores: "
            f"{scores or 'not said'}."
        )
    named = str(architecture.get("encoder", ""))
    if architecture.get("family") == "frozen" and named in encoder_cards():
        encoder = encoder_cards()[named]
        notes.append(f"Encoder {encoder.name}, licence {encoder.licence}.")
    return notes


def _weights(start_from: str) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    folder = Path(start_from).expanduser()
    if (folder / "model" / WEIGHTS).is_file():
        return widen(load_file(folder / "model" / WEIGHTS))
    if (folder / STATE).is_file():
        tensors, _ = load_state(folder / STATE)
        return {
            name.removeprefix("network."): tensor
            for name, tensor in tensors.items()
            if name.startswith("network.")
        }
    return widen(load_file(check_files(find_card(start_from)) / WEIGHTS))
