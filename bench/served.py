"""A map whose answers a real server writes: ``transformers serve``, asked as any OpenAI endpoint.

    pip install 'transformers[serving]'
    python bench/served.py            # a tiny Qwen2.5-VL, taught here for seconds; a minute or two

The model is taught that everything is field, so that it writes masks; then the server runs it from
its folder, ``selion``'s own road maps an image through it, and the same folder maps it here without
the grammar, which that server does not take.  Both maps have to be the same.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from language_toys import CLASSES, PROMPT, recipe, still
from selion import prediction
from selion.grid import photo_grid
from selion.labels import LabelMap
from selion.models import load_model
from selion.raster import Raster
from selion.sample import Sample
from selion.training.language_recipe import Sft
from selion.training.language_run import plan_talks, train_language

if TYPE_CHECKING:
    from collections.abc import Iterator

STEPS, PATIENCE = 60, 240.0
"""Supervised, and seconds until the server answers."""


def teach(folder: Path) -> Path:
    """Return the folder of a tiny model that says field everywhere."""
    grid = photo_grid((64, 64))
    pixels = Raster(np.full((3, 64, 64), 90, np.uint8), grid, ("red", "green", "blue"))
    fields = Sample("fields", pixels, LabelMap(np.ones((64, 64), np.uint8), grid, CLASSES))
    made = recipe(sft=Sft(STEPS, 2, 1, lr=5e-3))
    prompt = replace(PROMPT, grid=2, codec="rrle-compact", sight=0.0)
    made = replace(made, language=replace(made.language, tiny="qwen2_5_vl", prompt=prompt))
    with still():
        train_language(plan_talks(made, [fields]), folder)
    return folder / "model"


@contextmanager
def served(model: Path) -> Iterator[str]:
    """Run the server; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(model)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    command += ["--dtype", "float32"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    running = subprocess.Popen(command, env=environment)
    try:
        address, began = f"http://127.0.0.1:{port}", time.monotonic()
        while time.monotonic() - began < PATIENCE:
            if running.poll() is not None:
                raise SystemExit("transformers serve ended: pip install 'transformers[serving]'")
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/v1"
    finally:
        running.terminate()
        running.wait(30)


def main() -> None:
    """Teach, serve, map, compare."""
    torch.set_num_threads(1)
    image = Raster(
        np.full((3, 64, 64), 90, np.uint8), photo_grid((64, 64)), ("red", "green", "blue")
    )
    with tempfile.TemporaryDirectory() as folder:
        model = teach(Path(folder) / "run")
        here: Any = load_model(model, "torch", threads=1)
        here.generator.options = replace(here.generator.options, grammar="none")
        mine = prediction.predict(image, here)
        with served(model) as address:
            began = time.monotonic()
            theirs = prediction.predict(image, load_model(f"openai:{address}#{model}"))
            took = time.monotonic() - began
    same = np.array_equal(mine.values, theirs.values)
    share = float((theirs.values.argmax(0) == 1).mean())
    print(f"transformers serve: {theirs.values.shape} in {took:.1f} s; fields {share:.0%} of it")
    print(f"the map of the same folder here: {'the same' if same else 'ANOTHER'}")
    if not same or share < 0.9:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
