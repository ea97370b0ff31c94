"""How sure a model was of each label that it wrote: odds of the labels' tokens, as scores.

A label is one token or several, and a token may hold more than a label ("7f").  At each token of a
label those that would have said another one in its place are looked at: such as go on from what the
token holds before the label.  Their odds, brought to one over the classes, are the classes' scores;
where several tokens make a label, each decides among the classes that the ones before have left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.classes import IGNORE

if TYPE_CHECKING:
    import torch

Compatible = tuple[np.ndarray, np.ndarray]
"""Numbers of words, and (class, word) shares of each in the classes that it may say."""


@dataclass(frozen=True, eq=False, slots=True)
class Heard:
    """What a model thought of some words where it wrote one."""

    words: tuple[str, ...]
    odds: np.ndarray
    """(word,) logarithms of their probabilities, up to a constant."""


@dataclass(eq=False, slots=True)
class SpokenAnswer:
    """An answer word by word."""

    words: list[str] = field(default_factory=list)
    heard: list[Heard | None] = field(default_factory=list)
    """Of each word; None: nobody listened, because it says no part of a label."""


class LabelEar:
    """Listens to a model while it writes.

    Parameters
    ----------
    tokenizer
    spelled : mapping
        Text that each token adds, of those that masks are made of
        (:func:`selion.models.language.grammar.spell`).
    labels : sequence of str
    """

    def __init__(self, tokenizer: Any, spelled: Mapping[int, str], labels: Sequence[str]) -> None:
        self._tokenizer, self._spelled = tokenizer, dict(spelled)
        signs = set("".join(labels))
        self.tokens = sorted(k for k, text in spelled.items() if not signs.isdisjoint(text))
        """Tokens that may be of a label."""
        self._among = frozenset(self.tokens)
        self._words = tuple(self._spelled[token] for token in self.tokens)

    @cached_property
    def _before(self) -> tuple[list[int], str]:
        anchor = self._tokenizer.encode("a", add_special_tokens=False)
        return anchor, self._tokenizer.decode(anchor)

    def word(self, token: int) -> str:
        """Return the text that a token adds."""
        if token not in self._spelled:
            anchor, before = self._before
            text = self._tokenizer.decode(
                [*anchor, token], skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
            self._spelled[token] = text.removeprefix(before)
        return self._spelled[token]

    def hear(self, answer: SpokenAnswer, token: int, odds: np.ndarray) -> None:
        """Note a token, and the (token,) odds of :attr:`tokens` where it was written."""
        answer.words.append(self.word(token))
        answer.heard.append(Heard(self._words, odds) if token in self._among else None)


class EarProcessor:
    """A logits processor that changes nothing, and listens to the answers of one ``generate``."""

    def __init__(self, ear: LabelEar) -> None:
        self._ear = ear
        self._index: Any = None
        self._last: np.ndarray | None = None
        self.answers: list[SpokenAnswer] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Note (answer, vocabulary) scores, and the tokens that were written by the last ones."""
        import torch

        if self._last is None:
            self.answers = [SpokenAnswer() for _ in range(len(input_ids))]
            self._index = torch.tensor(self._ear.tokens, device=scores.device)
        else:
            self._note(input_ids[:, -1].tolist())
        self._last = scores[:, self._index].float().cpu().numpy()
        return scores

    def finish(self, tokens: Sequence[int]) -> list[SpokenAnswer]:
        """Note the last token of each answer; return them."""
        self._note(tokens)
        return self.answers

    def _note(self, tokens: Sequence[int]) -> None:
        if self._last is not None:
            for answer, token, odds in zip(self.answers, tokens, self._last, strict=True):
                self._ear.hear(answer, token, odds)


