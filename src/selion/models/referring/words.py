"""Phrases that name classes, as tokens of a BERT."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from selion.errors import BadInput

CLS, SEP, FIRST = 1, 2, 3
"""Tokens where no tokenizer is at hand: begin, end, and the first word."""


def phrase_tokens(
    phrases: Sequence[str], classes: int, vocabulary: int, tokenizer: Path | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a BERT reads of each phrase.

    Parameters
    ----------
    phrases : sequence of str
        What each class after the first, the background, is called.
    classes : int
        With the background.
    vocabulary : int
        Tokens that the BERT knows.
    tokenizer : path, optional
        Folder of its tokenizer; without one each word that comes is the next token, which is all
        that random weights can want.

    Returns
    -------
    ids, mask : (phrase, token) int64 tensor
        0 where there is no token.

    Raises
    ------
    BadInput
        If there are not as many phrases as classes after the background, two are alike, or one has
        no word.
    """
    if len(phrases) != classes - 1 or len({*phrases}) < len(phrases):
        raise BadInput(
            f"phrases = {list(phrases)} was given for {classes} classes; wanted is what each class "
            "after the first, the background, is called: set model.architecture.phrases."
        )
    if not all(phrase.split() for phrase in phrases):
        raise BadInput(f"phrases = {list(phrases)} was given; one of them has no word.")
    rows = _by_tokenizer(phrases, tokenizer) if tokenizer else _by_order(phrases, vocabulary)
    longest = max(len(row) for row in rows)
    ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    return ids, mask


def _by_order(phrases: Sequence[str], vocabulary: int) -> list[list[int]]:
    words = dict.fromkeys(word for phrase in phrases for word in phrase.lower().split())
    known = {word: FIRST + k for k, word in enumerate(words)}
    if FIRST + len(known) > vocabulary:
        raise BadInput(
            f"The phrases have {len(known)} words, and a vocabulary of {vocabulary} holds "
            f"{max(vocabulary - FIRST, 0)}: set model.architecture.vocabulary higher."
        )
    return [[CLS, *(known[word] for word in phrase.lower().split()), SEP] for phrase in phrases]


def _by_tokenizer(phrases: Sequence[str], folder: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [list(tokenizer(phrase)["input_ids"]) for phrase in phrases]
