"""Graphs without weights: what turns the tensors of a published network into a model without torch.

torch writes the graph of a network once (``runs/graph_skeletons.py``), and it is kept in the
package with the names and shapes of the state dict and without a number of it.  With the tensors of
a checkpoint it becomes the graph that torch would have written for them.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.models.pointers import (
    INITIALIZER,
    MODEL_GRAPH,
    TENSOR_DIMS,
    TENSOR_NAME,
    TYPES,
)
from selion.models.protobuf import (
    Fields,
    fields_of,
    messages,
    numbers,
    raw_fields,
    text_of,
    write_field,
)

FOLDER = Path(__file__).with_name("skeletons")
BANDS, CLASSES = -1, -2
"""What stands in a shape for the number of bands, and of classes."""
INPUT, OUTPUT = 11, 12


@dataclass(frozen=True)
class Skeleton:
    """A graph that waits for weights."""

    content: bytes
    """An ONNX model: nodes, and the state dict's tensors as initializers without values, shapes
    with :data:`BANDS` and :data:`CLASSES` in them.  Input and output are left out."""

    def shapes(self, bands: int, classes: int) -> dict[str, tuple[int, ...]]:
        """Return the names and shapes of the state dict."""
        sizes = {BANDS: bands, CLASSES: classes}
        return {
            text_of(tensor, TENSOR_NAME): tuple(
                sizes.get(size, size) for size in numbers(tensor, TENSOR_DIMS)
            )
            for tensor in self._tensors()
        }

    def check(self, state: Mapping[str, np.ndarray], bands: int, classes: int, name: str) -> None:
        """Refuse (BadInput) tensors of which one is missing, too many, or of another shape."""
        wanted = self.shapes(bands, classes)
        missing = next((f"Missing key {key}" for key in wanted if key not in state), "")
        more = next((f"Unexpected key {key}" for key in state if key not in wanted), "")
        other = next(
            (
                f"size mismatch for {key}: {state[key].shape} instead of {shape}"
                for key, shape in wanted.items()
                if key in state and state[key].shape != shape
            ),
            "",
        )
        if fault := missing or more or other:
            raise BadInput(
                f"The weights of {name} do not fit its architecture ({fault}): correct encoder, "
                "bands or classes."
            )

    def model(self, bands: int, classes: int) -> bytes:
        """Return the ONNX model, with input and output, its initializers still without values."""
        parts = []
        for number, raw in raw_fields(memoryview(self.content)):
            if number == MODEL_GRAPH:
                (graph,) = messages(fields_of(raw), MODEL_GRAPH)
                ports = _port(INPUT, "image", bands) + _port(OUTPUT, "logits", classes)
                parts.append(write_field(MODEL_GRAPH, bytes(graph) + ports))
            else:
                parts.append(bytes(raw))
        return b"".join(parts)

    def _tensors(self) -> Iterator[Fields]:
        (graph,) = messages(fields_of(memoryview(self.content)), MODEL_GRAPH)
        return (fields_of(tensor) for tensor in messages(fields_of(graph), INITIALIZER))


def find_skeleton(architecture: Mapping[str, Any]) -> Skeleton | None:
    """Return the skeleton of an architecture, None if there is none."""
    if set(architecture) != {"family", "encoder"}:
        return None
    return _read(FOLDER / f"{architecture['family']}-{architecture['encoder']}.onnx.gz")


@cache
def _read(path: Path) -> Skeleton | None:
    return Skeleton(gzip.decompress(path.read_bytes())) if path.is_file() else None


def _port(field: int, name: str, channels: int) -> bytes:
    """Return an input or output of (batch, channels, height, width) float32."""
    sizes = (("batch", 2), (channels, 1), ("height", 2), ("width", 2))
    shape = b"".join(write_field(1, write_field(kind, size)) for size, kind in sizes)
    tensor = write_field(1, TYPES["F32"]) + write_field(2, shape)
    said = write_field(1, name) + write_field(2, write_field(1, tensor))
    return write_field(field, said)
