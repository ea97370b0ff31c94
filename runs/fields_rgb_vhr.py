"""Train ``fields-rgb-vhr``: RGB imagery of 1 to 5 m (and Sentinel-2 true colour upsampled to 5 m) -> background, field, boundary.

One script from chips to checkpoint.  Real NAIP chips (USDA, public domain; polygons MIT) are cut at random places, angles and ground sampling
distances; a part of each batch can be rendered from the simulated countryside.  Everything is drawn from the seed; a killed run goes on
from its last checkpoint and sees the same samples.

    python runs/fields_rgb_vhr.py ../shared/data/satellite/vhr_naip_usa checkpoints/vhr

Split by place: of the chips sorted by name every fourth, from the third, is validation and never seen in training.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import rasterio
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

IGNORE = 255
ENCODER, DECODER = "mobilenet_v2", (128, 64, 32, 24, 16)


def split(folder: Path) -> tuple[list[Path], list[Path]]:
    chips = sorted((folder / "images").glob("*.tif"))
    return [c for k, c in enumerate(chips) if k % 4 != 2], [c for k, c in enumerate(chips) if k % 4 == 2]


def read_chip(path: Path) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Image pyramid (1, 2, 4, 8, 16 m; float 0..1) and instance ids of one chip."""
    with rasterio.open(path) as source:
        image = torch.from_numpy(source.read()).float() / 255
    with rasterio.open(path.parent.parent / "instances" / path.name) as source:
        ids = torch.from_numpy(source.read(1).astype(np.int32))
    pyramid = [image]
    for _ in range(4):
        pyramid.append(F.avg_pool2d(pyramid[-1][None], 2)[0])
    return pyramid, ids


def label_classes(ids: torch.Tensor, width: int) -> torch.Tensor:
    """(y, x) ids, -1 = outside -> 0 background, 1 field, 2 boundary (the outermost ``width`` px inside a field), 255 outside."""
    known = ids.clone().float()
    outside = ids < 0
    high = torch.where(outside, torch.tensor(-1e9), known)[None, None]
    low = torch.where(outside, torch.tensor(1e9), known)[None, None]
    window = 2 * width + 1
    top = F.max_pool2d(high, window, 1, width)[0, 0]
    bottom = -F.max_pool2d(-low, window, 1, width)[0, 0]
    classes = (ids > 0).long()
    classes[(ids > 0) & (top != bottom)] = 2
    classes[outside] = IGNORE
    return classes


