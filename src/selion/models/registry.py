"""Names become cards: what ships with selion, what was fetched, what the registry lists."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import selion.store
from selion.errors import SelionError, UnknownName, counted
from selion.models.card import CARD, PACKAGED, ModelCard, read_card
from selion.models.sam.convert import checkpoint_card, is_checkpoint
from selion.store.download import former_cache_folder
from selion.store.former import note

_PACKAGED = PACKAGED
_REGISTRY = Path(__file__).with_name("registry.toml")


def cache_folder() -> Path:
    """Return the folder of fetched models.

    In ``SELION_CACHE``, or where the platform keeps caches.
    """
    return selion.store.cache_folder() / "models"


@cache
def _registry() -> tuple[ModelCard, ...]:
    table = tomllib.loads(_REGISTRY.read_text(encoding="utf-8"))
    return tuple(
        ModelCard.from_dict(_complete(entry, table["shared"]), f"{_REGISTRY.name}: {entry['name']}")
        for entry in table["model"]
    )


@cache
def aliases() -> Mapping[str, str]:
    """Return the short names of models: short name -> name."""
    table: Mapping[str, str] = tomllib.loads(_REGISTRY.read_text(encoding="utf-8"))["aliases"]
    return table


def _complete(entry: Mapping[str, Any], shared: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Lay an entry over the shared table that its ``like`` names, subtables too.

    That table may have a ``like`` of its own.
    """
    like = entry.get("like")
    below = _complete(shared[like], shared) if like else {}
    for key, value in entry.items():
        if key != "like":
            below[key] = {**below.get(key, {}), **value} if isinstance(value, Mapping) else value
    return below


def _folders(root: Path) -> list[ModelCard]:
    return [read_card(path) for path in sorted(root.glob(f"*/{CARD}"))]


def _kept(root: Path) -> list[ModelCard]:
    """Return the cards of fetched models; one that is damaged must not stop the others."""
    cards = []
    for path in sorted(root.glob(f"*/{CARD}")):
        try:
            cards.append(read_card(path))
        except SelionError as error:
            warnings.warn(
                f"{path.parent} is left out ({error}) Fetch it again with --force, or remove it.",
                stacklevel=3,
            )
    return cards


def packaged_models() -> list[ModelCard]:
    """Return the networks that ship with selion.

    Not a language model, whose base comes from elsewhere: it is found by its name alone.
    """
    return [card for card in _folders(_PACKAGED) if card.format != "transformers"]


def list_models() -> list[ModelCard]:
    """Return all known models.

    Packaged ones first, then the registry, each with ``folder`` set if its weights are on this
    machine.
    """
    cards = {card.name: card for card in (*_folders(_PACKAGED), *_registry())}
    before = _kept(former_cache_folder() / "models")
    if before:
        note(f"{counted(len(before), 'model folder')} in {former_cache_folder()}")
    cards |= {card.name: card for card in (*before, *_kept(cache_folder()))}
    return list(cards.values())


def find_card(name: str | Path) -> ModelCard:
    """Find a card by a model's name, long or short, by its folder, or by the path of its card.

    A model that a server runs is named ``openai:http://HOST/v1#NAME``.

    Raises
    ------
    UnknownName
        If there is no such model; the nearest name is offered.
    UnreadableFile
        If a path was meant, and there is no card.
    """
    if isinstance(name, str) and name.startswith("openai:"):
        from selion.models.language.served import served_card

        return served_card(name)
    path = Path(name).expanduser()
    if is_checkpoint(path) and str(name) not in {card.name for card in list_models()}:
        return checkpoint_card(path)
    if isinstance(name, Path) or path.suffix == ".toml" or any(mark in name for mark in "/\\"):
        return read_card(path)
    cards = {card.name: card for card in list_models()}
    full = name if name in cards else aliases().get(name, name)
    if full in cards:
        return cards[full]
    if (path / CARD).is_file():
        return read_card(path)
    raise UnknownName.among("model", name, [*cards, *aliases()])
