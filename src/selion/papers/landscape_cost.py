"""What MAgSeg's Table 4 is made of: parameters beside the language model, and training time."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selion.errors import SelionError
from selion.models import load_model
from selion.papers.landscapes import LandscapeRow
from selion.training.language_run import TIMES
from selion.training.log import LOG

MEASURES = ("overhead", "time")
MAGSEG = "magseg-4b"


@dataclass(frozen=True, slots=True)
class ModelCost:
    """One model's figures; None: not known."""

    parameters: int | None = None
    overhead: float | None = None
    """(parameters of all - of the language model) / of the language model; what refines an answer
    afterwards is left out, as in the paper's footnote 2."""
    seconds: float | None = None
    """Of training, for each sample of its supervised stage."""
    clock: bool = False
    """Whether these are seconds of the clock, not of the processor."""
    why: str = ""
    """What is missing, as a sentence."""

    @property
    def time(self) -> float | None:
        """Seconds for each sample and billion parameters."""
        if self.seconds is None or not self.parameters:
            return None
        return self.seconds / (self.parameters / 1e9)


def cost_of(row: LandscapeRow) -> ModelCost:
    """Return the cost of a row that has weights: of its model without what refines it."""
    if row.found is None:
        return ModelCost(why=row.missing)
    path = Path(row.found.base.path)
    try:
        model: Any = load_model(row.found.base.path)
    except SelionError as problem:
        return ModelCost(why=str(problem))
    parameters, overhead = _parameters(model)
    if parameters is None:
        return ModelCost(why=f"{model.card.name} has no language model.")
    seconds, clock = _seconds(path)
    why = "" if seconds is not None else f"What its supervised training took is not beside {path}."
    if overhead is None:
        why = why or f"{model.card.name} only reads words: it has no language model that answers."
    return ModelCost(parameters, overhead, seconds, clock, why)


def _parameters(model: Any) -> tuple[int | None, float | None]:
    network: Any = getattr(model, "network", None)
    if hasattr(network, "vlm"):
        whole, own = (_count(part) for part in (network, network.vlm))
    elif hasattr(model, "generator"):
        whole = own = _count(model.generator.model)
    elif hasattr(network, "text"):  # LAVT, GRES
        return _count(network), None
    else:
        return None, None
    return whole, (whole - own) / own


def _count(network: Any) -> int:
    """Count parameters; of those that are packed to 4 bits the numbers that they stand for."""
    total = 0
    for parameter in network.parameters():
        packed = getattr(parameter, "quant_state", None)
        total += parameter.numel() if packed is None else math.prod(packed.shape)
    return total


def _seconds(folder: Path) -> tuple[float | None, bool]:
    """Return seconds for each sample, and whether of the clock; beside the model or above it."""
    for place in (folder, folder.parent):
        path = place / TIMES
        if path.is_file():
            stages: Mapping[str, Mapping[str, float]] = json.loads(path.read_text("utf-8"))
            if "supervised" in stages:
                stage = stages["supervised"]
                return stage["processor_seconds"] / max(stage["samples"], 1), False
        log = place / LOG
        if log.is_file():
            entries = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
            pace = [entry["images_per_s"] for entry in entries if entry.get("images_per_s")]
            if pace:
                return 1 / float(pace[-1]), True
    return None, False


def relative(costs: Mapping[str, ModelCost], keys: Sequence[str]) -> dict[str, float]:
    """Return each model's time as a multiple of MAgSeg's; empty where that is not known."""
    unit = costs[MAGSEG].time if MAGSEG in costs else None
    found = {key: costs[key].time for key in keys}
    return {key: time / unit for key, time in found.items() if time is not None and unit}
