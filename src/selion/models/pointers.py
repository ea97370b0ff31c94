"""An ONNX graph whose weights are those of a safetensors file beside it.

The initializers become ONNX *external data*: file name, offset and length of the tensor of the same
name in that file (its layout: length, JSON header, tensors).  What is stored as float16 or int8 is
widened to float32 by the graph's first nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selion.models.narrow import SCALE
from selion.models.protobuf import (
    fields_of,
    messages,
    numbers,
    raw_fields,
    text_of,
    write_field,
)

MODEL_GRAPH = 7
NODE, INITIALIZER = 1, 5
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_KIND, NODE_ATTRIBUTE, NODE_NOTE = 1, 2, 3, 4, 5, 6
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME = 1, 2, 8
_TENSOR_EXTERNAL, _TENSOR_LOCATION, _ELSEWHERE = 13, 14, 1
_FLOAT, _ATTRIBUTE_INT = 1, 2
TYPES = {"F32": _FLOAT, "F16": 10, "I8": 3, "I64": 7}
"""Types of safetensors -> ONNX's numbers."""


def point_into(model: bytes, weights: Path) -> bytes:
    """Replace a graph's initializers by pointers into a safetensors file.

    Initializers that no node reads are left out, and so are the nodes' notes, which name source
    files of the exporting machine.

    Parameters
    ----------
    model : bytes
        An ONNX model.  Its initializers are named as in the file; what they hold is not read.
    weights : Path
        The safetensors file; its name is written, without its folder.

    Returns
    -------
    bytes
        An ONNX model, for a file in the folder of ``weights``.
    """
    with weights.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json.loads(stream.read(length))
    parts = []
    for number, raw in raw_fields(memoryview(model)):
        if number == MODEL_GRAPH:
            (graph,) = messages(fields_of(raw), MODEL_GRAPH)
            parts.append(
                write_field(MODEL_GRAPH, _pointing(graph, header, weights.name, 8 + length))
            )
        else:
            parts.append(bytes(raw))
    return b"".join(parts)


def _pointing(graph: memoryview, header: dict[str, Any], location: str, start: int) -> bytes:
    found = fields_of(graph)
    nodes = messages(found, NODE)
    read = {name for node in nodes for name in _read_by(node)}
    pointers, wideners = [], []
    for name in (text_of(fields_of(one), TENSOR_NAME) for one in messages(found, INITIALIZER)):
        if name not in read:
            continue
        stored = name if header[name]["dtype"] in {"F32", "I64"} else f"{name}:stored"
        pointers.append(_pointer(stored, header[name], location, start))
        if header[name]["dtype"] == "F16":
            wideners.append(_cast(stored, name, name))
        elif header[name]["dtype"] == "I8":
            pointers.append(_pointer(name + SCALE, header[name + SCALE], location, start))
            wideners.append(_cast(stored, f"{name}:wide", name))
            wideners.append(_node("Mul", [f"{name}:wide", name + SCALE], name, f"{name}:mul"))
    rows = [write_field(NODE, one) for one in (*wideners, *(_without_note(one) for one in nodes))]
    tensors = [write_field(INITIALIZER, one) for one in pointers]
    others = [
        (number, bytes(raw))
        for number, raw in raw_fields(graph)
        if number not in (NODE, INITIALIZER)
    ]
    before = [raw for number, raw in others if number < INITIALIZER]
    return b"".join([*rows, *before, *tensors, *(raw for n, raw in others if n > INITIALIZER)])


def _read_by(node: memoryview) -> Iterator[str]:
    """Yield the names that a node reads, and the nodes of graphs within it."""
    found = fields_of(node)
    yield from (bytes(name).decode() for name in messages(found, NODE_INPUT))
    for attribute in messages(found, NODE_ATTRIBUTE):
        inner = fields_of(attribute)
        for graph in (*messages(inner, 6), *messages(inner, 11)):
            for one in messages(fields_of(graph), NODE):
                yield from _read_by(one)


def _without_note(node: memoryview) -> bytes:
    return b"".join(bytes(raw) for number, raw in raw_fields(node) if number != NODE_NOTE)


def _node(kind: str, inputs: list[str], output: str, name: str, attribute: bytes = b"") -> bytes:
    parts = [write_field(NODE_INPUT, one) for one in inputs]
    parts += [write_field(NODE_OUTPUT, output), write_field(NODE_NAME, name)]
    parts += [write_field(NODE_KIND, kind)]
    return b"".join(parts + ([write_field(NODE_ATTRIBUTE, attribute)] if attribute else []))


def _cast(stored: str, output: str, name: str) -> bytes:
    """Return the node that widens a tensor to float32."""
    to = write_field(1, "to") + write_field(3, _FLOAT) + write_field(20, _ATTRIBUTE_INT)
    return _node("Cast", [stored], output, f"{name}:cast", to)


def _pointer(name: str, entry: dict[str, Any], location: str, start: int) -> bytes:
    """Return an initializer whose values lie in another file.

    They begin at ``start`` plus the entry's own offsets.
    """
    begin, end = entry["data_offsets"]
    parts = [write_field(TENSOR_DIMS, size) for size in entry["shape"]]
    parts += [write_field(TENSOR_TYPE, TYPES[entry["dtype"]]), write_field(TENSOR_NAME, name)]
    for key, value in (("location", location), ("offset", start + begin), ("length", end - begin)):
        said = write_field(1, key) + write_field(2, str(value))
        parts.append(write_field(_TENSOR_EXTERNAL, said))
    return b"".join([*parts, write_field(_TENSOR_LOCATION, _ELSEWHERE)])


def shape_of(tensor: memoryview) -> tuple[int, ...]:
    """Return an initializer's shape."""
    return tuple(numbers(fields_of(tensor), TENSOR_DIMS))
