"""What there is to compute with: device, precision, processes."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from selion.errors import BadInput
from selion.extras import require
from selion.training.recipe import Hardware

KINDS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class TrainingDevice:
    """A device, the precision of its multiplications, and its place among the processes."""

    device: torch.device
    precision: str
    """"float32", "bfloat16" or "float16"."""
    accelerator: Any = None
    """accelerate's Accelerator where several processes share a run, else None."""

    @property
    def rank(self) -> int:
        """Number of this process."""
        return int(self.accelerator.process_index) if self.accelerator else 0

    @property
    def world(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes) if self.accelerator else 1

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context in which the network runs."""
        kind = KINDS[self.precision]
        return nullcontext() if kind is None else torch.autocast(self.device.type, kind)

    def apart(self, network: Any, *, together: bool) -> AbstractContextManager[Any]:
        """Return the context of a backward pass.

        Gradients are shared between processes only with the last batch of a step.
        """
        return (
            nullcontext()
            if together or self.accelerator is None
            else self.accelerator.no_sync(network)
        )

    def __str__(self) -> str:
        where = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else self.device.type.upper()
        )
        several = f", {self.world} processes" if self.world > 1 else ""
        return f"torch {torch.__version__} on {where}, {self.precision}, channels last{several}"


_MMAP_MAX, _MMAP_THRESHOLD, _TRIM, _TOP_PAD = -4, -3, -1, -2
_KEEP = {_MMAP_MAX: 0, _TRIM: 2**31 - 1, _TOP_PAD: 64 * 2**20}
_USUAL = {
    _MMAP_MAX: 65536,
    _MMAP_THRESHOLD: 32 * 2**20,
    _TRIM: 64 * 2**20,
    _TOP_PAD: 128 * 1024,
}
"""Settings of glibc's malloc: while training, and what it comes to by itself.

Its thresholds grow with the blocks that are freed, to these, until somebody sets one; then they
stay as they are.  Left at those it begins with, each array of a megabyte that a process makes
after a training would be cleared anew page by page.
"""


@contextmanager
def kept_memory(device: torch.device) -> Iterator[None]:
    """Let glibc keep the memory of large tensors between steps.

    What is free goes back to the system at the end.

    Each step frees and asks for the same gigabytes.  glibc gives every large block back at once,
    and the system clears it anew page by page: some 40,000 page faults an image, a fifth to a
    quarter of the time on a processor.  Nothing happens on other devices and other C libraries.
    """
    if device.type != "cpu" or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    for name, value in _KEEP.items():
        libc.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in _USUAL.items():
            libc.mallopt(name, value)
        libc.malloc_trim(0)


def choose_engine(hardware: Hardware) -> TrainingDevice:
    """Take the device and the precision that a recipe asks for, or the best ones there are.

    Raises
    ------
    BadInput
        If the device is not there, cannot compute in that precision, or several were asked for in
        one process.
    """
    if hardware.threads:
        torch.set_num_threads(hardware.threads)
    accelerator = _accelerator(hardware)
    device = accelerator.device if accelerator else _device(hardware.device)
    precision = _precision(hardware.precision, device)
    return TrainingDevice(device, precision, accelerator)


def _accelerator(hardware: Hardware) -> Any:
    """Return accelerate's Accelerator if this is one of several processes.

    It is not imported otherwise.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if hardware.devices == 1 and world == 1:
        return None
    if world == 1:
        command = (
            f"accelerate launch --num_processes {hardware.devices} -m selion.cli.main train ..."
        )
        raise BadInput(
            f"hardware.devices = {hardware.devices} wants as many processes: start with "
            f"'{command}'."
        )
    accelerate = require("accelerate", "train")
    # the others wait while one validates
    patient = accelerate.InitProcessGroupKwargs(timeout=timedelta(hours=6))
    return accelerate.Accelerator(cpu=hardware.device == "cpu", kwargs_handlers=[patient])


def _device(wanted: str) -> torch.device:
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, found in there.items() if found))
    if not there[wanted]:
        raise BadInput(
            f"hardware.device = {wanted!r} was asked for, but torch sees none here: take 'auto' or "
            "'cpu'."
        )
    return torch.device(wanted)


def _precision(wanted: str, device: torch.device) -> str:
    quick = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": _has_bfloat16,
        "mps": lambda: False,
    }[device.type]
    if wanted == "auto":
        return "bfloat16" if quick() else "float32"
    if wanted == "float16" and device.type != "cuda":
        raise BadInput(
            "hardware.precision = 'float16' was asked for, but a gradient in float16 wants CUDA, "
            f"and this is {device.type}: take 'auto' or 'float32'."
        )
    return wanted


def _has_bfloat16() -> bool:
    """Say whether the processor multiplies bfloat16 in hardware.

    torch computes it slowly where it does not.
    """
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.exists() else ""
    return "amx_bf16" in text or "avx512_bf16" in text
