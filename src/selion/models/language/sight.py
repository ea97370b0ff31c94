"""How much of a patch a model sees: visual tokens for each cell of its answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from selion.errors import BadInput
from selion.models.language.chat import Prompt

LARGEST = 2048
"""Edge in pixels beyond which no patch is brought."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What a model's processor makes of the picture of a patch."""

    tokens: int
    """Visual tokens of the picture, its margin included."""
    of_cell: float
    """Visual tokens for each cell of the answer: those of the patch without its margin."""
    edge: int
    """Pixels along the picture's edge."""
    grid: int
    """Rows and columns of the answer."""

    def __str__(self) -> str:
        """One sentence."""
        return (
            f"The picture of a patch, {self.edge} px, becomes {self.tokens:,} visual tokens: "
            f"{self.of_cell:.4g} for each of {self.grid} x {self.grid} cells."
        )


def look(processor: Any, prompt: Prompt) -> Sight:
    """Ask a processor how many tokens it makes of the picture of a patch.

    Parameters
    ----------
    processor
        As transformers loads it.
    prompt : Prompt
    """
    edge = prompt.edge_shown
    tokens = count_visual(processor, edge)
    inside = (prompt.patch / (prompt.patch + 2 * prompt.margin)) ** 2
    return Sight(tokens, tokens * inside / prompt.grid**2, edge, prompt.grid)


def count_visual(processor: Any, edge: int) -> int:
    """Return the tokens of a square picture, as one of the two images of a question.

    Parameters
    ----------
    processor
    edge : int
        Pixels.
    """
    from PIL import Image

    # not of one colour: some processors cut away what is uniform
    picture = Image.linear_gradient("L").resize((edge, edge)).convert("RGB")
    slots: list[dict[str, Any]] = [{"type": "image", "image": picture}] * 2
    ids = processor.apply_chat_template(
        [[{"role": "user", "content": [*slots, {"type": "text", "text": "a"}]}]],
        tokenize=True,
        return_dict=True,
    )["input_ids"]
    # a processor of Gemma 3 calls the token before an image its image token, its tokenizer does not
    slots_of = {getattr(one, "image_token_id", None) for one in (processor, processor.tokenizer)}
    slots_of.add(processor.tokenizer.convert_tokens_to_ids(processor.image_token))
    said = [int(token) for token in ids[0]]
    return max(said.count(slot) for slot in slots_of if slot is not None) // 2


def check_sight(processor: Any, prompt: Prompt) -> Sight:
    """Refuse a question in which a cell has fewer visual tokens than the prompt wants.

    Raises
    ------
    BadInput
        With the zoom that is enough, or the grid where this model makes as many tokens of any
        picture.
    """
    seen = look(processor, prompt)
    if seen.of_cell >= prompt.sight:
        return seen
    zoom = enough_zoom(processor, prompt)
    coarser = max(
        (
            grid
            for grid in range(1, prompt.grid)
            if not prompt.patch % grid and seen.of_cell * prompt.grid**2 >= prompt.sight * grid**2
        ),
        default=0,
    )
    cures = [
        *([f"set language.prompt.zoom = {zoom}"] if zoom else []),
        *([f"set language.prompt.grid = {coarser}"] if coarser else []),
        f"allow less by language.prompt.sight = {seen.of_cell:.2g}",
    ]
    always = "" if zoom else " (this model makes no more of a larger picture)"
    raise BadInput(
        f"{str(seen)[:-1]}{always}; wanted are {prompt.sight:g} or more, because what is not seen "
        f"cannot be written: {', or '.join(cures)}."
    )


def enough_zoom(processor: Any, prompt: Prompt) -> int:
    """Return the least zoom, in halves of a patch, at which cells have as many tokens as wanted.

    0 if there is none up to :data:`LARGEST` pixels.
    """
    step = max(1, prompt.patch // 2)
    low, high = 0, 0
    for edge in _doubled(prompt.patch):
        if _enough(processor, prompt, edge):
            high = edge
            break
        low = edge
    while high - low > step:
        middle = low + ((high - low) // 2 // step * step or step)
        low, high = (low, middle) if _enough(processor, prompt, middle) else (middle, high)
    return high


def _doubled(edge: int) -> Iterator[int]:
    while edge <= LARGEST:
        yield edge
        edge *= 2


def _enough(processor: Any, prompt: Prompt, zoom: int) -> bool:
    return look(processor, replace(prompt, zoom=zoom)).of_cell >= prompt.sight