def draw_view(pyramid: list[torch.Tensor], ids: torch.Tensor, size: int, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of a chip at a random ground sampling distance, angle and sharpness."""
    gsd = float(np.exp(rng.uniform(math.log(1.5), math.log(5.5))))
    blur = gsd * float(np.exp(rng.uniform(math.log(0.7), math.log(2.2))))
    level = int(np.clip(round(math.log2(blur)), 0, len(pyramid) - 1))
    height, width = ids.shape
    angle = rng.uniform(0, 2 * math.pi)
    stretch = float(np.exp(rng.uniform(-0.12, 0.12)))
    half = size * gsd / 2
    room_y, room_x = max(height / 2 - half, 0) + 20, max(width / 2 - half, 0) + 20
    cy, cx = rng.uniform(-room_y, room_y) * 2 / height, rng.uniform(-room_x, room_x) * 2 / width
    cos, sin = math.cos(angle), math.sin(angle)
    flip = -1.0 if rng.random() < 0.5 else 1.0
    a, b = half * 2 / width, half * 2 / height
    theta = torch.tensor([[flip * a * cos * stretch, -a * sin / stretch, cx], [flip * b * sin * stretch, b * cos / stretch, cy]])[None].float()
    grid = F.affine_grid(theta, [1, 1, size, size], align_corners=False)
    image = F.grid_sample(pyramid[level][None], grid, mode="bilinear", padding_mode="reflection", align_corners=False)[0]
    found = F.grid_sample(ids[None, None].float() + 1, grid, mode="nearest", padding_mode="zeros", align_corners=False)[0, 0]
    return image, label_classes((found.round() - 1).to(torch.int32), 2 if gsd < 2.6 else 1)


def jitter(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Appearance of other sensors and days: gamma, gain and offset per band, saturation, noise."""
    gamma = float(np.exp(rng.normal(0, 0.25)))
    image = image.clamp(1e-4, 1) ** gamma
    gain = float(np.exp(rng.normal(-0.1, 0.3))) * torch.from_numpy(np.exp(rng.normal(0, 0.08, (3, 1, 1)))).float()
    offset = torch.from_numpy(rng.normal(0, 0.02, (3, 1, 1))).float() + float(rng.normal(0, 0.03))
    grey = image.mean(0, keepdim=True)
    saturation = float(np.clip(np.exp(rng.normal(0, 0.35)), 0, 2)) if rng.random() > 0.04 else 0.0
    image = grey + saturation * (image - grey)
    image = image * gain + offset
    return (image + torch.from_numpy(rng.normal(0, rng.uniform(0, 0.02), image.shape)).float()).clamp(0, 1)


def draw_batch(chips, step: int, size: int, count: int, seed: int, simulated=None) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = [], []
    for k in range(count):
        rng = np.random.default_rng((seed, step, k))
        pool = simulated if simulated and rng.random() < 0.25 else chips
        pyramid, ids = pool[rng.integers(len(pool))]
        image, classes = draw_view(pyramid, ids, size, rng)
        images.append(jitter(image, rng))
        labels.append(classes)
    return torch.stack(images), torch.stack(labels)


def loss_of(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy plus soft Dice over the classes; ignored pixels count in neither."""
    weights = torch.tensor([0.8, 0.8, 2.0])
    entropy = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    known = (labels != IGNORE)[:, None]
    share = logits.softmax(1) * known
    truth = F.one_hot(labels.clamp(max=2), 3).permute(0, 3, 1, 2) * known
    dice = 1 - (2 * (share * truth).sum((0, 2, 3)) + 1) / (share.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return entropy + dice.mean()


def network() -> torch.nn.Module:
    return smp.Unet(ENCODER, encoder_weights=None, in_channels=3, classes=3, decoder_channels=DECODER)


class Batches(torch.utils.data.IterableDataset):
    def __init__(self, chips, simulated, start, stop, args):
        self.chips, self.simulated, self.start, self.stop, self.args = chips, simulated, start, stop, args

    def __iter__(self):
        torch.set_num_threads(1)
        for step in range(self.start, self.stop):
            yield draw_batch(self.chips, step, self.args.size, self.args.batch, self.args.seed, self.simulated)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--simulated", type=Path, help=".npz files of simulated RGB scenes: image (3, y, x) uint8 at 1 m, ids (y, x)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    chips = [read_chip(path) for path in split(args.data)[0]]
    model = network().to(memory_format=torch.channels_last)
    mean_model = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps + 1, pct_start=0.08)
    start, state = 0, args.out / "last.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"]), mean_model.load_state_dict(saved["mean"])
        optimizer.load_state_dict(saved["optimizer"]), schedule.load_state_dict(saved["schedule"])
        start = saved["step"]
    loader = torch.utils.data.DataLoader(Batches(chips, None, start, args.steps, args), batch_size=None, num_workers=1, prefetch_factor=4)
    began, smooth = time.time(), None
    model.train()
    for step, (images, labels) in enumerate(loader, start):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(images.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
        mean_model.update_parameters(model)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        if (step + 1) % 25 == 0:
            pace = (step + 1 - start) * args.batch / (time.time() - began)
            line = {"step": step + 1, "loss": round(smooth, 4), "images_per_s": round(pace, 1), "minutes": round((time.time() - began) / 60, 1)}
            print(json.dumps(line), flush=True)
        if (step + 1) % 100 == 0 or step + 1 == args.steps:
            part = state.with_suffix(".part")
            torch.save({"model": model.state_dict(), "mean": mean_model.state_dict(), "optimizer": optimizer.state_dict(),
                        "schedule": schedule.state_dict(), "step": step + 1}, part)
            part.replace(state)


if __name__ == "__main__":
    main()
