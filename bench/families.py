"""Frames a second of each family of networks that selion builds, beside U-Net with EfficientNet-B3.

    python bench/families.py                  256 px, 8 bands, float32, two threads
    python bench/families.py --window 64 --rounds 1 --only "U-Net,FCN"

The network alone: random weights and random windows in memory, batches of one, PyTorch as it comes
(no graph, no reading, no blending), because every family can be run so.  A map is run by OpenVINO
where it can, which is quicker; see ``model.py``.  Sizes are those of the recipes where these are
small, else a small one of the family, so the table compares what is named in it and no more.  The
networks take turns, and ratios are of one round: they may be compared with those of another run,
frames a second may not.  On a machine that does other things look at the ratio of processor
seconds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from selion.models import build_network
from table import Row, save

SECTION = "Families of networks, frames a second"
FIRST = "U-Net, EfficientNet-B3"
BANDS, CLASSES = 8, 3
VIT = "vit_small_patch16_224"
FAMILIES = {
    FIRST: {"family": "unet", "encoder": "efficientnet-b3"},
    "siamese U-Net (averaged), EfficientNet-B3": {
        "family": "fcsiamavg",
        "encoder": "efficientnet-b3",
    },
    "FCN, 64 filters": {"family": "fcn", "filters": 64},
    "UPerNet, EfficientNet-B3": {"family": "upernet", "encoder": "efficientnet-b3"},
    "SegFormer, MiT-B0": {"family": "segformer", "encoder": "mit_b0"},
    "UNETR, ViT-S/16": {"family": "unetr", "encoder": VIT, "img_size": "window"},
    "DECODE (FracTAL ResUNet)": {"family": "decode", "norm_groups": 4},
    "ViT-Adapter, ViT-S/16": {"family": "vit-adapter", "encoder": VIT, "img_size": "window"},
    "Mask2Former, Swin-S": {"family": "mask2former", "queries": 100},
    "frozen SoftCon": {"family": "frozen", "encoder": "softcon"},
    "SAM 2 tiny": {"family": "sam2", "size": "tiny", "image_size": "window"},
}
"""What is written -> architecture, where ``"window"`` stands for the edge of the window in px."""


Walls = dict[str, list[tuple[float, float]]]
"""Name -> seconds of the clock and of the processor, in each round."""


def measure(networks: dict[str, torch.nn.Module], window: int, rounds: int) -> Walls:
    """Return what a window takes in each round; each network is warmed first."""
    torch.manual_seed(0)
    image = torch.rand(1, BANDS, window, window)
    walls: Walls = {name: [] for name in networks}
    with torch.inference_mode():
        for network in networks.values():
            network(image)
        for _ in range(rounds):
            for name, network in networks.items():
                began, busy = time.perf_counter(), time.process_time()
                network(image)
                walls[name].append((time.perf_counter() - began, time.process_time() - busy))
    return walls


def rows_of(walls: Walls, millions: dict[str, float]) -> list[Row]:
    """Return a ratio and its frames a second for each network."""
    rows = []
    for name, own in walls.items():
        pairs = list(zip(walls[FIRST], own, strict=True))
        clock, busy = ([one[k] / other[k] for one, other in pairs] for k in (0, 1))
        wall = statistics.median(seconds for seconds, _ in own)
        note = (
            f"{min(clock):.2f} to {max(clock):.2f} over {len(clock)}; by processor seconds "
            f"{statistics.median(busy):.2f} x; {1 / wall:.2f} frames/s, {millions[name]:.1f} M "
            "parameters"
        )
        rows.append(Row(SECTION, name, statistics.median(clock), "x", note=note))
    return rows


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--window", type=int, default=256, help="Edge in pixels [default: 256].")
    parser.add_argument("--rounds", type=int, default=5, help="[default: 5].")
    parser.add_argument("--threads", type=int, default=2, help="[default: 2].")
    parser.add_argument("--only", default="", help="Names that begin so, with commas.")
    parser.add_argument("--json", type=Path, default=None, help="Also write the rows here.")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    wanted = tuple(given.only.split(","))
    networks, millions = {}, {}
    for name, architecture in FAMILIES.items():
        if name != FIRST and not name.startswith(wanted):
            continue
        exact = {k: given.window if v == "window" else v for k, v in architecture.items()}
        torch.manual_seed(0)
        networks[name] = build_network(exact, BANDS, CLASSES).eval()
        millions[name] = sum(p.numel() for p in networks[name].parameters()) / 1e6
    rows = rows_of(measure(networks, given.window, given.rounds), millions)
    for row in rows:
        print(f"{row.value:6.2f} x  {row.what}: {row.note}")
    if given.json:
        save(rows, given.json)


if __name__ == "__main__":
    main()
