"""Eight-bit integers instead of floats.

A graph calibrated on a user's own windows, and how often it still says the same.

The quantiser is ONNX Runtime's (static, per channel, quantise-dequantise nodes), which OpenVINO
runs in integers too.  The first and the last convolution stay float: they see the image and speak
the answer.  Whether it pays is for the numbers to say: they are measured on windows that
calibration never saw, and go into the card.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from selion.errors import BadInput
from selion.extras import require
from selion.models.architectures import torch_only
from selion.models.card import CARD, GRAPH, WEIGHTS, ModelCard, check_files, with_files, write_card
from selion.models.feed import check_views, feed
from selion.models.loading import load_model
from selion.segmenter import View
from selion.store import atomic_folder

LEAST = 8
"""Windows below which neither ranges nor agreement mean anything."""
AGREEMENT = 0.95
"""Share of pixels with the same class as float32 below which an 8-bit graph is another model."""
KINDS = ["Conv", "ConvTranspose", "Add", "Concat", "Resize", "MatMul"]
"""Nodes that are computed in integers."""
SHAPES = ("Shape", "Size")
"""Nodes that say how large something is."""


@dataclass(frozen=True)
class Fidelity:
    """What the integers cost and give, on windows that calibration did not see."""

    agreement: float
    """Share of pixels with the same class as float32."""
    worst: float
    """The same of the worst window."""
    speed: float
    """Seconds of float32 by seconds of the integers, the median over windows, one thread each."""
    windows: int

    def to_dict(self) -> dict[str, float]:
        """Return what the card keeps; the speed is that of one machine."""
        return {
            "agreement": round(self.agreement, 4),
            "worst_window": round(self.worst, 4),
            "windows": self.windows,
        }


def quantise(
    card: ModelCard,
    calibration: Sequence[View],
    judged: Sequence[View],
    folder: str | Path,
    *,
    least: float = AGREEMENT,
    force: bool = False,
) -> tuple[ModelCard, Fidelity]:
    """Write a model's folder with an 8-bit graph; its card keeps how nearly it says the same.

    Parameters
    ----------
    card : ModelCard
        A model whose graph is on this machine.
    calibration : sequence of View
        Windows as the model will be shown them, in the image's own numbers: they decide the ranges.
    judged : sequence of View
        Other windows: they say what it costs.
    folder : path
        To write: ``model.onnx`` and ``card.toml``.
    least : float
        Agreement below which nothing is written.
    force : bool
        Replace an existing folder.

    Returns
    -------
    ModelCard, Fidelity

    Raises
    ------
    BadInput
        If there are fewer than 8 windows of a kind, the model has no graph, or the 8-bit graph
        agrees with it on less than ``least`` of the judged pixels.
    MissingExtra
        If ``onnx`` or ``onnxruntime`` is missing.
    OutputExists, OutputFailed
        See :func:`selion.store.atomic_folder`.
    """
    if min(len(calibration), len(judged)) < LEAST:
        raise BadInput(
            f"{len(calibration)} windows to calibrate and {len(judged)} to judge were given; "
            f"wanted are {LEAST} of each: give a larger image."
        )
    if torch_only(card.architecture) or GRAPH not in card.files:
        raise BadInput(
            f"{card.name} has no graph that could be computed in integers; wanted is a model with "
            f"{GRAPH}."
        )
    source = check_files(card)
    check_views(calibration, card)
    with atomic_folder(folder, force) as part:
        _write_graph(source / GRAPH, [feed(view, card) for view in calibration], part / GRAPH)
        # such as the learnt score of its objects, which reads probabilities, whoever computed them
        others = tuple(name for name in card.files if name not in (GRAPH, WEIGHTS))
        for name in others:
            shutil.copyfile(source / name, part / name)
        small = with_files(
            # integers are rounded otherwise by other processors: its answers are not kept
            replace(card, name=f"{card.name}-int8", url="", sha256="", scores={}, fingerprint={}),
            part,
            (GRAPH, *others),
        )
        write_card(small, part / CARD)
        fidelity = judge(card, replace(small, folder=part), judged)
        _refuse_unlike(card, fidelity, least)
        sentence = (
            f"8-bit; same class as float32 on {fidelity.agreement:.2%} of the pixels of "
            f"{fidelity.windows} windows that calibration did not see"
        )
        notes = "; ".join(filter(None, [card.notes, sentence]))
        small = replace(small, notes=notes, scores={"int8": fidelity.to_dict()})
        write_card(small, part / CARD)
    return replace(small, folder=Path(folder).expanduser()), fidelity


def _refuse_unlike(card: ModelCard, fidelity: Fidelity, least: float) -> None:
    if fidelity.agreement < least:
        raise BadInput(
            f"In 8 bits {card.name} gives the same class on {fidelity.agreement:.2%} of the pixels "
            f"of {fidelity.windows} windows (worst window {fidelity.worst:.2%}); wanted are "
            f"{least:.1%} of them: calibrate on an image like those it was trained for, stay with "
            "float32 or --fast, or lower --least-agreement if that is near enough."
        )


def _write_graph(graph: Path, inputs: Sequence[np.ndarray], out: Path) -> None:
    quantization = require("onnxruntime.quantization", "ort")
    onnx = require("onnx", "train")
    with tempfile.TemporaryDirectory() as scratch:
        plain, prepared = Path(scratch) / "plain.onnx", Path(scratch) / "prepared.onnx"
        onnx.save(onnx.load(str(graph), load_external_data=True), str(plain))
        quantization.shape_inference.quant_pre_process(
            str(plain), str(prepared), skip_symbolic_shape=True
        )
        # it prints its percentiles, and standard output is the caller's
        with contextlib.redirect_stdout(sys.stderr):
            _quantise(quantization, prepared, out, inputs)


def _quantise(
    quantization: ModuleType, prepared: Path, out: Path, inputs: Sequence[np.ndarray]
) -> None:
    nodes = require("onnx", "train").load(str(prepared)).graph
    quantization.quantize_static(
        str(prepared),
        str(out),
        _reader(quantization.CalibrationDataReader, nodes.input[0].name, inputs),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        op_types_to_quantize=KINDS,
        nodes_to_exclude=sorted(_kept(nodes.node)),
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        calibrate_method=quantization.CalibrationMethod.Percentile,
    )


def _kept(nodes: Sequence[Any]) -> set[str]:
    """Names of nodes that stay float.

    The first and the last convolution; what makes the first one's input, such as the image beside
    where it is; and arithmetic on shapes, which some graphs do in floats: a width that is rounded
    to 8 bits is another width.
    """
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    kept = {node.name for node in (*convolutions[:1], *convolutions[-1:])}
    wanted = {name for node in convolutions[:1] for name in node.input}
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            kept.add(node.name)
            wanted.update(node.input)
    shapes = {name for node in nodes if node.op_type in SHAPES for name in node.output}
    fixed = {name for node in nodes if node.op_type == "Constant" for name in node.output}
    made = {name for node in nodes for name in node.output}
    for node in nodes:
        moving = [name for name in node.input if name in made and name not in fixed]
        if moving and shapes.issuperset(moving):
            shapes.update(node.output)
            kept.add(node.name)
    return kept


def _reader(kind: type, name: str, inputs: Sequence[np.ndarray]) -> Any:
    """Make the quantiser's iterator.

    It asks for one dictionary after another, and for None at the end.
    """
    rows = iter([{name: pixels} for pixels in inputs])
    return type("Windows", (kind,), {"get_next": lambda _: next(rows, None)})()


def judge(card: ModelCard, small: ModelCard, views: Sequence[View]) -> Fidelity:
    """Compare two models on windows, one thread each, in turn."""
    check_views(views, card)
    plain, integer = (
        load_model(one.folder or one.name, _engine(card), threads=1) for one in (card, small)
    )
    shares, ratios = [], []
    for view in [views[0], *views]:  # the first call compiles
        answers, seconds = [], []
        for model in (plain, integer):
            begin = time.perf_counter()
            answers.append(model([view])[0].argmax(0))
            seconds.append(time.perf_counter() - begin)
        shares.append(float((answers[0] == answers[1]).mean()))
        ratios.append(seconds[0] / seconds[1])
    return Fidelity(
        float(np.mean(shares[1:])), min(shares[1:]), float(np.median(ratios[1:])), len(views)
    )


def _engine(card: ModelCard) -> str:
    """Both are run by one engine of graphs: OpenVINO, and ONNX Runtime where it is missing."""
    from selion.models.graph import openvino_lacks

    return "onnxruntime" if openvino_lacks(card) else "openvino"
