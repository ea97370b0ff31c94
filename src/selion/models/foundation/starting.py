"""An encoder's start: published weights, from a file or from their address, never unpickled."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import store
from selion.errors import BadInput, ChecksumMismatch, UnreadableFile, UnsafeFile
from selion.extras import require
from selion.models.card import sha256_of
from selion.models.checkpoint import StoredTensor
from selion.models.convert import read_checkpoint
from selion.models.foundation.cards import EncoderCard
from selion.models.foundation.wiring import find_reader, make_encoder

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
        safetensors with the same tensors will do.  A file with another checksum than the card's is
        taken with a warning, as it may be another version.

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
        kept = fetch_encoder(card)
        fill_encoder(encoder, _stored(kept), card, str(kept))
        return
    path = find_weights(card, Path(weights))
    _compare(path, card)
    fill_encoder(encoder, read_tensors(path, card), card, str(path))


def _compare(path: Path, card: EncoderCard) -> None:
    """Say it where a file that the user names is another than the one that was published."""
    if not card.sha256:
        return
    found = sha256_of(path)
    if not found.startswith(card.sha256):
        warnings.warn(
            f"{path} has the sha256 {found}, and that of {card.file} begins with "
            f"{card.sha256[:8]}: it is another version or another format of {card.name}, and is "
            "taken as it is.",
            stacklevel=2,
        )


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
        If the card has no address, or what is there is another network; nothing is kept then.
    FetchFailed, ChecksumMismatch, UnsafeFile, UnreadableFile
        See :func:`start_foundation`.
    """
    if not card.url:
        raise BadInput(
            f"The weights of {card.name} have no public address ({card.notes or 'see its card'}): "
            f"get {card.file} and name the file."
        )
    kept = kept_weights(card)
    if kept.is_file() and _is_whole(kept, card):
        return kept
    full = card.sha256 if len(card.sha256) == FULL else ""
    arrived = store.fetch(card.url, full, kept.parent, progress)
    found = sha256_of(arrived)
    if not found.startswith(card.sha256):
        arrived.unlink()
        raise ChecksumMismatch(
            f"The sha256 of {arrived}, from {card.url}, begins with {found[:8]}, not with "
            f"{card.sha256[:8]}: it was changed or damaged on its way, and was removed; ask its "
            f"publisher, or put {card.file} there."
        )
    if not card.sha256:
        warnings.warn(
            f"{card.url}: no checksum was published, so it could not be checked; what came has "
            f"sha256 {found}.",
            stacklevel=2,
        )
    from safetensors.torch import save

    try:
        stored = {name: value.contiguous() for name, value in read_tensors(arrived, card).items()}
        check_weights(_published_network(card), stored, card, str(arrived))
    except (BadInput, UnreadableFile, UnsafeFile) as error:
        arrived.unlink()
        raise type(error)(
            f"{arrived}, from {card.url}, cannot be used and was removed; put {card.file} there, "
            f"or name it: {error}"
        ) from error
    with store.atomic_write(kept, force=True) as temporary:
        temporary.write_bytes(save(stored))
    arrived.unlink()
    return kept


def _published_network(card: EncoderCard) -> torch.nn.Module:
    """Return the network of the published size, without memory for its weights.

    What is kept serves every recipe, so it is not compared with the network of one of them.
    """
    torch = require("torch", "train")
    with torch.device("meta"):
        encoder, _ = make_encoder(card, {})
    return encoder


def _is_whole(kept: Path, card: EncoderCard) -> bool:
    """Say whether a kept file is that of the network; else it is to be fetched again."""
    try:
        check_weights(_published_network(card), _stored(kept), card, str(kept))
    except (BadInput, UnreadableFile):
        return False
    return True


def _stored(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of safetensors.

    Raises
    ------
    UnreadableFile
        If it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise UnreadableFile(
            f"{path} cannot be read as safetensors ({error}): fetch it again."
        ) from error


def read_tensors(path: Path, card: EncoderCard) -> dict[str, torch.Tensor]:
    """Read a published file, under the names of the network.

    Raises
    ------
    UnreadableFile, UnsafeFile, BadInput
        See :func:`start_foundation`.
    """
    torch = require("torch", "train")
    if path.suffix == ".safetensors":
        state: Mapping[str, Any] = _stored(path)
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
    encoder: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    card: EncoderCard,
    place: str = "The file of weights",
) -> None:
    """Put tensors into an encoder: all of its weights, and nothing else.

    Buffers that are not given stay as the network made them.

    Parameters
    ----------
    encoder : torch.nn.Module
        It is changed.
    state : mapping
        Tensors by the names of the network.
    card : EncoderCard
    place : str
        What they were read from, for the message.

    Raises
    ------
    BadInput
        As :func:`check_weights`.
    """
    check_weights(encoder, state, card, place)
    encoder.load_state_dict({**encoder.state_dict(), **state})


def check_weights(
    encoder: torch.nn.Module,
    state: Mapping[str, torch.Tensor],
    card: EncoderCard,
    place: str = "The file of weights",
) -> None:
    """Refuse tensors that are not those of an encoder, or are not finite.

    Parameters
    ----------
    encoder, state, card, place
        As for :func:`fill_encoder`; the encoder may be without memory (``meta``).

    Raises
    ------
    BadInput
        If a weight is missing, left over, of another shape, not a number or infinite.
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
        (
            "has values that are not a number or infinite in",
            [name for name, value in state.items() if not bool(value.isfinite().all())],
        ),
    ):
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise BadInput(
                f"{place} is not that of {card.name}: it {what} {', '.join(names[:SHOWN])}{more}; "
                f"wanted is {card.file}."
            )
