"""Table V of DepthCropSeg++ again: what each upsampler adds to the reference network, in
parameters, operations, speed and memory; mIoU where there is data.

    python runs/table_v.py                                    # counts of the paper's size on the
                                                              meta device: nothing is computed
    python runs/table_v.py --measure                          # and speed and memory of a size that
                                                              a processor can run (ViT-S, 448 px)
    python runs/table_v.py --measure --reference              # those of the paper's size: wants a
                                                              GPU
    python runs/table_v.py --train FOLDER --out runs/table-v  # and trains each upsampler on
                                                              images/ + masks/, and gives its mIoU
    python runs/table_v.py --train FOLDER --out OUT --seeds 7,8,9 --set schedule.epochs=10
        # three runs each, as in Table VI

Parameters and operations are those of the whole network of 570.593 M (BEiT-L at 896 px + adapter +
Mask2Former).  Operations are two for each multiply-add, counted by torch on the meta device; the
reassembly of FADE and CARAFE, which that counter does not see, is added by hand.

The paper's 2,473 GFLOPs match neither 512 nor 896 px, counted as multiply-adds or as operations;
its frames per second are those of an RTX A6000; its CARAFE adds 0.35 M where mmcv's has 0.37 M.
Its training settings are not in the copy that we have: its mIoU can be placed beside ours, not
reproduced.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from selion.models import build_network
from selion.models.blank import build_meta
from selion.training import plan_training, read_recipe, train

PAPER = {
    "bilinear": (570.59, 2473.0, 92.88),
    "carafe": (0.35, 2.0, 92.93),
    "dysample": (0.10, 0.3, 92.93),
    "fade": (0.44, 3.0, 93.11),
}
"""Parameters in M, GFLOPs (for all but the first: what is added), mIoU in %.  1.44 frames per
second and 7.38 GB are given for all four."""
REFERENCE: dict[str, Any] = {
    "family": "vit-adapter",
    "encoder": "beit_large_patch16_224",
    "head": "mask2former",
    "hidden": 1024,
    "queries": 200,
    "feedforward": 4096,
}
SMALL: dict[str, Any] = {
    "family": "vit-adapter",
    "encoder": "vit_small_patch14_dinov2",
    "img_size": 448,
    "head": "pixel",
}
WIDTH = 1024


def operations(upsampler: str, size: int) -> tuple[float, float]:
    """Return parameters in M, and giga-operations for one image of ``size`` px."""
    network = (
        build_meta(REFERENCE | {"img_size": size, "upsampler": upsampler}, 3, 2).to("meta").eval()
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 3, size, size, device="meta"))
    # values per channel: two steps to 1/8, one to 1/4
    answered = 2 * (size // 8) ** 2 + (size // 4) ** 2
    unseen = (
        2 * 25 * WIDTH * answered
        if upsampler in ("fade", "carafe")
        else 2 * 4 * WIDTH * answered
        if upsampler == "dysample"
        else 0
    )
    return sum(p.numel() for p in network.parameters()) / 1e6, (
        counter.get_total_flops() + unseen
    ) / 1e9


def counted(sizes: tuple[int, ...]) -> None:
    """Print the columns of parameters and operations."""
    columns = " | ".join(f"GFLOP at {size} px | GMAC" for size in sizes)
    print(
        f"| upsampler | parameters, M | paper | {columns} | paper's GFLOPs |\n"
        f"|---|---:|---:|{'---:|' * (2 * len(sizes) + 1)}"
    )
    base = {size: operations("bilinear", size) for size in sizes}
    for name, (millions, giga, _) in PAPER.items():
        found = base if name == "bilinear" else {size: operations(name, size) for size in sizes}
        plus = "" if name == "bilinear" else "+"
        taken = {size: (0.0, 0.0) if name == "bilinear" else base[size] for size in sizes}
        own = found[sizes[-1]][0] - taken[sizes[-1]][0]
        cells = " | ".join(
            f"{plus}{found[s][1] - taken[s][1]:,.1f} | {plus}{(found[s][1] - taken[s][1]) / 2:,.1f}"
            for s in sizes
        )
        print(
            f"| {name} | {plus}{own:.3f} | {plus}{millions:g} | {cells} | {plus}{giga:g} |",
            flush=True,
        )


def measure(upsampler: str, *, reference: bool, seconds: float) -> None:
    """Print frames per second and the peak of memory in GiB of one network, as a child process
    does.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    architecture = (REFERENCE | {"img_size": 896} if reference else SMALL) | {
        "upsampler": upsampler
    }
    network = build_network(architecture, 3, 2).to(device).eval()
    image = torch.rand(1, 3, architecture["img_size"], architecture["img_size"], device=device)
    walls: list[float] = []
    with torch.inference_mode():
        network(image)
        while sum(walls) < seconds:
            began = time.perf_counter()
            network(image).sum().item()
            walls.append(time.perf_counter() - began)
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    else:
        found = re.search(
            r"^VmHWM:\s+(\d+) kB",
            Path("/proc/self/status").read_text(encoding="ascii"),
            re.MULTILINE,
        )
        peak = int(found[1]) * 1024 if found else 0
    print(1 / statistics.median(walls), peak / 2**30)


