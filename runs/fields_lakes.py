"""Teach ``fields-base`` what is no field, and nothing else: lakes in any light, woods and towns.

    python runs/fields_lakes.py packed.npz checkpoints/base/all.safetensors checkpoints/lakes \\
        --steps 240 --lakes ../shared/data/satellite/vhr_naip_timeseries_nd/*.tif

Nothing that the networks of fields learn from shows a lake at a metre, or the near infrared of one.
Two aerial images without labels do (``--lakes``, their western six tenths, so that the rest can be
asked): where green is brighter than a dark near infrared is water (McFeeters 1996), with that band
shown or not.  And lakes are painted into aerial chips and into the same as Sentinel-2 would show
them: patches with soft edges, in the colour of EuroSAT's open water or of any dark, green or brown
water, smooth, with ripples, dark in near infrared.  They, and EuroSAT's classes without fields, are
background; a few pixels of shore count in no loss; everywhere else the answer of the weights it
starts from is the label, so that what they say there stays: learning without forgetting (Li and
Hoiem 2017, doi:10.1109/TPAMI.2017.2773081).  Batch statistics are not touched.  What is written
lies between both on a straight line (Wortsman et al. 2022, arXiv 2109.01903): ``--keep`` says how
much of it is the start.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import rasterio
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from fields_bare import between, loss_of
from fields_draw import (
    Draw,
    Stock,
    Windows,
    blobs,
    draw_aerial,
    draw_as_satellite,
    draw_known,
    draw_patches,
    grids,
    ids_at,
    jitter,
    look_at,
    metres,
    read_stock,
    spread,
)
from fields_fit import BANDS, CLASSES, SIZES
from selion.models.dates.absent import ABSENT
from selion.models.dates.network import DateSet, make_dates

SHORE = 3
"""Pixels beside a painted lake that count in no loss."""
SOURCES = {
    "bare": (0.22, draw_patches),
    "aerial": (0.3, draw_aerial),
    "satellite": (0.18, draw_as_satellite),
    "known": (0.14, draw_known),
}
"""How often each is drawn, real lakes else; six of ten of the second and third kind get a lake."""
DARK = 0.3
"""Near infrared of water in bytes, of their range, at most."""
WEST = 0.6
"""Share of an image's columns that is learnt from, from the west."""
Lake = tuple[torch.Tensor, torch.Tensor, float]
"""(4, y, x) bytes from 0 to 1, (y, x) whether water is there, metres of a pixel."""


def read_lake(path: Path) -> Lake:
    """Read an aerial image of bytes with near infrared; single pixels of water are left out."""
    with rasterio.open(path) as source:
        image = (
            torch.from_numpy(source.read()[:BANDS, :, : round(WEST * source.width)]).float() / 255
        )
        gsd = abs(source.transform.a)
    wet = ((image[1] > image[3]) & (image[3] < DARK)).float()
    return image, (F.avg_pool2d(wet[None], 5, 1, 2)[0] > 0.7).float(), gsd


def draw_lakes(lakes: list[Lake], draw: Draw, count: int, size: int, finer: float = 1.0) -> Windows:
    """Windows of one image; the ids are 1 where water is."""
    rng = draw.np
    image, wet, native = lakes[rng.integers(len(lakes))]
    gsd = metres(rng, count, (3.5 / finer, 6.0 / finer), (2.0, 12.0), 0.6)
    grid = grids(draw, size, size * gsd / native / 2, tuple(wet.shape), 2)
    pixels = look_at(image[None].expand(count, -1, -1, -1), grid)
    if rng.random() < 0.5:
        pixels = torch.cat([pixels[:, :3], torch.full_like(pixels[:, :1], ABSENT)], 1)
    found = ids_at(wet[None].expand(count, -1, -1), grid)
    return Windows(pixels[:, None], found, gsd, display=True)


def colours_of_water(stock: Stock, draw: Draw, count: int) -> torch.Tensor:
    """(view, 3) colours of water, 0 to 1 as a picture shows it: half of them EuroSAT's."""
    wet = stock.patches.images[stock.patches.wet].float().mean((2, 3)) / 255
    real = wet[draw.pick(len(wet), count)] * torch.exp(draw.normal(count, 1, std=0.4))
    light = torch.exp(draw.uniform(count, 1, low=math.log(0.03), high=math.log(0.35)))
    tint = torch.exp(draw.normal(count, 3, std=0.25))
    tint[:, 1] *= torch.exp(draw.uniform(count, low=-0.05, high=0.6))  # algae
    drawn = light * tint
    return torch.where(draw.chance(0.5, count)[:, None], real, drawn).clamp(0.005, 0.9)