def listen(
    ear: LabelEar, scores: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> np.ndarray:
    """Return the (place, token) float32 odds of an ear's tokens at some places of the scores."""
    import torch

    words = torch.tensor(ear.tokens, device=scores.device)
    found: np.ndarray = scores[rows[:, None], columns[:, None], words].float().cpu().numpy()
    return found


def label_scores(
    text: str,
    mask: np.ndarray,
    places: np.ndarray,
    answer: SpokenAnswer | None,
    labels: Sequence[str],
) -> np.ndarray:
    """Return the scores of the cells of an answer.

    Parameters
    ----------
    text : str
        The answer.
    mask : (y, x) uint8 ndarray
        Its classes; 255: not known.
    places : (y, x) int32 ndarray
        Where their labels stand in it (:func:`selion.models.language.rrle.decode_labels`).
    answer : SpokenAnswer, optional
        The same word by word; None, or where it says nothing of a label: what was written is sure.
    labels : sequence of str
        Of the classes, whole: with the sign that parts a label from its number.

    Returns
    -------
    (class, y, x) float32 ndarray
        One over the classes; all 0 where the mask is not known.
    """
    scores = (mask == np.arange(len(labels))[:, None, None]).astype(np.float32)
    starts = {} if answer is None else _starts(text, answer)
    if answer is None or not starts:
        return scores
    known: dict[tuple[object, ...], Compatible] = {}
    for place in np.unique(places[(places >= 0) & (mask != IGNORE)]).tolist():
        shares = _shares(answer, place, starts, labels, known)
        if shares is not None:
            here = (places == place) & (mask != IGNORE)
            scores[:, here] = shares[:, None]
    return scores


def _starts(text: str, answer: SpokenAnswer) -> dict[int, tuple[int, int]]:
    """Return which word each character of a text is of, and which character of it."""
    joined = "".join(answer.words)
    if not joined.endswith(text):
        # an answer that was cut to its end, or stripped at its beginning, ends as it was written
        return {}
    shift = len(joined) - len(text)
    return {
        at - shift: (number, k)
        for at, (number, k) in enumerate(
            (number, k) for number, word in enumerate(answer.words) for k in range(len(word))
        )
        if at >= shift
    }


def _shares(
    answer: SpokenAnswer,
    place: int,
    starts: Mapping[int, tuple[int, int]],
    labels: Sequence[str],
    known: dict[tuple[object, ...], Compatible],
) -> np.ndarray | None:
    """Return the (class,) shares of the label at a place; None: nobody heard it."""
    number, within = starts[place]
    shares, left, typed = np.zeros(len(labels)), 1.0, ""
    live = tuple(range(len(labels)))
    while len(live) > 1:
        heard = answer.heard[number] if number < len(answer.heard) else None
        if heard is None:
            return None
        word = answer.words[number]
        chosen = _may_say(typed + word[within:], labels, live)
        key = heard.words, word[:within], typed, live
        if key not in known:
            known[key] = _compatible(heard.words, word[:within], typed, labels, live)
        words, weights = known[key]
        if not chosen or not len(words):
            return None
        odds = np.exp(heard.odds[words].astype(np.float64) - heard.odds[words].max())
        own = weights @ odds
        own /= own.sum()
        shares[list(live)] = left * own
        left *= float(own[[live.index(k) for k in chosen]].sum())
        number, within, typed, live = number + 1, 0, typed + word[within:], chosen
        if len(live) > 1:
            shares[list(live)] = 0.0
    return (shares / shares.sum()).astype(np.float32)


def _may_say(typed: str, labels: Sequence[str], live: Sequence[int]) -> tuple[int, ...]:
    """Return the classes whose label a text begins, or is the beginning of."""
    return tuple(k for k in live if typed.startswith(labels[k]) or labels[k].startswith(typed))


def _compatible(
    words: Sequence[str], before: str, typed: str, labels: Sequence[str], live: Sequence[int]
) -> Compatible:
    """Return the words that go on from what was typed, and the classes that each may say."""
    found = [
        (number, _may_say(typed + word[len(before) :], labels, live))
        for number, word in enumerate(words)
        if word.startswith(before) and len(word) > len(before)
    ]
    found = [(number, classes) for number, classes in found if classes]
    weights = np.array([[(k in classes) / len(classes) for _, classes in found] for k in live])
    return np.array([number for number, _ in found], np.int64), weights
