"""ONNX file + card -> Segmenter, by OpenVINO or ONNX Runtime, without torch.

Both engines run one window per call on one thread, and as many calls at once as there are threads.
So the answer for a window depends neither on the windows that share its batch nor on the number of
threads, and no time is lost to threads that wait for each other.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np

from selion.cores import usable_cores
from selion.errors import BadInput, UnreadableFile
from selion.extras import available, require
from selion.models.architectures import torch_only
from selion.models.card import GRAPH, ModelCard
from selion.models.enlarging import spare_enlarging
from selion.models.execution import CardModel, Execution
from selion.models.feed import empty_answers, feed, probabilities
from selion.segmenter import LoadedModel, View

Run = Callable[[np.ndarray], np.ndarray]
"""(1, band, y, x) float32 -> (1, class, y, x) float32 logits; safe to call from several threads."""
_VIEWS = 2
"""Views of a call.  It is the same on every machine, and small: several calls are under way at once
instead, so memory grows with the threads only."""
_SHAPES_KEPT = 3
"""How many window sizes stay compiled: the window of the run, and two for those who compare
sizes."""


class GraphSegmenter(CardModel):
    """A model card and an engine that runs its graph."""

    batch = _VIEWS

    def __init__(
        self,
        card: ModelCard,
        run: Run,
        execution: Execution,
        rest: Callable[[], None] | None = None,
    ) -> None:
        threads = execution.threads or 1
        super().__init__("GraphSegmenter", card, execution)
        self.at_once = -(-threads // _VIEWS) + 1
        """How many calls may be under way at once; with one more than there are threads for, no
        thread waits for the next call."""
        self._run = run
        self._rest = rest
        self._workers = ThreadPoolExecutor(threads, thread_name_prefix="selion-model")

    def logits(self, fed: np.ndarray) -> np.ndarray:
        """Run the graph on (1, band, y, x) float32 as it stands; (1, class, y, x) float32."""
        return self._run(fed)

    def rest(self) -> None:
        """Let go of the memory of the compiled network; the next call compiles it again."""
        if self._rest is not None:
            self._rest()

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities.

        Raises
        ------
        BandMismatch, BadInput
            See :mod:`selion.models.feed`.
        """
        answers = empty_answers(views, self.card)

        def one(position: int) -> None:
            logits = self._run(feed(views[position], self.card))[0]
            answers[position] = probabilities(logits, answers.shape[2:])

        for _ in self._workers.map(one, range(len(views))):
            pass
        return answers


_: type[LoadedModel[np.ndarray]] = GraphSegmenter