def measured(*, reference: bool, seconds: float, rounds: int) -> None:
    """Print the columns of speed and memory, rounds interleaved."""
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in PAPER}
    for _ in range(rounds):
        for name, found in rows.items():
            options = [
                __file__,
                "--child",
                name,
                "--seconds",
                str(seconds),
                *(["--reference"] if reference else []),
            ]
            said = subprocess.run(
                [sys.executable, *options], stdout=subprocess.PIPE, text=True, check=True
            ).stdout.split()
            found.append((float(said[-2]), float(said[-1])))
    where = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"a processor, {torch.get_num_threads()} threads"
    )
    print(
        f"\nThe {'reference at 896 px' if reference else 'ViT-S with a head per pixel at 448 px'} "
        f"on {where}, {rounds} interleaved rounds"
    )
    print(
        "| upsampler | frames per second | of bilinear's (median) | peak memory, GiB | paper |\n"
        "|---|---:|---:|---:|---:|"
    )
    for name, found in rows.items():
        share = statistics.median(a[0] / b[0] for a, b in zip(found, rows["bilinear"], strict=True))
        print(
            f"| {name} | {statistics.median(f for f, _ in found):.3f} | {share:.3f} | "
            f"{max(m for _, m in found):.2f} | 1.44 /s, 7.38 GB |"
        )


def trained(folder: Path, out: Path, seeds: list[int], changes: list[str]) -> None:
    """Train the recipe with each upsampler and seed, and print the mIoU of each on the validation
    split.
    """
    print("\n| upsampler | mIoU, % (seeds) | mean | paper |\n|---|---|---:|---:|")
    for name, (_, _, paper) in PAPER.items():
        found = []
        for seed in seeds:
            own = [
                f"data.dataset={folder}",
                f"model.architecture.upsampler={name}",
                f"seed={seed}",
                *changes,
            ]
            result = train(
                plan_training(read_recipe("crops-adapter", own)), out / f"{name}-{seed}", force=True
            )
            if result.trained.scores is None:
                raise SystemExit(f"{folder} has no validation split: there is no mIoU to give.")
            found.append(100 * result.trained.scores.value("miou"))
        print(
            (
                f"| {name} | {', '.join(f'{value:.2f}' for value in found)} | "
                f"{statistics.fmean(found):.2f} | {paper} |"
            ),
            flush=True,
        )


def main() -> None:
    """Print the parts of the table that are asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="speed and memory too")
    parser.add_argument(
        "--reference", action="store_true", help="of the network of 571 M parameters"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round")
    parser.add_argument(
        "--sizes", default="512,896", help="px at which operations are counted; empty: they are not"
    )
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="images and masks")
    parser.add_argument("--out", type=Path, help="folder of the trained models")
    parser.add_argument("--seeds", default="7")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="changes of the recipe crops-adapter",
    )
    parser.add_argument("--child", choices=PAPER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        measure(args.child, reference=args.reference, seconds=args.seconds)
        return
    if args.train and not args.out:
        parser.error("--train wants --out, a folder for the models")
    if args.sizes:
        counted(tuple(int(size) for size in args.sizes.split(",")))
    if args.measure:
        measured(reference=args.reference, seconds=args.seconds, rounds=args.rounds)
    if args.train:
        trained(args.train, args.out, [int(seed) for seed in args.seeds.split(",")], args.set)


if __name__ == "__main__":
    main()
