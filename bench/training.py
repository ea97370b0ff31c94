"""Training speed: our loop beside a plain one, the same network on the same chips in one run.

    python bench/training.py                       # U-Net + EfficientNet-B3, 8 bands, 256 px,
                                                   PRUE's augmentations
    python bench/training.py --encoder mobilenet_v2 --rounds 7

The plain loop is what one writes with torchgeo and Lightning, without their overhead: a DataLoader
with worker processes, each sample transformed by itself with torch and torchvision, eager float32
in NCHW.  Both train with log-cosh Dice and AdamW.  Rounds are interleaved, so that what else the
machine does hits both alike; the ratio is the median of the rounds' ratios.  On a machine that does
other things, look at the processor seconds (workers included) rather than at the clock.  "float32"
is our loop without bfloat16: what layout, loader and memory give.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from selion.cores import usable_cores
from selion.models import ModelCard, build_network
from selion.sample import Sample
from selion.simulation.landscape import simulate
from selion.training import fit, read_recipe
from selion.training.losses import log_cosh_dice
from selion.training.recipe import Crops, Hardware

WEIGHTS = (0.05, 0.2, 0.75)


def chips(count: int, size: int) -> list[Sample]:
    """Simulated two-season chips, in memory: reading files would hide what is compared."""
    found = []
    for k in range(count):
        scene = simulate(900 + k, (size, size), 10.0, "europe")
        found.append(Sample(f"chip{k}", scene.image, scene.labels, scene.instances))
    return found


class PlainDataset(Dataset):
    """Per-sample transforms on tensors, as a torchgeo dataset with torchvision's would have
    them.
    """

    def __init__(self, samples: list[Sample], size: int, length: int) -> None:
        self.arrays = [(s.image.values, s.labels.ids) for s in samples]
        self.length = length
        self.geometry = v2.Compose(
            [
                v2.RandomApply([v2.RandomRotation(90, v2.InterpolationMode.BILINEAR)], 0.5),
                v2.RandomHorizontalFlip(),
                v2.RandomVerticalFlip(),
            ]
        )
        self.crop = v2.RandomApply(
            [v2.RandomResizedCrop(size, (0.3, 0.9), (0.75, 1.33), antialias=False)], 0.5
        )
        self.kernel = (torch.tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13).expand(8, 1, 3, 3)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels, ids = self.arrays[index % len(self.arrays)]
        image = tv_tensors.Image(
            torch.from_numpy(pixels.astype(np.float32)) / float(torch.empty(1).uniform_(1500, 4500))
        )
        image, mask = self.geometry(image, tv_tensors.Mask(torch.from_numpy(ids).long()[None]))
        if torch.rand(1) < 0.5:
            smooth = torch.nn.functional.conv2d(image[None], self.kernel, groups=8, padding=1)[
                0
            ].clamp(0, 1)
            image = tv_tensors.Image(smooth + 0.5 * torch.rand(1) * (image - smooth))
        image, mask = self.crop(image, mask)
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)[0]


class PlainLoop:
    """Eager float32, NCHW."""

    def __init__(self, samples: list[Sample], args: argparse.Namespace) -> None:
        torch.manual_seed(7)
        self.network = build_network({"family": "unet", "encoder": args.encoder}, 8, 3)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3, amsgrad=True)
        data = PlainDataset(samples, args.window, args.batch * args.steps * (args.rounds + 2))
        self.batches = iter(
            DataLoader(
                data,
                args.batch,
                shuffle=True,
                num_workers=args.workers,
                persistent_workers=args.workers > 0,
            )
        )

    def run(self, steps: int) -> float:
        """Return images per second."""
        began, images = time.perf_counter(), 0
        self.network.train()
        for _ in range(steps):
            pixels, labels = next(self.batches)
            loss = log_cosh_dice(self.network(pixels), labels, weights=WEIGHTS)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            loss.item()
            images += len(pixels)
        return images / (time.perf_counter() - began)


class OurLoop:
    """selion.training.fit with PRUE's recipe; a round begins with an empty loader, which counts."""

    def __init__(self, samples: list[Sample], args: argparse.Namespace, precision: str) -> None:
        recipe = read_recipe("prue")
        hardware = Hardware("cpu", precision, workers=args.workers, threads=args.threads)
        self.recipe = replace(
            recipe,
            model=replace(
                recipe.model,
                pretrained="",
                architecture={"family": "unet", "encoder": args.encoder},
            ),
            input=replace(recipe.input, window=args.window),
            schedule=replace(recipe.schedule, epochs=1, batch=args.batch),
            crops=Crops("chip"),
            hardware=hardware,
        )
        self.samples, self.batch = samples, args.batch
        torch.manual_seed(7)
        self.network = build_network(self.recipe.model.architecture, 8, 3)
        self.waited: list[float] = []
        self.engine = ""

    def run(self, steps: int) -> float:
        """Return images per second."""
        samples = (self.samples * (1 + steps * self.batch // len(self.samples)))[
            : steps * self.batch
        ]
        card = ModelCard("bench", self.recipe.input.spec(), self.recipe.classes)
        trained = fit(self.network, samples, self.recipe, card)
        self.waited.append(trained.waited)
        self.engine = trained.engine
        return trained.images_per_second


def processor_seconds() -> float:
    """Of this process and of its workers."""
    me = psutil.Process()
    return sum(sum(p.cpu_times()[:2]) for p in (me, *me.children(recursive=True)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoder", default="efficientnet-b3")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3, help="steps in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0: its own choice")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    samples = chips(8, args.window)
    plain = PlainLoop(samples, args)
    ours = {
        "ours, auto": OurLoop(samples, args, "auto"),
        "ours, float32": OurLoop(samples, args, "float32"),
    }
    sides = {"plain": plain, **ours}
    for side in sides.values():
        side.run(args.steps)  # warm up
    paces: dict[str, list[float]] = {name: [] for name in sides}
    costs: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(args.rounds):
        for name, side in sides.items():
            before = processor_seconds()
            paces[name].append(side.run(args.steps))
            costs[name].append((processor_seconds() - before) / (args.steps * args.batch))
        print(
            f"round {number + 1}: "
            + ", ".join(f"{name} {pace[-1]:.2f}/s" for name, pace in paces.items()),
            file=sys.stderr,
        )
    print(
        f"U-Net {args.encoder}, batch {args.batch} x 8 x {args.window}^2, {args.steps} steps a "
        f"round, {args.rounds} interleaved rounds, {usable_cores()} cores"
    )
    print(
        "| loop | images/s (median) | against the plain loop, clock | processor s per image | "
        "against the plain loop, processor | waited for data |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    print(
        f"| plain, eager float32 NCHW | {statistics.median(paces['plain']):.2f} | 1.00 | "
        f"{statistics.median(costs['plain']):.3f} | 1.00 | |"
    )
    for name, side in ours.items():
        clock = spread(
            [mine / theirs for mine, theirs in zip(paces[name], paces["plain"], strict=True)]
        )
        processor = spread(
            [theirs / mine for mine, theirs in zip(costs[name], costs["plain"], strict=True)]
        )
        numbers = (
            f"{statistics.median(paces[name]):.2f} | {clock} | "
            f"{statistics.median(costs[name]):.3f} | {processor}"
        )
        print(f"| {name}: {side.engine} | {numbers} | {statistics.median(side.waited[1:]):.1%} |")


def spread(ratios: list[float]) -> str:
    """Median, least and largest."""
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
