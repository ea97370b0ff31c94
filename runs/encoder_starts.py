"""Compare what an encoder of fields starts from: nothing, ImageNet, and ImageNet taught on with
EuroSAT, by its scene classes or by itself; and a plain U-Net from the same ImageNet.

    python runs/encoder_starts.py packed.npz ../shared/data/satellite/pretraining/eurosat_rgb_subset

EuroSAT's 10,900 patches teach the encoder either which of ten kinds of land they show, or that two
views of a patch are one place and that no two numbers of its answer say the same (Barlow Twins,
Zbontar et al. 2021, arXiv 2103.03230).  Then every start learns fields of the same windows of
chips, at a metre and as Sentinel-2 would show them in true colour, a fold left out, and says what
it sees in windows of that fold: pixel IoU of fields, and F1 of boundary pixels within two.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from fields_draw import IGNORE, Draw, Stock, draw_aerial, draw_as_satellite, read_stock
from fields_fit import CLASSES, SIZES, Group, build, grouped, look, loss_of
from selion.models.dates.network import ABSENT, DateSet, make_dates

KINDS = {"aerial": draw_aerial, "satellite": partial(draw_as_satellite, dates=1)}
WIDE = 512
"""Numbers that a patch is said in, where the encoder is taught by itself."""
REDUNDANT = 0.005
"""Weight of what two numbers have in common (Barlow Twins' lambda)."""
TOLD = 8
"""Batches of each kind that are asked about."""
Patches = tuple[torch.Tensor, torch.Tensor]
"""(patch, 3, 64, 64) uint8 and their classes."""


class Plain(nn.Module):
    """A U-Net of three bands and one date."""

    def __init__(self, start: DateSet, size: str) -> None:
        super().__init__()
        encoder, decoder = SIZES[size]
        self.unet = smp.Unet(
            encoder, encoder_weights=None, in_channels=3, classes=CLASSES, decoder_channels=decoder
        )
        ours, theirs = self.unet.encoder.state_dict(), start.encoder.state_dict()
        fitting = {n: theirs[n][:, :3] if theirs[n].ndim == 4 else theirs[n] for n in ours}
        self.unet.encoder.load_state_dict(
            {n: theirs[n] if theirs[n].shape == ours[n].shape else fitting[n] for n in ours}
        )

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """(view, date, band, y, x) -> (view, class, y, x) logits of the first date's colours."""
        return self.unet(fed(views[:, 0])[:, :3])


class Dated(nn.Module):
    """The network of any number of dates."""

    def __init__(self, network: DateSet) -> None:
        super().__init__()
        self.network = network

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """(view, date, band, y, x) -> (view, class, y, x) logits."""
        return self.network.segmentation_head(look(self.network, [views]))


def fed(pixels: torch.Tensor) -> torch.Tensor:
    """Bands as the network of dates feeds them to its encoder, then which of them are there."""
    there = (pixels > ABSENT / 2).to(pixels.dtype)
    return torch.cat([(2 * pixels - 1) * there, there], 1)


def read_eurosat(folder: Path) -> Patches:
    """Read all patches and the number of their class."""
    with zipfile.ZipFile(folder / "eurosat_rgb_subset.zip") as held:
        names = sorted(name for name in held.namelist() if name.endswith(".jpg"))
        kinds = sorted({Path(name).parent.name for name in names})
        images = [np.asarray(Image.open(io.BytesIO(held.read(name)))) for name in names]
    labels = [kinds.index(Path(name).parent.name) for name in names]
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), torch.tensor(labels)


