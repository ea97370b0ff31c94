"""Train ``landscape-smol``: SmolLM2's first blocks learn to write masks of fields as text.

    python runs/smol_data.py packed
    python runs/smol_fit.py packed/start.npz packed/fields.npz --minutes 6 --out checkpoints/smol

Supervised on chips and simulated scenes that lie on the accelerator, then by reward (GRPO: groups
of answers to one question, worth their Dice; one step for each drawing, so there is no ratio to
clip).  The rate of learning falls with the time that is spent, or with ``--steps``.  A run that is
killed goes on from ``--state`` as if it had not been.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

import smol_model
from selion.classes import IGNORE
from selion.models.language.rrle import CODECS, decode
from smol_data import (
    CODEC,
    PATCH,
    SHOWN,
    Chips,
    Draw,
    Lessons,
    answer_tokens,
    cells_of,
    grid_of,
    held_out,
    place_tokens,
    read_chips,
    read_scenes,
    read_words,
)
from smol_model import Answers, Model, read_base


def options(given: list[str] | None = None) -> argparse.Namespace:
    """Read the command line, or what is given instead."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("start", type=Path)
    parser.add_argument("chips", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--state", type=Path, help="checkpoint; OUT/state.pt without it")
    parser.add_argument("--minutes", type=float, default=6.0, help="of this call, all included")
    parser.add_argument("--total", type=float, help="minutes of all calls; --minutes without it")
    parser.add_argument("--steps", type=int, default=0, help="supervised steps instead of minutes")
    parser.add_argument("--grpo", type=float, default=0.25, help="share of the time by reward")
    parser.add_argument("--rewards", type=int, default=0, help="steps by reward instead of a share")
    parser.add_argument("--shown", type=int, default=SHOWN, help="pixels of a patch: 64, 128, 256")
    parser.add_argument("--blocks", type=int, default=0, help="of the language model; 0: all held")
    parser.add_argument("--judge", type=float, default=55, help="seconds between judgements")
    parser.add_argument("--keep", type=float, default=60, help="seconds between checkpoints")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--room", type=int, default=374, help="tokens to an answer")
    parser.add_argument("--rank", type=int, default=48)
    parser.add_argument("--scenes", type=float, default=0.1, help="share of simulated lessons")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--rl-lr", type=float, default=5e-5)
    parser.add_argument("--groups", type=int, default=9)
    parser.add_argument("--answers", type=int, default=16)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--half", action="store_true", help="bfloat16; on a GPU always")
    parser.add_argument("--begin", type=Path, help="OUT of a run whose state is lost: its weights")
    parser.add_argument(
        "--other-size", type=Path, help="OUT of a run that saw other pixels a patch: its weights"
    )
    parser.add_argument(
        "--frozen", action="store_true", help="the eyes' encoder learns no more: a third less work"
    )
    parser.add_argument("--compile", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tiny", action="store_true", help="one block, few patches: a rehearsal")
    return parser.parse_args(given)


@dataclass
class Asked:
    """Validation patches, as the library shows them."""

    whole: torch.Tensor
    """(chip, 3, shown, shown)."""
    patch: torch.Tensor
    """(patch, 3, shown, shown)."""
    chip: torch.Tensor
    """(patch,) of ``whole``."""
    cells: torch.Tensor
    """(patch, grid, grid)."""
    truth: torch.Tensor
    """(patch, PATCH, PATCH) bool."""
    boxes: torch.Tensor
    frames: torch.Tensor


def ask(
    images: list[np.ndarray], masks: list[np.ndarray], device: str, shown: int = SHOWN
) -> Asked:
    """Cut chips into patches without overlap, each shown at ``shown`` pixels along an edge."""
    wholes, patches, chips, truths, boxes, frames = [], [], [], [], [], []
    for number, (image, mask) in enumerate(zip(images, masks, strict=True)):
        values = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()
        wholes.append(shrunk(values, shown)[0])
        for top in range(0, image.shape[0] - PATCH + 1, PATCH):
            for left in range(0, image.shape[1] - PATCH + 1, PATCH):
                part = slice(top, top + PATCH), slice(left, left + PATCH)
                patches.append(shrunk(values[:, :, part[0], part[1]], shown)[0])
                truths.append(torch.from_numpy(mask[part].copy()))
                chips.append(number)
                boxes.append((top, left, top + PATCH, left + PATCH))
                frames.append(image.shape[0])
    truth = torch.stack(truths).to(device)
    cells = cells_of(truth.float(), grid_of(shown))
    return Asked(
        torch.stack(wholes).to(device),
        torch.stack(patches).to(device),
        torch.tensor(chips, device=device),
        cells,
        truth > 0,
        torch.tensor(boxes, device=device),
        torch.tensor(frames, device=device),
    )


def shrunk(values: torch.Tensor, edge: int) -> torch.Tensor:
    """Return (n, 3, edge, edge) images in whole numbers, as the processor resamples them."""
    return F.interpolate(values, (edge, edge), mode="bilinear", antialias=True).round()


def dice(cells: np.ndarray, answer: np.ndarray) -> float:
    """Mean Dice over the classes that truth or answer have; what is not said is a miss."""
    worth = []
    for number in np.union1d(cells, answer[answer < IGNORE]):
        true, said = cells == number, answer == number
        if true.any() or said.any():
            worth.append((2 * (true & said).sum() + 1) / (true.sum() + said.sum() + 1))
    return float(np.mean(worth))


@dataclass
class Progress:
    """Where a run is."""

    step: int = 0
    rewarded: int = 0
    spent: float = 0.0
    """Seconds."""
    phase: str = "sft"
    curve: list[dict[str, Any]] = field(default_factory=list)


def placed(
    held: torch.Tensor, theirs: list[str], mine: torch.Tensor, texts: list[str]
) -> torch.Tensor:
    """Return ``mine`` with the rows of the tokens that ``held`` knows too; the last is no token."""

    def named(texts: list[str]) -> dict[tuple[str, int], int]:
        """Number tokens by their text and how often it was before: special ones have none."""
        seen: dict[str, int] = {}
        found = {}
        for row, text in enumerate(texts):
            found[text, seen.setdefault(text, 0)] = row
            seen[text] += 1
        return found

    known = named(theirs)
    found = mine.clone()
    found[-1] = held[-1]
    for key, row in named(texts).items():
        if key in known:
            found[row] = held[known[key]]
    return found


class Run:
    """A training run."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.began, self.progress = args, time.monotonic(), Progress()
        self.device = args.device
        torch.manual_seed(args.seed)
        torch.set_float32_matmul_precision("high")
        self.half = args.half or args.device == "cuda"
        number = torch.bfloat16 if self.half else torch.float32
        with np.load(args.start, allow_pickle=False) as held:
            self.words = read_words(held)
            base = read_base(held)
            eyes = {
                name[5:]: torch.from_numpy(held[name]) for name in held.files if name[:5] == "eyes."
            }
            scenes = read_scenes(held) if args.scenes else ([], [])
        blocks = 1 if args.tiny else args.blocks or len(base.norm1)
        base.linear = {kind: weight[:blocks] for kind, weight in base.linear.items()}
        base.norm1, base.norm2 = base.norm1[:blocks], base.norm2[:blocks]
        self.shown = args.shown
        self.grid = grid_of(args.shown)
        self.model = Model(base, self.words, args.rank, number, args.shown)
        self.model.eyes.encoder.load_state_dict(
            {name: one.float() if one.is_floating_point() else one for name, one in eyes.items()}
        )
        if args.frozen:
            self.model.eyes.encoder.requires_grad_(False)
        self.model.to(self.device)
        self.model.eyes.to(memory_format=torch.channels_last)
        images, masks = read_chips(args.chips, len(self.words.names) > 2)
        seen = [k for k in range(len(images)) if not held_out(k)]
        judged = [k for k in range(len(images)) if held_out(k)]
        if args.tiny:
            seen, judged = seen[:2], judged[:1]
        count = len(scenes[0])
        shares = [1 - args.scenes * bool(count)] * len(seen)
        shares = [share / len(seen) for share in shares] + [args.scenes / max(count, 1)] * count
        chips = Chips(
            [images[k] for k in seen] + scenes[0], [masks[k] for k in seen] + scenes[1], self.device
        )
        self.draw = Draw(chips, shares, self.device, args.shown)
        parts = [images[k] for k in judged], [masks[k] for k in judged]
        self.asked = ask(*parts, self.device, args.shown)
        self.generator = torch.Generator(self.device).manual_seed(args.seed)
        self.optimizer = self._optimizer()
        self.state = args.state or args.out / "state.pt"
        self.judge: Answers | None = None
        self.drawer: Answers | None = None
        if args.compile and args.device == "cuda":
            self.model.writer.quick = torch.compile(smol_model.block, dynamic=False), args.batch

    def _optimizer(self) -> torch.optim.Optimizer:
        model, rate = self.model, self.args.lr
        encoder = list(model.eyes.encoder.parameters())
        known = {id(one) for one in encoder} | {id(model.writer.embed)}
        rest = [one for one in model.parameters() if id(one) not in known]
        groups = [
            {"params": encoder, "share": 0.3},
            {"params": [model.writer.embed], "share": 0.5, "weight_decay": 0.0},
            {"params": rest, "share": 1.0},
        ]
        fused = self.device == "cuda"
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=fused)

    @property
    def elapsed(self) -> float:
        """Seconds of this call."""
        return time.monotonic() - self.began

    def done(self) -> float:
        """Return the share of the supervised part that is over."""
        args = self.args
        if args.steps:
            return self.progress.step / args.steps
        whole = 60 * (args.total or args.minutes) * (1 - args.grpo) - 25
        return (self.progress.spent + self.elapsed) / whole

    def save(self) -> None:
        """Write the checkpoint that a killed run goes on from."""
        held = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "progress": {**vars(self.progress), "spent": self.progress.spent + self.elapsed},
            "generator": self.generator.get_state(),
            "random": torch.cuda.get_rng_state()
            if self.device == "cuda"
            else torch.get_rng_state(),
        }
        self.state.parent.mkdir(parents=True, exist_ok=True)
        part = self.state.with_suffix(".part")
        torch.save(held, part)
        part.replace(self.state)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.state.is_file():
            self._begin()
            return
        held = torch.load(self.state, map_location=self.device, weights_only=True)
        self.model.load_state_dict(held["model"])
        self.optimizer.load_state_dict(held["optimizer"])
        self.progress = Progress(**held["progress"])
        self.generator.set_state(held["generator"].cpu())
        put = torch.cuda.set_rng_state if self.device == "cuda" else torch.set_rng_state
        put(held["random"].cpu())
        print(f"goes on at step {self.progress.step}, {self.progress.spent:.0f} s in", flush=True)

    def _begin(self) -> None:
        """Take the weights of a run whose state is lost, or of one that saw other pixels."""
        if self.args.other_size is not None:
            self._take(self.args.other_size)
            print(f"starts with what {self.args.other_size} learnt", flush=True)
            return
        folder = self.args.begin
        if folder is None or not (folder / "vlm_log.json").is_file():
            return
        self._take(folder)
        facts = json.loads((folder / "vlm_log.json").read_text())
        facts = {name: facts[name] for name in vars(Progress())}
        self.progress = Progress(**facts)
        print(f"begins with the weights of step {self.progress.step}", flush=True)

    def _take(self, folder: Path) -> None:
        """Take the weights of ``folder`` that have this model's shapes."""
        from safetensors.torch import load_file

        mine = self.model.state_dict()
        found = {}
        for name in ("vlm_eyes.safetensors", "vlm_writer.safetensors"):
            found |= load_file(folder / name)
        texts = json.loads((folder / "vlm_log.json").read_text())["texts"]
        found["writer.embed"] = placed(
            found["writer.embed"].float(), texts, mine["writer.embed"].cpu(), self.words.texts
        )
        held = {name: one.float() for name, one in found.items() if one.shape == mine[name].shape}
        if set(found) - set(held) - {"eyes.place", "aside.weight", "aside.bias"}:
            raise SystemExit(
                f"{folder} is of another model: give its --blocks and --rank, and what start.npz "
                "says of its classes"
            )
        self.model.load_state_dict(held, strict=False)

    def export(self) -> None:
        """Write the weights in halves: what writes, and what sees."""
        from safetensors.torch import save_file

        self.args.out.mkdir(parents=True, exist_ok=True)
        held = {name: one.half().contiguous() for name, one in self.model.state_dict().items()}
        for name, part in (("eyes", True), ("writer", False)):
            found = {key: one.cpu() for key, one in held.items() if key.startswith("eyes.") == part}
            target = self.args.out / f"vlm_{name}.safetensors"
            save_file(found, f"{target}.part")
            Path(f"{target}.part").replace(target)
        text = json.dumps(
            {
                **vars(self.progress),
                "spent": self.progress.spent + self.elapsed,
                "names": self.words.names,
                "texts": self.words.texts,
                "args": {k: str(v) for k, v in vars(self.args).items()},
            }
        )
        (self.args.out / "vlm_log.json").write_text(text)

    def loss(self, lessons: Lessons) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the answer's words and the eyes' own cells cost."""
        model, words, count = self.model, self.words, len(lessons.cells)
        said, sizes = place_tokens(lessons.boxes, lessons.frames, words, self.words.behind)
        answer = answer_tokens(lessons.cells, words, self.args.room)
        if self.device == "cpu":  # nothing is compiled for one shape
            answer = answer[:, : int((answer >= 0).sum(1).max())]
        room = answer.shape[1]
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            tokens, aside = model.look(torch.cat([lessons.whole, lessons.patch]))
        target = torch.full((count, self.words.behind + room), -1, device=self.device)
        where = sizes[:, None] + torch.arange(room, device=self.device)
        target.scatter_(1, where, answer)
        row = torch.where(target >= 0, target, F.pad(said, (0, room), value=words.pad))
        states = model.writer(
            model.row(tokens[:count], tokens[count:], row), model.writer.weights()
        )
        first = model.prefix()
        logits = model.writer.logits(states[:, first - 1 : -1]).flatten(0, 1)
        spoken = F.cross_entropy(logits, target.flatten(), ignore_index=-1)
        cells = torch.cat([lessons.wide, lessons.cells])
        weight = torch.ones(2 * count, 1, 1, device=self.device)
        weight[:count] = 0.5
        each = F.cross_entropy(aside, cells, ignore_index=-1, reduction="none")
        seen = (each * weight).sum() / (weight * (cells >= 0)).sum()
        return spoken, seen

    def rate(self, share: float, peak: float, warm: float = 0.03) -> None:
        """Set the rate of learning: up, then down along a cosine."""
        share = min(max(share, 0.0), 1.0)
        value = (
            share / warm
            if share < warm
            else 0.5 * (1 + math.cos(math.pi * (share - warm) / (1 - warm)))
        )
        for group in self.optimizer.param_groups:
            group["lr"] = peak * group["share"] * max(value, 0.01)

    def step(self, loss: torch.Tensor) -> None:
        """Take one step."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def supervised(self) -> None:
        """Learn to write the right answers."""
        told = judged = saved = time.monotonic()
        since, running = 0, []
        while self.done() < 1 and self.elapsed < 60 * self.args.minutes - 25:
            self.model.train()
            self.rate(self.done(), self.args.lr)
            painted = max(0.0, 0.5 - 1.5 * self.done())
            lessons = self.draw(self.args.batch, self.generator, painted)
            try:
                spoken, seen = self.loss(lessons)
                self.step(spoken + 0.5 * seen)
            except Exception as error:  # a compiler that is not there, at the first step
                if not self.model.writer.quick[1]:
                    raise
                print(f"not compiled: {type(error).__name__} {str(error)[:200]}", flush=True)
                self.model.writer.quick = smol_model.block, 0
                continue
            self.progress.step += 1
            since += 1
            running.append((spoken.detach(), seen.detach()))
            if time.monotonic() - told > 15 or self.progress.step in (1, 3):
                words, cells = (
                    float(torch.stack(part).mean()) for part in zip(*running, strict=True)
                )
                pace = since * self.args.batch / (time.monotonic() - told)
                flops = pace * self.flops() / 1e12
                print(
                    f"sft {self.progress.step} {self.elapsed:.0f} s: words {words:.4f} cells "
                    f"{cells:.4f}, {pace:.0f} lessons/s {flops:.0f} TFLOP/s {self.memory()}",
                    flush=True,
                )
                told, since, running = time.monotonic(), 0, []
            if time.monotonic() - judged > self.args.judge:
                self.look()
                judged = told = time.monotonic()
                since = 0
            if time.monotonic() - saved > self.args.keep:
                self.save()
                self.export()
                saved = time.monotonic()

    def flops(self) -> float:
        """Return what one lesson takes in the language model, forwards and backwards."""
        writer = self.model.writer
        length = self.model.prefix() + self.words.behind + self.args.room
        size = sum(getattr(writer, f"base_{kind}").numel() for kind in smol_model.KINDS)
        return 6.0 * length * (size + writer.layers * length * writer.embed.shape[1])

    def memory(self) -> str:
        """Return the most memory that was used."""
        if self.device != "cuda":
            return ""
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"

    @torch.no_grad()
    def answers(self, shuffled: bool = False) -> dict[str, Any]:
        """Ask about all validation patches."""
        model, asked = self.model, self.asked
        model.eval()
        count = len(asked.patch)
        if self.judge is None:
            self.judge = Answers(model, count, self.args.room, self.words.behind, self.device)
        order = torch.arange(count, device=self.device)
        if shuffled:
            order = order.roll(17 if count > 17 else 1)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            whole = model.look(asked.whole)[0][asked.chip[order]]
            near, aside = model.look(asked.patch[order])
        said, sizes = place_tokens(asked.boxes, asked.frames, self.words, self.words.behind)
        written = self.judge(whole, near, said, sizes, 0.0).tolist()
        return self.score(written, aside.argmax(1))

    def read(self, ids: list[int]) -> tuple[np.ndarray, bool]:
        """Return the (grid, grid) classes that an answer says, and whether it is without fault."""
        words, shape = self.words, (self.grid, self.grid)
        mask, misread = decode(words.text(ids), shape, words.names, CODECS[CODEC])
        return mask, misread.clean

    def score(self, written: list[list[int]], aside: torch.Tensor) -> dict[str, Any]:
        """Score answers, and what the eyes alone say."""
        asked, masks, clean = self.asked, [], 0
        for ids in written:
            mask, well = self.read(ids)
            masks.append(mask)
            clean += well
        cells = asked.cells.cpu().numpy()
        found = torch.from_numpy(np.stack(masks)).to(self.device)

        def overlap(said: torch.Tensor) -> float:
            each = PATCH // self.grid
            large = said.repeat_interleave(each, 1).repeat_interleave(each, 2)
            both, any_ = (large & asked.truth).sum(), (large | asked.truth).sum()
            return float(both / any_.clamp(min=1))

        each = [dice(true, mask) for true, mask in zip(cells, masks, strict=True)]
        return {
            "iou": overlap((found > 0) & (found < IGNORE)),
            "eyes_iou": overlap(aside > 0),
            "constant_iou": overlap(torch.ones_like(aside) > 0),
            "dice": float(np.mean(each)),
            "cells": float((found == asked.cells).float().mean()),
            "clean": clean / len(written),
            "each": [round(value, 4) for value in each],
        }

    def look(self, shuffled: bool = False) -> None:
        """Say how good the model is; a fault here ends nothing."""
        try:
            began = time.monotonic()
            found = self.answers(shuffled)
            facts = {name: round(value, 4) for name, value in found.items() if name != "each"}
            what = "judged shuffled" if shuffled else "judged"
            print(f"{what} in {time.monotonic() - began:.1f} s: {facts}", flush=True)
            place = {"phase": self.progress.phase, "step": self.progress.step, "shuffled": shuffled}
            self.progress.curve.append({**place, "rewarded": self.progress.rewarded, **found})
        except Exception as error:  # noqa: BLE001  # the training is worth more
            print(f"not judged: {type(error).__name__} {str(error)[:200]}", flush=True)

    def rewarded(self) -> None:
        """Learn from what answers are worth."""
        args, model = self.args, self.model
        count = args.groups * args.answers
        if self.drawer is None:
            self.drawer = Answers(model, count, args.room, self.words.behind, self.device)
        began, told, worths = self.elapsed, time.monotonic(), []
        end, saved = 60 * args.minutes - 20, time.monotonic()
        if self.progress.phase == "sft":
            for one in self.optimizer.state.values():
                one["exp_avg"].zero_()
        self.progress.phase = "grpo"
        while self.elapsed < end:
            share = (self.elapsed - began) / max(end - began, 1)
            if args.rewards:
                share = self.progress.rewarded / args.rewards
            if share >= 1:
                break
            self.rate(share, args.rl_lr, 0.1)
            loss, worth = self.policy(self.draw(args.groups, self.generator))
            self.progress.rewarded += 1
            worths.append(worth)
            if time.monotonic() - told > 10 or self.progress.rewarded == 1:
                print(
                    f"grpo {self.progress.rewarded} {self.elapsed:.0f} s: reward "
                    f"{np.mean(worths):.4f} loss {loss:.4f} {self.memory()}",
                    flush=True,
                )
                told, worths = time.monotonic(), []
            if time.monotonic() - saved > args.keep:
                self.save()
                saved = time.monotonic()

    def policy(self, lessons: Lessons) -> tuple[float, float]:
        """Draw groups of answers, and take one step towards those above their group's mean."""
        args, model, words = self.args, self.model, self.words
        said, sizes = place_tokens(lessons.boxes, lessons.frames, words, self.words.behind)
        said, sizes = (one.repeat_interleave(args.answers, 0) for one in (said, sizes))
        model.eval()
        with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
            tokens, _ = model.look(torch.cat([lessons.whole, lessons.patch]))
        whole, near = (one.repeat_interleave(args.answers, 0) for one in tokens.chunk(2))
        assert self.drawer is not None  # made before
        written = self.drawer(whole.detach(), near.detach(), said, sizes, 1.0)
        cells = lessons.cells.repeat_interleave(args.answers, 0).cpu().numpy()
        worth = torch.tensor(
            [
                dice(true, self.read(ids)[0])
                for true, ids in zip(cells, written.tolist(), strict=True)
            ],
            device=self.device,
        )
        groups = worth.view(args.groups, args.answers)
        gain = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 0.02)
        ended = (written == words.closed[-1]).long().cumsum(1)
        spoken = (ended == 0) | ((ended == 1) & (written == words.closed[-1]))
        target = torch.full((len(written), self.words.behind + args.room), -1, device=self.device)
        where = sizes[:, None] + torch.arange(args.room, device=self.device)
        target.scatter_(1, where, torch.where(spoken, written, -1))
        row = torch.where(target >= 0, target, F.pad(said, (0, args.room), value=words.pad))
        self.optimizer.zero_grad(set_to_none=True)
        total, tokens_said = 0.0, spoken.sum()
        weights = model.writer.weights()
        held = [tuple(one.detach().requires_grad_() for one in layer) for layer in weights]
        ahead = [one.detach().requires_grad_() for one in (whole, near)]
        for part in torch.arange(len(written), device=self.device).split(args.batch):
            states = model.writer(model.row(ahead[0][part], ahead[1][part], row[part]), held)
            goal = target[part]
            logits = model.writer.logits(states[:, model.prefix() - 1 : -1]).flatten(0, 1)
            unlikely = F.cross_entropy(logits, goal.flatten(), ignore_index=-1, reduction="none")
            pull = gain.flatten()[part][:, None].expand_as(goal)
            loss = (pull.flatten() * unlikely).sum() / tokens_said
            loss.backward()
            total += float(loss.detach())
        pairs = [
            (new, old)
            for one, two in zip(weights, held, strict=True)
            for new, old in zip(one, two, strict=True)
        ]
        pairs += [(whole, ahead[0]), (near, ahead[1])]
        torch.autograd.backward([new for new, _ in pairs], [old.grad for _, old in pairs])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        self.optimizer.step()
        return total, float(worth.mean())


def main(given: list[str] | None = None) -> bool:
    """Train; returns whether the run is over."""
    args = options(given)
    run = Run(args)
    run.resume()
    count = sum(one.numel() for one in run.model.parameters())
    print(f"{count / 1e6:.2f} M numbers learn; ready after {run.elapsed:.0f} s", flush=True)
    if run.progress.phase == "sft":
        run.supervised()
        run.look()
        run.save()
        run.export()
    taught = run.done() >= 1 or run.progress.phase != "sft"
    if taught and run.progress.phase != "over" and (args.grpo or args.rewards):
        try:
            run.rewarded()
            run.look()
        finally:
            run.save()
    over = taught and (not args.rewards or run.progress.rewarded >= args.rewards)
    if over and run.progress.phase != "over":
        run.look(shuffled=True)
        run.progress.phase = "over"
        run.save()
    run.export()
    print(f"{'ended' if over else 'to be continued'} after {run.elapsed:.0f} s", flush=True)
    return over


if __name__ == "__main__":
    main()