def flood(pixels: torch.Tensor, stock: Stock, draw: Draw) -> tuple[torch.Tensor, torch.Tensor]:
    """Paint lakes into (view, date, 4, y, x) windows; return them and (view, y, x) where they are.

    A lake has its colour on all dates, lighter or darker on each; where near infrared is, it is
    dark there.
    """
    views, dates, _, size, _ = pixels.shape
    large = 1 + int(draw.np.integers(3))
    masks = blobs(draw, views, large * size, float(draw.np.uniform(0.05, 0.45)))
    masks = masks[:, :size, :size]
    colour = colours_of_water(stock, draw, views)[:, None, :, None, None]
    day = torch.exp(draw.normal(views, dates, 1, 1, 1, std=0.15))
    dark = colour.mean(2, keepdim=True) * draw.uniform(views, 1, 1, 1, 1, low=0.1, high=0.8)
    water = torch.cat([colour, dark], 2) * day
    slow = F.interpolate(draw.normal(views, 1, 4, 4, std=0.06), (size, size), mode="bicubic")
    ripple = draw.uniform(views, 1, 1, 1, high=0.05) * draw.normal(views, 1, size, size)
    water = water * (1 + slow + ripple)[:, :, None]
    soft = F.avg_pool2d(masks.float()[:, None], 3, 1, 1)[:, :, None]
    mixed = pixels * (1 - soft) + water * soft
    return torch.where(pixels > ABSENT / 2, mixed, pixels), masks


def draw_views(
    stock: Stock, lakes: list[Lake], step: int, args: argparse.Namespace
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels of one source, (view, y, x) whether no field is there, and whether it counts."""
    draw = Draw(args.seed, step, torch.device("cpu"))
    rng = draw.np
    names, shares = [*SOURCES, "lakes"], [share for share, _ in SOURCES.values()]
    name = str(rng.choice(names, p=[*shares, 1 - sum(shares)]))
    if name == "lakes":
        windows = draw_lakes(lakes, draw, args.batch, args.size, stock.finer)
        none = windows.ids == 1
        return jitter(windows, draw), none, none | ((windows.ids == 0) & ~_near(none))
    dates = () if name == "aerial" else (int(rng.integers(1, 3)),)
    windows = SOURCES[name][1](stock, draw, args.batch, args.size, *dates)
    pixels = windows.pixels
    if name == "aerial" and rng.random() < 0.4:  # a camera with near infrared, as plants reflect it
        near = 0.15 + 0.5 * pixels[:, :, 1:2] + 0.8 * (pixels[:, :, 1:2] - pixels[:, :, :1])
        pixels = torch.cat([pixels[:, :, :3], near.clamp(0.02, 1)], 2)
    none = torch.zeros_like(windows.ids, dtype=torch.bool)
    counts = torch.ones_like(none)
    if name == "bare":
        none = windows.ids == 0
        counts = windows.ids >= 0
    elif name in ("aerial", "satellite") and rng.random() < 0.6:
        pixels, none = flood(pixels, stock, draw)
        counts = none | ~_near(none)
    return (
        jitter(type(windows)(pixels, windows.ids, windows.gsd, windows.display), draw),
        none,
        counts,
    )


def _near(none: torch.Tensor) -> torch.Tensor:
    return spread(none.float(), SHORE) > 0


def build(path: Path, size: str) -> DateSet:
    """Build the network with weights of ``fields_fit.py``."""
    encoder, decoder = SIZES[size]
    network = make_dates(BANDS, CLASSES, encoder, None, decoder_channels=decoder)
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def main() -> None:
    """Teach."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packed", type=Path, help="what fields_pack.py packed")
    parser.add_argument("start", type=Path, help="weights to start from, which teach the rest")
    parser.add_argument("out", type=Path, help="folder of KEEP.safetensors")
    parser.add_argument(
        "--lakes", type=Path, nargs="+", required=True, help="images of bytes, RGBN"
    )
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.0, 0.35, 0.5, 0.65])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--finer", type=float, default=1.0, help="how many times finer than usual")
    parser.add_argument("--model-size", choices=SIZES, default="base")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=95)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    stock = replace(read_stock(args.packed, {}, -1, torch.device("cpu")), finer=args.finer)
    lakes = [read_lake(path) for path in args.lakes]
    teacher, model = (build(args.start, args.model_size) for _ in range(2))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, (k + 1) / 20) * 0.5 * (1 + math.cos(math.pi * k / args.steps))
    )
    smooth, began = {True: 0.0, False: 0.0}, time.time()
    for step in range(1, args.steps + 1):
        pixels, none, counts = draw_views(stock, lakes, step, args)
        fed = pixels.flatten(1, 2)
        with torch.no_grad():
            taught = teacher(fed).softmax(1)
        background = F.one_hot(torch.tensor(0), CLASSES).float()[:, None, None]
        taught = torch.where(none[:, None], background, taught)
        loss = loss_of(model(fed), taught, counts)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        kind = bool(none.any())
        smooth[kind] = 0.9 * smooth[kind] + 0.1 * loss.item() if smooth[kind] else loss.item()
        if step % 10 == 0:
            told = {
                "step": step,
                "no field": round(smooth[True], 4),
                "kept": round(smooth[False], 4),
            }
            print(json.dumps(told | {"seconds": round(time.time() - began)}), flush=True)
        if step % 50 == 0 or step == args.steps:
            for keep in args.keep:
                mixed = between(before, model.state_dict(), keep)
                state = {n: v.half() if v.ndim > 1 else v for n, v in mixed.items()}
                save_file(state, args.out / f"keep{keep:g}.safetensors")


if __name__ == "__main__":
    main()
