"""Train the networks of fields: one for any number of dates, from aerial imagery to Sentinel-2.

    python runs/fields_pack.py ../shared/data/satellite packed.npz --pseudo checkpoints/pseudo
    python runs/scenes.py scenes --kinds s2 small strips vhr parcels --count 60
    python runs/fields_fit.py packed.npz checkpoints/base --scenes scenes --size base --minutes 9

Everything is drawn on the device (``fields_draw.py``), always in batches of one shape, second looks
(``--agree``) in one other: the first step of a shape costs a GPU seconds while its library chooses
kernels (and minutes with ``cudnn.benchmark``).  The encoder starts from ImageNet
(EfficientNet-Lite, Apache-2.0); near infrared and further dates start from nothing.  What is kept
is the running average of the weights, its batch statistics measured anew.  ``--fold`` leaves out a
fifth of the places; a killed run goes on from ``state.pt`` with the same windows.
"""

from __future__ import annotations

import argparse
import json
import math
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn

from fields_draw import (
    DEPTHS,
    IGNORE,
    Draw,
    Scenes,
    Stock,
    Windows,
    classes_of,
    draw_aerial,
    draw_as_satellite,
    draw_known,
    draw_patches,
    draw_picture,
    draw_scene,
    jitter,
    read_chips,
    read_scenes,
    read_stock,
    read_unlabelled,
)
from selion.models.dates.network import ABSENT, DateSet, fuse_dates, make_dates

BANDS, CLASSES = 4, 3
SIZES = {
    "small": ("tu-tf_efficientnet_lite0", (128, 64, 32, 24, 16)),
    "base": ("tu-tf_efficientnet_lite2", (256, 128, 64, 32, 16)),
}
CLASS_WEIGHTS = (0.8, 0.8, 2.0)
LOOKED_AGAIN, AGREE_EVERY = 0.27, 2
"""Share of the windows that are looked at twice, and in every how many steps."""
SETTLE = 60
"""Batches that the batch statistics of the averaged weights are measured on."""


@dataclass(frozen=True)
class Part:
    """How many windows of a batch come from a source, and of how many dates they are."""

    draw: Callable[[Stock, Draw, int, int], Windows]
    """(stock, draw, count, size) -> Windows."""
    count: int


AERIAL = 20
PICTURES = (9, {"vhr": 7.0, "plots": 2.0})
"""Windows of simulated scenes of about a metre in a batch, and how often each kind is drawn."""
SATELLITE = {
    1: (
        (6, 5, 5),
        {"chips": 5, "s2": 2, "small": 2, "strips": 1, "parcels": 1, "known": 3, "patches": 2},
    ),
    2: (
        (8, 7),
        {"chips": 4, "s2": 3, "small": 2, "strips": 2, "parcels": 1, "known": 2, "patches": 1},
    ),
}
"""Dates -> windows of each of a few sources in a batch, and how often each source is drawn: a
window more of a source costs little, another source costs a GPU many small kernels."""
DRAWS = {"chips": draw_as_satellite, "known": draw_known, "patches": draw_patches}


def recipe(stock: Stock, rng: np.random.Generator) -> list[Part]:
    """What a batch is made of; the chips stand in for sources that are not there.

    Always as many windows of one date and of two: libraries choose their kernels by the shape, and
    choosing costs seconds.
    """
    count, shares = PICTURES
    kind = _drawn(shares, 1, rng)[0]
    pictures = partial(of_pictures, kind) if kind in stock.scenes else draw_aerial
    parts = [Part(draw_aerial, AERIAL), Part(pictures, count)]
    for dates, (counts, often) in SATELLITE.items():
        for name, number in zip(_drawn(often, len(counts), rng), counts, strict=True):
            here = name in DRAWS and (name != "known" or stock.known)
            if not here and name in stock.scenes:
                parts.append(Part(of_scenes(name, dates), number))
            else:
                draw = DRAWS[name] if here else draw_as_satellite
                parts.append(Part(partial(draw, dates=dates), number))
    return parts


def _drawn(often: dict[str, float], count: int, rng: np.random.Generator) -> list[str]:
    """Return ``count`` different names."""
    chances = np.array(list(often.values()), float)
    return list(rng.choice(list(often), count, replace=False, p=chances / chances.sum()))


