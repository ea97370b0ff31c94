"""Only masks: a grammar of nothing but text that decodes.

A language model can write nothing else, and every row is exactly as wide as it must be.

The grammar is an automaton over characters.  Which tokens of a vocabulary it lets through follows
from walking the vocabulary's prefix tree and the automaton together; the answer for a state is
kept, so that a token costs a look-up and not a walk.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Any

from selion.errors import BadInput
from selion.models.language.box_grammar import DONE, HEAD, step_box
from selion.models.language.boxes import INSIDE, OUTSIDE
from selion.models.language.grammar_state import GrammarState
from selion.models.language.numerals import may_become
from selion.models.language.rrle import CLOSE, OPEN, Codec, encode

_STANDING = "\u0120\u2581\u010a\u0109\u010d#"
"""Signs that stand in vocabularies: for a space, a new line, a tab, the inside of a word."""
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")
ROW, RUN, COUNT, TIMES = "row", "run", "count", "times"
NUMBER, PLACE = "number", "place"
"""Of a row, and where in it a run ends, in the codec that says places."""


@dataclass(frozen=True)
class Grammar:
    """The texts of one codec for masks of one shape."""

    codec: Codec
    names: tuple[str, ...]
    shape: tuple[int, int]

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """How each class is spelled, with the mark before its count."""
        return tuple(label + self.codec.mark for label in self.codec.labels(self.names))

    @property
    def start(self) -> GrammarState:
        """Where each text begins."""
        if self.codec.boxes:
            return GrammarState(OPEN, HEAD)
        if self.codec.places:
            return GrammarState(OPEN + "0", RUN, "", self.shape[0] - 1, self.shape[1])
        return GrammarState(OPEN, ROW, "", self.shape[0], self.shape[1])

    @cached_property
    def alphabet(self) -> frozenset[str]:
        """Every character that may occur."""
        return frozenset(
            OPEN
            + CLOSE
            + "\n0123456789"
            + self.codec.join
            + self.codec.indent
            + "".join(self.labels)
            + ("=" if self.codec.repeat else "")
            + (f",x{INSIDE}{OUTSIDE}" if self.codec.boxes else "")
        )

    def step(self, state: GrammarState, char: str) -> GrammarState | None:
        """Return the state after one more character, or None if it may not come."""
        if state.literal:
            return state._replace(literal=state.literal[1:]) if char == state.literal[0] else None
        if state.phase == DONE:
            return None
        if self.codec.boxes:
            return step_box(state, char, self.labels, self.shape, CLOSE)
        numbers = {
            COUNT: self._count,
            TIMES: self._times,
            NUMBER: self._number,
            PLACE: self._place,
        }
        if state.phase in numbers:
            return numbers[state.phase](state, char)
        if state.phase == ROW and char == "=" and self.codec.repeat and state.above:
            return state._replace(phase=TIMES, typed="")
        return self._run(state, char)

    def _run(self, state: GrammarState, char: str) -> GrammarState | None:
        """Write a label; it is whole with its mark, which no label holds, or as a letter."""
        typed = state.typed + char
        fitting = [
            k for k, label in enumerate(self.labels) if k != state.last and label.startswith(typed)
        ]
        if not fitting:
            return None
        whole = next((k for k in fitting if self.labels[k] == typed), None)
        if whole is None:
            return state._replace(phase=RUN, typed=typed)
        return state._replace(phase=PLACE if self.codec.places else COUNT, typed="", last=whole)

    def _number(self, state: GrammarState, char: str) -> GrammarState | None:
        """Write the number of a row below the last one, or the end of the mask."""
        first, rows = self.shape[0] - state.rows, self.shape[0]
        if char in "0123456789":
            typed = state.typed + char
            return state._replace(typed=typed) if may_become(typed, first, rows) else None
        if not state.typed:
            return GrammarState(CLOSE[1:], DONE) if char == CLOSE[0] else None
        if int(state.typed) < first:
            return None
        return self._run(
            GrammarState("", RUN, "", rows - 1 - int(state.typed), self.shape[1]), char
        )

    def _place(self, state: GrammarState, char: str) -> GrammarState | None:
        """Write where a run ends, inside the row; one that ends at its edge has no number."""
        first, columns = self.shape[1] - state.cells + 1, self.shape[1]
        if char in "0123456789":
            typed = state.typed + char
            return state._replace(typed=typed) if may_become(typed, first, columns) else None
        if not state.typed:
            after = GrammarState("", NUMBER, "", state.rows) if char == "\n" else None
            return after if after is None or state.rows else GrammarState(CLOSE, DONE)
        if int(state.typed) < first:
            return None
        return self._run(
            state._replace(phase=RUN, typed="", cells=columns - int(state.typed)), char
        )

    def _count(self, state: GrammarState, char: str) -> GrammarState | None:
        number = int(state.typed or 0)
        if char in "0123456789":
            longer = number * 10 + int(char)
            return state._replace(typed=str(longer)) if 1 <= longer <= state.cells else None
        if not number:
            return None
        if number == state.cells:
            return self._end_row(state, 1) if char == "\n" else None
        after = state._replace(phase=RUN, typed="", cells=state.cells - number)
        if self.codec.join:
            return (
                after._replace(literal=self.codec.join[1:]) if char == self.codec.join[0] else None
            )
        return self._run(after, char)

    def _times(self, state: GrammarState, char: str) -> GrammarState | None:
        number = int(state.typed or 0)
        if char in "0123456789":
            longer = number * 10 + int(char)
            return state._replace(typed=str(longer)) if 1 <= longer <= state.rows else None
        return (
            self._end_row(state, number)._replace(above=False) if number and char == "\n" else None
        )

    def _end_row(self, state: GrammarState, rows: int) -> GrammarState:
        left = state.rows - rows
        return (
            GrammarState(self.codec.indent, ROW, "", left, self.shape[1], -1, self.codec.repeat)
            if left
            else GrammarState(CLOSE, DONE)
        )

    def longest(self) -> str:
        """Return a text as long as any.

        Each pixel a run of its own, the two longest labels by turns.
        """
        import numpy as np

        first, second = sorted(range(len(self.names)), key=lambda k: -len(self.labels[k]))[:2]
        rows, columns = np.indices(self.shape)
        return encode(np.where((rows + columns) % 2, second, first), self.names, self.codec)


def is_done(state: GrammarState) -> bool:
    """Say whether a text may end here."""
    return state.phase == DONE and not state.literal


def spell(tokenizer: Any, alphabet: Collection[str]) -> dict[int, str]:
    """Return the text that each token of a vocabulary adds.

    That is for tokens that are made of an alphabet's characters and are not special.

    A token is decoded behind another one, because many tokenizers drop a space at the beginning.
    """
    special = set(tokenizer.all_special_ids)
    likely = [k for k in _likely(tokenizer, alphabet) if k not in special]
    found = _spelled(tokenizer, alphabet, likely)
    if set(alphabet) <= {text for text in found.values() if len(text) == 1}:
        return found
    # a vocabulary whose words are not written as they read: all of it
    return _spelled(tokenizer, alphabet, [k for k in range(len(tokenizer)) if k not in special])


def _likely(tokenizer: Any, alphabet: Collection[str]) -> list[int]:
    """Return the tokens whose word in the vocabulary may be of an alphabet's characters.

    Words are written as they read, but for the signs that stand for a space or for bytes: of a
    quarter of a million tokens some hundreds are left to be decoded.
    """
    signs = set(alphabet) | set(_STANDING)
    return sorted(
        k
        for word, k in tokenizer.get_vocab().items()
        if signs.issuperset(word) or _BYTE.fullmatch(word)
    )


def _spelled(tokenizer: Any, alphabet: Collection[str], ids: Sequence[int]) -> dict[int, str]:
    """Return the text that each of some tokens adds, of those of an alphabet's characters."""
    if not ids:
        return {}
    anchor = tokenizer.encode("a", add_special_tokens=False)
    before = tokenizer.decode(anchor)
    texts = tokenizer.batch_decode([[*anchor, k] for k in ids], clean_up_tokenization_spaces=False)
    allowed = set(alphabet)
    added = (
        (k, text[len(before) :])
        for k, text in zip(ids, texts, strict=True)
        if text.startswith(before)
    )
    return {k: text for k, text in added if text and allowed.issuperset(text)}


