"""What stands in an ONNX file about itself, read without running it and without the onnx library.

An ONNX file is one message of Protocol Buffers.  Of its fields only those are looked at that say
what goes in, what comes out, and whether weights lie in other files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from selion.errors import UnreadableFile, UnsafeFile
from selion.models.protobuf import fields_of, messages, text_of

FLOAT = 1
"""ONNX's number of float32."""
_GRAPH, _FUNCTIONS = 7, 25
_NODES, _INITIALIZERS, _INPUTS, _OUTPUTS, _SPARSE = 1, 5, 11, 12, 15
_EXTERNAL, _LOCATION = 13, 14


@dataclass(frozen=True, slots=True)
class Port:
    """An input or an output of a graph."""

    name: str
    kind: int
    """ONNX's number of its type, see :data:`FLOAT`."""
    shape: tuple[int | None, ...]
    """None where a length is left open."""


@dataclass(frozen=True, slots=True)
class OnnxFacts:
    """What a graph says of itself."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    last: tuple[str, ...]
    """Operations of the nodes that make the outputs."""


def read_onnx(path: Path) -> OnnxFacts:
    """Read what an ONNX file says of its inputs and outputs.

    Raises
    ------
    UnreadableFile
        If it is missing, or no ONNX file, or is truncated.
    UnsafeFile
        If some of its weights lie in other files: their names could be any on this machine, and
        only one file was given.
    """
    try:
        content = memoryview(path.read_bytes())
    except OSError as error:
        raise UnreadableFile(
            f"{path} cannot be read ({error.strerror}): give an ONNX file."
        ) from error
    try:
        model = fields_of(content)
        graphs = messages(model, _GRAPH)
        outside = any(_outside_graph(one) for one in graphs) or any(
            _outside_nodes(one, 7) for one in messages(model, _FUNCTIONS)
        )
        facts = [_facts(one) for one in graphs]
    except (ValueError, IndexError, UnicodeDecodeError):
        facts, outside = [], False
    if not facts or not facts[0].outputs:
        raise UnreadableFile(
            f"{path} is not a whole ONNX file: it may be truncated, or of another kind."
        )
    if outside:
        raise UnsafeFile(
            f"{path} keeps weights in other files, which it names itself, so it is refused: save "
            "it as one file where you trust it (onnx.save(onnx.load(FILE), ONE_FILE))."
        )
    return facts[0]


def _facts(graph: memoryview) -> OnnxFacts:
    found = fields_of(graph)
    inner = {text_of(fields_of(one), 8) for one in messages(found, _INITIALIZERS)}
    inputs = (_port(one) for one in messages(found, _INPUTS))
    outputs = tuple(_port(one) for one in messages(found, _OUTPUTS))
    names = {port.name for port in outputs}
    nodes = (fields_of(one) for one in messages(found, _NODES))
    last = tuple(
        text_of(node, 4)
        for node in nodes
        if names & {bytes(name).decode() for name in messages(node, 2)}
    )
    return OnnxFacts(tuple(port for port in inputs if port.name not in inner), outputs, last)


def _port(value: memoryview) -> Port:
    """Read a ValueInfoProto."""
    found = fields_of(value)
    types = [fields_of(one) for one in messages(found, 2)]
    tensors = [fields_of(one) for kind in types for one in messages(kind, 1)]
    if not tensors:
        return Port(text_of(found, 1), 0, ())
    kind = next((v for v in tensors[0].get(1, ()) if isinstance(v, int)), 0)
    shapes = [fields_of(one) for one in messages(tensors[0], 2)]
    lengths = [fields_of(one) for shape in shapes for one in messages(shape, 1)]
    shape = tuple(
        next((v for v in length.get(1, ()) if isinstance(v, int) and v > 0), None)
        for length in lengths
    )
    return Port(text_of(found, 1), kind, shape)


def _outside_graph(graph: memoryview) -> bool:
    """Say whether any tensor of a graph, or of the graphs in it, lies in another file."""
    found = fields_of(graph)
    tensors = messages(found, _INITIALIZERS)
    tensors += [
        part
        for one in messages(found, _SPARSE)
        for k in (1, 2)
        for part in messages(fields_of(one), k)
    ]
    return any(_outside_tensor(one) for one in tensors) or _outside_nodes(graph, _NODES)


def _outside_nodes(holder: memoryview, number: int) -> bool:
    for node in messages(fields_of(holder), number):
        for attribute in messages(fields_of(node), 5):
            found = fields_of(attribute)
            if any(_outside_tensor(one) for k in (5, 10) for one in messages(found, k)):
                return True
            sparse = [fields_of(one) for k in (22, 23) for one in messages(found, k)]
            if any(_outside_tensor(one) for s in sparse for k in (1, 2) for one in messages(s, k)):
                return True
            if any(_outside_graph(one) for k in (6, 11) for one in messages(found, k)):
                return True
    return False


def _outside_tensor(tensor: memoryview) -> bool:
    found = fields_of(tensor)
    return bool(found.get(_EXTERNAL)) or any(place == 1 for place in found.get(_LOCATION, ()))
