"""Teach ``fields-base`` strips, and borders that are hardly there, and change little else.

    python runs/fields_strips.py packed.npz checkpoints/base/all.safetensors \\
        checkpoints/strips/all --scenes scenes
    python runs/fields_strips.py packed.npz checkpoints/base/fold0.safetensors \\
        checkpoints/strips/fold0 --scenes scenes --fold 0

On hills crops alternate in strips of 12 to 40 m that follow the contours, and a few places hold
nearly all that the data have of them: a network that has not seen these places takes a hill for one
field.  So large fields of the other aerial chips are cut into strips, straight or along a curve
(curves at equal distances from one, as a seed drill draws them), in two or three crops that differ
much or hardly, mostly with a line of grass or of tracks between.  Their texture, light and
neighbours stay real.  Half of the aerial windows, and of those shown as Sentinel-2 would, come from
chips so painted; the others, and all else, are drawn as ``fields_fit.py`` draws them.  Batch
statistics are not touched, and what is written lies between start and end on a straight line
(``--keep``, the share of the start).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from fields_bare import between
from fields_draw import Draw, Stock, Windows, draw_aerial, halvings, read_chips, read_stock
from fields_fit import (
    DRAWS,
    PICTURES,
    SATELLITE,
    SIZES,
    Group,
    average,
    grouped,
    kinds_of,
    look,
    loss_of,
    of_pictures,
    of_scenes,
)
from fields_lakes import build
from strips import NARROWEST, paint_strips

AERIAL, PAINTED = 3, 3
"""Windows of chips as they are, and of painted ones, in a batch."""
PICTURE, ONE_DATE, TWO_DATES = 1, 2, 3
"""Windows of simulated scenes as pictures, and of one source each of one date and of two."""


def painted(
    packed: Path, fold: int, stock: Stock, narrowest: float, args: argparse.Namespace
) -> Stock:
    """Return a stock like another whose chips are painted, each several times."""
    with np.load(packed) as held:
        keep = [k for k, of in enumerate(held["folds"]) if of != fold]
        images, ids = read_chips(held, keep)
    made = [
        paint_strips(
            images[k],
            ids[k],
            narrowest,
            np.random.default_rng((args.seed, keep[k], again)),
            args.plots,
        )
        for again in range(args.times)
        for k in range(len(keep))
    ]
    named = np.stack([ids for _, ids in made])
    return replace(
        stock,
        chips=halvings(np.stack([image for image, _ in made]), stock.ids.device),
        ids=torch.from_numpy(named.astype(np.float32)),
        most=int(named.max()) + 1,
    )


def draw_views(
    plain: Stock, strips: dict[str, Stock], step: int, args: argparse.Namespace
) -> list[Group]:
    """Return the groups of a batch, one of one date and one of two."""
    draw = Draw(args.seed, step, torch.device("cpu"))
    rng = draw.np
    kinds = [name for name in PICTURES[1] if name in plain.scenes]
    by_dates: dict[int, list[Windows]] = {
        1: [
            draw_aerial(plain, draw, AERIAL, args.size),
            draw_aerial(strips["aerial"], draw, PAINTED, args.size),
        ],
        2: [],
    }
    if kinds:
        kind = str(rng.choice(kinds))
        by_dates[1].append(of_pictures(kind, plain, draw, PICTURE, args.size))
    for dates, count in ((1, ONE_DATE), (2, TWO_DATES)):
        often = {
            name: share
            for name, share in SATELLITE[dates][1].items()
            if (name in DRAWS and (name != "known" or plain.known)) or name in plain.scenes
        }
        chances = np.array(list(often.values()), float)
        name = str(rng.choice(list(often), p=chances / chances.sum()))
        stock = strips["satellite"] if name == "chips" and rng.random() < 0.5 else plain
        source = DRAWS.get(name)
        windows = (
            source(stock, draw, count, args.size, dates)
            if source
            else of_scenes(name, dates)(stock, draw, count, args.size)
        )
        by_dates[dates].append(windows)
    return [grouped(parts, draw) for parts in by_dates.values()]


def main() -> None:
    """Teach."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("packed", type=Path, help="what fields_pack.py packed")
    parser.add_argument("start", type=Path, help="weights to start from")
    parser.add_argument("out", type=Path, help="KEEP is added: OUT_keep0.safetensors")
    parser.add_argument("--scenes", type=Path, required=True, help="what scenes.py rendered")
    parser.add_argument("--fold", type=int, default=-1, help="left out; -1: learn from all chips")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--keep", type=float, nargs="+", default=[0.0, 0.15, 0.3])
    parser.add_argument("--times", type=int, default=2, help="how often each chip is painted")
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--finer", type=float, default=1.0, help="how many times finer than usual")
    parser.add_argument("--plots", type=float, default=0.0, help="share of the strips cut across")
    parser.add_argument("--model-size", choices=SIZES, default="base")
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--decay", type=float, default=0.98)
    parser.add_argument("--seed", type=int, default=17)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    encoder, decoder = SIZES[args.model_size]
    about = {"family": "dates", "encoder": encoder, "decoder_channels": decoder}
    (args.out.parent / "architecture.json").write_text(json.dumps({"architecture": about}))
    torch.manual_seed(args.seed)
    plain = read_stock(args.packed, kinds_of(args.scenes), args.fold, torch.device("cpu"))
    plain = replace(plain, finer=args.finer)
    strips = {
        name: painted(args.packed, args.fold, plain, narrowest, args)
        for name, narrowest in NARROWEST.items()
    }
    model = build(args.start, args.model_size)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    mean = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda k: min(1, (k + 1) / 20) * 0.5 * (1 + math.cos(math.pi * k / args.steps))
    )
    smooth, began = 0.0, time.time()
    for step in range(1, args.steps + 1):
        groups = draw_views(plain, strips, step, args)
        truth = [torch.cat([group[k] for group in groups]) for k in (1, 2, 3)]
        logits = model.segmentation_head(look(model, [group[0] for group in groups]))
        unknown = torch.full_like(truth[2], -1.0)
        loss = loss_of(logits, torch.zeros_like(truth[2]), (truth[0], truth[1], unknown))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        average(mean, model, min(args.decay, (step + 1) / (step + 10)))
        smooth = 0.95 * smooth + 0.05 * loss.item() if smooth else loss.item()
        if step % 10 == 0:
            told = {"step": step, "loss": round(smooth, 4)}
            print(json.dumps(told | {"seconds": round(time.time() - began)}), flush=True)
        if step % 100 == 0 or step == args.steps:
            state = model.state_dict() | mean
            for keep in args.keep:
                mixed = between(before, state, keep)
                halves = {n: v.half() if v.ndim > 1 else v for n, v in mixed.items()}
                save_file(halves, args.out.with_name(f"{args.out.name}_keep{keep:g}.safetensors"))


if __name__ == "__main__":
    main()