def check_tokenizer(tokenizer: Any, grammar: Grammar) -> tuple[str, ...]:
    """Look whether a tokenizer can write a grammar's masks.

    Returns
    -------
    tuple of str
        Sentences on what costs more tokens than it needs.

    Raises
    ------
    BadInput
        If a mask does not come back from the tokenizer as it went in, a character cannot be written
        by itself, or there is no token that ends an answer.
    """
    text = grammar.longest()
    back = tokenizer.decode(
        tokenizer.encode(text, add_special_tokens=False), clean_up_tokenization_spaces=False
    )
    if back.strip() != text:
        place = next(
            (k for k, (a, b) in enumerate(zip(text, back.strip(), strict=False)) if a != b),
            min(len(text), len(back)),
        )
        raise BadInput(
            f"The tokenizer changes masks: {text[max(place - 8, 0) : place + 8]!r} comes back as "
            f"{back.strip()[max(place - 8, 0) : place + 8]!r}; take another codec, rename the "
            "classes, or take another model."
        )
    single = {
        spelled for spelled in spell(tokenizer, grammar.alphabet).values() if len(spelled) == 1
    }
    missing = sorted(grammar.alphabet - single)
    if missing:
        raise BadInput(
            f"The tokenizer has no token for {missing[0]!r} alone, so that some masks could not be "
            "written: rename the class, or take another codec."
        )
    if tokenizer.eos_token_id is None:
        raise BadInput("The tokenizer has no token that ends an answer: set its eos_token.")
    signs = [sign for sign in (grammar.codec.mark, grammar.codec.join.strip(), OPEN, CLOSE) if sign]
    split = [
        (
            sign,
            len(tokenizer.encode(f"a{sign}", add_special_tokens=False))
            - len(tokenizer.encode("a", add_special_tokens=False)),
        )
        for sign in signs
    ]
    dear = [
        f"{sign!r} ({count} tokens)"
        for sign, count in split
        if count > 1 and sign not in (OPEN, CLOSE)
    ]
    return (
        (f"The tokenizer splits {', '.join(dear)}: the codec rrle-compact needs fewer tokens.",)
        if dear
        else ()
    )


