"""Names become models: what ships with selion, what was fetched, what the registry knows.

And which engine runs it.
"""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import selion.store
from selion.classes import FTW2
from selion.errors import BadInput, MissingExtra, UnknownName, UnsafeFile, counted
from selion.models import graph, pixel
from selion.models.card import (
    CARD,
    WEIGHTS,
    ModelCard,
    check_files,
    check_listed,
    read_card,
    sha256_of,
)
from selion.models.convert import import_checkpoint
from selion.models.language import network as language
from selion.models.objects import LOADERS, by_hand, fetch_checkpoint, load_objects
from selion.models.sam.checkpoint import checkpoint_card, is_checkpoint
from selion.segmenter import InputSpec, LoadedModel
from selion.store.download import former_cache_folder
from selion.store.former import note

_PACKAGED = Path(__file__).parents[1] / "weights"
_REGISTRY = Path(__file__).with_name("registry.toml")


@dataclass(frozen=True, slots=True)
class Engine:
    """One way to run a card."""

    lacks: Callable[[ModelCard], str]
    """Why it cannot run a card on this machine; empty if it can."""
    load: Callable[..., LoadedModel[np.ndarray]]
    """(card, folder, fast=, threads=, reason=) -> LoadedModel."""
    cure: str
    """What brings it."""


ENGINES: dict[str, Engine] = {
    "cuda": Engine(
        pixel.cuda_lacks, pixel.load_cuda, "an NVIDIA GPU and pip install 'selion[train]'"
    ),
    "mps": Engine(pixel.mps_lacks, pixel.load_mps, "an Apple GPU and pip install 'selion[train]'"),
    "openvino": Engine(graph.openvino_lacks, graph.load_openvino, "pip install openvino"),
    "onnxruntime": Engine(
        graph.onnxruntime_lacks, graph.load_onnxruntime, "pip install 'selion[ort]'"
    ),
    "torch": Engine(pixel.torch_lacks, pixel.load_torch, "pip install 'selion[train]'"),
}
"""Name -> engine, the preferred first."""


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


def packaged_models() -> list[ModelCard]:
    """Return the models that ship with selion."""
    return _folders(_PACKAGED)


def engines_available() -> list[str]:
    """Return the names of the engines that this machine has, the preferred first."""
    blank = ModelCard(
        "any", InputSpec(("red",)), FTW2, architecture={"family": "unet"}, files={WEIGHTS: ""}
    )
    return [name for name, engine in ENGINES.items() if not engine.lacks(blank)]


def list_models() -> list[ModelCard]:
    """Return all known models.

    Packaged ones first, then the registry, each with ``folder`` set if its weights are on this
    machine.
    """
    cards = {card.name: card for card in (*_folders(_PACKAGED), *_registry())}
    before = _folders(former_cache_folder() / "models")
    if before:
        note(f"{counted(len(before), 'model folder')} in {former_cache_folder()}")
    cards |= {card.name: card for card in (*before, *_folders(cache_folder()))}
    return list(cards.values())


def find_card(name: str | Path) -> ModelCard:
    """Find a card by a model's name, by its folder, or by the path of ``card.toml``.

    Raises
    ------
    UnknownName
        If there is no such model; the nearest name is offered.
    UnreadableFile
        If a path was meant, and there is no card.
    """
    path = Path(name).expanduser()
    if is_checkpoint(path) and str(name) not in {card.name for card in list_models()}:
        return checkpoint_card(path)
    if isinstance(name, Path) or path.suffix == ".toml" or any(mark in name for mark in "/\\"):
        return read_card(path)
    cards = {card.name: card for card in list_models()}
    if name in cards:
        return cards[name]
    if (path / CARD).is_file():
        return read_card(path)
    raise UnknownName.among("model", name, cards)


