"""FADE beside its textbook form, deformable attention beside transformers' function: time and
memory, equal answers.

    python bench/adapter.py                       # FADE from 112 to 224 cells (896 px), 256
                                                  channels: a quarter of the paper's 1,024
    python bench/adapter.py --channels 1024       # the paper's: the textbook form takes 6.5 GB, and
                                                  17 GB with a backward pass
    python bench/adapter.py --quick

The textbook form unfolds the 5 x 5 neighbours of each cell and brings them to the finer grid: one
tensor of 25 times the answer.  It is multiplied in place here where it can be, so that it is not
counted twice.  Rounds are interleaved; the ratio is the median of the rounds' ratios.  Memory is
the peak of a process of its own, above what it held with its inputs.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from selion.models.vit_adapter.attention import attend
from selion.models.vit_adapter.upsample import Fade
from table import Row, markdown, ratio, save

PYRAMID = [(56, 56), (28, 28), (14, 14)]
"""Levels of an image of 448 px."""


def nearest(features: torch.Tensor) -> torch.Tensor:
    return features.repeat_interleave(2, 2).repeat_interleave(2, 3)


def textbook(fade: Fade, guide: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """FADE as it is written in the paper, with the unfolded tensor."""
    views, channels, rows, columns = features.shape
    kernels = (
        fade.kernels(fade.encoder(guide)) + nearest(fade.kernels(fade.decoder(features)))
    ).softmax(1)
    neighbours = nearest(
        F.unfold(features, 5, padding=2).reshape(views, channels * 25, rows, columns)
    ).reshape(views, channels, 25, 2 * rows, 2 * columns)
    fused = (
        neighbours * kernels[:, None]
        if neighbours.requires_grad
        else neighbours.mul_(kernels[:, None])
    ).sum(2)
    gate = nearest(fade.gate(features)).sigmoid()
    return gate * guide + (1 - gate) * fused


FORMS: dict[str, Callable[..., torch.Tensor]] = {
    "ours": lambda fade, guide, features: fade(guide, features),
    "textbook": textbook,
}


def inputs(channels: int, edge: int, *, learning: bool) -> tuple[Fade, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    fade = Fade(channels)
    torch.nn.init.normal_(fade.kernels.weight, std=0.05)
    return (
        fade,
        torch.randn(1, channels, 2 * edge, 2 * edge).requires_grad_(learning),
        torch.randn(1, channels, edge, edge).requires_grad_(learning),
    )


def once(
    form: str, given: tuple[Fade, torch.Tensor, torch.Tensor], *, learning: bool
) -> torch.Tensor:
    with torch.set_grad_enabled(learning):
        answer = FORMS[form](*given)
        if learning:
            answer.sum().backward()
    return answer.detach()


def held(what: str) -> int:
    """Bytes that this process holds now (VmRSS) or held at most (VmHWM); ru_maxrss would begin with
    the parent's.
    """
    found = re.search(
        rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE
    )
    if not found:
        raise SystemExit("Memory is measured where there is /proc (Linux) only.")
    return int(found[1]) * 1024


def child(form: str, channels: int, edge: int, *, learning: bool) -> None:
    """Print the bytes that a form takes at its peak above its inputs."""
    given = inputs(channels, edge, learning=learning)
    once(form, inputs(8, 8, learning=learning), learning=learning)
    before = held("VmRSS")
    once(form, given, learning=learning)
    print(held("VmHWM") - before)


def peak(form: str, channels: int, edge: int, *, learning: bool) -> float:
    options = [
        "--channels",
        str(channels),
        "--edge",
        str(edge),
        "--child",
        form,
        *(["--learning"] if learning else []),
    ]
    done = subprocess.run(
        [sys.executable, __file__, *options], stdout=subprocess.PIPE, text=True, check=True
    )
    return int(done.stdout) / 2**20


def timed(call: Callable[[], object], times: int = 5) -> float:
    began = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - began) / times


def fade_rows(channels: int, edge: int, rounds: int) -> list[Row]:
    section = f"FADE, {edge} to {2 * edge} cells, {channels} channels, beside its textbook form"
    rows = []
    for learning, what in ((False, "forward"), (True, "forward and backward")):
        apart, walls = compared(channels, edge, rounds, learning=learning)
        rows.append(
            ratio(
                section,
                f"{what}: time of the textbook form over ours",
                walls["textbook"],
                walls["ours"],
            )
        )
        rows.append(
            Row(
                section,
                f"{what}: largest difference of the answers",
                apart * 1e6,
                "millionths",
                100.0,
                at_most=True,
            )
        )
        ours, theirs = (peak(form, channels, edge, learning=learning) for form in FORMS)
        note = f"{ours:,.0f} MiB against {theirs:,.0f} MiB"
        rows.append(
            Row(
                section,
                f"{what}: peak memory, ours as a share of the textbook form's",
                ours / theirs,
                "x",
                0.2,
                at_most=True,
                note=note,
            )
        )
    return rows


def compared(
    channels: int, edge: int, rounds: int, *, learning: bool
) -> tuple[float, dict[str, list[float]]]:
    """Return how far the answers of both forms are apart, and the seconds of each, round by
    round.
    """
    given = inputs(channels, edge, learning=learning)
    ours, theirs = (once(form, given, learning=learning) for form in FORMS)
    apart = float((ours - theirs).abs().max())
    del ours, theirs
    walls: dict[str, list[float]] = {form: [] for form in FORMS}
    for _ in range(rounds):
        for form, times in walls.items():
            began = time.perf_counter()
            once(form, given, learning=learning)
            times.append(time.perf_counter() - began)
    return apart, walls


def attention_rows(rounds: int) -> list[Row]:
    """Both uses in a ViT-S at 448 px: tokens look at the pyramid, the pyramid looks at the
    tokens.
    """
    from transformers.models.mask2former.modeling_mask2former import (
        multi_scale_deformable_attention as theirs,
    )

    section, rows = (
        "Deformable attention beside transformers' function, 448 px, 6 heads of 32, 4 points",
        [],
    )
    for what, shapes, queries in (
        ("injector, 784 queries, 3 levels", PYRAMID, 784),
        ("extractor, 4,116 queries, 1 level", [(28, 28)], 4116),
    ):
        generator = torch.Generator().manual_seed(0)
        values = torch.randn(1, sum(r * c for r, c in shapes), 6, 32, generator=generator)
        places = torch.rand(1, queries, 6, len(shapes), 4, 2, generator=generator)
        weights = torch.rand(1, queries, 6, len(shapes), 4, generator=generator)
        for learning in (False, True):
            given = [tensor.requires_grad_(learning) for tensor in (values, places, weights)]
            mine, other = (
                partial(turn, function, shapes, given, learning=learning)
                for function in (attend, theirs)
            )
            apart = float((mine() - other()).abs().max())
            walls = [(timed(mine), timed(other)) for _ in range(rounds)]
            kind = "forward and backward" if learning else "forward"
            rows.append(
                ratio(
                    section,
                    f"{what}, {kind}: time of transformers' over ours",
                    [b for _, b in walls],
                    [a for a, _ in walls],
                )
            )
            if not learning:
                rows.append(
                    Row(
                        section,
                        f"{what}: largest difference of the answers",
                        apart * 1e6,
                        "millionths",
                        10.0,
                        at_most=True,
                    )
                )
    return rows


def turn(
    function: Callable[..., torch.Tensor],
    shapes: list[tuple[int, int]],
    given: list[torch.Tensor],
    *,
    learning: bool,
) -> torch.Tensor:
    values, places, weights = given
    with torch.set_grad_enabled(learning):
        answer = function(values, shapes, places, weights)
        if learning:
            answer.sum().backward()
    return answer.detach()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--channels", type=int, default=256)
    parser.add_argument(
        "--edge", type=int, default=112, help="cells of the coarser map; 112 is 1/8 of 896 px"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", choices=FORMS, help=argparse.SUPPRESS)
    parser.add_argument("--learning", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.channels, args.edge, learning=args.learning)
        return
    if args.quick:
        args.channels, args.edge, args.rounds = 64, 56, 1
    rows = fade_rows(args.channels, args.edge, args.rounds) + attention_rows(args.rounds)
    if args.json:
        save(rows, args.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
