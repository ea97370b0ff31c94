"""The files of a model's folder, put together without torch: weights, graph, card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from selion.models import graph
from selion.models.architectures import check_window
from selion.models.card import CARD, GRAPH, WEIGHTS, ModelCard, with_files, write_card
from selion.models.fingerprint import fingerprint_of
from selion.models.narrow import narrow
from selion.models.pointers import point_into
from selion.models.skeleton import Skeleton
from selion.store import atomic_folder


def assemble(
    skeleton: Skeleton,
    state: Mapping[str, np.ndarray],
    card: ModelCard,
    folder: str | Path,
    *,
    half: bool,
    force: bool,
) -> ModelCard:
    """Write a model's folder from tensors and a graph that waits for them.

    Parameters
    ----------
    skeleton : Skeleton
        Of the card's architecture.
    state : mapping
        The network's state dict.
    card : ModelCard
        Its ``files`` and ``fingerprint`` are filled in.
    folder : path
        To write; it appears only when all is whole.
    half : bool
        Store convolution and matrix weights as float16.
    force : bool
        Replace an existing folder.

    Returns
    -------
    ModelCard

    Raises
    ------
    BadInput
        If the tensors are not those of the architecture.
    OutputExists, OutputFailed
        See :func:`selion.models.export`.
    """
    check_window(card.architecture, card.inputs)
    bands, classes = len(card.inputs.bands), len(card.classes)
    skeleton.check(state, bands, classes, card.name)
    with atomic_folder(folder, force) as part:
        whole = {name: _single(tensor) for name, tensor in state.items()}
        write_weights(narrow(whole, half=half, small=False), part)
        card = write_model(skeleton.model(bands, classes), card, part)
    return replace(card, folder=Path(folder).expanduser())


def _single(tensor: np.ndarray) -> np.ndarray:
    return tensor.astype(np.float32) if np.issubdtype(tensor.dtype, np.floating) else tensor


def write_weights(stored: Mapping[str, np.ndarray], folder: Path) -> None:
    """Write ``model.safetensors``."""
    from safetensors.numpy import save

    # save_file would make a file that only its owner can read
    (folder / WEIGHTS).write_bytes(save(dict(stored)))


def write_model(
    model: bytes,
    card: ModelCard,
    folder: Path,
    answer: Callable[[np.ndarray], np.ndarray] | None = None,
) -> ModelCard:
    """Write graph and card beside weights that are there.

    Parameters
    ----------
    model : bytes
        An ONNX model with initializers of the names in the weights' file.
    card : ModelCard
    folder : Path
    answer : callable, optional
        See :func:`selion.models.fingerprint.fingerprint_of`; by default what runs the graph here.

    Returns
    -------
    ModelCard
        With checksums and fingerprint.
    """
    (folder / GRAPH).write_bytes(point_into(model, folder / WEIGHTS))
    card = with_files(card, folder, (GRAPH, WEIGHTS))
    card = (
        with_graph_answers(card, folder)
        if answer is None
        else replace(card, fingerprint=fingerprint_of(card, answer))
    )
    write_card(card, folder / CARD)
    return card


def with_graph_answers(card: ModelCard, folder: Path) -> ModelCard:
    """Return the card with the answers of its graph, as the first engine here computes them.

    Without them where there is none.
    """
    for lacks, load in (
        (graph.openvino_lacks, graph.load_openvino),
        (graph.onnxruntime_lacks, graph.load_onnxruntime),
    ):
        if not lacks(card):
            loaded = load(card, folder, threads=1)
            return replace(card, fingerprint=fingerprint_of(card, loaded.logits))
    return replace(card, fingerprint={})
