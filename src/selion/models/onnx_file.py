"""What stands in an ONNX file about itself, read without running it and without the onnx library.

An ONNX file is one message of Protocol Buffers.  Of its fields only those are looked at that say
what goes in, what comes out, and whether weights lie in other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from selion.errors import UnreadableFile, UnsafeFile

FLOAT = 1
"""ONNX's number of float32."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_GRAPH, _FUNCTIONS = 7, 25
_NODES, _INITIALIZERS, _INPUTS, _OUTPUTS, _SPARSE = 1, 5, 11, 12, 15
_EXTERNAL, _LOCATION = 13, 14
Fields = dict[int, list[int | memoryview]]


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
        model = _fields(content)
        graphs = _messages(model, _GRAPH)
        outside = any(_outside_graph(one) for one in graphs) or any(
            _outside_nodes(one, 7) for one in _messages(model, _FUNCTIONS)
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
    found = _fields(graph)
    inner = {_text(_fields(one), 8) for one in _messages(found, _INITIALIZERS)}
    inputs = (_port(one) for one in _messages(found, _INPUTS))
    outputs = tuple(_port(one) for one in _messages(found, _OUTPUTS))
    names = {port.name for port in outputs}
    nodes = (_fields(one) for one in _messages(found, _NODES))
    last = tuple(
        _text(node, 4)
        for node in nodes
        if names & {bytes(name).decode() for name in _messages(node, 2)}
    )
    return OnnxFacts(tuple(port for port in inputs if port.name not in inner), outputs, last)


def _port(value: memoryview) -> Port:
    """Read a ValueInfoProto."""
    found = _fields(value)
    types = [_fields(one) for one in _messages(found, 2)]
    tensors = [_fields(one) for kind in types for one in _messages(kind, 1)]
    if not tensors:
        return Port(_text(found, 1), 0, ())
    kind = next((v for v in tensors[0].get(1, ()) if isinstance(v, int)), 0)
    shapes = [_fields(one) for one in _messages(tensors[0], 2)]
    lengths = [_fields(one) for shape in shapes for one in _messages(shape, 1)]
    shape = tuple(
        next((v for v in length.get(1, ()) if isinstance(v, int) and v > 0), None)
        for length in lengths
    )
    return Port(_text(found, 1), kind, shape)


def _outside_graph(graph: memoryview) -> bool:
    """Say whether any tensor of a graph, or of the graphs in it, lies in another file."""
    found = _fields(graph)
    tensors = _messages(found, _INITIALIZERS)
    tensors += [
        part
        for one in _messages(found, _SPARSE)
        for k in (1, 2)
        for part in _messages(_fields(one), k)
    ]
    return any(_outside_tensor(one) for one in tensors) or _outside_nodes(graph, _NODES)


def _outside_nodes(holder: memoryview, number: int) -> bool:
    for node in _messages(_fields(holder), number):
        for attribute in _messages(_fields(node), 5):
            found = _fields(attribute)
            if any(_outside_tensor(one) for k in (5, 10) for one in _messages(found, k)):
                return True
            sparse = [_fields(one) for k in (22, 23) for one in _messages(found, k)]
            if any(_outside_tensor(one) for s in sparse for k in (1, 2) for one in _messages(s, k)):
                return True
            if any(_outside_graph(one) for k in (6, 11) for one in _messages(found, k)):
                return True
    return False


def _outside_tensor(tensor: memoryview) -> bool:
    found = _fields(tensor)
    return bool(found.get(_EXTERNAL)) or any(place == 1 for place in found.get(_LOCATION, ()))


def _messages(found: Fields, number: int) -> list[memoryview]:
    return [value for value in found.get(number, ()) if isinstance(value, memoryview)]


def _text(found: Fields, number: int) -> str:
    return "".join(bytes(value).decode() for value in _messages(found, number)[:1])


def _fields(message: memoryview) -> Fields:
    """Read one message: field number -> its values."""
    found: Fields = {}
    for number, value in _walk(message):
        found.setdefault(number, []).append(value)
    return found


def _walk(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == _BYTES:
            length, at = _varint(message, at)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(kind)
        if at + length > len(message) or number == 0:
            raise ValueError(number)
        yield number, message[at : at + length]
        at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError(at)
