"""Teach ``fields-rgb-vhr`` what is no field, and nothing else: lakes, woods and towns of EuroSAT.

    python runs/fields_bare.py checkpoints/rgb4/model.safetensors checkpoints/bare \\
        --data ../shared/data/satellite --steps 220

A third of the windows are Sentinel-2 patches of EuroSAT's classes without fields, which are all
background.  On all others (aerial chips, the same as Sentinel-2 would show them, EuroSAT's crops
and pastures) the answer of the weights it starts from is the label, so that what they say there
stays: learning without forgetting (Li and Hoiem 2017, doi:10.1109/TPAMI.2017.2773081).  Batch
statistics are not touched.  What is written lies between both on a straight line (Wortsman et al.
2022, arXiv 2109.01903): ``--keep`` says how much of it is the start.  The patches after the 300th
of each class are held out (``satellite.LEARNT``).
"""

from __future__ import annotations

import argparse
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from fields_rgb_vhr import DECODER, draw_view, jitter, read_chip, split
from fit import Batches, network, read_state
from satellite import BARE, LEARNT, draw_bare, draw_colour, read_looks, read_patches

FIELDS = ("AnnualCrop", "PermanentCrop", "Pasture", "HerbaceousVegetation")
"""EuroSAT's classes whose answers are to stay as they are."""
KINDS = ("bare", "aerial", "satellite", "patches")
SHARES = (0.36, 0.28, 0.22, 0.14)
EPS = 1e-8
State = dict[str, torch.Tensor]


def loss_of(
    logits: torch.Tensor, taught: torch.Tensor, counts: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean divergence from what is taught: (view, class, y, x) logits and probabilities.

    Where (view, y, x) ``counts`` is given and false, nothing is taught.
    """
    said = logits.log_softmax(1)
    apart = (taught * ((taught + EPS).log() - said)).sum(1)
    if counts is None:
        return apart.mean()
    return (apart * counts).sum() / counts.sum().clamp(min=1)


def between(before: State, after: State, keep: float) -> State:
    """Weights on the straight line between two networks: ``keep`` of it is the first."""
    return {
        name: (keep * before[name] + (1 - keep) * value).contiguous()
        if value.is_floating_point()
        else value
        for name, value in after.items()
    }


def main() -> None:
    """Teach."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", type=Path, help="weights to start from, which teach the rest")
    parser.add_argument("out", type=Path, help="folder of model.safetensors")
    parser.add_argument("--data", type=Path, required=True, help="folder satellite of the data")
    parser.add_argument("--steps", type=int, default=220)
    parser.add_argument(
        "--keep", type=float, default=0.65, help="share of the weights it starts from in the result"
    )
    parser.add_argument("--batch", type=int, default=14)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--seed", type=int, default=95)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    chips = [read_chip(path) for path in split(args.data / "vhr_naip_usa")[0]]
    looks = read_looks(args.data / "s2_unlabelled")
    euro = args.data / "pretraining" / "eurosat_rgb_subset"
    bare, fields = (read_patches(euro, names, slice(LEARNT)) for names in (BARE, FIELDS))

    def view(kind: str, rng: np.random.Generator) -> torch.Tensor:
        chip = chips[rng.integers(len(chips))]
        return {
            "bare": partial(draw_bare, bare),
            "aerial": partial(draw_view, chip),
            "satellite": lambda size, rng: draw_colour(chip, size, looks, rng),
            "patches": partial(draw_bare, fields),
        }[kind](args.size, rng)[0]

    def draw(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, known = [], []
        for k in range(args.batch):
            rng = np.random.default_rng((args.seed, step, k))
            kind = str(rng.choice(KINDS, p=SHARES))
            images.append(jitter(view(kind, rng), rng))
            known.append(kind == "bare")
        return torch.stack(images), torch.tensor(known)

    teacher, model = (
        network(3, DECODER).to(memory_format=torch.channels_last).eval() for _ in range(2)
    )
    for one in (teacher, model):
        one.load_state_dict(read_state(args.start, "mean"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, (k + 1) / 20) * 0.5 * (1 + math.cos(math.pi * k / args.steps))
    )
    loader = torch.utils.data.DataLoader(
        Batches(draw, 0, args.steps), batch_size=None, num_workers=1, prefetch_factor=4
    )
    smooth = None
    for step, (images, known) in enumerate(loader, 1):
        fed = images.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                taught = teacher(fed).float().softmax(1)
            logits = model(fed).float()
        taught[known] = F.one_hot(torch.tensor(0), 3).float()[:, None, None]
        loss = loss_of(logits, taught)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        if step % 10 == 0:
            print(json.dumps({"step": step, "loss": round(smooth, 4)}), flush=True)
    state = between(teacher.state_dict(), model.state_dict(), args.keep)
    save_file(state, args.out / "model.safetensors")


if __name__ == "__main__":
    main()
