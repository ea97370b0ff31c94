"""A network of the embedding-as-mask family as a Segmenter, and its folder.

Configs, processor and weights flat beside the card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selion.classes import ClassScheme
from selion.errors import UnreadableFile
from selion.models.card import WEIGHTS, ModelCard
from selion.models.embedded.convert import SAM_CONFIG
from selion.models.embedded.network import EmbeddedMasks, asking_of
from selion.models.execution import CardModel, on_torch
from selion.models.feed import check_views
from selion.segmenter import LoadedModel, View


class EmbeddedSegmenter(CardModel):
    """A model card and a network that answers per class."""

    def __init__(
        self,
        card: ModelCard,
        network: EmbeddedMasks,
        device: str = "cpu",
        *,
        fast: bool = False,
        reason: str = "",
    ) -> None:
        execution = on_torch(device, fast=fast, reason=reason)
        super().__init__("EmbeddedSegmenter", card, execution, _said(card) or None)
        self.network = network.to(device).eval()
        self.batch = 4 if device == "cpu" else 16
        """How many views run at once."""
        self._device, self._fast = device, fast

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities.

        Raises
        ------
        BandMismatch, BadInput
            See :mod:`selion.models.feed`.
        """
        check_views(views, self.card)
        answers = [
            self._answer(views[k : k + self.batch]) for k in range(0, len(views), self.batch)
        ]
        return np.concatenate(answers)

    def _answer(self, views: Sequence[View]) -> np.ndarray:
        pixels = np.stack([self.inputs.scaling(view.pixels) for view in views])
        with (
            torch.inference_mode(),
            torch.autocast(self._device, torch.bfloat16, enabled=self._fast),
        ):
            found = (
                self.network.probabilities(torch.from_numpy(pixels).to(self._device))
                .float()
                .cpu()
                .numpy()
            )
        return np.asarray(found)


_: type[LoadedModel[np.ndarray]] = EmbeddedSegmenter


def load_embedded(
    card: ModelCard, folder: Path, device: str, *, fast: bool = False, reason: str = ""
) -> EmbeddedSegmenter:
    """Load what :func:`selion.models.embedded.convert.save_embedded` wrote.

    Raises
    ------
    UnreadableFile
        If the files are not there or do not fit each other.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model
    from transformers import (
        AutoConfig,
        AutoModelForImageTextToText,
        AutoProcessor,
        SamConfig,
        SamModel,
    )

    try:
        vlm = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(folder))
        processor = AutoProcessor.from_pretrained(folder)
        sam = SamModel(SamConfig.from_dict(json.loads((folder / SAM_CONFIG).read_text("utf-8"))))
        network = EmbeddedMasks(vlm, processor, sam, _asked(card), asking_of(card.architecture))
        load_model(network, str(folder / WEIGHTS))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UnreadableFile(
            f"The model in {folder} cannot be read ({str(error).strip().splitlines()[0][:200]}): "
            "copy it again."
        ) from error
    return EmbeddedSegmenter(card, network, device, fast=fast, reason=reason)


def _said(card: ModelCard) -> dict[str, Any]:
    """Return what a card says of how the network is asked; the same weights answer it otherwise."""
    told = ("phrases", "instruction", "reject")
    return {name: card.architecture[name] for name in told if name in card.architecture}


def _asked(card: ModelCard) -> ClassScheme:
    """Return the classes by the words that they are asked for by."""
    phrases: Any = card.architecture.get("phrases")
    names = map(str, phrases or card.classes.names[1:])
    return ClassScheme((card.classes.names[0], *names))
