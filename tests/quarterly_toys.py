"""Quarterly stacks and a random network of their shape, for the tests of both."""

from __future__ import annotations

import numpy as np
import rasterio
from affine import Affine

BANDS = tuple(
    f"Q{quarter}_{band}" for quarter in (1, 2, 3, 4) for band in ("B04", "B03", "B02", "B08")
)
STATED = "Q1,Q2,Q3,Q4 x B04,B03,B02,B08"
NODATA = -32768


def weights(seed=0, channels=16, classes=3, inner=6):
    """Two convolutions, 3 x 3 and 1 x 1, float32."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 0.2, (inner, channels, 3, 3)).astype(np.float32)
    bias = rng.normal(0, 0.3, inner).astype(np.float32)
    last = rng.normal(0, 1.2, (classes, inner, 1, 1)).astype(np.float32)
    return first, bias, last


def write_network(
    path, *, channels=16, classes=3, window=512, views="batch", softmax=False, **more
):
    """Write such a network as ONNX, its ports declared as the published one's."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    first, bias, last = weights(channels=channels, classes=classes)
    nodes = [
        helper.make_node("Conv", ["input", "first", "bias"], ["mid"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["mid"], ["bent"]),
        helper.make_node("Conv", ["bent", "last"], ["raw" if softmax else "logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["raw"], ["logits"], axis=1))
    size = [window, window]
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [views, channels, *size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [views, classes, *size])],
        [
            numpy_helper.from_array(value, name)
            for name, value in (("first", first), ("bias", bias), ("last", last))
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path), **more)
    return path


def reflectance(shape, seed=0):
    """(16, y, x) int16: fields of some pixels, with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    plots = rng.integers(200, 4500, (16, shape[0] // 9 + 1, shape[1] // 13 + 1))
    return (plots[:, y // 9, x // 13] + rng.integers(0, 400, (16, *shape))).astype(np.int16)


def write_stack(
    path,
    values,
    *,
    described=BANDS,
    stated=None,
    corner=(600000.0, 4300020.0),
    crs="EPSG:32610",
):
    """Write a stack as the public pipeline does: 10 m, UTM, int16, nodata -32768."""
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=values.shape[2],
        height=values.shape[1],
        count=len(values),
        dtype=values.dtype,
        crs=crs,
        transform=Affine(10, 0, corner[0], 0, -10, corner[1]),
        nodata=NODATA,
        tiled=True,
    ) as file:
        file.write(values)
        for number, name in enumerate(described or (), 1):
            file.set_band_description(number, name)
        if stated:
            file.update_tags(input_bands=stated)
    return path
