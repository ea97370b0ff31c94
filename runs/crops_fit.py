"""Train `crops-wide` on a GPU in minutes, and judge it on what it has not seen.

    D=../shared/data/closerange
    python runs/crops_pack.py $D/ews_wheat $D/chilli_unlabelled/images checkpoints/crops.npz
    python runs/crops_fit.py checkpoints/crops.npz --minutes 8 --out checkpoints/crops_fit
    python runs/crops_fit.py checkpoints/crops.npz --steps 3 --device cpu --tiny --out /tmp/try

Runs one after the other, each with its share of the time (or of ``--steps``):

* ``simulated``: from ImageNet, on simulated photographs only; judged on all wheat;
* ``plots``: from ``simulated``, on everything but the wheat plots kept aside (split "val"), with
  the chilli photographs where ``simulated`` is sure; judged on these plots.  **This one ships.**
* ``trial 22``, ``28``, ``31``: the same without the wheat of one trial (a season); judged on it;
* ``style rosette`` and so on: from ImageNet, on wheat and the other simulated styles; judged on
  that one.

Photographs are rendered by processes beside the first run and go to the device as they are done.
``--out`` gets ``crops.npz``: the weights of ``plots`` (float16) and of ``simulated`` (int8), and
what the runs answered to the photographs that they had not seen.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import multiprocessing
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage
from torch import nn

import crops_scenes
from crops_looks import Batch, Looks

ENCODER, DECODER = "tu-tf_efficientnet_lite0", (96, 64, 48, 32, 16)
SIDE = crops_scenes.SIDE
SEED = 22
FIRST_SCENE, LATE_SCENE = 500_000, 900_000
"""Seeds of the simulated photographs: trained on, and judged on."""
SHARES = {"simulated": 0.26, "plots": 0.30, "trial": 0.08, "style": 0.04}
"""Of the time, for each run of a kind; what judging takes is shared by those that are left."""
RUNS = {"simulated": 1, "plots": 1, "trial": 3, "style": 5}
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
"""Cover is kept at these thresholds."""
SURE = 0.9
FAILURES = (RuntimeError, ValueError, TypeError, OSError, ArithmeticError, LookupError)
"""What may go wrong in what a training can do without."""


def quantised(state: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """State dict -> int8 tensors, each with ``NAME.scale`` per output channel; small ones whole."""
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in state.items():
        if tensor.ndim < 2:
            arrays[name] = tensor.detach().cpu().numpy()
            continue
        flat = tensor.detach().float().cpu().flatten(1)
        scale = flat.abs().amax(1).clamp(min=1e-12) / 127
        arrays[name] = torch.round(flat / scale[:, None]).to(torch.int8).view(tensor.shape).numpy()
        arrays[f"{name}.scale"] = scale.numpy().astype(np.float32)
    return arrays


def restored(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Undo :func:`quantised`."""
    state = {}
    for name, values in arrays.items():
        if name.endswith(".scale"):
            continue
        tensor = torch.from_numpy(np.array(values))
        scale = arrays.get(f"{name}.scale")
        if scale is not None:
            tensor = tensor.float() * torch.from_numpy(scale).view(-1, *[1] * (tensor.ndim - 1))
        state[name] = tensor
    return state


def network() -> nn.Module:
    """Build the U-Net that ships, as `selion.models.network.build_network` does."""
    return smp.Unet(
        ENCODER, encoder_weights=None, in_channels=3, classes=2, decoder_channels=DECODER
    )


@dataclass
class Store:
    """Photographs of one source on the device: bytes, all of one size, padded by reflection."""

    image: torch.Tensor
    share: torch.Tensor
    known: torch.Tensor
    count: int = 0
    """How many are there by now."""

    @classmethod
    def empty(cls, size: int, device: torch.device) -> Store:
        """Make room."""
        shape = (size, 1, SIDE, SIDE)
        return cls(
            torch.zeros((size, 3, SIDE, SIDE), dtype=torch.uint8, device=device),
            torch.zeros(shape, dtype=torch.uint8, device=device),
            torch.full(shape, 255, dtype=torch.uint8, device=device),
        )

    def add(self, image: np.ndarray, share: np.ndarray) -> None:
        """Add a photograph (3, y, x) and its share of plant (y, x), both uint8."""
        if self.count < len(self.image):
            self.image[self.count].copy_(torch.from_numpy(image))
            self.share[self.count, 0].copy_(torch.from_numpy(share))
            self.count += 1


