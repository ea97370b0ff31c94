"""A torch network becomes a folder that needs no torch.

One file of weights, a graph that points into it, and the card.

The weights lie on disk once.  ``model.safetensors`` holds the state dict; the initializers of
``model.onnx`` are ONNX *external data*: file name, offset and length of the same tensor in that
file.  Convolution weights are stored as float16 and cast to float32 by the graph's first nodes, so
that the arithmetic stays float32 and the engines see the very numbers that torch loads.
"""

from __future__ import annotations

import copy
import io
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.extras import require
from selion.models.architectures import check_window, find_family
from selion.models.assembly import write_model, write_weights
from selion.models.card import CARD, ModelCard, with_files, write_card
from selion.models.narrow import narrow, widen
from selion.store import atomic_folder

if TYPE_CHECKING:
    import torch


def export(
    network: torch.nn.Module,
    card: ModelCard,
    folder: str | Path,
    *,
    half: bool = True,
    small: bool = False,
    force: bool = False,
    besides: Sequence[Path] = (),
) -> ModelCard:
    """Write ``model.safetensors``, ``model.onnx`` and ``card.toml``.

    The folder appears only when all three are whole.

    Parameters
    ----------
    network : torch.nn.Module
        (view, band, y, x) float32 -> (view, class, y, x) logits.  It is not changed.
    card : ModelCard
        Its ``files`` are filled in.
    folder : path
        To write.
    half : bool
        Store convolution and matrix weights as float16; biases and batch statistics stay float32.
    small : bool
        Store the largest of them (2**19 values or more) as int8 with a scale per output channel;
        see :mod:`selion.models.narrow`.
    force : bool
        Replace an existing folder.
    besides : sequence of path
        Files that belong to the model, such as a learnt score: copied, and named by the card.

    Returns
    -------
    ModelCard
        With checksums and ``folder``.

    Raises
    ------
    OutputExists
        If the folder is there and ``force`` is not given.
    OutputFailed
        If it cannot be written.
    BadInput
        If the network does not answer one channel per class of the card, or does not take its
        windows.
    """
    if card.architecture:
        check_window(card.architecture, card.inputs)
    if card.architecture and find_family(card.architecture).kept_as:
        return _kept_whole(network, card, folder, force, besides)
    from selion.models.pooling import replace_adaptive_pooling

    network = replace_adaptive_pooling(copy.deepcopy(network).cpu().float().eval())
    with atomic_folder(folder, force) as part:
        card = _write(network, card, part, half=half, small=small)
        if besides:
            names = [shutil.copyfile(path, part / path.name).name for path in besides]
            card = with_files(card, part, (*card.files, *names))
            write_card(card, part / CARD)
    return replace(card, folder=Path(folder).expanduser())


def _kept_whole(
    network: Any, card: ModelCard, folder: str | Path, force: bool, besides: Sequence[Path]
) -> ModelCard:
    """Write a network whose language model answers: there is no graph of it."""
    from selion.models.embedded.convert import save_embedded

    with atomic_folder(folder, force) as part:
        for path in besides:
            shutil.copyfile(path, part / path.name)
        card = save_embedded(network, card, part)
    return replace(card, folder=Path(folder).expanduser())


def _write(
    network: torch.nn.Module, card: ModelCard, folder: Path, *, half: bool, small: bool
) -> ModelCard:
    torch = require("torch", "train")
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    stored = narrow(state, half=half, small=small)
    write_weights(stored, folder)
    network.load_state_dict(widen({name: torch.from_numpy(one) for name, one in stored.items()}))
    return write_model(trace(network, card), card, folder, partial(answer_of, network))


def answer_of(network: torch.nn.Module, fed: np.ndarray) -> np.ndarray:
    """Return a network's logits as an array, (view, band, y, x) float32 -> (view, class, y, x)."""
    torch = require("torch", "train")
    with torch.inference_mode():
        return np.asarray(network(torch.from_numpy(fed)).numpy())


def trace(network: torch.nn.Module, card: ModelCard) -> bytes:
    """Return the ONNX model with dynamic batch, height and width.

    Height and width are the window's where the family takes one size only.  Where dates are a set,
    the number of channels is dynamic, too: a multiple of the card's bands.

    The tracing exporter is taken, not the newer one on torch.export: with constants unfolded it
    keeps each initializer under its name in the state dict, unfused, which is what pointing into
    the weights' file needs; and it is five times faster.
    """
    torch = require("torch", "train")
    require("onnx", "train")  # what the exporter writes with
    fixed = bool(card.architecture) and find_family(card.architecture).fixed
    size = card.inputs.window if fixed else 2 * card.inputs.multiple
    example = torch.zeros(2, len(card.inputs.bands) * (2 if card.inputs.dates else 1), size, size)
    with torch.inference_mode():
        channels = network(example).shape[1]
    if channels != len(card.classes):
        raise BadInput(
            f"The network answers {channels} channels, but the card of {card.name} has "
            f"{len(card.classes)} classes: correct the card."
        )
    axes = {0: "batch"} if fixed else {0: "batch", 2: "height", 3: "width"}
    image_axes = axes | ({1: "bands"} if card.inputs.dates else {})
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # the exporter's notices of tracing and of its age are not the user's concern
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            stream,
            dynamo=False,
            opset_version=17,
            do_constant_folding=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": image_axes, "logits": axes},
        )
    return stream.getvalue()
