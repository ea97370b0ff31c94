"""Answers written side by side: many tokens in a pass, and none waits for another to end.

What the rows above let expect is guessed, and the model reads all guessed tokens in one pass; each
is kept as long as it is the one that the model would have written.  An answer that is whole makes
room for the next question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.extras import require
from selion.models.language.guess import RowGuess, repeated
from selion.models.language.label_odds import SpokenAnswer, listen

if TYPE_CHECKING:
    import torch

    from selion.models.language.grammar import GrammarState, TokenGrammar
    from selion.models.language.label_odds import LabelEar

TAIL = 24
"""Tokens before a guess that are split together with it, as the tokenizer would have."""


@dataclass(eq=False)
class OpenAnswer:
    """An answer that is being written."""

    number: int
    state: GrammarState | None
    """Of the grammar; None: anything goes."""
    luck: np.ndarray
    """Where in the model's odds each token is drawn, 0 to 1; empty: the likeliest token."""
    tokens: list[int] = field(default_factory=list)
    reach: int = 16
    """Tokens that are guessed next."""
    done: bool = False
    spoken: SpokenAnswer | None = None
    """The same word by word, where somebody listens."""


def next_reach(right: int) -> int:
    """Return how many tokens are guessed next, where so many of the last guess were right."""
    return max(16, 2 * right + 16)


