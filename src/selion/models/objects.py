"""Models that only torch runs: on which device, what objects they found, how they come here."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import selion.store
from selion.classes import ClassScheme
from selion.errors import BadInput, MissingExtra, UnknownName, UnreadableFile
from selion.extras import require
from selion.grid import photo_grid
from selion.labels import Instances
from selion.models.card import CARD, WEIGHTS, ModelCard, check_listed, sha256_of, write_card
from selion.progress import OnStep, silent
from selion.segmenter import LoadedModel

CHECKPOINT = ("config.json", "preprocessor_config.json", WEIGHTS)
"""Files of a checkpoint as transformers publishes it."""
ON_TORCH = ("cuda", "mps", "torch")


def load_on_torch(
    module: str,
    function: str,
    card: ModelCard,
    engine: str,
    *,
    fast: bool,
    threads: int | None,
    cure: Callable[[ModelCard], str] | None = None,
) -> LoadedModel[Any]:
    """Load a model that only torch runs, as those that answer with objects.

    Parameters
    ----------
    module, function : str
        Who loads it: (card, folder, device, fast=, reason=) -> LoadedModel; imported now.
    card : ModelCard
    engine : {"auto", "cpu", "cuda", "mps", "torch"}
    fast : bool
        bfloat16.
    threads : int, optional
        Of torch, for the whole process.
    cure : callable, optional
        Says how its weights come here, if they cannot be fetched.

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
    folder = check_here(card, cure)
    device, why = _device(card, engine)
    if threads:
        require("torch", "train").set_num_threads(threads)
    load: Callable[..., LoadedModel[Any]] = getattr(importlib.import_module(module), function)
    return load(card, folder, device, fast=fast, reason=why)


def check_here(card: ModelCard, cure: Callable[[ModelCard], str] | None = None) -> Path:
    """Return the folder of a card's weights, once they are compared with its checksums.

    ``cure`` says how they come here, if not by fetching.

    Raises
    ------
    UnreadableFile, ChecksumMismatch
        If they are not here, or not those of the card.
    """
    if card.folder is None:
        how = (
            f"run 'selion models fetch {card.name}', or give the folder of the checkpoint."
            if cure is None
            else cure(card)
        )
        what = card.name if cure else f"The weights of {card.name}"
        raise UnreadableFile(f"{what} {'is' if cure else 'are'} not on this machine: {how}")
    if (card.folder / CARD).is_file():
        check_listed(card, card.folder)  # a folder without a card was hashed just now
    return card.folder


def _device(card: ModelCard, engine: str) -> tuple[str, str]:
    """Return torch's device and the reason, as the end of a sentence."""
    if engine in ("openvino", "onnxruntime"):
        raise BadInput(
            f"The engine {engine} cannot run {card.name}, which returns objects: take auto, "
            "torch, cuda or mps."
        )
    if engine not in ("auto", "cpu", *ON_TORCH):
        raise UnknownName.among("engine", engine, ["auto", "cpu", *ON_TORCH])
    torch = require("torch", "train")
    here = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "torch": True,
    }
    if engine == "auto":
        return next("cpu" if name == "torch" else name for name in ON_TORCH if here[name]), ""
    if engine == "cpu":
        return "cpu", ""
    if not here[engine]:
        raise MissingExtra(
            f"The engine {engine} was asked for, but torch sees no such device here: take --engine "
            "auto."
        )
    return ("cpu" if engine == "torch" else engine), "; as asked for"


def tell_bytes(on_step: OnStep, name: str, have: int, total: int | None) -> None:
    """Tell how much of a file has arrived."""
    on_step("download", have, total or max(have, 1), f"{name}, {have / 1e6:.1f} MB")


def fetch_checkpoint(card: ModelCard, folder: Path, *, on_step: OnStep = silent) -> ModelCard:
    """Download the files of a checkpoint into a folder of their own and write the card beside them.

    Raises
    ------
    FetchFailed, ChecksumMismatch
        If a file does not arrive whole, or is not what the card says.
    """
    with selion.store.atomic_folder(folder, force=True) as part:
        for name in CHECKPOINT:
            selion.store.fetch(
                f"{card.url}/{name}",
                card.sha256 if name == WEIGHTS else "",
                part,
                partial(tell_bytes, on_step, name),
            )
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


def scored_objects(
    ids: np.ndarray, scores: np.ndarray, classes: ClassScheme, kinds: np.ndarray | None = None
) -> Instances:
    """Return the objects of a window; all are the first of the classes' things.

    Parameters
    ----------
    ids : (y, x) int32 ndarray
        1 .. n, 0 for none; ids may be missing.
    scores : (n,) float64 ndarray
        Of each id, missing ones too.
    classes : ClassScheme
    kinds : (n,) int64 ndarray, optional
        The class of each id, where the model tells things apart.
    """
    names = np.unique(ids[ids > 0])
    first = (classes.things or classes.names[1:])[0]
    kind = [first if kinds is None else classes.names[kinds[name - 1]] for name in names]
    table = pd.DataFrame(
        {
            "id": names.astype(np.int64),
            "class": pd.array(kind, dtype="string"),
            "score": scores[names - 1],
        }
    )
    return Instances(ids, photo_grid(ids.shape), table)