def padded(values: np.ndarray) -> np.ndarray:
    """Fill (..., y, x) up to the side of a store by reflection."""
    gaps = [(0, 0)] * (values.ndim - 2) + [(0, max(0, SIDE - size)) for size in values.shape[-2:]]
    return np.pad(values, gaps, mode="reflect")[..., :SIDE, :SIDE]


def opened(data: np.lib.npyio.NpzFile, name: str) -> list[np.ndarray]:
    """Decode the photographs of a pack to (y, x[, 3]) arrays."""
    held, ends = data[name].tobytes(), data[f"{name}_end"]
    return [
        np.asarray(Image.open(io.BytesIO(held[start:end])))
        for start, end in zip([0, *ends[:-1]], ends, strict=True)
    ]


_grounds: list[crops_scenes.Grounds] = []


def _make(job: tuple[int, str | None]) -> tuple[int, np.ndarray, np.ndarray, str]:
    """Render one photograph, in a worker."""
    return job[0], *crops_scenes.render(job[0], _grounds[0], job[1])


@dataclass
class Scenes:
    """Simulated photographs, by style, arriving while others are trained on."""

    stores: dict[str, Store]
    tests: dict[str, list[tuple[np.ndarray, np.ndarray]]]
    done: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(
        cls,
        pool: multiprocessing.pool.Pool,
        each: int,
        tests: int,
        seconds: float,
        device: torch.device,
    ) -> Scenes:
        """Begin to render ``each`` photographs and ``tests`` more of each style."""
        styles = crops_scenes.STYLES
        scenes = cls(
            {style: Store.empty(each, device) for style in styles}, {style: [] for style in styles}
        )
        train = [(FIRST_SCENE + k, styles[k % len(styles)]) for k in range(each * len(styles))]
        judge = [(LATE_SCENE + k, styles[k % len(styles)]) for k in range(tests * len(styles))]
        first = min(len(train), 40 * len(styles))
        jobs = train[:first] + judge + train[first:]
        begun = time.monotonic()

        def receive() -> None:
            try:
                for seed, image, share, style in pool.imap_unordered(_make, jobs, chunksize=2):
                    if seed >= LATE_SCENE:
                        scenes.tests[style].append((image, share))
                    else:
                        scenes.stores[style].add(image, share)
                    if time.monotonic() - begun > seconds:
                        break
            except FAILURES:  # a renderer that fails must not end the training
                traceback.print_exc()
            total = sum(store.count for store in scenes.stores.values())
            print(f"rendered {total} photographs in {time.monotonic() - begun:.0f} s", flush=True)
            scenes.done.set()
            pool.terminate()

        threading.Thread(target=receive, daemon=True).start()
        return scenes

    def wait(self, least: int) -> None:
        """Wait until each style has some photographs."""
        while not self.done.is_set() and min(s.count for s in self.stores.values()) < least:
            time.sleep(0.2)


class Feed:
    """Draws batches: indices from the sources, pixels gathered on the device."""

    def __init__(
        self,
        sources: list[tuple[Store, torch.Tensor | None, float]],
        seed: int,
        device: torch.device,
        size: int,
    ) -> None:
        self.sources = [
            source
            for source in sources
            if source[0].count and (source[1] is None or len(source[1]))
        ]
        total = sum(weight for *_, weight in self.sources)
        self.shares = [weight / total for *_, weight in self.sources]
        self.rng = np.random.default_rng(seed)
        self.looks, self.device = Looks(seed, device, size), device

    def __call__(self, count: int) -> Batch:
        """Return one batch of windows."""
        kinds = self.rng.multinomial(count, self.shares)
        parts: list[tuple[torch.Tensor, ...]] = []
        for (store, only, _), number in zip(self.sources, kinds, strict=True):
            if not number:
                continue
            drawn = torch.from_numpy(
                self.rng.integers(0, store.count if only is None else len(only), number)
            )
            index = (drawn if only is None else only[drawn]).to(self.device)
            parts.append((store.image[index], store.share[index], store.known[index]))
        image, share, known = (torch.cat(part).float() / 255 for part in zip(*parts, strict=True))
        return self.looks(Batch(image, share, known))