@dataclass(eq=False)
class OpenMemory:
    """What the model remembers of answers, the newest token of each on the right."""

    cache: Any
    mask: torch.Tensor
    """(answer, token) int64; 0 is padding, on the left."""
    places: torch.Tensor
    """(..., answer, 1) int64, of the last token that was read."""

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all answers but some."""
        torch = require("torch", "language")
        index = torch.tensor(rows, device=self.mask.device)
        self.cache.batch_select_indices(index)
        self.mask, self.places = self.mask[index], self.places.index_select(-2, index)

    def join(self, other: OpenMemory) -> None:
        """Add answers below."""
        torch = require("torch", "language")
        length = max(self.mask.shape[1], other.mask.shape[1])
        for batch in (self, other):
            gap = length - batch.mask.shape[1]
            batch.mask = torch.nn.functional.pad(batch.mask, (gap, 0))
            for layer in kept_layers(batch.cache):
                layer.keys = torch.nn.functional.pad(layer.keys, (0, 0, gap, 0))
                layer.values = torch.nn.functional.pad(layer.values, (0, 0, gap, 0))
        for layer, added in zip(kept_layers(self.cache), kept_layers(other.cache), strict=True):
            layer.keys = torch.cat([layer.keys, added.keys])
            layer.values = torch.cat([layer.values, added.values])
        self.mask = torch.cat([self.mask, other.mask])
        self.places = torch.cat([self.places, other.places], -2)

    def settle(self, read: torch.Tensor) -> None:
        """Forget what was guessed wrong.

        Parameters
        ----------
        read : (answer, token) int64 tensor
            1 where a token that was read last is kept.
        """
        torch = require("torch", "language")
        whole = torch.cat([self.mask, read], 1)
        length = int(whole.sum(1).max())
        order = torch.sort(whole, dim=1, stable=True).indices[:, -length:]
        self.mask = whole.gather(1, order)
        moved = not bool((order == torch.arange(length, device=order.device)).all())
        for layer in kept_layers(self.cache):
            for name in ("keys", "values"):
                held = getattr(layer, name)
                index = order[:, None, :, None].expand(-1, held.shape[1], -1, held.shape[3])
                kept = held.gather(2, index) if moved else held[:, :, :length]
                setattr(layer, name, kept)
        steps = read.sum(1).view(-1, 1)
        self.places = self.places + steps


class Writer:
    """Lets a model write answers.

    Parameters
    ----------
    model, tokenizer
    grammar : TokenGrammar, optional
        What may be written.
    guess : RowGuess
    ends : tuple of int
        Tokens that end an answer.
    room : int
        Tokens of an answer, at most.
    draft : int
        Tokens that are guessed ahead, at most; 0: none.
    temperature : float, optional
        Of draws; without it the likeliest token is written.
    ear : LabelEar, optional
        Listens to how sure the model is of labels.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        grammar: TokenGrammar | None,
        guess: RowGuess,
        ends: tuple[int, ...],
        room: int,
        *,
        draft: int,
        temperature: float | None = None,
        ear: LabelEar | None = None,
    ) -> None:
        self._ear = ear
        self._model, self._tokenizer, self._grammar, self._guess = model, tokenizer, grammar, guess
        self._ends, self._room, self._draft = ends, room, draft
        self._temperature = temperature
        self.passes = 0
        """How often the model was run, the reading of questions included."""
        self.spoken: list[SpokenAnswer | None] = []
        """The last answers word by word, where somebody listened."""

    def write(
        self,
        count: int,
        batch: int,
        inputs: Callable[[Sequence[int]], Mapping[str, Any]],
        seeds: Sequence[int] = (),
    ) -> list[str]:
        """Return the answers to a number of questions.

        Parameters
        ----------
        count : int
        batch : int
            Answers that are written at once.
        inputs : callable
            Numbers of questions -> the model's inputs, padded on the left.
        seeds : sequence of int
            Of the draws of each answer, where they are drawn: what else is written at the time does
            not matter.
        """
        torch = require("torch", "language")
        waiting = iter(range(count))
        texts, self.spoken = [""] * count, [None] * count
        running: list[OpenAnswer] = []
        held: OpenMemory | None = None
        with torch.inference_mode():
            while True:
                begun = list(islice(waiting, batch - len(running)))
                if begun:
                    fresh, added, scores = self._begin(inputs(begun), begun, seeds)
                    self._choose(fresh, [[]] * len(fresh), scores)
                    if held is None or not running:
                        held = added
                    else:
                        held.join(added)
                    running += fresh
                if not running or held is None:
                    return texts
                left = [k for k, answer in enumerate(running) if not answer.done]
                for answer in running:
                    if answer.done:
                        texts[answer.number] = self._text(answer)
                        self.spoken[answer.number] = answer.spoken
                if len(left) < len(running):
                    running = [running[k] for k in left]
                    if left:
                        held.keep(left)
                    continue
                self._go_on(running, held)

    def _begin(
        self, inputs: Mapping[str, Any], numbers: Sequence[int], seeds: Sequence[int]
    ) -> tuple[list[OpenAnswer], OpenMemory, torch.Tensor]:
        """Read questions; return their answers' beginnings and (answer, 1, word) scores."""
        from transformers import GenerationConfig

        given = dict(inputs)
        if given.get("position_ids") is None:
            given["position_ids"] = self._model._prepare_position_ids_for_generation(  # noqa: SLF001  # what ``generate`` itself asks
                given["input_ids"], dict(given)
            )
        if given.get("past_key_values") is None:
            given["past_key_values"] = empty_cache()
        config = GenerationConfig(
            max_new_tokens=1,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            pad_token_id=self._ends[0],
            eos_token_id=list(self._ends),
        )
        self.passes += 1
        found = self._model.generate(**given, generation_config=config)
        start = None if self._grammar is None else self._grammar.grammar.start
        answers = [
            OpenAnswer(
                k,
                start,
                np.random.default_rng(seeds[k]).random(self._room) if seeds else _NONE,
                spoken=None if self._ear is None else SpokenAnswer(),
            )
            for k in numbers
        ]
        places = given["position_ids"][..., -1:]
        if places.shape[-2] != len(numbers):
            places = places.expand(*places.shape[:-2], len(numbers), 1)
        held = OpenMemory(found.past_key_values, given["attention_mask"].long(), places)
        return answers, held, found.logits[0][:, None]

    def _go_on(self, running: Sequence[OpenAnswer], held: OpenMemory) -> None:
        """Run the model once over all answers that are being written."""
        torch = require("torch", "language")
        drafts = [self._drafted(answer) for answer in running]
        most = 1 + max(map(len, drafts))
        device = held.mask.device
        fed = torch.tensor(
            [
                [answer.tokens[-1], *draft, *[self._ends[0]] * (most - 1 - len(draft))]
                for answer, draft in zip(running, drafts, strict=True)
            ],
            device=device,
        )
        lengths = torch.tensor([1 + len(draft) for draft in drafts], device=device)
        steps = torch.arange(most, device=device)
        self.passes += 1
        scores = self._model(
            input_ids=fed,
            attention_mask=torch.cat([held.mask, (steps < lengths[:, None]).long()], 1),
            position_ids=held.places + 1 + steps,
            past_key_values=held.cache,
            use_cache=True,
        ).logits
        kept = self._choose(running, drafts, scores)
        held.settle((steps < torch.tensor(kept, device=device)[:, None]).long())

    def _drafted(self, answer: OpenAnswer) -> list[int]:
        """Guess the next tokens of an answer, as far as the grammar lets them through."""
        room = min(self._draft, answer.reach, self._room - len(answer.tokens) - 1)
        if room <= 0:
            return []
        guessed = self._guess(self._text(answer))
        draft = self._split(answer.tokens, guessed[: 8 * room]) if guessed else []
        draft = (draft or repeated(answer.tokens, room))[:room]
        state, allowed = answer.state, []
        for token in draft:
            if token in self._ends:
                break
            if self._grammar is not None and state is not None:
                state = self._grammar.after(state, token)
                if state is None:
                    break
            allowed.append(token)
        while self._grammar is not None and state is not None and len(allowed) < room:
            forced = self._grammar.forced(state)
            if forced is None or forced in self._ends:
                break
            allowed.append(forced)
            state = self._grammar.after(state, forced)
        return allowed

    def _split(self, tokens: Sequence[int], guessed: str) -> list[int]:
        """Split a guess into tokens, as they come behind those that were written."""
        tail = list(tokens[-TAIL:])
        before = self._tokenizer.decode(tail, clean_up_tokenization_spaces=False)
        whole = self._tokenizer.encode(before + guessed, add_special_tokens=False)
        if whole[: len(tail)] == tail:
            return list(whole[len(tail) :])
        return list(self._tokenizer.encode(guessed, add_special_tokens=False))

    def _text(self, answer: OpenAnswer) -> str:
        text: str = self._tokenizer.decode(
            answer.tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text

    def _choose(
        self, running: Sequence[OpenAnswer], drafts: Sequence[Sequence[int]], scores: torch.Tensor
    ) -> list[int]:
        """Add what the model writes to each answer; return how many tokens it had read rightly.

        Parameters
        ----------
        running : sequence of OpenAnswer
        drafts : sequence of sequence of int
            What was guessed of each.
        scores : (answer, token, word) float tensor
            Behind each token that was read.
        """
        chosen = self._chosen(running, drafts, scores)
        kept = []
        heard = self._heard(drafts, scores)
        for answer, draft, tokens in zip(running, drafts, chosen, strict=True):
            odds = [next(heard) for _ in tokens]
            right = next(
                (k for k, (a, b) in enumerate(zip(draft, tokens, strict=False)) if a != b),
                len(draft),
            )
            for token, odd in zip(tokens[: right + 1], odds, strict=False):
                if token in self._ends:
                    answer.done = True
                    break
                answer.tokens.append(token)
                if self._ear is not None and answer.spoken is not None and odd is not None:
                    self._ear.hear(answer.spoken, token, odd)
                if self._grammar is not None and answer.state is not None:
                    answer.state = self._grammar.after(answer.state, token)
                if len(answer.tokens) >= self._room:
                    answer.done = True
                    break
            answer.reach = next_reach(right)
            kept.append(right + 1)
        return kept

    def _heard(
        self, drafts: Sequence[Sequence[int]], scores: torch.Tensor
    ) -> Iterator[np.ndarray | None]:
        """Yield the odds of labels' tokens behind each token that was read."""
        torch = require("torch", "language")
        places = [(k, n) for k, draft in enumerate(drafts) for n in range(len(draft) + 1)]
        if self._ear is None:
            yield from [None] * len(places)
            return
        rows, columns = (
            torch.tensor(each, device=scores.device) for each in zip(*places, strict=True)
        )
        yield from listen(self._ear, scores, rows, columns)

    def _chosen(
        self, running: Sequence[OpenAnswer], drafts: Sequence[Sequence[int]], scores: torch.Tensor
    ) -> Iterator[list[int]]:
        """Yield the model's own tokens of each answer, behind each token that was read."""
        torch = require("torch", "language")
        places = [(k, n) for k, draft in enumerate(drafts) for n in range(len(draft) + 1)]
        if self._grammar is None and self._temperature is None:
            best = scores.argmax(-1).tolist()
            tokens = [best[row][column] for row, column in places]
        elif self._grammar is None:
            rows, columns = (
                torch.tensor(each, device=scores.device) for each in zip(*places, strict=True)
            )
            tokens = self._drawn(running, drafts, scores[rows, columns].float()).tolist()
        else:
            states = self._states(self._grammar, running, drafts)
            tokens = (
                self._likeliest(self._grammar, states, places, scores)
                if self._temperature is None
                else self._among(
                    self._grammar, states, places, scores, partial(self._drawn, running, drafts)
                )
            )
        flat = iter(tokens)
        for draft in drafts:
            yield [next(flat) for _ in range(len(draft) + 1)]

    def _likeliest(
        self,
        grammar: TokenGrammar,
        states: Sequence[GrammarState | None],
        places: Sequence[tuple[int, int]],
        scores: torch.Tensor,
    ) -> list[int]:
        """Return the likeliest word that may come in each place.

        Mostly it is the likeliest of all, and to see that it may come costs its few characters;
        only where it may not the words that may are looked for.
        """
        best = scores.argmax(-1).tolist()
        tokens = [best[row][column] for row, column in places]
        hard = [
            k
            for k, (state, token) in enumerate(zip(states, tokens, strict=True))
            if (token not in self._ends if state is None else grammar.after(state, token) is None)
        ]
        if hard:
            found = self._among(
                grammar,
                [states[k] for k in hard],
                [places[k] for k in hard],
                scores,
                lambda odds: odds.argmax(1),
            )
            for k, token in zip(hard, found, strict=True):
                tokens[k] = token
        return tokens

    def _among(
        self,
        grammar: TokenGrammar,
        states: Sequence[GrammarState | None],
        places: Sequence[tuple[int, int]],
        scores: torch.Tensor,
        choose: Callable[[torch.Tensor], torch.Tensor],
    ) -> list[int]:
        """Return the word of each place that is chosen of those that may come there."""
        torch = require("torch", "language")
        rows, columns = (
            torch.tensor(each, device=scores.device) for each in zip(*places, strict=True)
        )
        listed = [list(self._ends) if state is None else grammar.listed(state) for state in states]
        most = max(map(len, listed))
        words = torch.tensor(
            [[*own, *[own[0]] * (most - len(own))] for own in listed], device=scores.device
        )
        odds = scores[rows[:, None], columns[:, None], words].float()
        real = torch.tensor([len(own) for own in listed], device=scores.device)
        beyond = torch.arange(most, device=scores.device) >= real[:, None]
        best = choose(odds.masked_fill(beyond, -torch.inf))
        found: list[int] = words.gather(1, best[:, None])[:, 0].tolist()
        return found

    @staticmethod
    def _states(
        grammar: TokenGrammar, running: Sequence[OpenAnswer], drafts: Sequence[Sequence[int]]
    ) -> list[GrammarState | None]:
        """Return where in its mask each place is; None: behind its end."""
        found: list[GrammarState | None] = []
        for answer, draft in zip(running, drafts, strict=True):
            states = [answer.state]
            for token in draft:
                before = states[-1]
                states.append(None if before is None else grammar.after(before, token))
            found += states
        return found

    def _drawn(
        self, running: Sequence[OpenAnswer], drafts: Sequence[Sequence[int]], odds: torch.Tensor
    ) -> torch.Tensor:
        """Return the (place,) number of the word that is taken of (place, word) scores."""
        torch = require("torch", "language")
        luck = [
            answer.luck[min(len(answer.tokens) + n, self._room - 1)]
            for answer, draft in zip(running, drafts, strict=True)
            for n in range(len(draft) + 1)
        ]
        shares = (odds.double() / (self._temperature or 1.0)).softmax(1).cumsum(1)
        wanted = torch.tensor(luck, device=odds.device, dtype=torch.float64)[:, None]
        return torch.searchsorted(shares, wanted * shares[:, -1:], right=True)[:, 0].clamp(
            max=odds.shape[1] - 1
        )


_NONE = np.empty(0)


def kept_layers(cache: Any) -> list[Any]:
    """Return the layers that keep something; some models let layers share what one keeps."""
    return [layer for layer in cache.layers if layer.is_initialized]


def empty_cache() -> Any:
    """Return a memory that keeps every token of every layer, so that any can be taken back."""
    from transformers import DynamicCache

    return DynamicCache()


def can_settle(model: Any) -> bool:
    """Say whether what a model remembers can be taken back token by token.

    Not so where it keeps sums instead of each token's keys and values.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    try:
        layers = DynamicCache(config=model.config).layers
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)
