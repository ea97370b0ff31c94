"""How many numbers of a network were learnt, read off its weights."""

from __future__ import annotations

import json
import math

from selion.errors import UnreadableFile
from selion.models.card import WEIGHTS
from selion.segmenter import Card

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Tensors of batch normalisation that are measured, not learnt; papers do not count them."""


def million_parameters(card: Card) -> float:
    """Count a model's parameters in millions, from the header of its weights.

    Returns
    -------
    float
        NaN where the weights are no safetensors file.

    Raises
    ------
    UnreadableFile
        If the file is damaged.
    """
    path = None if card.folder is None else card.folder / WEIGHTS
    if path is None or not path.is_file():
        return float("nan")
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    except (ValueError, MemoryError, RecursionError) as error:
        raise UnreadableFile(f"{path} is no safetensors file: fetch the model again.") from error
    learnt = (
        entry["shape"]
        for name, entry in header.items()
        if name != "__metadata__" and name.rpartition(".")[2] not in STATISTICS
    )
    return sum(math.prod(shape) for shape in learnt) / 1e6
