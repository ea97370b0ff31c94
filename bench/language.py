"""Language models: what sharing the encoded image saves, what the grammar costs, what masks cost in
tokens, how the decoder takes nonsense.

    python bench/language.py                 # some minutes on one core
    python bench/language.py --quick

Models are tiny ones of real families with random weights: ratios carry over as far as tokens do.  A
family that turns every image into the same number of tokens cannot save more than half by sharing
one of two; one whose tokens follow the image's size saves nearly all of the whole image's.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from selion.grid import photo_grid, whole
from selion.models.card import ModelCard
from selion.models.execution import Execution
from selion.models.language.chat import Prompt, coarsen
from selion.models.language.generation import GenerationOptions, TextGenerator
from selion.models.language.grammar import MaskGrammar
from selion.models.language.network import FORMAT, LanguageSegmenter
from selion.models.language.rrle import CODECS, count_tokens, decode
from selion.models.language.tiny import TinySize, make_tiny
from selion.raster import Raster
from selion.segmenter import InputSpec, Scaling, View
from selion.simulation.landscape import simulate
from selion.training.language_recipe import COUNTRYSIDE
from table import Row, markdown, ratio, save

NAMES = COUNTRYSIDE.names
EDGE = 1024


def scene(edge: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and classes of a simulated aerial photograph at 0.5 m."""
    land = simulate(7, (edge, edge), 0.5, bands="rgb")
    merge = np.array(
        [COUNTRYSIDE.index(name) if name in NAMES else 0 for name in land.cover.classes.names],
        np.uint8,
    )
    return land.image.values, merge[land.cover.ids]


def segmenter(
    family: str, ids: np.ndarray, size: TinySize, prompt: Prompt, largest: int | None
) -> LanguageSegmenter:
    """A tiny model in the socket; ``largest``: edge in pixels to which images are reduced, where
    the family takes any size.
    """
    texts = [
        prompt.answer(part, NAMES)
        for part in (
            ids[k : k + prompt.grid, :: len(ids) // prompt.grid][:, : prompt.grid]
            for k in range(0, 512, 16)
        )
    ]
    model, processor = make_tiny(
        family, [*texts, prompt.instruct(NAMES), prompt.place, "user assistant 0123456789"], size
    )
    if largest:
        processor.image_processor.size = {
            "shortest_edge": size.image**2,
            "longest_edge": largest**2,
        }
    spec = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, prompt.patch, 0.0, 1, EDGE)
    card = ModelCard(
        "bench",
        spec,
        COUNTRYSIDE,
        architecture={"family": "language", "prompt": prompt.to_dict()},
        format=FORMAT,
    )
    return LanguageSegmenter(
        card,
        TextGenerator(model.eval(), processor, prompt, NAMES, GenerationOptions(batch=8)),
        Execution("bench"),
    )


def prefill(
    made: LanguageSegmenter,
    pixels: np.ndarray,
    count: int,
    rounds: int,
    what: str,
    goal: float | None,
) -> list[Row]:
    """Time the prefill of the patches of one image: each encoded whole, and all behind one
    prefix.
    """
    context = Raster(pixels.astype(np.float32), photo_grid((EDGE, EDGE)), ("red", "green", "blue"))
    edge = made.inputs.window
    places = [(y, x) for y in range(0, EDGE, edge) for x in range(0, EDGE, edge)][:count]
    rois = [(slice(y, y + edge), slice(x, x + edge)) for y, x in places]
    questions = made.questions(
        [View(context.values[:, *roi], roi, context, whole(context.grid)) for roi in rois]
    )
    generator = made.generator
    slow, quick, worst = [], [], 0.0
    for _ in range(rounds):
        began = time.process_time()
        alone = [
            generator.first_logits(generator.together(questions[k : k + 8]))
            for k in range(0, count, 8)
        ]
        slow.append(time.process_time() - began)
        began = time.process_time()
        prefix = generator.prefix(questions[0])
        behind = [
            generator.first_logits(generator.behind(questions[k : k + 8], prefix))
            for k in range(0, count, 8)
        ]
        quick.append(time.process_time() - began)
        worst = max(
            worst, *(float((a - b).abs().max()) for a, b in zip(alone, behind, strict=True))
        )
    tokens = generator.together(questions[:1])["input_ids"].shape[1]
    row = ratio("Language model, prefill", what, slow, quick, goal)
    note = (
        f"{count} patches, {tokens} tokens each, {len(prefix.ids)} of them shared; logits differ "
        f"by {worst:.1e} at most; processor seconds: {row.note}"
    )
    return [Row(row.section, row.what, row.value, row.unit, row.goal, note=note)]


