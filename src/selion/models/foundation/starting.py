"""An encoder's start: published weights, from a file or from their address, never unpickled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.errors import BadInput, ChecksumMismatch, UnreadableFile
from selion.extras import require
from selion.models.card import sha256_of
from selion.models.checkpoint import StoredTensor
from selion.models.convert import read_checkpoint
from selion.models.foundation.cards import EncoderCard
from selion.models.foundation.wiring import find_reader

if TYPE_CHECKING:
    import torch

    from selion.store.download import OnBytes

PUBLISHED = "published"
"""Asks for the weights at the card's address."""
FULL = 64
"""Digits of a whole sha256."""
SHOWN = 3
"""Names of tensors in a message."""


def start_foundation(
    encoder: torch.nn.Module, card: EncoderCard, weights: str | Path = PUBLISHED
) -> None:
    """Give an encoder its published weights.

    Parameters
    ----------
    encoder : torch.nn.Module
        Of the card's network.  It is changed.
    card : EncoderCard
    weights : str or path
        ``"published"``: those at the card's address, downloaded once, checked, and kept as
        safetensors.  Else the published file, or a folder that holds it under its published name;
        safetensors with the same tensors will do.

    Raises
    ------
    FetchFailed, ChecksumMismatch
        If the download fails, or is another file than the card says.
    UnreadableFile, UnsafeFile
        If the file is missing, damaged, or would have to be executed.
    BadInput
        If it holds another network.
    """
    if weights == PUBLISHED:
        from safetensors.torch import load

        fill_encoder(encoder, load(fetch_encoder(card).read_bytes()), card)
        return
    path = find_weights(card, Path(weights))
    fill_encoder(encoder, read_tensors(path, card), card)


def find_weights(card: EncoderCard, path: Path) -> Path:
    """Return the published file of an encoder: the one given, or the one in a folder.

    Raises
    ------
    UnreadableFile
        If there is none.
    """
    path = path.expanduser()
    places = list(_places(card, path)) if path.is_dir() else [path]
    for place in places:
        if place.is_file():
            return place
    raise UnreadableFile(
        f"{places[0]} is not there: wanted are the weights of {card.name}, published as "
        f"{card.file}{f' at {card.url}' if card.url else ''}."
    )


def _places(card: EncoderCard, folder: Path) -> Iterator[Path]:
    for name in (card.file, card.url.rpartition("/")[2]):
        if name:
            yield folder / name
            yield (folder / name).with_suffix(".safetensors")


def kept_weights(card: EncoderCard) -> Path:
    """Return where an encoder's weights are kept once they are fetched."""
    key = card.sha256[:12] or "published"
    return store.cache_folder() / "encoders" / f"{card.name}-{key}.safetensors"


def fetch_encoder(card: EncoderCard, progress: OnBytes | None = None) -> Path:
    """Download an encoder once, check it, and keep it as safetensors under the network's names.

    Parameters
    ----------
    card : EncoderCard
    progress : callable, optional
        Called with bytes so far and bytes in all.

    Returns
    -------
    Path
        The converted file, in the cache folder.

    Raises
    ------
    BadInput
        If the card has no address.
    FetchFailed, ChecksumMismatch, UnsafeFile, UnreadableFile
        See :func:`start_foundation`.
    """
    if not card.url:
        raise BadInput(
            f"The weights of {card.name} have no public address ({card.notes or 'see its card'}): "
            f"get {card.file} and name the file."
        )
    kept = kept_weights(card)
    if kept.is_file():
        return kept
    folder = kept.parent
    full = card.sha256 if len(card.sha256) == FULL else ""
    arrived = store.fetch(card.url, full, folder, progress)
    found = sha256_of(arrived)
    if not found.startswith(card.sha256):
        arrived.unlink()
        raise ChecksumMismatch(
            f"{card.url} arrived, but its sha256 begins with {found[:8]}, not with "
            f"{card.sha256[:8]}: it was changed or damaged on its way; ask its publisher."
        )
    from safetensors.torch import save

    stored = {name: value.contiguous() for name, value in read_tensors(arrived, card).items()}
    with store.atomic_write(kept, force=True) as temporary:
        temporary.write_bytes(save(stored))
    arrived.unlink()
    return kept


def read_tensors(path: Path, card: EncoderCard) -> dict[str, torch.Tensor]:
    """Read a published file, under the names of the network.

    Raises
    ------
    UnreadableFile, UnsafeFile, BadInput
        See :func:`start_foundation`.
    """
    torch = require("torch", "train")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            state: Mapping[str, Any] = load(path.read_bytes())
        except SafetensorError as error:
            raise UnreadableFile(
                f"{path} cannot be read as safetensors ({error}): fetch it again."
            ) from error
    else:
        checkpoint = read_checkpoint(path)
        state = {
            name: torch.from_numpy(np.array(checkpoint.array(tensor)))
            for name, tensor in _flat(checkpoint.content)
        }
    return find_reader(card.name)(state)


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, StoredTensor]]:
    """Yield the tensors of nested tables, their names joined by dots."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, StoredTensor):
            yield f"{prefix}{key}", value


def fill_encoder(
    encoder: torch.nn.Module, state: Mapping[str, torch.Tensor], card: EncoderCard
) -> None:
    """Put tensors into an encoder: all of its weights, and nothing else.

    Buffers that are not given stay as the network made them.

    Raises
    ------
    BadInput
        If a weight is missing, left over, or of another shape.
    """
    own = encoder.state_dict()
    made = {name for name, _ in encoder.named_buffers()}
    for what, names in (
        ("lacks", [name for name in own if name not in state and name not in made]),
        ("has more than the network:", [name for name in state if name not in own]),
        (
            "has other shapes of",
            [name for name in own if name in state and state[name].shape != own[name].shape],
        ),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise BadInput(
                f"The file of weights is not that of {card.name}: it {what} "
                f"{', '.join(names[:SHOWN])}{more}; wanted is {card.file}."
            )
    encoder.load_state_dict({**own, **state})
