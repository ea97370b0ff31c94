"""The network alone: selion's engines beside warmed eager torch, same weights, same windows,
interleaved.

    python bench/model.py MODEL_FOLDER CHECKPOINT --rounds 5 --json rows.json

Eager torch is given its input scaled and as tensors, in the batches that it likes best among three,
and answers logits; ours is called through the socket, as the road calls it: scaling, padding and
softmax included.  The share of equal classes depends on how far a network parts its classes, so it
is also given for the trained weights that ship with selion.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from command import TUNED
from peer import network
from scene import mirrored, pair
from selion.models import list_models, load_model
from selion.segmenter import View
from table import Row, ratio, save, seconds

EAGER = ((4, 256), (1, 512), (2, 1024))
"""(batch, edge) that eager torch is tried with; the last one is the peer's."""


def windows(size: int, area: int) -> np.ndarray:
    """Cut about ``area`` x ``area`` pixels of the scene into (window, 8, size, size) uint16
    windows.
    """
    pixels, _ = pair()
    big = pixels[:, mirrored(pixels.shape[1], area)][:, :, mirrored(pixels.shape[2], area)]
    return np.stack(
        [
            big[:, y : y + size, x : x + size]
            for y in range(0, area, size)
            for x in range(0, area, size)
        ]
    )


def eager(
    unet: torch.nn.Module, batch: int, pixels: np.ndarray
) -> Callable[[], list[torch.Tensor]]:
    """Return a function that runs all windows through torch and gives the logits, batch by
    batch.
    """
    inputs = torch.from_numpy(pixels.astype(np.float32) / 3000).split(batch)

    def call() -> list[torch.Tensor]:
        with torch.inference_mode():
            return [unet(part) for part in inputs]

    return call


def ours(folder: Path, pixels: np.ndarray, *, fast: bool) -> tuple[Callable[[], np.ndarray], str]:
    """Return a function that runs all windows through selion and gives probabilities, and the
    sentence that says what runs.
    """
    model = load_model(folder, fast=fast)
    whole = (slice(0, pixels.shape[-2]), slice(0, pixels.shape[-1]))
    views = [View(window, whole) for window in pixels]
    return lambda: model(views), model.engine


def timed(call: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def weights(checkpoint: Path) -> str:
    """Say what the weights are, from the name that ``network.py`` gave the checkpoint."""
    steps = int(checkpoint.stem.rpartition("_")[2])
    return (
        f"seeded random weights after {steps} steps of training on the scene"
        if steps
        else "seeded random weights with a fitted last layer"
    )


def measure(folder: Path, checkpoint: Path, rounds: int, area: int) -> list[Row]:
    """Time all contestants in turn, ``rounds`` times, and compare their classes."""
    unet = network(checkpoint)
    size = 256  # the window of the published cards
    own = windows(size, area)
    plain, engine = ours(folder, own, fast=False)
    quick, fast_engine = ours(folder, own, fast=True)
    calls: dict[str, Callable[[], object]] = {
        f"{batch} x {edge}": eager(unet, batch, windows(edge, area))
        for batch, edge in EAGER
        if edge <= area
    }
    calls |= {"float32": plain, "fast": quick}
    walls: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():  # compiled and warm
        call()
    for k in range(rounds):
        for name in list(calls) if k % 2 else list(calls)[::-1]:
            walls[name].append(timed(calls[name]))
            print(f"  {name}: {walls[name][-1]:.2f} s", file=sys.stderr)
    malloc = "tuned" if "MALLOC_TOP_PAD_" in os.environ else "default"
    section = f"Model alone ({malloc} malloc): B3 U-Net, {weights(checkpoint)}"
    best = min((name for name in calls if " x " in name), key=lambda name: min(walls[name]))
    rows = [
        seconds(section, f"eager torch {torch.__version__}, batch {name} px", walls[name])
        for name in calls
        if " x " in name
    ]
    rows += [
        ratio(
            section, f"float32 against the best eager ({best})", walls[best], walls["float32"], 1.8
        ),
        ratio(
            section, f"`--fast` against the best eager ({best})", walls[best], walls["fast"], 4.5
        ),
    ]
    if "2 x 1024" in walls and best != "2 x 1024":
        rows += [
            ratio(
                section,
                f"{name} against eager in the peer's batch (2 x 1024)",
                walls["2 x 1024"],
                walls[name],
            )
            for name in ("float32", "fast")
        ]
    truth = np.concatenate([part.argmax(1).numpy() for part in eager(unet, 4, own)()])
    rows += agreement(section, "B3", truth, plain().argmax(1), quick().argmax(1))
    return [
        *rows,
        *packaged(section, own),
        Row(section, "engines", None, "", note=f"{engine} / {fast_engine}"),
    ]


def agreement(
    section: str, name: str, truth: np.ndarray, plain: np.ndarray, quick: np.ndarray
) -> list[Row]:
    """Share of pixels with the same class as eager torch, and the shares of the classes, without
    which agreement says nothing.
    """
    shares = np.bincount(truth.ravel(), minlength=3) / truth.size
    note = (
        f"of {truth.size:,} px; background, field, boundary "
        f"{', '.join(f'{share:.0%}' for share in shares)}"
    )
    rows = []
    for what, answer, goal in (("float32", plain, 99.999), ("`--fast`", quick, 99.5)):
        equal = answer == truth
        rows.append(
            Row(
                section,
                f"equal argmax, {name}, {what}",
                100 * float(equal.mean()),
                "%",
                goal,
                note=f"{int((~equal).sum()):,} differ {note}",
            )
        )
    return rows


def packaged(section: str, pixels: np.ndarray) -> list[Row]:
    """Compare classes for the trained weights that ship with selion and take two seasons: what
    bfloat16 costs a network that has learnt something.
    """
    rows = []
    for card in list_models():
        if (
            card.folder is not None
            and len(card.inputs.bands) == pixels.shape[1]
            and len(card.classes) == 3
        ):
            views = [
                View(window, (slice(0, pixels.shape[-2]), slice(0, pixels.shape[-1])))
                for window in pixels
            ]
            models = [
                load_model(card.name, engine="torch"),
                load_model(card.name),
                load_model(card.name, fast=True),
            ]
            rows += agreement(
                section, f"trained {card.name}", *(model(views).argmax(1) for model in models)
            )
    return rows


def main() -> None:
    """Measure and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--area", type=int, default=2048, help="Edge of the square that is cut into windows."
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument(
        "--tuned", action="store_true", help="Run again with malloc told to keep big blocks."
    )
    given = parser.parse_args()
    if given.tuned and "MALLOC_TOP_PAD_" not in os.environ:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | TUNED)
    save(measure(given.folder, given.checkpoint, given.rounds, given.area), given.json)


if __name__ == "__main__":
    main()
