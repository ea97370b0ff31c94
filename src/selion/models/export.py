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
import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput
from selion.extras import require
from selion.models.architectures import check_window, find_family
from selion.models.card import CARD, GRAPH, WEIGHTS, ModelCard, with_files, write_card
from selion.models.narrow import SCALE, narrow, widen
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
    from selion.models.pooling import replace_adaptive_pooling

    network = replace_adaptive_pooling(copy.deepcopy(network).cpu().float().eval())
    with atomic_folder(folder, force) as part:
        card = _write(network, card, part, half=half, small=small)
    return replace(card, folder=Path(folder).expanduser())


def _write(
    network: torch.nn.Module, card: ModelCard, folder: Path, *, half: bool, small: bool
) -> ModelCard:
    from safetensors.torch import save

    stored = narrow(network.state_dict(), half=half, small=small)
    # save_file would make a file that only its owner can read
    (folder / WEIGHTS).write_bytes(save(stored))
    network.load_state_dict(widen(stored))
    graph = _trace(network, card)
    _point_into(graph, folder / WEIGHTS)
    (folder / GRAPH).write_bytes(graph.SerializeToString(deterministic=True))
    card = with_files(card, folder, (GRAPH, WEIGHTS))
    write_card(card, folder / CARD)
    return card


def _trace(network: torch.nn.Module, card: ModelCard) -> Any:
    """Return the ONNX graph with dynamic batch, height and width.

    Height and width are the window's where the family takes one size only.

    The tracing exporter is taken, not the newer one on torch.export: with constants unfolded it
    keeps each initializer under its name in the state dict, unfused, which is what pointing into
    the weights' file needs; and it is five times faster.
    """
    torch = require("torch", "train")
    onnx = require("onnx", "train")
    fixed = bool(card.architecture) and find_family(card.architecture).fixed
    size = card.inputs.window if fixed else 2 * card.inputs.multiple
    example = torch.zeros(2, len(card.inputs.bands), size, size)
    with torch.inference_mode():
        channels = network(example).shape[1]
    if channels != len(card.classes):
        raise BadInput(
            f"The network answers {channels} channels, but the card of {card.name} has "
            f"{len(card.classes)} classes: correct the card."
        )
    axes = {0: "batch"} if fixed else {0: "batch", 2: "height", 3: "width"}
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
            dynamic_axes={"image": axes, "logits": axes},
        )
    return onnx.load_from_string(stream.getvalue())


def _point_into(model: Any, weights: Path) -> None:
    """Replace the graph's initializers by pointers into the safetensors file.

    See that format's layout: length, JSON header, tensors.
    """
    onnx = require("onnx", "train")
    with weights.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    for node in model.graph.node:
        node.doc_string = ""  # source lines with paths of the exporting machine
    initializers = list(model.graph.initializer)
    del model.graph.initializer[:]
    wideners = []
    for name in (tensor.name for tensor in initializers):
        plain, dtype = onnx.TensorProto, header[name]["dtype"]
        stored = name if dtype in {"F32", "I64"} else f"{name}:stored"
        model.graph.initializer.append(_pointer(stored, header[name], weights.name, 8 + length))
        if dtype == "F16":
            wideners.append(
                onnx.helper.make_node("Cast", [stored], [name], name=f"{name}:cast", to=plain.FLOAT)
            )
        elif dtype == "I8":
            model.graph.initializer.append(
                _pointer(name + SCALE, header[name + SCALE], weights.name, 8 + length)
            )
            wideners.append(
                onnx.helper.make_node(
                    "Cast", [stored], [f"{name}:wide"], name=f"{name}:cast", to=plain.FLOAT
                )
            )
            wideners.append(
                onnx.helper.make_node(
                    "Mul", [f"{name}:wide", name + SCALE], [name], name=f"{name}:mul"
                )
            )
    nodes = [*wideners, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _pointer(name: str, entry: dict[str, Any], location: str, start: int) -> Any:
    """Return an initializer whose values lie in another file.

    They begin at ``start`` plus the entry's own offsets.
    """
    onnx = require("onnx", "train")
    kinds = {
        "F32": onnx.TensorProto.FLOAT,
        "F16": onnx.TensorProto.FLOAT16,
        "I8": onnx.TensorProto.INT8,
        "I64": onnx.TensorProto.INT64,
    }
    begin, end = entry["data_offsets"]
    tensor = onnx.TensorProto(
        name=name,
        data_type=kinds[entry["dtype"]],
        dims=entry["shape"],
        data_location=onnx.TensorProto.EXTERNAL,
    )
    for key, value in (("location", location), ("offset", start + begin), ("length", end - begin)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor
