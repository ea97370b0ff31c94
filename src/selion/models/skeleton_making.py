"""How a graph without weights is made: torch writes it, and the numbers are taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selion.classes import ClassScheme
from selion.models.card import ModelCard
from selion.models.pointers import (
    INITIALIZER,
    MODEL_GRAPH,
    NODE,
    NODE_NOTE,
    TENSOR_DIMS,
    TENSOR_NAME,
    TENSOR_TYPE,
    TYPES,
)
from selion.models.protobuf import fields_of, messages, raw_fields, write_field
from selion.models.skeleton import BANDS, CLASSES, INPUT, OUTPUT
from selion.segmenter import InputSpec


def make_skeleton(architecture: Mapping[str, Any]) -> bytes:
    """Have torch write the graph of a network, and take the numbers out.

    Parameters
    ----------
    architecture : mapping
        As in a card, of a family that takes windows of any size.

    Returns
    -------
    bytes
        What :class:`~selion.models.skeleton.Skeleton` holds.
    """
    shapes, other = (_shapes_of(architecture, *sizes) for sizes in ((8, 3), (4, 2)))
    bands, classes = 8, 3
    content = []
    traced = _traced(architecture, bands, classes)
    for number, raw in raw_fields(memoryview(traced)):
        if number != MODEL_GRAPH:
            content.append(bytes(raw))
            continue
        (graph,) = messages(fields_of(raw), MODEL_GRAPH)
        parts = [
            write_field(NODE, b"".join(bytes(r) for n, r in raw_fields(node) if n != NODE_NOTE))
            for node in messages(fields_of(graph), NODE)
        ]
        named = (NODE, INITIALIZER, INPUT, OUTPUT)
        parts += [bytes(r) for n, r in raw_fields(graph) if n not in named]
        for name, (shape, kind) in shapes.items():
            sizes = [
                size if size == instead else BANDS if (size, instead) == (8, 4) else CLASSES
                for size, instead in zip(shape, other[name][0], strict=True)
            ]
            tensor = [write_field(TENSOR_DIMS, size) for size in sizes]
            tensor += [write_field(TENSOR_TYPE, kind), write_field(TENSOR_NAME, name)]
            parts.append(write_field(INITIALIZER, b"".join(tensor)))
        content.append(write_field(MODEL_GRAPH, b"".join(parts)))
    return b"".join(content)


def _shapes_of(
    architecture: Mapping[str, Any], bands: int, classes: int
) -> dict[str, tuple[tuple[int, ...], int]]:
    from selion.models.blank import build_meta

    return {
        name: (tuple(tensor.shape), TYPES["F32" if tensor.is_floating_point() else "I64"])
        for name, tensor in build_meta(architecture, bands, classes).state_dict().items()
    }


def _traced(architecture: Mapping[str, Any], bands: int, classes: int) -> bytes:
    """Return torch's graph of a network, no two tensors of which are equal.

    Of equal ones the exporter keeps one.
    """
    import torch

    from selion.models.architectures import build
    from selion.models.export import trace

    network = build(architecture, bands, classes).eval()
    for k, tensor in enumerate(network.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(torch.linspace(0.5, 1.5 + k / 1e3, tensor.numel()).reshape(tensor.shape))
    names = ClassScheme(tuple(f"class{k}" for k in range(classes)))
    inputs = InputSpec(tuple(f"band{k}" for k in range(bands)))
    return trace(network, replace(ModelCard("skeleton", inputs, names), architecture=architecture))