def of_scenes(kind: str, dates: int) -> Callable[[Stock, Draw, int, int], Windows]:
    """Windows of a kind of simulated scenes."""
    return lambda stock, draw, count, size: draw_scene(
        stock.scenes[kind], draw, count, size, dates, stock.finer
    )


def of_pictures(kind: str, stock: Stock, draw: Draw, count: int, size: int) -> Windows:
    """Windows of a kind of simulated scenes of about a metre."""
    return draw_picture(stock.scenes[kind], draw, count, size, stock.finer)


Group = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
"""Pixels (view, date, 4, y, x), classes, weights, depths."""


def draw_batch(
    stock: Stock, step: int, args: argparse.Namespace, device: torch.device
) -> list[Group]:
    """Return the groups of a batch, one per number of dates."""
    draw = Draw(args.seed, step, device)
    by_dates: dict[int, list[Windows]] = {}
    for part in recipe(stock, draw.np):
        count = max(1, round(part.count * args.scale))
        windows = part.draw(stock, draw, count, args.window)
        by_dates.setdefault(windows.pixels.shape[1], []).append(windows)
    return [grouped(parts, draw) for parts in by_dates.values()]


def grouped(parts: list[Windows], draw: Draw) -> Group:
    """Put windows of one number of dates together, each source in another light."""
    parts = sorted(parts, key=lambda windows: windows.classes)
    pixels = torch.cat([jitter(windows, draw) for windows in parts])
    return pixels, *classes_of(parts)


def look(network: DateSet, groups: list[torch.Tensor]) -> torch.Tensor:
    """(view, date, band, y, x) groups of several numbers of dates -> features of all views.

    As the network does it for one group, with one pass through the encoder for all dates.
    """
    dates = torch.cat([group.flatten(0, 1) for group in groups])
    there = (dates > ABSENT / 2).to(dates.dtype)
    fed = torch.cat([(2 * dates - 1) * there, there], 1)
    levels = network.encoder(fed.contiguous(memory_format=torch.channels_last))
    seen = there[:, :1]
    fused = [torch.cat([part[:, 0] for part in _groups(levels[0], groups)])]
    for fusion, level in zip(network.fusions, levels[1:], strict=True):
        seen = F.avg_pool2d(seen, 2)
        pairs = zip(_groups(level, groups), _groups(seen, groups), strict=True)
        fused.append(torch.cat([fuse_dates(fusion, part, share) for part, share in pairs]))
    return network.decoder(fused)


def _groups(flat: torch.Tensor, groups: list[torch.Tensor]) -> list[torch.Tensor]:
    out, start = [], 0
    for group in groups:
        views, dates = group.shape[:2]
        part = flat[start : start + views * dates]
        out.append(part.reshape(views, dates, *flat.shape[1:]))
        start += views * dates
    return out