def load_model(
    name: str | Path, engine: str = "auto", *, fast: bool = False, threads: int | None = None
) -> LoadedModel[Any]:
    """Load a model; its files are compared with the card's checksums first.

    Parameters
    ----------
    name : str or path
        A model's name, a folder with a ``card.toml``, or a checkpoint of SAM, SAM 2 or SAM-HQ as
        transformers writes it.
    engine : {"auto", "cuda", "mps", "openvino", "onnxruntime", "torch"}
        ``auto`` takes the first one that can run the model here.
    fast : bool
        Compute in bfloat16 where processor and engine can; else float32, and ``engine`` of the
        result says why.
    threads : int, optional
        Windows that run at once on a processor; default all cores.

    Returns
    -------
    LoadedModel
        Its ``engine`` is a sentence that says what was taken and why.  Some models answer with
        objects: ``gives`` says which.

    Raises
    ------
    UnknownName
        If there is no such model or engine.
    UnreadableFile, ChecksumMismatch
        If the weights are not here (it does not download), incomplete or damaged.
    MissingExtra
        If the engine is not installed.
    BadInput
        If selion lists the model but cannot load it, or ``threads`` is not positive.
    """
    if threads is not None and threads < 1:
        message = f"{threads} threads were asked for; wanted is 1 or more."
        raise BadInput(message)
    card = find_card(name)
    if card.format in LOADERS:
        return load_objects(card, engine, fast=fast, threads=threads)
    if card.format == language.FORMAT:
        return language.load(card, None, engine, fast=fast, threads=threads)
    _check_format(card)
    folder = check_files(card)
    chosen, why = _choose(card, engine)
    return ENGINES[chosen].load(card, folder, fast=fast, threads=threads, reason=why)


def _choose(card: ModelCard, engine: str) -> tuple[str, str]:
    """Return the engine's name and the reason, as the end of a sentence."""
    if engine != "auto":
        if engine not in ENGINES:
            raise UnknownName.among("engine", engine, ["auto", *ENGINES])
        lack = ENGINES[engine].lacks(card)
        if lack:
            message = (
                f"The engine {engine} cannot run {card.name}: {lack}; it needs "
                f"{ENGINES[engine].cure}, or choose another engine."
            )
            raise MissingExtra(message)
        return engine, "; as asked for"
    lacking: list[str] = []
    for name, candidate in ENGINES.items():
        lack = candidate.lacks(card)
        if not lack:
            return name, f"; {', '.join(lacking)}" if lacking else ""
        lacking.append(f"{name}: {lack}")
    message = (
        f"No engine can run {card.name}: {', '.join(lacking)}; {ENGINES['openvino'].cure} brings "
        "the fastest one for processors."
    )
    raise MissingExtra(message)


def _check_format(card: ModelCard) -> None:
    if card.format not in {"selion", "lightning"}:
        message = (
            f"{card.name} ({card.licence}) is listed, but selion does not load {card.format} "
            "weights: choose another model with 'selion models list'."
        )
        raise BadInput(message)


def fetch_model(name: str, *, force: bool = False) -> ModelCard:
    """Download a model of the registry and import it into the cache folder.

    What is there already is not fetched again.

    Importing a checkpoint needs torch, once; running it afterwards does not.  Where no checksum was
    published, a warning says the one that was found: keep it, and compare.

    Raises
    ------
    UnknownName
        If there is no such model.
    FetchFailed, ChecksumMismatch
        If the download did not arrive whole, or is not what the card says.
    MissingExtra
        If torch is missing.
    UnsafeFile, UnreadableFile, BadInput
        See :func:`selion.models.import_checkpoint`.
    """
    card = find_card(name)
    folder = cache_folder() / card.name
    if card.format in LOADERS:
        return _fetch_objects(card, folder, force=force)
    _check_format(card)
    if card.folder is not None and not (force and card.url):
        check_files(card)
        return card
    checkpoint = selion.store.fetch(card.url, card.sha256)
    if not card.sha256:
        found = sha256_of(checkpoint)
        warnings.warn(
            (
                f"{card.url}: no checksum was published, so it could not be checked; what came has "
                f"sha256 {found}."
            ),
            stacklevel=2,
        )
        card = replace(card, sha256=found)
    return import_checkpoint(checkpoint, folder, card, force=True)


def _fetch_objects(card: ModelCard, folder: Path, *, force: bool) -> ModelCard:
    if card.folder is not None and not (force and card.url):
        check_listed(card, card.folder)
        return card
    if card.format == "ultralytics":
        message = (
            f"{card.name} ({card.licence}) is published as a pickle, which selion does not open: "
            f"{by_hand(card)}"
        )
        raise UnsafeFile(message)
    return fetch_checkpoint(card, folder)
