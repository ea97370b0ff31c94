"""What masks cost in tokens: by codec, patch and grid, for a given tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from selion.models.language.chat import coarsen
from selion.models.language.rrle import CODECS, encode


@dataclass(frozen=True, slots=True)
class TokenCost:
    """Tokens of answers in one spelling."""

    codec: str
    patch: int
    grid: int
    mean: float
    p95: float
    per_image: float
    """Mean tokens of all answers for 1024 x 1024 pixels, patches side by side."""


def token_costs(
    tokenizer: Any,
    masks: Sequence[np.ndarray],
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]],
) -> list[TokenCost]:
    """Count the tokens of masks in every codec.

    Parameters
    ----------
    tokenizer
        Of the model that will write them.
    masks : sequence of (y, x) uint8 ndarray
        Class ids of whole scenes, cut into patches.
    names : sequence of str
    sizes : sequence of (patch, grid)
    """
    found = []
    for patch, grid in sizes:
        cells = [
            coarsen(part, grid, len(names)) for mask in masks for part in _patches(mask, patch)
        ]
        for codec in CODECS.values():
            counts = [
                len(ids)
                for ids in tokenizer(
                    [encode(cell, names, codec) for cell in cells], add_special_tokens=False
                )["input_ids"]
            ]
            found.append(
                TokenCost(
                    codec.name,
                    patch,
                    grid,
                    float(np.mean(counts)),
                    float(np.percentile(counts, 95)),
                    float(np.mean(counts)) * (1024 / patch) ** 2,
                )
            )
    return found


def _patches(mask: np.ndarray, patch: int) -> list[np.ndarray]:
    height, width = mask.shape
    return [
        mask[y : y + patch, x : x + patch]
        for y in range(0, height - patch + 1, patch)
        for x in range(0, width - patch + 1, patch)
    ]


def cost_table(costs: Sequence[TokenCost]) -> str:
    """Return costs as Markdown."""
    lines = [
        "| codec | patch | grid | tokens (mean) | tokens (95 %) | tokens for 1024 x 1024 |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.codec} | {c.patch} | {c.grid} | {c.mean:.0f} | {c.p95:.0f} | {c.per_image:,.0f} |"
        for c in costs
    ]
    return "\n".join(lines)