@dataclass
class _Node:
    """A node of the vocabulary's prefix tree."""

    ids: list[int] = field(default_factory=list)
    below: dict[str, _Node] = field(default_factory=dict)


class TokenGrammar:
    """A grammar over the tokens of one tokenizer; made once, used for any number of answers."""

    def __init__(self, grammar: Grammar, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        check_tokenizer(tokenizer, grammar)
        self.grammar = grammar
        self.ends = tuple(ends) or (tokenizer.eos_token_id,)
        """Tokens that end an answer."""
        spelled = spell(tokenizer, grammar.alphabet)
        self._texts = spelled
        self._root = _Node()
        for token, text in spelled.items():
            node = self._root
            for char in text:
                node = node.below.setdefault(char, _Node())
            node.ids.append(token)
        self._cap = 2 + max((text.count("\n") for text in spelled.values()), default=0)
        self._known: dict[GrammarState, dict[int, GrammarState]] = {}
        self._sorted: dict[GrammarState, list[int]] = {}

    def near(self, state: GrammarState) -> GrammarState:
        """Return the state that stands for another in all that comes next.

        How many rows are left matters only near the end.
        """
        return (
            state
            if self.grammar.codec.counts_rows or state.rows <= self._cap
            else state._replace(rows=self._cap)
        )

    def tokens(self, state: GrammarState) -> Collection[int]:
        """Return the tokens that may come in a state."""
        return self._following(self.near(state)).keys()

    def listed(self, state: GrammarState) -> list[int]:
        """Return the tokens that may come in a state, by number."""
        near = self.near(state)
        if near not in self._sorted:
            self._sorted[near] = sorted(self._following(near))
        return self._sorted[near]

    def after(self, state: GrammarState, token: int) -> GrammarState | None:
        """Return the state after a token, or None if it may not come."""
        if is_done(state):
            return state if token in self.ends else None
        here: GrammarState | None = state
        for char in self._texts.get(token, ""):
            here = None if here is None else self.grammar.step(here, char)
        return here if token in self._texts else None

    def forced(self, state: GrammarState) -> int | None:
        """Return the only token that may come in a state; None: there are several.

        Each character has a token of its own, so two that may come are two tokens.
        """
        if is_done(state):
            return self.ends[0] if len(self.ends) == 1 else None
        open_signs = (char for char in self.grammar.alphabet if self.grammar.step(state, char))
        if len(list(islice(open_signs, 2))) > 1:
            return None
        found = self.listed(state)
        return found[0] if len(found) == 1 else None

    def _following(self, state: GrammarState) -> dict[int, GrammarState]:
        if state not in self._known:
            self._known[state] = (
                dict.fromkeys(self.ends, state) if is_done(state) else self._walk(state)
            )
        return self._known[state]

    def _walk(self, state: GrammarState) -> dict[int, GrammarState]:
        found: dict[int, GrammarState] = {}
        waiting = [(self._root, state)]
        while waiting:
            node, here = waiting.pop()
            for char, below in node.below.items():
                there = self.grammar.step(here, char)
                if there is not None:
                    found.update(dict.fromkeys(below.ids, there))
                    waiting.append((below, there))
        return found


class MaskGrammar:
    """A logits processor for one call of ``generate``.

    Every answer of the batch follows the grammar.

    Beam search moves answers between rows of the batch, which this does not follow: sample, or take
    the likeliest token.

    Parameters
    ----------
    tokens : TokenGrammar
    """

    def __init__(self, tokens: TokenGrammar) -> None:
        self._tokens = tokens
        self._states: list[GrammarState] = []
        self._kept: dict[GrammarState, Any] = {}

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Set the scores of tokens that may not come to minus infinity.

        Parameters
        ----------
        input_ids : (answer, token) int64 tensor
            Prompt and what was written so far; the first call is taken as the end of the prompt.
        scores : (answer, vocabulary) float tensor

        Returns
        -------
        (answer, vocabulary) float tensor
        """
        import torch

        if not self._states:
            self._states = [self._tokens.grammar.start] * len(input_ids)
        else:
            self._states = [
                self._tokens.after(state, token) or state
                for state, token in zip(self._states, input_ids[:, -1].tolist(), strict=True)
            ]
        limited = torch.full_like(scores, -torch.inf)
        for row, state in enumerate(self._states):
            allowed = self._allowed(state, scores.device)
            limited[row, allowed] = scores[row, allowed]
        return limited

    def _allowed(self, state: GrammarState, device: Any) -> Any:
        import torch

        key = self._tokens.near(state)
        if key not in self._kept:
            self._kept[key] = torch.tensor(sorted(self._tokens.tokens(state)), device=device)
        return self._kept[key]
