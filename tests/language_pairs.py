"""Two processes of one run of a language model, forked as a launcher would begin them."""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import queue
import socket
import time
import warnings
from dataclasses import replace
from pathlib import Path

from language_toys import recipe, still
from selion.training.language_recipe import Lora, Sft


def made_for(base, steps=2, accumulate=1, **changes):
    """A recipe of an adapter that begins with a step at full rate."""
    made = recipe(
        sft=Sft(steps, 1, accumulate, lr=1e-2, warmup=0.0, schedule="constant", save_every=1),
        **changes,
    )
    adapter = Lora(r=2, alpha=4, dropout=0.0)
    return replace(made, language=replace(made.language, tiny="", base=str(base), lora=adapter))


def child(rank, port, work, told):
    """One of two processes, as a launcher begins them."""
    import torch
    from accelerate.state import AcceleratorState, GradientState, PartialState

    gc.freeze()  # the trainers look for garbage, and need not look at what was there before
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.set_num_threads(1)
    with still():
        try:
            told.put((rank, work(rank)))
        except Exception as error:
            told.put((rank, repr(error)))
            raise
    torch.distributed.destroy_process_group()


def two(work, watch=lambda _: None):
    """What each of two forked processes returns, or how it ended; ``watch`` is given them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    forked = multiprocessing.get_context("fork")
    told = forked.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        running = [forked.Process(target=child, args=(k, port, work, told)) for k in range(2)]
        for process in running:
            process.start()
    found, end = {}, time.monotonic() + 240
    try:
        watch(running)
        while time.monotonic() < end:
            alive = any(process.is_alive() for process in running)
            with contextlib.suppress(queue.Empty):
                found |= [told.get(timeout=0.1)]
                continue
            if not alive:
                break
    finally:
        for process in running:
            process.kill()
    return [found.get(k, running[k].exitcode) for k in range(2)]


def adapter_of(folder: Path, stage: str = "model"):
    from safetensors.torch import load_file

    return load_file(folder / stage / "adapter_model.safetensors")
