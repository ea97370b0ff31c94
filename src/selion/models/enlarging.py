"""The same network with less arithmetic: decoders that enlarge before they convolve.

Decoders of the U-Net family double a map by repeating every value and then convolve it by 3 x 3,
so of nine products four and fewer differ: rows and columns that are repeated can be summed in the
weights.  What is left is a transposed convolution of 4 x 4 with a stride of 2 on the small map,
2 x 2 products for each value.  A last convolution into a few classes leaves most lanes of a
processor idle; taken for four pixels at once it fills them.  Both are the same sums in another
order: answers differ by rounding alone (some 1e-6 of a logit).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

_FEW = 4
"""Classes up to which the last convolution is taken for four pixels at once: processors compute 8
or 16 channels at a time."""
_REPEATED = (((0,), (1, 2)), ((0, 1), (2,)))
"""Place within a pair of repeated pixels -> tap on the small map -> which of three taps it is."""


def spare_enlarging(model: Any) -> int:
    """Rewrite an OpenVINO model whose shapes are known, in place.

    Returns
    -------
    int
        How many convolutions were replaced; 0 where the network has none of the kind.
    """
    ops = importlib.import_module("openvino.opset8")
    count = 0
    for node in list(model.get_ordered_ops()):
        if not _is_plain(node):
            continue
        made = _on_small_map(ops, node) or _four_at_once(ops, node)
        if made is not None:
            node.output(0).replace(made.output(0))
            count += 1
    if count:
        model.validate_nodes_and_infer_types()
    return count


def folded(weights: np.ndarray) -> np.ndarray:
    """Return the weights of the transposed convolution that doubling and 3 x 3 weights are.

    Parameters
    ----------
    weights : (out, in, 3, 3) ndarray

    Returns
    -------
    (in, out, 4, 4) float32 ndarray
        For a stride of 2 and one pixel of padding: row k of it meets an odd pixel where k is even.
    """
    found = np.zeros((*weights.shape[1::-1], 4, 4))
    for row, rows in enumerate(_REPEATED):
        for column, columns in enumerate(_REPEATED):
            for tap, y in enumerate(rows):
                for other, x in enumerate(columns):
                    summed = weights[:, :, y][..., x].sum((2, 3), dtype=np.float64)
                    found[:, :, 3 - row - 2 * tap, 3 - column - 2 * other] = summed.T
    return found.astype(np.float32)


def for_four(weights: np.ndarray) -> np.ndarray:
    """Return the weights that answer for 2 x 2 pixels at once what 3 x 3 weights do for one.

    Parameters
    ----------
    weights : (out, in, 3, 3) ndarray

    Returns
    -------
    (4 out, in, 4, 4) float32 ndarray
        For a stride of 2 and one pixel of padding; the four pixels of a class lie together.
    """
    out, channels = weights.shape[:2]
    found = np.zeros((out, 2, 2, channels, 4, 4), np.float32)
    for row in (0, 1):
        for column in (0, 1):
            found[:, row, column, :, row : row + 3, column : column + 3] = weights
    return found.reshape(4 * out, channels, 4, 4)


def _is_plain(node: Any) -> bool:
    """Say whether a node is a 3 x 3 convolution that keeps its size, with weights that stay."""
    if node.get_type_name() != "Convolution" or not node.output(0).get_partial_shape().is_static:
        return False
    told = node.get_attributes()
    one = [1, 1]
    return (
        told["auto_pad"] == "explicit"
        and all(told[name] == one for name in ("strides", "dilations", "pads_begin", "pads_end"))
        and list(node.input(1).get_shape()[2:]) == [3, 3]
        and _weights(node) is not None
    )


def _weights(node: Any) -> np.ndarray | None:
    """Return the constant weights of a convolution, which may be stored as float16."""
    source = node.input_value(1).get_node()
    while source.get_type_name() == "Convert":
        source = source.input_value(0).get_node()
    if source.get_type_name() != "Constant":
        return None
    return np.asarray(source.get_data(), np.float32)


def _on_small_map(ops: Any, node: Any) -> Any | None:
    """Return what a convolution of an enlarged map says, or None if it is of another map."""
    weights, source = _weights(node), node.input_value(0)
    if weights is None:
        return None
    if _doubled(source) is not None:
        return _transposed(ops, _doubled(source), weights)
    joined = source.get_node()
    if joined.get_type_name() != "Concat" or joined.get_attributes()["axis"] not in (1, -3):
        return None
    first = joined.input_value(0)
    small = _doubled(first)
    if small is None or joined.get_input_size() != 2:
        return None
    channels = first.get_shape()[1]
    beside = ops.constant(np.ascontiguousarray(weights[:, channels:]))
    one = [1, 1]
    kept = ops.convolution(joined.input_value(1), beside, one, one, one, one)
    return ops.add(kept, _transposed(ops, small, weights[:, :channels]))


def _doubled(output: Any) -> Any | None:
    """Return the map that an output repeats every value of, 2 x 2 times; None if it does not."""
    node = output.get_node()
    if node.get_type_name() != "Interpolate":
        return None
    told = node.get_attributes()
    nearest = (
        told["mode"] == "nearest"
        and told["coordinate_transformation_mode"] == "asymmetric"
        and told["nearest_mode"] == "floor"
    )
    small = node.input_value(0)
    before, after = list(small.get_shape()), list(output.get_shape())
    whole = len(before) == 4 and after == [*before[:2], 2 * before[2], 2 * before[3]]
    return small if nearest and whole else None


def _transposed(ops: Any, small: Any, weights: np.ndarray) -> Any:
    one = [1, 1]
    return ops.convolution_backprop_data(
        small,
        ops.constant(folded(weights)),
        strides=[2, 2],
        pads_begin=one,
        pads_end=one,
        dilations=one,
    )


def _four_at_once(ops: Any, node: Any) -> Any | None:
    """Return what a convolution into a few classes says; None if it has many."""
    weights = _weights(node)
    shape = list(node.output(0).get_shape())
    if weights is None or len(weights) > _FEW or shape[2] % 2 or shape[3] % 2:
        return None
    one = [1, 1]
    found = ops.convolution(
        node.input_value(0), ops.constant(for_four(weights)), [2, 2], one, one, one
    )
    return ops.depth_to_space(found, "depth_first", 2)