def import_openvino() -> ModuleType:
    """Import OpenVINO with its usage telemetry taken out.

    On import OpenVINO looks for the package ``openvino_telemetry``, writes a client id to the home
    folder and reports to a web analytics service; where the package is missing it uses a stub of
    its own that does nothing.  Hiding the package for this process is the opt-out that needs no
    file in the user's home and holds before the first line of OpenVINO runs.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return require("openvino", "openvino")


def openvino_lacks(card: ModelCard) -> str:
    """Say why OpenVINO cannot run a card here; empty if it can."""
    return torch_only(card.architecture) if available("openvino") else "openvino is not installed"


def load_openvino(
    card: ModelCard,
    folder: Path,
    *,
    fast: bool = False,
    threads: int | None = None,
    reason: str = "",
) -> GraphSegmenter:
    """Load a graph into OpenVINO on the CPU.

    Parameters
    ----------
    card : ModelCard
    folder : Path
        Holds the graph and its weights.
    fast : bool
        Compute in bfloat16 where the processor can; float32 otherwise, and always by default
        (OpenVINO itself would take bfloat16 silently).
    threads : int, optional
        Windows that run at once, one thread each; default all cores.  Memory grows with it.
    reason : str
        Why this engine was taken, see :class:`~selion.models.execution.Execution`.

    Raises
    ------
    UnreadableFile
        If OpenVINO cannot read the graph.
    """
    ov = import_openvino()
    # the binding learns about numpy at its first tensor; two threads that both came first would
    # wait for each other for ever
    ov.Tensor(np.zeros(1, np.float32))
    core = ov.Core()
    try:
        model = core.read_model(folder / GRAPH)
    except RuntimeError as error:
        raise _unreadable(folder, "OpenVINO", error) from error
    threads = threads or usable_cores()
    half = fast and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    properties = {
        "INFERENCE_PRECISION_HINT": "bf16" if half else "f32",
        "NUM_STREAMS": threads,
        "INFERENCE_NUM_THREADS": threads,
        "ENABLE_CPU_PINNING": False,
    }
    if os.environ.get("SELION_CACHE"):
        properties["CACHE_DIR"] = str(Path(os.environ["SELION_CACHE"]) / "openvino")
    precision = (
        "bfloat16" if half else _float32(fast, "this processor has neither AMX nor AVX512-BF16")
    )
    version = ov.get_version().partition("-")[0]
    processor = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
    execution = Execution(f"OpenVINO {version} on {processor}", precision, threads, reason)
    run, rest = _openvino_run(core, model, properties, threads)
    return GraphSegmenter(card, run, execution, rest)


def _openvino_run(
    core: Any, model: Any, properties: dict[str, Any], threads: int
) -> tuple[Run, Callable[[], None]]:
    """Compile per window size.

    Static shapes are faster than dynamic ones, and one run has one window size.  Returns how to
    run, and how to forget.
    """
    compiled: dict[tuple[int, ...], SimpleQueue[Any]] = {}
    lock = threading.Lock()

    def requests(shape: tuple[int, ...]) -> SimpleQueue[Any]:
        with lock:
            if shape not in compiled:
                while len(compiled) >= _SHAPES_KEPT:
                    del compiled[next(iter(compiled))]
                static = model.clone()
                try:
                    static.reshape(list(shape))
                    spare_enlarging(static)
                    program = core.compile_model(static, "CPU", properties)
                except RuntimeError as error:
                    raise _other_window(shape) from error
                compiled[shape] = SimpleQueue()
                for _ in range(threads):
                    compiled[shape].put(program.create_infer_request())
            return compiled[shape]

    def run(pixels: np.ndarray) -> np.ndarray:
        queue = requests(pixels.shape)
        request = queue.get()
        try:
            return next(iter(request.infer([pixels], share_inputs=True).values()))
        finally:
            queue.put(request)

    def rest() -> None:
        with lock:
            compiled.clear()

    return run, rest


def onnxruntime_lacks(card: ModelCard) -> str:
    """Say why ONNX Runtime cannot run a card here; empty if it can."""
    return (
        torch_only(card.architecture)
        if available("onnxruntime")
        else "onnxruntime is not installed"
    )


def load_onnxruntime(
    card: ModelCard,
    folder: Path,
    *,
    fast: bool = False,
    threads: int | None = None,
    reason: str = "",
) -> GraphSegmenter:
    """Load a graph into ONNX Runtime on the CPU.

    Parameters as :func:`load_openvino`, but it has no bfloat16.

    Raises
    ------
    UnreadableFile
        If ONNX Runtime cannot read the graph.
    """
    ort = require("onnxruntime", "ort")
    ort.disable_telemetry_events()
    threads = threads or usable_cores()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = ort.InferenceSession(
            str(folder / GRAPH), options, providers=["CPUExecutionProvider"]
        )
    except _onnxruntime_failures(ort) as error:
        raise _unreadable(folder, "ONNX Runtime", error) from error
    name = session.get_inputs()[0].name
    precision = _float32(fast, "ONNX Runtime has no bfloat16 on processors")
    execution = Execution(f"ONNX Runtime {ort.__version__} on CPU", precision, threads, reason)

    def run(pixels: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(session.run(None, {name: pixels})[0])
        except _onnxruntime_failures(ort) as error:
            raise _other_window(pixels.shape) from error

    return GraphSegmenter(card, run, execution)


def _other_window(shape: tuple[int, ...]) -> BadInput:
    """Say that a graph does not take windows of a size: some are exported for one only."""
    return BadInput(
        f"The model's graph does not take windows of {shape[-1]} x {shape[-2]} pixels: leave "
        "--window out."
    )


def _onnxruntime_failures(ort: ModuleType) -> tuple[type[Exception], ...]:
    state = ort.capi.onnxruntime_pybind11_state
    return (
        state.Fail,
        state.InvalidProtobuf,
        state.InvalidGraph,
        state.NoSuchFile,
        state.InvalidArgument,
        state.NotImplemented,
        state.RuntimeException,
    )


def _unreadable(folder: Path, engine: str, error: Exception) -> UnreadableFile:
    first = next(
        (line.strip() for line in reversed(str(error).splitlines()) if line.strip()),
        "no reason given",
    )
    return UnreadableFile(
        f"{folder / GRAPH} cannot be read by {engine} ({first}): export or import the model again."
    )


def _float32(fast: bool, why_not: str) -> str:
    return f"float32 (fast was asked for, but {why_not})" if fast else "float32"
