"""A torch network + card -> the same Segmenter, on CUDA, MPS or (as the reference) the CPU."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.extras import available, require
from selion.models.card import WEIGHTS, ModelCard
from selion.models.execution import CardModel, Execution
from selion.models.feed import empty_answers, feed, probabilities
from selion.models.narrow import widen
from selion.segmenter import LoadedModel, View

if TYPE_CHECKING:
    import torch

_BATCH = {"cuda": 16, "mps": 4, "cpu": 1}
"""Views per call of the network.  It is kept fixed by padding with zeros, as kernels, and with them
the last bits, depend on it."""


class TorchNetwork:
    """A torch network on a device, asked about a fixed number of views at a time.

    Parameters
    ----------
    network : torch.nn.Module
    device : {"cpu", "cuda", "mps"}
    fast : bool
        bfloat16, where the device can.
    """

    def __init__(self, network: torch.nn.Module, device: str, *, fast: bool = False) -> None:
        require("torch", "train")
        self.network = channels_last(network.to(device)).eval()
        self.batch = _BATCH[device]
        self.device, self._asked = device, fast
        self.fast = fast and device != "mps"

    def execution(self, reason: str = "") -> Execution:
        """Say what runs the network; ``reason`` is the end of the sentence."""
        torch = require("torch", "train")
        where = torch.cuda.get_device_name() if self.device == "cuda" else self.device.upper()
        precision = (
            "bfloat16"
            if self.fast
            else "float32 (fast was asked for, but is not used on MPS)"
            if self._asked
            else "float32"
        )
        return Execution(f"torch {torch.__version__} on {where}", precision, reason=reason)

    def run(self, pixels: np.ndarray, **asked: Any) -> Any:
        """(view, band, y, x) float32 -> what the network answers, of ``batch`` views.

        Views that lack are zeros; ``asked`` goes to the network.
        """
        torch = require("torch", "train")
        missing = self.batch - len(pixels)
        if missing:
            pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), np.float32)])
        with ExitStack() as stack:
            for context in self._contexts():
                stack.enter_context(context)
            batch = torch.from_numpy(pixels).to(self.device, memory_format=torch.channels_last)
            return self.network(batch, **asked)

    def _contexts(self) -> list[AbstractContextManager]:
        torch = require("torch", "train")
        contexts: list[AbstractContextManager] = [torch.inference_mode()]
        if self.device == "cuda":
            # cuDNN would take TF32 (10 bits of mantissa) for float32 without saying so.
            contexts.append(
                torch.backends.cudnn.flags(
                    enabled=True, benchmark=False, deterministic=True, allow_tf32=self.fast
                )
            )
        if self.fast:
            contexts.append(torch.autocast(self.device, torch.bfloat16))
        return contexts


def channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """Lay a network's weights out with channels last, unless it has layers for films."""
    import torch

    if any(parameter.ndim > 4 for parameter in network.parameters()):
        return network
    return network.to(memory_format=torch.channels_last)


class TorchSegmenter(CardModel):
    """A model card and a torch network."""

    at_once = 1

    def __init__(
        self,
        card: ModelCard,
        network: torch.nn.Module,
        device: str,
        *,
        fast: bool = False,
        reason: str = "",
    ) -> None:
        self._running = TorchNetwork(network, device, fast=fast)
        self.network = self._running.network
        self.batch = self._running.batch
        """How many views a call is best made with: those that lack are padded."""
        super().__init__("TorchSegmenter", card, self._running.execution(reason))

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities.

        Raises
        ------
        BandMismatch, BadInput
            See :mod:`selion.models.feed`.
        """
        answers = empty_answers(views, self.card)
        for first in range(0, len(views), self.batch):
            group = views[first : first + self.batch]
            pixels = np.concatenate([feed(view, self.card) for view in group])
            logits = self._running.run(pixels).float().cpu().numpy()
            for k in range(len(group)):
                answers[first + k] = probabilities(logits[k], answers.shape[2:])
        return answers


_: type[LoadedModel[np.ndarray]] = TorchSegmenter


def load_network(card: ModelCard, folder: Path) -> torch.nn.Module:
    """Build a card's network and fill it with its weights, as float32 on the CPU.

    Raises
    ------
    BadInput
        If the weights do not fit the architecture.
    """
    require("torch", "train")
    from safetensors.torch import load_file

    from selion.models.blank import build_blank

    network = build_blank(card.architecture, len(card.inputs.bands), len(card.classes))
    return fill(network, widen(load_file(folder / WEIGHTS)), card.name)


def fill(network: torch.nn.Module, state: dict[str, torch.Tensor], name: str) -> torch.nn.Module:
    """Put a state dict into a network, which may be built without memory (on the meta device).

    Every key, and every shape, must fit.

    Raises
    ------
    BadInput
        If one is missing, too many, or of another shape.
    """
    try:
        network.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(
            f"The weights of {name} do not fit its architecture "
            f"({lines[min(1, len(lines) - 1)][:200]}): correct encoder, bands or classes."
        ) from error
    return network.eval()


def torch_lacks(card: ModelCard) -> str:
    """Say why torch cannot run a card on the CPU; empty if it can."""
    for module in ("torch", "segmentation_models_pytorch"):
        if not available(module):
            return f"{module} is not installed"
    return (
        "" if WEIGHTS in card.files and card.architecture else "the model has no weights for torch"
    )


NO_NVIDIA, NO_APPLE = "no NVIDIA driver", "no Apple processor"
"""What most machines lack; nobody there needs to be told unless they ask."""


def _has_nvidia_driver() -> bool:
    """Look for the driver's library.

    Importing torch to ask takes seconds that a machine without one should not spend.
    """
    try:
        ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return False
    return True


def cuda_lacks(card: ModelCard) -> str:
    """Say why CUDA cannot run a card here; empty if it can."""
    if not _has_nvidia_driver():
        return NO_NVIDIA
    return torch_lacks(card) or (
        "" if require("torch", "train").cuda.is_available() else "torch sees no CUDA device"
    )


def mps_lacks(card: ModelCard) -> str:
    """Say why Apple's GPU cannot run a card here; empty if it can."""
    if (platform.system(), platform.machine()) != ("Darwin", "arm64"):
        return NO_APPLE
    return torch_lacks(card) or (
        "" if require("torch", "train").backends.mps.is_available() else "torch sees no MPS device"
    )


def load_on(
    device: str,
    card: ModelCard,
    folder: Path,
    *,
    fast: bool = False,
    threads: int | None = None,
    reason: str = "",
) -> TorchSegmenter:
    """Load a card's network on a device of torch: "cuda" (the first one), "mps" or "cpu".

    ``threads`` sets torch's number of threads for the whole process, and says nothing but on the
    CPU.
    """
    if threads and device == "cpu":
        require("torch", "train").set_num_threads(threads)
    return TorchSegmenter(card, load_network(card, folder), device, fast=fast, reason=reason)
