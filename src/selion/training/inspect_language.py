"""How a language model stands.

Its answers to validation patches, beside constant answers and shuffled images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from selion.metrics import mean_dice
from selion.models.language.generation import GenerationOptions, Question, TextGenerator
from selion.training.conversations import Talk, Talks
from selion.training.language_recipe import LanguageRecipe
from selion.training.reward import Standing, accuracy, constants, mean_worth, spoken_mask


def inspect(
    model: Any, processor: Any, talks: Talks, recipe: LanguageRecipe, grammar: str = "none"
) -> Standing:
    """Ask a model about patches that it has not seen.

    Parameters
    ----------
    model, processor
    talks : Talks
        Of validation samples.
    recipe : LanguageRecipe
    grammar : str
        "none": as the model speaks by itself, which is what the gate before rewards looks at.

    Notes
    -----
    Shuffled images are those of the next patch; the question, and with it the place, stays.
    """
    drawn = [talks[k] for k in range(len(talks))]
    # a single one is asked about a patch that is not judged, not about itself
    others = [*drawn[1:], drawn[0] if len(drawn) > 1 else replace(talks, count=2)[1]]
    generator = make_generator(model, processor, recipe, grammar)
    classes, truths = recipe.classes, [talk.truth for talk in drawn]
    own = [question(talk) for talk in drawn]
    wrong = {
        "shuffled": [
            question(talk, other.images[0], other.images[1])
            for talk, other in zip(drawn, others, strict=True)
        ],
        "shuffled_patch": [
            question(talk, talk.images[0], other.images[1])
            for talk, other in zip(drawn, others, strict=True)
        ],
        "shuffled_context": [
            question(talk, other.images[0], talk.images[1])
            for talk, other in zip(drawn, others, strict=True)
        ],
    }
    # all at once: a pass through the model costs little more for four answers than for one
    asked = [*own, *chain(*wrong.values())]
    every, clean = answers(generator, asked, recipe, [*range(len(own))] * (1 + len(wrong)))
    masks, *others_masks = (every[k : k + len(own)] for k in range(0, len(every), len(own)))
    return Standing(
        dice=mean_worth(truths, masks, classes),
        paper_dice=mean_worth(truths, masks, classes, "all"),
        valid=float(np.mean(clean[: len(own)])),
        accuracy=accuracy(truths, masks),
        **{
            name: mean_worth(truths, found, classes)
            for name, found in zip(wrong, others_masks, strict=True)
        },
        constants=constants(truths, classes),
        paper_constants=constants(truths, classes, "all"),
        patches=len(drawn),
        each=tuple(
            mean_dice(true, mask, classes) for true, mask in zip(truths, masks, strict=True)
        ),
    )


def make_generator(
    model: Any, processor: Any, recipe: LanguageRecipe, grammar: str
) -> TextGenerator:
    """Return the model as it will be asked when it is used."""
    model.eval()
    options = GenerationOptions(
        grammar=grammar,
        samples=recipe.inspect.samples,
        batch=max(16, recipe.inspect.samples),
        share=False,
    )
    return TextGenerator(model, processor, recipe.language.prompt, recipe.classes.names, options)


def question(talk: Talk, *images: Any) -> Question:
    """Return a talk's question, with its own images or others."""
    return Question(talk.question, images or talk.images)


def answers(
    generator: TextGenerator,
    asked: Sequence[Question],
    recipe: LanguageRecipe,
    seeds: Sequence[int] = (),
) -> tuple[list[np.ndarray], list[bool]]:
    """Return the masks of a model's answers, and whether each was without a fault.

    They are found by vote if there are several answers to a question, drawn by its seed.
    """
    read = [
        [spoken_mask(text, recipe.language.prompt, recipe.classes) for text in texts]
        for texts in generator.ask(asked, seeds)
    ]
    masks = [_vote([mask for mask, _ in several], len(recipe.classes)) for several in read]
    return masks, [all(clean for _, clean in several) for several in read]


def _vote(masks: Sequence[np.ndarray], classes: int) -> np.ndarray:
    if len(masks) == 1:
        return masks[0]
    votes = np.stack([sum((mask == k).astype(int) for mask in masks) for k in range(classes)])
    return np.where(votes.sum(0) > 0, votes.argmax(0), 255).astype(np.uint8)
