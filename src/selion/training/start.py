"""Warm start: the weights of another model, wherever they fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion import store
from selion.errors import BadInput, SelionError
from selion.models import find_card
from selion.models.card import (
    CARD,
    WEIGHTS,
    ModelCard,
    StartingPoint,
    check_files,
    read_card,
    read_start,
    write_start,
)
from selion.models.narrow import widen
from selion.models.published import UNKNOWN, published_weights, starting_points
from selion.training.checkpoint import STATE, load_state

if TYPE_CHECKING:
    import torch

    from selion.training.language_recipe import Language

START = "start.toml"
"""In a run's folder: what it started from, if that was not random."""


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
    theirs, ours = start_weights(start_from), network.state_dict()
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


def find_start(
    start_from: str, architecture: Mapping[str, Any], pretrained: str = ""
) -> tuple[StartingPoint, ...]:
    """Return what a run starts from, the nearest first; no weights are read.

    Parameters
    ----------
    start_from : str
        As for :func:`take_weights`; empty: nothing.
    architecture : mapping
        Of the recipe; its encoder may be a start, too.
    pretrained : str
        Of the recipe: which published weights the encoder starts from; empty: none.

    Returns
    -------
    tuple of StartingPoint
        The model and what it was trained from itself, then the encoder's published weights.

    Raises
    ------
    UnknownName, UnreadableFile
        If there is no such model.
    """
    return (*_model(start_from), *published_weights(architecture, pretrained))


def _model(start_from: str) -> tuple[StartingPoint, ...]:
    if not start_from:
        return ()
    folder = Path(start_from).expanduser()
    if (folder / "model" / CARD).is_file():
        return starting_points(read_card(folder / "model"))
    if (folder / STATE).is_file():  # a run that has exported no model yet
        return (StartingPoint(folder.resolve().name),)
    return starting_points(find_card(start_from))


def find_language_start(language: Language) -> tuple[StartingPoint, ...]:
    """Return what a language model starts from; a tiny one, or one that is not here: nothing."""
    if language.start_from:
        try:
            return starting_points(read_card(language.start_from))
        except SelionError:  # it is refused where it is loaded
            return ()
    if not language.base:
        return ()
    folder = Path(language.base).expanduser()
    return (StartingPoint(folder.resolve().name if folder.is_dir() else language.base, UNKNOWN),)


def keep_start(folder: Path, card: ModelCard) -> None:
    """Write into a run's folder what it starts from, in place of what an earlier run did."""
    (folder / START).unlink(missing_ok=True)
    if card.started_from:
        with store.atomic_write(folder / START, force=True) as temporary:
            write_start(card.started_from, temporary)


def with_kept_start(folder: Path, card: ModelCard) -> ModelCard:
    """Return the card of a run that is resumed with what it started from.

    That is what was loaded then, whatever lies at its place by now.

    Raises
    ------
    UnreadableFile, BadInput, UnknownName
        If the file in the run's folder was damaged.
    """
    if not (folder / START).is_file():
        return card
    return replace(card, started_from=read_start(folder / START))


def start_notes(found: Sequence[StartingPoint]) -> list[str]:
    """Say what a run would load and under which licence, and how good that was found to be.

    A sentence each.
    """
    return [f"{'And' if k else 'Starts'} from {point}." for k, point in enumerate(found)]


def start_weights(start_from: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a model, or of a run, by name."""
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