class Trained(nn.Module):
    """The network, and a head that says how deep inside a field a pixel lies: for training only."""

    def __init__(self, network: DateSet) -> None:
        super().__init__()
        self.network = network
        wide = network.segmentation_head[0].in_channels
        self.depth = nn.Conv2d(wide, len(DEPTHS), 1)

    def forward(self, groups: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of classes and of depths."""
        seen = look(self.network, groups)
        return self.network.segmentation_head(seen), self.depth(seen)


def loss_of(
    logits: torch.Tensor, deep: torch.Tensor, truth: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """Weighted cross-entropy, soft Dice, and binary cross-entropy of the depths.

    What is not known counts in none.
    """
    labels, weights, depths = truth
    known = labels != IGNORE
    balance = torch.tensor(CLASS_WEIGHTS, device=logits.device)
    each = F.cross_entropy(logits, labels, balance, ignore_index=IGNORE, reduction="none")
    weights = torch.where(known, weights, 0.0)
    scale = (balance[labels.clamp(max=2)] * weights).sum().clamp(min=1)
    entropy = (each * weights).sum() / scale
    share = logits.softmax(1) * known[:, None]
    one_hot = F.one_hot(labels.clamp(max=2), CLASSES).permute(0, 3, 1, 2) * known[:, None]
    both, either = (share * one_hot).sum((0, 2, 3)), (share + one_hot).sum((0, 2, 3))
    dice = (1 - (2 * both + 1) / (either + 1)).mean()
    sure = depths >= 0
    inner = F.binary_cross_entropy_with_logits(deep, depths.clamp(min=0), reduction="none")
    return entropy + dice + 0.5 * (inner * sure).sum() / sure.sum().clamp(min=1)


def second_look(
    group: Group, draw: Draw
) -> tuple[torch.Tensor, list[torch.Tensor], Callable[..., torch.Tensor]]:
    """Cut a window out of windows, turn or flip it, read it in another light, mostly nearer.

    Returns (view, date, band, y', x') pixels, always three quarters of a side, the moved labels,
    weights and depths, and what moves answers likewise.
    """
    rng, size = draw.np, group[0].shape[-1]
    out = 3 * size // 4
    factor = float(np.exp(rng.uniform(0, math.log(2.0)))) if rng.random() < 0.6 else 1.0
    crop = round(out / factor)
    top, left = rng.integers(0, size - crop + 1, 2)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))

    def moved(values: torch.Tensor, smooth: bool) -> torch.Tensor:
        cut = values[..., top : top + crop, left : left + crop].float()
        flat = cut.reshape(-1, 1, crop, crop)
        if crop != out and smooth:
            flat = F.interpolate(
                flat, (out, out), mode="bilinear", align_corners=False, antialias=True
            )
        elif crop != out:
            flat = F.interpolate(flat, (out, out), mode="nearest-exact")
        turned = torch.rot90(flat.flip(-1) if flip else flat, turns, (-2, -1))
        return turned.reshape(*values.shape[:-2], out, out)

    there = moved((group[0] > ABSENT / 2).float(), smooth=False) > 0.5
    light = torch.exp(draw.normal(len(group[0]), 1, 1, 1, 1, std=0.25))
    tint = torch.exp(draw.normal(*group[0].shape[:3], 1, 1, std=0.06))
    shown = moved(group[0].clamp(min=0), smooth=True) * light * tint
    pixels = torch.where(there, shown.clamp(0, 3), ABSENT)
    truth = [
        moved(group[1], smooth=False).long(),
        moved(group[2], smooth=False),
        moved(group[3], smooth=False),
    ]
    return pixels, truth, moved


def build(size: str, packed: Path) -> DateSet:
    """Build a network whose encoder starts from the packed weights of ImageNet."""
    encoder, decoder = SIZES[size]
    network = make_dates(BANDS, CLASSES, encoder, None, decoder_channels=decoder)
    published = timm.create_model(encoder.removeprefix("tu-"), pretrained=False).state_dict()
    with np.load(packed) as held:
        theirs = {
            name: torch.from_numpy(np.asarray(held[f"{encoder}/{k}"])).float()
            for k, name in enumerate(published)
            if f"{encoder}/{k}" in held.files
        }
    ours = network.encoder.state_dict()
    for name, value in ours.items():
        start = theirs[name.removeprefix("model.")]
        if start.shape != value.shape:  # the first layer: red, green, blue; the others from zero
            wider = torch.zeros_like(value)
            wider[:, :3] = start
            start = wider
        ours[name] = start.to(value.dtype)
    network.encoder.load_state_dict(ours)
    return network


def average(mean: dict[str, torch.Tensor], model: nn.Module, decay: float) -> None:
    """Move the running average of the weights."""
    with torch.no_grad():
        pairs = [(mean[n], p) for n, p in model.named_parameters()]
        torch._foreach_lerp_([a for a, _ in pairs], [b.detach() for _, b in pairs], 1 - decay)


def settled(
    model: Trained, mean: dict[str, torch.Tensor], batches, half
) -> dict[str, torch.Tensor]:
    """State of the network with averaged weights and batch statistics of their own."""
    live = {name: value.detach().clone() for name, value in model.state_dict().items()}
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    kept = [layer.momentum for layer in norms]
    model.load_state_dict({**live, **mean})
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    with torch.no_grad(), half():
        for groups in batches:
            model([group[0] for group in groups])
    state = {
        name.removeprefix("network."): value.detach().clone()
        for name, value in model.state_dict().items()
        if name.startswith("network.")
    }
    for layer, momentum in zip(norms, kept, strict=True):
        layer.momentum = momentum
    model.load_state_dict(live)
    return state


@torch.no_grad()
def validate(network: DateSet, images: torch.Tensor, ids: torch.Tensor, half) -> dict[str, float]:
    """Pixel IoU of fields, and of boundaries within two pixels, on chips at 2 m."""
    network.eval()
    hits = np.zeros(2)
    shown = F.avg_pool2d(images.float() / 255, 2)
    near = 0.0
    for image, truth in zip(shown, ids[:, ::2, ::2], strict=True):
        absent = torch.full_like(image[:1], ABSENT)
        with half():
            said = network(torch.cat([image, absent])[None]).float().softmax(1)[0]
        field, true = said[0] < 0.5, truth > 0
        hits += [(field & true).sum().item(), (field | true).sum().item()]
        classes = _edges(truth[None].float())
        strong = said[2] > 0.4
        wide = [F.max_pool2d(mask[None, None].float(), 5, 1, 2)[0, 0] for mask in (strong, classes)]
        precision = (strong * wide[1]).sum() / strong.sum().clamp(min=1)
        recall = (classes * wide[0]).sum() / classes.sum().clamp(min=1)
        near += (2 * precision * recall / (precision + recall + 1e-6)).item() / len(shown)
    network.train()
    return {"iou": round(hits[0] / max(hits[1], 1), 4), "edges": round(near, 4)}


def _edges(ids: torch.Tensor) -> torch.Tensor:
    high = F.max_pool2d(ids[:, None], 5, 1, 2)[:, 0]
    low = -F.max_pool2d(-ids[:, None], 5, 1, 2)[:, 0]
    return ((ids > 0) & (high != low)).float()[0]


@torch.no_grad()
def teach(
    args: argparse.Namespace, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Label the real scenes: what several networks say of all dates in eight poses, where sure.

    (date, band, y, x) images at 10 m and (2y, 2x) classes at 5 m, -1 where not sure.  Where
    green is brighter than near infrared on every date it is water (NDWI, McFeeters 1996).
    """
    encoder, decoder = SIZES[args.teacher_size]
    networks = []
    for path in args.teachers:
        network = make_dates(BANDS, CLASSES, encoder, None, decoder_channels=decoder)
        network.load_state_dict({n: v.float() for n, v in load_file(path).items()})
        networks.append(network.to(device).eval())
    known = []
    for dates in read_unlabelled(args.packed, device):
        if dates.shape[1] == 3:
            dates = torch.cat([dates, torch.full_like(dates[:, :1], ABSENT)], 1)  # noqa: PLW2901
        fine = F.interpolate(dates.clamp(max=3), scale_factor=2.0, mode="bilinear")
        fine = torch.where(fine < 0, ABSENT, fine)
        said = torch.zeros(CLASSES, *fine.shape[2:], device=device)
        views = [fine.flatten(0, 1), *(date for date in fine)]
        for network in networks:
            for view in views:
                said += _poses(network, view) / (len(networks) * len(views))
        top, classes = said.max(0)
        field = said[1] + said[2]
        sure = torch.where(classes == 0, top > 0.8, (field > 0.75) & (top > 0.55))
        label = torch.where(sure, classes.float(), -1.0)
        if (dates[:, 3] >= 0).all():
            wet = (dates[:, 1] > dates[:, 3]).all(0).float()[None, None]
            wet = F.interpolate(wet, scale_factor=2.0, mode="nearest")[0, 0] > 0.5
            label = torch.where(wet, 0.0, label)
        known.append((dates, label))
    shares = torch.cat([label.flatten() for _, label in known])
    print("real scenes: known", round((shares >= 0).float().mean().item(), 3), flush=True)
    return known


def _poses(network: DateSet, view: torch.Tensor) -> torch.Tensor:
    """(band, y, x) -> (class, y, x) mean probabilities over the symmetries of the square."""
    height, width = view.shape[1:]
    pads = (0, -width % 32, 0, -height % 32)
    padded = F.pad(view[None], pads, mode="replicate")
    total = torch.zeros(CLASSES, *padded.shape[2:], device=view.device)
    for flip in (False, True):
        for turns in range(4):
            pose = torch.rot90(padded.flip(3) if flip else padded, turns, (2, 3))
            said = torch.rot90(network(pose).softmax(1), -turns, (2, 3))
            total += (said.flip(3) if flip else said)[0] / 8
    return total[:, :height, :width]


def kind_of(path: Path) -> str:
    """Return what is in a rendered scene; parcels of a few metres are plots."""
    kind = path.name.split("_")[0]
    if kind == "parcels":
        with np.load(path) as scene:
            return "plots" if scene["gsd"] < 5 else kind
    return kind


def kinds_of(folder: Path | None) -> dict[str, list[Path]]:
    """Return the rendered scenes of a folder by kind."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*[0-9].npz")) if folder else []:
        kinds.setdefault(kind_of(path), []).append(path)
    return kinds


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packed", type=Path)
    parser.add_argument("out", type=Path, help="folder; NAME.safetensors, NAME.json, state.pt")
    parser.add_argument("--name", default="fields")
    parser.add_argument("--scenes", type=Path, help="folder of KIND_*.npz")
    parser.add_argument(
        "--wait", action="store_true", help="begin without scenes, take them in as they are made"
    )
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--fold", type=int, default=-1, help="left out; -1: train on all chips")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, help="end the schedule by the clock instead")
    parser.add_argument("--until", type=float, help="end the schedule at this time (epoch seconds)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the batch")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--decay", type=float, default=0.998)
    parser.add_argument("--agree", type=float, default=0.0, help="weight of a second look")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--start", type=Path, help="weights to start from, NAME.safetensors")
    parser.add_argument("--every", type=float, default=20.0, help="seconds between validations")
    parser.add_argument("--shown", type=int, default=6, help="chips that validate")
    parser.add_argument("--settle", type=int, default=SETTLE)
    parser.add_argument(
        "--teachers", type=Path, nargs="*", default=[], help="weights that label the real scenes"
    )
    parser.add_argument("--teacher-size", choices=SIZES, default="small")
    return parser.parse_args()


def progress(args: argparse.Namespace, step: int, began: float) -> float:
    """Return the share of the run that is done, by the clock where minutes were given."""
    if args.minutes is None:
        return step / args.steps
    return (time.time() - began) / (60 * args.minutes)


def rate(done: float, top: float) -> float:
    """Learning rate of one cycle."""
    warm = 0.06
    if done < warm:
        return top * (0.04 + 0.96 * done / warm)
    return top * (
        0.001 + 0.999 * 0.5 * (1 + math.cos(math.pi * min(1, (done - warm) / (1 - warm))))
    )


def losses(
    model: Trained, groups: list[Group], step: int, args: argparse.Namespace, half: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of a batch, and how far two looks at a part of it lie apart."""
    truth = tuple(torch.cat([group[k] for group in groups]) for k in (1, 2, 3))
    with half():
        logits, deep = model([group[0] for group in groups])
    loss = loss_of(logits.float(), deep.float(), truth)
    if not args.agree or step % AGREE_EVERY:
        return loss, torch.zeros((), device=loss.device)
    draw, looked = Draw(args.seed + 1, step, loss.device), []
    for group, first in zip(groups, logits.split([len(group[0]) for group in groups]), strict=True):
        count = len(group[0])
        some = max(1, round(count * LOOKED_AGAIN))
        pick = torch.randperm(count, generator=draw.torch, device=loss.device)[:some]
        pixels, again, moved = second_look(tuple(part[pick] for part in group), draw)
        looked.append((pixels, *again, moved(first[pick].float().softmax(1), smooth=True)))
    with half():
        other, depth = model([pixels for pixels, *_ in looked])
    again = tuple(torch.cat([part[k] for part in looked]) for k in (1, 2, 3))
    said = torch.cat([part[4] for part in looked])
    apart = ((said - other.float().softmax(1)) ** 2).sum(1).mean()
    both = 0.8 * loss + 0.2 * loss_of(other.float(), depth.float(), again)
    return both + args.agree * apart, apart


def start(args: argparse.Namespace, device: torch.device) -> Trained:
    """Build the network, from ImageNet or from another run."""
    network = build(args.size, args.packed)
    if args.start:
        network.load_state_dict({n: v.float() for n, v in load_file(args.start).items()})
    return Trained(network).to(device, memory_format=torch.channels_last)


def held_out(
    args: argparse.Namespace, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return chips of the fold, or of the training, that validate; None if none are wanted."""
    if not args.shown:
        return None
    with np.load(args.packed) as held:
        unseen = [k for k, of in enumerate(held["folds"]) if of == args.fold] or [2, 6, 10]
        images, ids = read_chips(held, unseen[: args.shown])
    return torch.from_numpy(images).to(device), torch.from_numpy(ids).to(device)


def watch(folder: Path, arrived: queue.SimpleQueue, device: torch.device) -> None:
    """Read the scenes of a folder while they are rendered, for as long as the run lasts."""
    seen: set[Path] = set()
    while True:
        fresh = {k: [p for p in ps if p not in seen] for k, ps in kinds_of(folder).items()}
        for kind, paths in fresh.items():
            for path in paths:
                arrived.put((kind, read_scenes([path], device)))
                seen.add(path)
        time.sleep(2)


def join_scenes(stock: Stock, arrived: queue.SimpleQueue) -> None:
    """Take in the scenes that were rendered meanwhile."""
    fresh: dict[str, list[Scenes]] = {}
    while not arrived.empty():
        kind, scene = arrived.get()
        fresh.setdefault(kind, []).append(scene)
    for kind, scenes in fresh.items():
        known = [stock.scenes[kind]] if kind in stock.scenes else []
        every = [*known, *scenes]
        images, ids = (torch.cat([getattr(s, n) for s in every]) for n in ("images", "ids"))
        stock.scenes[kind] = Scenes(images, ids, every[0].gsd)


def main() -> None:
    """Train."""
    args = options()
    args.out.mkdir(parents=True, exist_ok=True)
    device = torch.device(args.device)
    torch.manual_seed(args.seed)
    stock = read_stock(args.packed, {} if args.wait else kinds_of(args.scenes), args.fold, device)
    if args.teachers:
        stock.known.extend(teach(args, device))
    arrived: queue.SimpleQueue = queue.SimpleQueue()
    if args.wait:
        threading.Thread(target=watch, args=(args.scenes, arrived, device), daemon=True).start()
    model, chips = start(args, device), held_out(args, device)
    half = partial(torch.autocast, device.type, torch.bfloat16)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.lr, weight_decay=0.03, fused=device.type == "cuda"
    )
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    state, step, seconds = args.out / f"{args.name}.pt", 0, 0.0
    if state.exists():
        saved = torch.load(state, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        mean, step, seconds = saved["mean"], saved["step"], saved["seconds"]
    if args.until is not None:
        args.minutes = (args.until - time.time() + seconds) / 60
    began, told, views = time.time() - seconds, time.time(), 0
    model.train()
    while (done := progress(args, step, began)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate(done, args.lr)
        if step % 50 == 0:
            join_scenes(stock, arrived)
        groups = draw_batch(stock, step, args, device)
        loss, apart = losses(model, groups, step, args, half)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        average(mean, model, min(args.decay, (step + 1) / (step + 10)))
        step, views = step + 1, views + sum(len(group[0]) for group in groups)
        if time.time() - told > args.every:
            told = time.time()
            said: dict[str, float] = {"step": step, "done": round(done, 3)}
            said |= {"loss": round(loss.item(), 4), "apart": round(apart.item(), 4)}
            said["windows_per_s"] = round(views / (time.time() - began - seconds), 1)
            said["scenes"] = sum(len(scenes.ids) for scenes in stock.scenes.values())
            said |= validate(model.network, *chips, half) if chips else {}
            print(args.name, json.dumps(said), flush=True)
        if step % 1000 == 0:
            save_state(state, model, optimizer, mean, step, time.time() - began)
    save_state(state, model, optimizer, mean, step, time.time() - began)
    batches = (draw_batch(stock, 10**7 + k, args, device) for k in range(args.settle))
    weights = settled(model, mean, batches, half)
    model.network.load_state_dict(weights)
    encoder, decoder = SIZES[args.size]
    about = {"encoder": encoder, "decoder_channels": decoder, "fold": args.fold, "steps": step}
    about |= {"windows": views, "seconds": round(time.time() - began)}
    about |= {"validation": validate(model.network, *chips, half) if chips else {}}
    save_file(
        {n: (v.half() if v.ndim > 1 else v).contiguous().cpu() for n, v in weights.items()},
        args.out / f"{args.name}.safetensors",
    )
    (args.out / f"{args.name}.json").write_text(json.dumps(about))
    architecture = {"family": "dates", "encoder": encoder, "decoder_channels": decoder}
    (args.out / "architecture.json").write_text(json.dumps({"architecture": architecture}))
    print(args.name, json.dumps(about), flush=True)


def save_state(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    mean: dict,
    step: int,
    seconds: float,
) -> None:
    """Write what a killed run goes on from; the last good one stays until the new one is whole."""
    part = path.with_suffix(".part")
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "mean": mean,
            "step": step,
            "seconds": seconds,
        },
        part,
    )
    part.replace(path)


if __name__ == "__main__":
    main()
