"""An adapter that is added to its base for good: one folder that needs neither."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from selion.errors import BadInput
from selion.extras import require
from selion.models.card import CARD, ModelCard, check_listed, sha256_of, write_card
from selion.models.language.network import FORMAT, here, load_pair
from selion.models.language.quiet import quiet
from selion.models.language.smol import WHEEL
from selion.models.registry import find_card
from selion.store import atomic_folder

ADAPTER = "adapter_config.json"
"""By this file a folder holds an adapter."""


def export_merged(
    name: str | Path, folder: str | Path, *, half: bool = False, force: bool = False
) -> ModelCard:
    """Write a language model whose adapter is part of its weights.

    It writes the same text as base and adapter, needs no base any more, and no pass goes through
    two more matrices a layer.

    Parameters
    ----------
    name : str or path
        Of a model whose folder holds an adapter.
    folder : path
        To write; it appears only when it is whole.
    half : bool
        Store bfloat16, half as many bytes.  What the adapter changes is rounded with the weights,
        so that a text may differ here and there.
    force : bool
        Replace an existing folder.

    Returns
    -------
    ModelCard
        Of the new folder: without a base, with the checksums of its files.

    Raises
    ------
    BadInput
        If it is no language model that runs here, has no adapter, or its base is quantised: what
        an adapter adds is smaller than the steps of 4 or 8 bits.
    OutputExists, OutputFailed
        If the folder is there and ``force`` is not given, or cannot be written.
    UnreadableFile, ChecksumMismatch, MissingExtra
        See :func:`selion.models.load_model`.
    """
    card = find_card(name)
    if card.format != FORMAT:
        raise BadInput(
            f"{card.name} is no language model that runs here: only adapters of these are merged."
        )
    source = check_listed(card, here(card))
    if not (source / ADAPTER).is_file():
        raise BadInput(f"{card.name} has no adapter in {source}: there is nothing to merge.")
    base = card.architecture.get("base") or source
    _refuse_quantised(card, base)
    torch = require("torch", "language")
    model, processor = load_pair(base, source, torch.float32, card.name)
    with quiet():
        merged = model.merge_and_unload(safe_merge=True)
    if half:
        merged = merged.to(torch.bfloat16)
    with atomic_folder(folder, force) as part:
        with quiet():
            merged.save_pretrained(part)
            processor.save_pretrained(part)
        for file in _besides(card, source, part):
            shutil.copyfile(source / file, part / file)
        files = sorted(path.name for path in part.iterdir())
        kept = {key: value for key, value in card.architecture.items() if key != "base"}
        made = replace(
            card,
            architecture=kept,
            files={file: sha256_of(part / file) for file in files},
            fingerprint={},
            folder=None,
        )
        write_card(made, part / CARD)
    return replace(made, folder=Path(folder).expanduser())


def _refuse_quantised(card: ModelCard, base: Any) -> None:
    """Refuse a base whose weights are rounded to a few bits."""
    if card.architecture.get("quantised"):
        raise BadInput(
            f"The base of {card.name} is held in 4 bits ({card.architecture['quantised']}), whose "
            "steps are larger than an adapter's changes: set architecture.quantised = '' in the "
            "card for the base as it is, look at what it then writes, and merge that."
        )
    require("transformers", "language")
    from transformers import AutoConfig

    if base != WHEEL:
        try:
            with quiet():
                config = AutoConfig.from_pretrained(base)
        except (OSError, ValueError):
            return  # loading it says so, and better
        if getattr(config, "quantization_config", None) is None:
            return
    raise BadInput(
        f"The base of {card.name} ({base}) is quantised, and an adapter's changes are smaller than "
        "its steps: merge with the base in full precision (architecture.base of the card), or go "
        "on with base and adapter as they are."
    )


def _besides(card: ModelCard, source: Path, part: Path) -> list[str]:
    """Return the card's other files: neither written anew nor of the adapter."""
    return [
        file
        for file in card.files
        if not file.startswith("adapter_")
        and (source / file).is_file()
        and not (part / file).exists()
    ]
