"""Models that answer with objects: who loads them, on which device, and how they come here."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import selion.store
from selion.errors import BadInput, MissingExtra, UnknownName, UnreadableFile
from selion.extras import require
from selion.models.card import CARD, WEIGHTS, ModelCard, check_listed, sha256_of, write_card
from selion.segmenter import LoadedModel

LOADERS: Mapping[str, tuple[str, str]] = {
    "sam": ("selion.models.sam.everything", "load_sam"),
    "ultralytics": ("selion.models.delineate.segmenter", "load_delineate"),
    "embedded": ("selion.models.embedded.segmenter", "load_embedded"),
}
"""A card's format -> module and function: (card, folder, device, fast=) -> InstanceSegmenter; the
last one is a Segmenter.

Imported on use: the second is under AGPL-3.0.
"""
CHECKPOINT = ("config.json", "preprocessor_config.json", WEIGHTS)
"""Files of a checkpoint as transformers publishes it."""
ON_TORCH = ("cuda", "mps", "torch")


def load_objects(
    card: ModelCard, engine: str, *, fast: bool, threads: int | None
) -> LoadedModel[Any]:
    """Load a model that answers with objects.

    Parameters
    ----------
    card : ModelCard
    engine : {"auto", "cuda", "mps", "torch"}
    fast : bool
        bfloat16.
    threads : int, optional
        Of torch, for the whole process.

    Returns
    -------
    LoadedModel

    Raises
    ------
    UnreadableFile, ChecksumMismatch
        If the weights are not here, or not those of the card.
    MissingExtra, UnknownName, BadInput
        If torch or the engine is not here, or the engine cannot run such a model.
    """
    folder = check_here(card)
    device, why = _device(card, engine)
    if threads:
        require("torch", "train").set_num_threads(threads)
    module, function = LOADERS[card.format]
    load: Callable[..., LoadedModel[Any]] = getattr(importlib.import_module(module), function)
    return load(card, folder, device, fast=fast, reason=why)


def check_here(card: ModelCard) -> Path:
    """Return the folder of a card's weights, once they are compared with its checksums.

    Raises
    ------
    UnreadableFile, ChecksumMismatch
        If they are not here, or not those of the card.
    """
    if card.folder is None:
        raise UnreadableFile(_not_here(card))
    if (card.folder / CARD).is_file():
        check_listed(card, card.folder)  # a folder without a card was hashed just now
    return card.folder


def _not_here(card: ModelCard) -> str:
    if card.format == "ultralytics":
        return f"{card.name} is not on this machine: {by_hand(card)}"
    return (
        f"The weights of {card.name} are not on this machine: run 'selion models fetch "
        f"{card.name}', or give the folder of the checkpoint."
    )


def by_hand(card: ModelCard) -> str:
    """Say how weights come here that are published as a pickle, which selion does not open."""
    return (
        f"download {card.url}, turn it into ONNX where you trust it ('yolo export model=FILE.pt "
        f"format=onnx imgsz={card.inputs.window}'), and run 'selion models import FILE.onnx "
        f"--like {card.name} -o FOLDER'."
    )


def _device(card: ModelCard, engine: str) -> tuple[str, str]:
    """Return torch's device and the reason, as the end of a sentence."""
    if engine in ("openvino", "onnxruntime"):
        message = (
            f"The engine {engine} cannot run {card.name}, which answers with objects: take auto, "
            "torch, cuda or mps."
        )
        raise BadInput(message)
    if engine not in ("auto", *ON_TORCH):
        raise UnknownName.among("engine", engine, ["auto", *ON_TORCH])
    torch = require("torch", "train")
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "torch": True,
    }
    if engine == "auto":
        return next("cpu" if name == "torch" else name for name in ON_TORCH if here[name]), ""
    if not here[engine]:
        message = (
            f"The engine {engine} was asked for, but torch sees no such device here: take --engine "
            "auto."
        )
        raise MissingExtra(message)
    return ("cpu" if engine == "torch" else engine), "; as asked for"


def fetch_checkpoint(card: ModelCard, folder: Path) -> ModelCard:
    """Download the files of a checkpoint into a folder of their own and write the card beside them.

    Raises
    ------
    FetchFailed, ChecksumMismatch
        If a file does not arrive whole, or is not what the card says.
    """
    with selion.store.atomic_folder(folder, force=True) as part:
        for name in CHECKPOINT:
            selion.store.fetch(f"{card.url}/{name}", card.sha256 if name == WEIGHTS else "", part)
        found = sha256_of(part / WEIGHTS)
        if not card.sha256:
            warnings.warn(
                (
                    f"{card.url}: no checksum was published, so it could not be checked; its "
                    f"{WEIGHTS} has sha256 {found}."
                ),
                stacklevel=3,
            )
        card = replace(
            card, sha256=found, files={name: sha256_of(part / name) for name in CHECKPOINT}
        )
        write_card(card, part / CARD)
    return replace(card, folder=folder)
