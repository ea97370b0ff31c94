"""Decoders that convolve what they have enlarged: less arithmetic, the same answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from selion.models import find_card
from selion.models.enlarging import folded, for_four, spare_enlarging
from selion.models.graph import import_openvino, load_onnxruntime, load_openvino
from selion.segmenter import View

ov = pytest.importorskip("openvino")
onnx = pytest.importorskip("onnx")


def _convolved(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Convolve (in, y, x) by (out, in, 3, 3), pixel by pixel, zeros around."""
    height, width = image.shape[1:]
    around = np.pad(image, ((0, 0), (1, 1), (1, 1)))
    found = np.zeros((len(weights), height, width))
    for y in range(height):
        for x in range(width):
            patch = around[:, y : y + 3, x : x + 3]
            found[:, y, x] = (weights * patch[None]).sum((1, 2, 3))
    return found


def test_doubling_and_three_by_three_is_one_transposed_convolution() -> None:
    rng = np.random.default_rng(0)
    small, weights = rng.normal(size=(3, 5, 4)), rng.normal(size=(2, 3, 3, 3))
    truth = _convolved(small.repeat(2, 1).repeat(2, 2), weights)
    kernel = folded(weights)
    # by its definition: every value of the small map is painted with the kernel, one pixel cut off
    painted = np.zeros((2, 2 * 5 + 2, 2 * 4 + 2))
    for y in range(5):
        for x in range(4):
            painted[:, 2 * y : 2 * y + 4, 2 * x : 2 * x + 4] += np.einsum(
                "i,ioab->oab", small[:, y, x], kernel
            )
    np.testing.assert_allclose(painted[:, 1:-1, 1:-1], truth, atol=1e-6)


def test_four_pixels_at_once_are_each_the_convolution() -> None:
    rng = np.random.default_rng(1)
    image, weights = rng.normal(size=(3, 6, 8)), rng.normal(size=(2, 3, 3, 3))
    truth = _convolved(image, weights)
    kernel, around = for_four(weights), np.pad(image, ((0, 0), (1, 1), (1, 1)))
    for y in range(0, 6, 2):
        for x in range(0, 8, 2):
            four = (kernel * around[None, :, y : y + 4, x : x + 4]).sum((1, 2, 3))
            np.testing.assert_allclose(
                four.reshape(2, 2, 2), truth[:, y : y + 2, x : x + 2], atol=1e-6
            )


@pytest.mark.parametrize(
    ("name", "count"), [("crops-rgb", 6), ("crops-wide", 6), ("fields-rgb-vhr", 6)]
)
def test_shipped_networks_are_rewritten_and_answer_alike(name: str, count: int) -> None:
    card = find_card(name)
    assert card.folder is not None
    core = import_openvino().Core()
    model = core.read_model(card.folder / "model.onnx")
    edge = 2 * card.inputs.multiple
    model.reshape([1, 3, edge, edge])
    assert spare_enlarging(model) == count
    assert spare_enlarging(model) == 0  # nothing of it is left
    pixels = np.random.default_rng(2).uniform(0, 255, (3, 96, 160)).astype(np.float32)
    view = View(pixels, (slice(0, 96), slice(0, 160)))
    # ONNX Runtime has the graph as it stands
    theirs = load_onnxruntime(card, card.folder, threads=1)([view])
    ours = load_openvino(card, card.folder, threads=1)([view])
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    assert np.mean(ours.argmax(1) == theirs.argmax(1)) > 0.9999


def _graph(nodes: list[Any], weights: np.ndarray, channels: int, width: int) -> Any:
    helper = onnx.helper
    ports = [
        helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, channels, 6, width]),
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None),
    ]
    made = [
        onnx.numpy_helper.from_array(weights.astype(np.float32), "w"),
        onnx.numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "twice"),
        onnx.numpy_helper.from_array(np.array([1, 1, 3, 3], np.float32), "thrice"),
    ]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:], made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("resize", "convolution", "out"),
    [
        ({"mode": "linear"}, {}, 8),
        ({"nearest_mode": "ceil"}, {}, 8),
        ({"coordinate_transformation_mode": "half_pixel"}, {}, 8),
        ({"scales": "thrice"}, {}, 8),
        ({}, {"strides": [2, 2]}, 8),
        ({}, {"dilations": [2, 2], "pads": [2, 2, 2, 2]}, 8),
        ({}, {"pads": [0, 0, 0, 0]}, 2),
    ],
)
def test_what_is_another_sum_stays(
    resize: dict[str, str], convolution: dict[str, list[int]], out: int
) -> None:
    told = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
    told |= {"nearest_mode": "floor"} | resize
    scales = told.pop("scales", "twice")
    nodes = [
        onnx.helper.make_node("Resize", ["x", "", scales], ["big"], **told),
        onnx.helper.make_node("Conv", ["big", "w"], ["y"], **{"pads": [1, 1, 1, 1]} | convolution),
    ]
    weights = np.random.default_rng(3).normal(size=(out, 3, 3, 3))
    model = import_openvino().Core().read_model(_graph(nodes, weights, 3, 8).SerializeToString())
    assert spare_enlarging(model) == 0
