"""A network of the embedding-as-mask family as a Segmenter, and its folder.

Configs, processor and weights flat beside the card.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selion.classes import ClassScheme
from selion.errors import BadInput, UnreadableFile
from selion.models.card import CARD, WEIGHTS, ModelCard, sha256_of, write_card
from selion.models.embedded.network import EmbeddedMasks, asking_of
from selion.models.execution import identity_of, on_torch
from selion.models.feed import check_views
from selion.segmenter import Answers, LoadedModel, View

FORMAT = "embedded"
"""What the card of such a model says of its files."""
SAM_CONFIG = "sam_config.json"


class EmbeddedSegmenter:
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
        self.card, self.inputs, self.classes = card, card.inputs, card.classes
        self.gives: Answers = "probabilities"
        self.network = network.to(device).eval()
        self.batch = 4 if device == "cpu" else 16
        """How many views run at once."""
        self.at_once = 0
        execution = on_torch(device, fast=fast, reason=reason)
        self.engine = str(execution)
        self.identity = identity_of("EmbeddedSegmenter", card, execution.deciding)
        self._device, self._fast = device, fast

    def rest(self) -> None:
        """Nothing is kept here that could be let go of."""

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


def build_embedded(
    vlm: str | Path, sam: str | Path, classes: ClassScheme, **asking: Any
) -> EmbeddedMasks:
    """Put a published vision-language model and a published SAM together; the projection is new.

    Parameters
    ----------
    vlm, sam : path or str
        Folders, or ids that the library can download.
    classes : ClassScheme
    **asking
        Of :class:`~selion.models.embedded.network.Asking`.

    Raises
    ------
    UnreadableFile
        If one of them cannot be loaded.
    BadInput
        If the model cannot see.
    """
    from transformers import SamModel

    from selion.models.language.network import load_pair

    model, processor = load_pair(vlm, None, torch.float32, str(vlm))
    try:
        prompted = SamModel.from_pretrained(sam, use_safetensors=True)
    except (OSError, ValueError) as error:
        message = (
            f"Segment Anything cannot be loaded from {sam} "
            f"({str(error).strip().splitlines()[0][:200]}): give a folder that holds one, or its "
            "id."
        )
        raise UnreadableFile(message) from error
    return EmbeddedMasks(model, processor, prompted, classes, asking_of(asking))


def save_embedded(network: EmbeddedMasks, card: ModelCard, folder: Path) -> ModelCard:
    """Write configs, processor, weights and the card; return the card with its checksums.

    Raises
    ------
    BadInput
        If card and network differ in their classes, or the card has not three bands.
    """
    from safetensors.torch import save_model

    if card.classes.names != network.classes.names or len(card.inputs.bands) != 3:
        message = (
            f"{card.name} has {len(card.inputs.bands)} bands and the classes "
            f"{', '.join(card.classes.names)}: wanted are 3, and the network's classes."
        )
        raise BadInput(message)
    folder.mkdir(parents=True, exist_ok=True)
    network.vlm.config.save_pretrained(folder)
    network.processor.save_pretrained(folder)
    (folder / SAM_CONFIG).write_text(network.sam.config.to_json_string(use_diff=False), "utf-8")
    save_model(network, str(folder / WEIGHTS))
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != CARD)
    architecture = {"family": "embedded", **asdict(network.asking)}
    written = replace(
        card,
        format=FORMAT,
        architecture=architecture,
        files={name: sha256_of(folder / name) for name in names},
        folder=folder,
    )
    write_card(written, folder / CARD)
    return written


def load_embedded(
    card: ModelCard, folder: Path, device: str, *, fast: bool = False, reason: str = ""
) -> EmbeddedSegmenter:
    """Load what :func:`save_embedded` wrote.

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
        network = EmbeddedMasks(vlm, processor, sam, card.classes, asking_of(card.architecture))
        load_model(network, str(folder / WEIGHTS))
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        message = (
            f"The model in {folder} cannot be read ({str(error).strip().splitlines()[0][:200]}): "
            "copy it again."
        )
        raise UnreadableFile(message) from error
    return EmbeddedSegmenter(card, network, device, fast=fast, reason=reason)