def view_of(patches: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """(patch, 4, 64, 64) another look at patches: cut, turned, in another light; no infrared."""
    count, edge = len(patches), patches.shape[-1]
    cut = int(torch.randint(edge // 2, edge + 1, (1,), generator=draw))
    top, left, turn = (
        int(torch.randint(n, (1,), generator=draw)) for n in (edge - cut + 1,) * 2 + (8,)
    )
    seen = patches[..., top : top + cut, left : left + cut].float() / 255
    seen = torch.rot90(seen.flip(3) if turn >= 4 else seen, turn % 4, (2, 3))
    seen = F.interpolate(seen, (edge, edge), mode="bilinear", align_corners=False)
    light, tint = (torch.rand(count, n, 1, 1, generator=draw) for n in (1, 3))
    seen = (seen * (0.6 + 0.8 * light) * (0.85 + 0.3 * tint)).clamp(0, 1)
    return torch.cat([seen, torch.full_like(seen[:, :1], ABSENT)], 1)


def by_classes(wide: int) -> tuple[nn.Module, Callable[..., torch.Tensor]]:
    """A head for scene classes, and its loss."""
    return nn.Linear(wide, 10), lambda first, _second, labels: F.cross_entropy(first, labels)


def by_itself(wide: int) -> tuple[nn.Module, Callable[..., torch.Tensor]]:
    """A projector, and the loss of Barlow Twins (its equation 1)."""
    layers = nn.Linear(wide, WIDE), nn.BatchNorm1d(WIDE), nn.ReLU(), nn.Linear(WIDE, WIDE)

    def loss(first: torch.Tensor, second: torch.Tensor, _labels: torch.Tensor) -> torch.Tensor:
        one, other = ((v - v.mean(0)) / (v.std(0) + 1e-5) for v in (first, second))
        common = one.T @ other / len(one)
        same = (torch.diagonal(common) - 1).pow(2).sum()
        rest = common.pow(2).sum() - torch.diagonal(common).pow(2).sum()
        return (same + REDUNDANT * rest) / WIDE

    return nn.Sequential(*layers), loss


def pretrain(
    network: DateSet, way: Callable, patches: Patches, args: argparse.Namespace
) -> DateSet:
    """Teach the encoder of a network on EuroSAT."""
    images, labels = patches
    head, loss_of_way = way(network.encoder.out_channels[-1])
    learner = nn.ModuleList([network.encoder, head]).train()
    draw = torch.Generator().manual_seed(args.seed)
    optimizer = torch.optim.AdamW(learner.parameters(), lr=args.lr / 2, weight_decay=0.01)
    for step in range(args.pretrain):
        pick = torch.randint(len(images), (args.patches,), generator=draw)
        said = [
            head(network.encoder(fed(view_of(images[pick], draw)))[-1].mean((2, 3)))
            for _ in range(1 + (way is by_itself))
        ]
        loss = loss_of_way(said[0], said[-1], labels[pick])
        learn(optimizer, loss, step / args.pretrain, args.lr / 2)
        if step % 50 == 49:
            print(json.dumps({way.__name__: step + 1, "loss": round(loss.item(), 4)}), flush=True)
    return network


def learn(optimizer: torch.optim.Optimizer, loss: torch.Tensor, done: float, top: float) -> None:
    """Take a step at the rate of one cycle."""
    for group in optimizer.param_groups:
        group["lr"] = top * min(1.0, (done + 0.01) / 0.06) * 0.5 * (1 + math.cos(math.pi * done))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], 2.0)
    optimizer.step()


def only(stock: Stock, which: Sequence[int]) -> Stock:
    """Some chips of a stock."""
    kept = list(which)
    return replace(stock, chips=[level[kept] for level in stock.chips], ids=stock.ids[kept])


def windows(stock: Stock, kind: str, count: int, size: int, seed: int, step: int) -> Group:
    """Draw windows in true colour."""
    draw = Draw(seed, step, torch.device("cpu"))
    pixels, *truth = grouped([KINDS[kind](stock, draw, count, size)], draw)
    pixels = pixels.clone()
    pixels[:, :, 3] = ABSENT
    return pixels, *truth  # type: ignore[return-value]


def fit(model: nn.Module, stock: Stock, args: argparse.Namespace) -> nn.Module:
    """Learn fields."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    model.train()
    for step in range(args.steps):
        drawn = [windows(stock, k, args.count, args.size, args.seed, step) for k in KINDS]
        pixels, labels, weights, depths = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        unknown = torch.full_like(depths, -1.0)
        logits = model(pixels)
        loss = loss_of(logits, torch.zeros_like(unknown), (labels, weights, unknown))
        learn(optimizer, loss, step / args.steps, args.lr)
    return model.eval()


@torch.no_grad()
def score(model: nn.Module, stock: Stock, args: argparse.Namespace) -> dict[str, list[float]]:
    """Kind -> pixel IoU of fields and F1 of boundary pixels within two, on windows that are the
    same for every start.
    """
    out = {}
    for kind in KINDS:
        hits = np.zeros(6)
        for step in range(TOLD):
            pixels, labels, *_ = windows(stock, kind, 4, 2 * args.size, 999, step)
            said, known = model(pixels).argmax(1), labels != IGNORE
            field, true = (said > 0) & known, (labels > 0) & known
            edge, drawn = ((part == 2) & known for part in (said, labels))
            near = [F.max_pool2d(e[:, None].float(), 5, 1, 2)[:, 0] > 0 for e in (edge, drawn)]
            pairs = (field & true, field | true, edge & near[1], edge, drawn & near[0], drawn)
            hits += [part.sum().item() for part in pairs]
        right, seen = hits[2] / max(hits[3], 1), hits[4] / max(hits[5], 1)
        out[kind] = [hits[0] / hits[1], 2 * right * seen / max(right + seen, 1e-9)]
    return out


def starts(packed: Path, patches: Patches, args: argparse.Namespace) -> dict[str, Callable]:
    """Name -> what makes a network from it; EuroSAT is learnt once."""
    encoder, decoder = SIZES[args.model_size]
    taught = {
        way: pretrain(build(args.model_size, packed), way, patches, args).state_dict()
        for way in (by_classes, by_itself)
    }

    def onward(way: Callable) -> Dated:
        network = build(args.model_size, packed)
        network.load_state_dict(taught[way])
        return Dated(network)

    return {
        "nothing": lambda: Dated(make_dates(4, CLASSES, encoder, None, decoder_channels=decoder)),
        "ImageNet": lambda: Dated(build(args.model_size, packed)),
        "ImageNet, then EuroSAT's classes": partial(onward, by_classes),
        "ImageNet, then EuroSAT by itself": partial(onward, by_itself),
        "ImageNet, a plain U-Net": lambda: Plain(build(args.model_size, packed), args.model_size),
    }


def main() -> None:
    """Compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packed", type=Path, help="what fields_pack.py packed")
    parser.add_argument("eurosat", type=Path, help="folder of eurosat_rgb_subset.zip")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--pretrain", type=int, default=200, help="steps on EuroSAT")
    parser.add_argument("--patches", type=int, default=64, help="of one step")
    parser.add_argument("--steps", type=int, default=200, help="steps on fields")
    parser.add_argument("--count", type=int, default=5, help="windows of each kind in a step")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model-size", choices=SIZES, default="base")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    stock = read_stock(args.packed, {}, -1, torch.device("cpu"))
    with np.load(args.packed) as held:
        folds = held["folds"]
    rows: dict[str, list[np.ndarray]] = {}
    for name, make in starts(args.packed, read_eurosat(args.eurosat), args).items():
        for fold in args.folds:
            torch.manual_seed(args.seed + fold)
            model = fit(make(), only(stock, np.flatnonzero(folds != fold)), args)
            said = score(model, only(stock, np.flatnonzero(folds == fold)), args)
            print(json.dumps({"start": name, "fold": fold, **said}), flush=True)
            rows.setdefault(name, []).append(np.array([said[kind] for kind in KINDS]))
    print("\n| start | " + " | ".join(f"{kind}: IoU, edges" for kind in KINDS) + " |")
    print("|---|" + "---:|" * len(KINDS))
    for name, each in rows.items():
        cells = [f"{iou:.3f}, {edges:.3f}" for iou, edges in np.mean(each, axis=0)]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