def grammar(made: LanguageSegmenter, steps: int, rounds: int) -> list[Row]:
    """Time answers with and without the grammar, token by token, from the same question."""
    generator = made.generator
    ids = torch.tensor(
        [generator.processor.tokenizer.encode("The whole image. Segment the patch.")] * 8
    )
    config = generator.config(steps)
    config.eos_token_id, config.min_new_tokens = None, steps
    cost: dict[bool, list[float]] = {True: [], False: []}
    generator.tokens  # noqa: B018  # the vocabulary's tree is built once, not for each answer
    for _ in range(rounds):
        for held in (False, True):
            processors = [MaskGrammar(generator.tokens)] if held else []
            began = time.process_time()
            with torch.inference_mode():
                written = generator.model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=config,
                    logits_processor=processors,
                )
            cost[held].append((time.process_time() - began) / (written.shape[1] - ids.shape[1]))
    free, held = statistics.median(cost[False]), statistics.median(cost[True])
    millions = sum(p.numel() for p in generator.model.parameters()) / 1e6
    note = (
        f"{1000 * free:.2f} ms free, {1000 * held:.2f} ms held, for 8 answers at once; model of "
        f"{millions:.0f} M parameters"
    )
    return [
        Row(
            "Language model, grammar",
            "added time for a token",
            100 * (held / free - 1),
            "%",
            10.0,
            at_most=True,
            note=note,
        )
    ]


def hostile(count: int) -> list[Row]:
    """Feed the decoder with nonsense."""
    rng = np.random.default_rng(0)
    pieces = [
        "<seg>",
        "</seg>",
        *NAMES,
        " *",
        "|",
        "| ",
        "\n",
        "\n ",
        "=",
        "=3",
        "0",
        "7",
        "64",
        "-1",
        "9" * 30,
        "٣",
        "\x00",
        "f12",
        "é",
        " ",
        "field *64\n",
    ]
    texts = ["".join(rng.choice(pieces, rng.integers(0, 400))) for _ in range(count)]
    times = []
    for codec in CODECS.values():
        for text in texts:
            began = time.perf_counter()
            decode(text, (64, 64), NAMES, codec)
            times.append(time.perf_counter() - began)
    slowest = f"slowest {1000 * max(times):.1f} ms; no exception"
    return [
        Row(
            "Language model, decoder",
            f"{count:,} hostile texts in each of 3 codecs, each",
            1000 * statistics.mean(times),
            "ms",
            5.0,
            at_most=True,
            note=slowest,
        )
    ]


def tokens(made: LanguageSegmenter, ids: np.ndarray) -> list[Row]:
    """Count tokens of answers for a 1024 x 1024 image."""
    section = "Language model, tokens written for 1024 x 1024 px at 0.5 m"
    rows = []
    for patch, grid in ((64, 64), (64, 32), (128, 32)):
        cells = [coarsen(part, grid, len(NAMES)) for part in patches(ids, patch)]
        for codec in CODECS.values():
            counts = count_tokens(made.generator.processor.tokenizer, cells, NAMES, codec)
            mean, p95 = float(np.mean(counts)), float(np.percentile(counts, 95))
            rows.append(
                Row(
                    section,
                    f"{codec.name}, patch {patch}, grid {grid}",
                    mean * (1024 / patch) ** 2,
                    "tokens",
                    note=f"{mean:.0f} a patch, 95 %: {p95:.0f}; tokenizer trained on such answers",
                )
            )
    return rows


def patches(mask: np.ndarray, patch: int) -> list[np.ndarray]:
    """Cut a mask into whole patches."""
    height, width = mask.shape
    return [
        mask[y : y + patch, x : x + patch]
        for y in range(0, height - patch + 1, patch)
        for x in range(0, width - patch + 1, patch)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=None)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    rounds, count = (1, 8) if given.quick else (given.rounds, 32)
    pixels, ids = scene(EDGE)
    prompt = Prompt(patch=64, grid=64)
    wide = TinySize(
        image=64, patch=8, hidden=128, layers=3, heads=4, vision_hidden=128, vision_layers=3
    )
    any_size = segmenter("qwen2_5_vl", ids, wide, prompt, 256)
    rows = prefill(
        any_size, pixels, count, rounds, "tokens by the image's size (256 px shown of 1024)", 3.0
    )
    rows += prefill(
        segmenter("gemma3", ids, replace(wide, image=128), prompt, None),
        pixels,
        count,
        rounds,
        "as many tokens for the patch as for the image (at most 2)",
        None,
    )
    large = TinySize(
        image=64,
        patch=8,
        hidden=512,
        layers=2 if given.quick else 8,
        heads=8,
        vision_hidden=64,
        vision_layers=1,
    )
    rows += grammar(
        segmenter("gemma3", ids, large, prompt, None), 16 if given.quick else 64, rounds
    )
    rows += tokens(any_size, ids) + hostile(500 if given.quick else 10_000)
    if given.json:
        save(rows, given.json)
    else:
        print(markdown(rows))


if __name__ == "__main__":
    main()