def loss_of(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Cross-entropy against shares, and soft Dice of plants; unknown pixels count in neither."""
    margin = (logits[:, 1:] - logits[:, :1]).float()
    known = batch.known
    entropy = F.binary_cross_entropy_with_logits(margin, batch.share, reduction="none")
    entropy = (entropy * known).sum() / known.sum().clamp(min=1)
    found = torch.sigmoid(margin) * known
    truth = batch.share * known
    sizes = (0, 2, 3)
    dice = 1 - (2 * (found * truth).sum(sizes) + 1) / (found.sum(sizes) + truth.sum(sizes) + 1)
    return entropy + 0.5 * dice.mean()


@dataclass
class Clock:
    """How far a run is: by steps, or by time."""

    seconds: float
    steps: int | None
    begun: float = field(default_factory=time.monotonic)

    def share(self, step: int) -> float:
        """0 at the beginning, 1 at the end."""
        if self.steps is not None:
            return step / self.steps
        return (time.monotonic() - self.begun) / self.seconds


class Trainer:
    """Trains runs on one device and keeps what they gave."""

    def __init__(self, args: argparse.Namespace, end: float) -> None:
        self.args, self.end = args, end
        self.device = torch.device(args.device)
        self.result: dict[str, np.ndarray] = {}
        self.scores: dict[str, dict[str, float]] = {}
        self.started = self.written = time.monotonic()

    def answer(
        self, net: nn.Module, photographs: list[np.ndarray], poses: int = 1
    ) -> list[np.ndarray]:
        """Probabilities of plant (y, x) float32 of (3, y, x) uint8 photographs of one size."""
        answers: list[np.ndarray] = []
        net.eval()
        with (
            torch.no_grad(),
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"),
        ):
            for start in range(0, len(photographs), 16):
                some = np.stack(photographs[start : start + 16])
                height, width = some.shape[2:]
                tall, wide = (-(-size // 32) * 32 for size in (height, width))
                batch = torch.from_numpy(some).to(self.device).float()
                batch = F.pad(batch, (0, wide - width, 0, tall - height), mode="reflect")
                total = torch.zeros(len(some), tall, wide, device=self.device)
                for pose in range(poses):
                    shown = torch.flip(batch, (3,)) if pose % 2 else batch
                    shown = torch.flip(shown, (2,)) if pose // 2 else shown
                    found = net(
                        ((shown - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
                    )
                    found = torch.softmax(found.float(), 1)[:, 1]
                    found = torch.flip(found, (1,)) if pose // 2 else found
                    total += torch.flip(found, (2,)) if pose % 2 else found
                answers += list((total / poses)[:, :height, :width].cpu().numpy())
        net.train()
        return answers

    def judge(
        self,
        name: str,
        net: nn.Module,
        photographs: list[np.ndarray],
        shares: list[np.ndarray],
        *,
        keep: bool = True,
    ) -> dict[str, float]:
        """Score a network on photographs with masks, and keep what it answered."""
        answers = self.answer(net, photographs)
        table, covers = np.zeros((2, 2)), []
        for found, share in zip(answers, shares, strict=True):
            truth = share > 127
            crop = found > 0.5
            hits, guesses = np.sum(crop & truth), np.sum(crop)
            table += [[hits, guesses - hits], [truth.sum() - hits, np.sum(~crop & ~truth)]]
            quantiles = [np.mean(found > level) for level in LEVELS]
            doubt = np.mean((found > 0.25) & (found < 0.75))
            overlap = [hits, guesses, truth.sum(), truth.size]
            covers.append([truth.mean(), found.mean(), doubt, *quantiles, *overlap])
        (hit, false), (missed, soil) = table
        crop, ground = hit / max(hit + false + missed, 1), soil / max(soil + false + missed, 1)
        wrong = np.abs(np.array([[row[0] - row[8]] for row in covers])).mean()
        scores = {"miou": (crop + ground) / 2, "iou_crop": crop, "cover_error": float(wrong)}
        if keep:
            self.scores[name] = scores
            self.result[f"covers/{name}"] = np.array(covers, np.float32)
        return scores

    def fit(
        self,
        name: str,
        start: dict[str, torch.Tensor],
        feed: Feed,
        seconds: float,
        rate: float,
        held: tuple[list[np.ndarray], list[np.ndarray]] | None = None,
    ) -> nn.Module:
        """Train one run and return its averaged network."""
        args, device = self.args, self.device
        torch.manual_seed(SEED)
        net = network()
        net.load_state_dict(start, strict=True)
        net = net.to(device, memory_format=torch.channels_last).train()
        mean = network().to(device, memory_format=torch.channels_last)
        mean.load_state_dict(net.state_dict())
        encoder = [p for n, p in net.named_parameters() if n.startswith("encoder.")]
        rest = [p for n, p in net.named_parameters() if not n.startswith("encoder.")]
        optimizer = torch.optim.AdamW(
            [
                {"params": encoder, "lr": 0.5 * rate, "top": 0.5 * rate},
                {"params": rest, "lr": rate, "top": rate},
            ],
            weight_decay=0.02,
        )
        clock = Clock(seconds, args.steps)
        said, step, last = time.monotonic(), 0, 0
        while (share := clock.share(step)) < 1 and time.monotonic() < self.end:
            warm = min(1.0, (step + 1) / 40)
            for group in optimizer.param_groups:
                group["lr"] = (
                    group["top"] * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * share)))
                )
            batch = feed(args.batch)
            shown = ((batch.image - 0.5) * 2).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                logits = net(shown)
            loss = loss_of(logits, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 5.0)
            optimizer.step()
            step += 1
            decay = min(0.99, step / (step + 10))
            with torch.no_grad():
                ours, theirs = (
                    [t for t in n.state_dict().values() if t.is_floating_point()]
                    for n in (mean, net)
                )
                torch._foreach_lerp_(ours, theirs, 1 - decay)
            now = time.monotonic()
            if now - said > 15 or args.tiny:
                self._say(name, step, loss, (step - last) * args.batch / (now - said), mean, held)
                said, last = time.monotonic(), step
        print(f"{name}: {step} steps in {time.monotonic() - clock.begun:.0f} s", flush=True)
        return mean

    def _say(
        self,
        name: str,
        step: int,
        loss: torch.Tensor,
        pace: float,
        mean: nn.Module,
        held: tuple[list[np.ndarray], list[np.ndarray]] | None,
    ) -> None:
        memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0
        score = ""
        try:
            if held is not None:
                found = self.judge(name, mean, *held, keep=False)
                score = " ".join(f"{key} {value:.3f}" for key, value in found.items())
        except FAILURES:  # what is said must not end the training
            traceback.print_exc()
        clock = f"{time.monotonic() - self.started:5.0f} s"
        print(
            f"{clock} {name} step {step} loss {loss.item():.4f} {pace:.0f} views/s",
            f"{memory:.1f} GiB {score}",
            flush=True,
        )
        if name == "plots" and time.monotonic() - self.written > 60:
            self.keep(mean)
            self.write()

    def keep(self, net: nn.Module) -> None:
        """Keep the weights that ship."""
        for key, tensor in net.state_dict().items():
            self.result[f"plots/{key}"] = (
                tensor.detach()
                .cpu()
                .numpy()
                .astype(np.float16 if tensor.is_floating_point() else np.int64)
            )

    def write(self) -> None:
        """Write what there is, under one name."""
        self.written = time.monotonic()
        self.args.out.mkdir(parents=True, exist_ok=True)
        self.result["scores"] = np.array(json.dumps(self.scores))
        part = self.args.out / "part-crops.npz"
        np.savez(part, **self.result)
        part.replace(self.args.out / "crops.npz")


Sources = list[tuple[Store, torch.Tensor | None, float]]
Judged = tuple[list[np.ndarray], list[np.ndarray]]


class Experiment:
    """All runs: what each is fed, what it starts from, what it is judged on."""

    def __init__(
        self, trainer: Trainer, data: np.lib.npyio.NpzFile, scenes: Scenes, seconds: float
    ) -> None:
        self.trainer, self.scenes, self.end = trainer, scenes, time.monotonic() + seconds
        self.waiting = [kind for kind, count in RUNS.items() for _ in range(count)]
        self.args, self.device = trainer.args, trainer.device
        self.few = 4 if self.args.tiny else None
        self.photographs = [
            np.ascontiguousarray(image.transpose(2, 0, 1)) for image in opened(data, "wheat")
        ]
        self.truths = [255 * np.asarray(mask > 0, np.uint8) for mask in opened(data, "mask")]
        self.split, self.trial = data["split"], data["trial"]
        self.wheat = Store.empty(len(self.photographs), self.device)
        for image, share in zip(self.photographs, self.truths, strict=True):
            self.wheat.add(padded(image), padded(share))
        self.chilli = Store.empty(2 * len(data["chilli_end"]), self.device)
        self.tiles: list[np.ndarray] = []
        for image in opened(data, "chilli")[: self.few]:
            wide = image.shape[0] < image.shape[1]
            turned = image.transpose(2, 0, 1) if wide else image.transpose(2, 1, 0)
            self.tiles += [padded(turned[:, :, :SIDE]), padded(turned[:, :, -SIDE:])]
        torch.manual_seed(SEED)
        self.imagenet = network().state_dict()
        packed = {name: data[name] for name in data.files if name.startswith("encoder.")}
        self.imagenet.update(restored(packed))

    def seconds(self, kind: str) -> float:
        """Return the time of the next run: its share of what is left."""
        left = sum(SHARES[name] for name in self.waiting)
        self.waiting.remove(kind)
        return max(0.0, self.end - time.monotonic()) * SHARES[kind] / left

    def some(self, where: np.ndarray) -> Judged:
        """Wheat photographs and their masks."""
        index = np.flatnonzero(where)[: self.few]
        return [self.photographs[k] for k in index], [self.truths[k] for k in index]

    def feed(self, sources: Sources, number: int) -> Feed:
        """Draw from sources, each run by its own seed."""
        return Feed(sources, SEED + number, self.device, self.args.size)

    def simulated(self, weight: float, without: str = "") -> Sources:
        """Simulated photographs of all styles but one."""
        stores = self.scenes.stores
        return [(store, None, weight) for style, store in stores.items() if style != without]

    def mixed(self, where: np.ndarray) -> Sources:
        """Wheat photographs, chilli, and all that is simulated."""
        wheat = torch.from_numpy(np.flatnonzero(where))
        return [(self.wheat, wheat, 4.5), (self.chilli, None, 1.5), *self.simulated(1)]

    def on_simulation(self, aside: Judged) -> dict[str, torch.Tensor]:
        """Train on no real photograph, and label the chilli photographs where that is sure."""
        net = self.trainer.fit(
            "simulated",
            self.imagenet,
            self.feed(self.simulated(1), 1),
            self.seconds("simulated"),
            2e-3,
            aside,
        )
        whole = self.some(np.ones(len(self.split), bool))
        print("simulated", self.trainer.judge("simulated", net, *whole), flush=True)
        state = {key: tensor.detach().cpu() for key, tensor in net.state_dict().items()}
        for key, array in quantised(state).items():
            self.trainer.result[f"simulated/{key}"] = (
                array.astype(np.float16) if array.dtype == np.float32 else array
            )
        try:
            self._label_chilli(net)
        except FAILURES:  # it is trained without them then
            traceback.print_exc()
        return state

    def _label_chilli(self, net: nn.Module) -> None:
        """Known is where colour is plain, and what the network is sure of in four poses."""
        chilli = self.chilli
        for image, found in zip(self.tiles, self.trainer.answer(net, self.tiles, 4), strict=True):
            red, green, blue = image.astype(np.float32)
            excess = (2 * green - red - blue) / np.maximum(red + green + blue, 30)
            smooth = ndimage.uniform_filter(excess, 5)
            plant = (excess > 0.15) & (red < 0.95 * green) & (blue < 0.95 * green)
            bare = (smooth < 0.02) & (found < SURE)  # soil, paper: a glossy leaf is neither
            sure = ((found > SURE) & (smooth > 0.02)) | ((found < 1 - SURE) & (excess < 0.12))
            sure = sure | plant | bare
            truth = plant | (~bare & (found > 0.5))
            chilli.add(image, np.where(truth, 255, 0).astype(np.uint8))
            known = np.where(sure, 255, 0).astype(np.uint8)
            chilli.known[chilli.count - 1, 0] = torch.from_numpy(known).to(self.device)
        share = float(chilli.known[: chilli.count].float().mean() / 255)
        self.trainer.scores["chilli"] = {"known": share}

    def without_trial(self, number: int, name: str, start: dict[str, torch.Tensor]) -> None:
        """Train without a season of wheat, and judge on it."""
        out = self.some(self.trial == name)
        net = self.trainer.fit(
            f"trial {name}",
            start,
            self.feed(self.mixed(self.trial != name), 3 + number),
            self.seconds("trial"),
            1.5e-3,
            out,
        )
        print(f"trial {name}", self.trainer.judge(f"trial {name}", net, *out), flush=True)

    def without_style(self, number: int, style: str, shipped: nn.Module) -> None:
        """Train without a simulated style, and judge on it, beside the network that ships."""
        known = torch.from_numpy(np.flatnonzero(self.split != "val"))
        sources = [(self.wheat, known, 4.5), *self.simulated(1.2, style)]
        seconds = self.seconds("style")
        net = self.trainer.fit(
            f"style {style}", self.imagenet, self.feed(sources, 10 + number), seconds, 2e-3
        )
        tests = self.scenes.tests[style]
        if tests:
            pictures, shares = (list(part) for part in zip(*tests, strict=True))
            for name, judged in ((f"style {style}", net), (f"style seen {style}", shipped)):
                print(name, self.trainer.judge(name, judged, pictures, shares), flush=True)

    def __call__(self) -> None:
        """Train and judge them all."""
        self.scenes.wait(2 if self.args.tiny else 40)
        aside = self.some(self.split == "val")
        start = self.on_simulation(aside)
        shipped = self.trainer.fit(
            "plots",
            start,
            self.feed(self.mixed(self.split != "val"), 2),
            self.seconds("plots"),
            1.5e-3,
            aside,
        )
        self.trainer.keep(shipped)
        print("plots", self.trainer.judge("plots", shipped, *aside), flush=True)
        self.trainer.write()
        jobs = [
            partial(self.without_trial, number, name, start)
            for number, name in enumerate(sorted(set(self.trial.tolist())))
        ] + [
            partial(self.without_style, number, name, shipped)
            for number, name in enumerate(crops_scenes.STYLES)
        ]
        for job in jobs:
            try:
                job()
            except FAILURES:  # one that fails must not take the others with it
                traceback.print_exc()
            self.trainer.write()


def main() -> None:
    """Train all runs within the given time."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="pack of crops_pack.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8, help="of everything, start included")
    parser.add_argument("--steps", type=int, help="of each run, instead of shares of the time")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--size", type=int, default=256, help="edge of a window")
    parser.add_argument(
        "--scenes", type=int, default=640, help="simulated photographs of each style"
    )
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument(
        "--tiny", action="store_true", help="a few small batches, to see that it runs"
    )
    args = parser.parse_args()
    begun = time.monotonic()
    if args.tiny:
        args.batch, args.scenes, args.workers, args.size = 6, 3, 2, 96
    tests = 2 if args.tiny else 40
    _grounds.append(crops_scenes.Grounds(0))
    crops_scenes.render(1, _grounds[0])  # compiled before the processes part
    pool = multiprocessing.get_context("fork").Pool(args.workers)  # before the device is touched
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    end = begun + 60 * args.minutes - 12 if args.steps is None else math.inf
    scenes = Scenes.start(pool, args.scenes, tests, 0.3 * 60 * args.minutes, device)
    trainer = Trainer(args, end)
    print(f"start after {time.monotonic() - begun:.0f} s", flush=True)
    try:
        with np.load(args.data) as data:
            left = end - time.monotonic() - 6 if args.steps is None else 0
            Experiment(trainer, data, scenes, left)()
    finally:
        trainer.write()
        print(json.dumps(trainer.scores, indent=1), flush=True)
        size = (args.out / "crops.npz").stat().st_size / 2**20
        print(f"{time.monotonic() - begun:.0f} s in all, {size:.1f} MiB", flush=True)
        sys.stdout.flush()
        pool.terminate()


if __name__ == "__main__":
    main()
