"""A language model that a server runs: asked as OpenAI's chat completions are."""

from __future__ import annotations

import base64
import io
import threading
import warnings
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput, FetchFailed
from selion.models.card import CARD, ModelCard, read_card
from selion.models.execution import Execution
from selion.models.language.chat import Prompt
from selion.models.language.ebnf import to_ebnf
from selion.models.language.generation import GenerationOptions, Question
from selion.models.language.grammar import Grammar
from selion.models.language.label_odds import Heard, SpokenAnswer
from selion.models.language.network import (
    LanguageSegmenter,
    check_card,
    generation_options,
    place_seeds,
    unknown_shares,
)
from selion.models.language.speaking import INSISTED
from selion.segmenter import InputSpec, Scaling, View
from selion.store.endpoint import SCHEME, ChatServer, ModelAddress

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = "openai"
"""What the card of a served model says of its files: there are none."""
TEACHING = (
    "This is the whole image; the next one is a square patch of it, seen as {grid} rows of {grid} "
    "cells. Say what covers each cell: {classes}. One line for each row, from the top. A line is "
    "the runs of its row from the left, each the letter of what covers it and how many cells it "
    "is, with nothing between; the numbers of a line add up to {grid}. Begin with <seg>, end with "
    "</seg>, write nothing else."
)
"""The question for a model that was never trained on it."""
MOST_TOKENS = 16384


def served_card(text: str) -> ModelCard:
    """Return the card of a model that a server runs.

    Where the name is a folder here that holds a card, as servers of own models have it, question,
    classes and bands are that card's; else fields are asked for, of a model that learnt nothing
    of masks.

    Raises
    ------
    BadInput
        If the address is none.
    """
    address = ModelAddress.parse(text)
    folder = Path(address.name).expanduser()
    if (folder / CARD).is_file():
        card = read_card(folder)
        kept = {
            key: card.architecture[key]
            for key in ("prompt", "speaking", "taught", "longest")
            if key in card.architecture
        }
        return replace(
            card,
            name=str(address),
            format=FORMAT,
            files={},
            folder=None,
            fingerprint={},
            # a model that was trained anew is another one, though it is served from its old place
            architecture={
                "family": "language",
                "endpoint": str(address),
                "served": dict(card.files),
                **kept,
            },
        )
    prompt = Prompt(codec="rrle-compact", patch=256, grid=32, instruction=TEACHING)
    spec = InputSpec(("red", "green", "blue"), Scaling((255.0,)), None, 256, 0.0, 1, 1024)
    return ModelCard(
        str(address),
        spec,
        ClassScheme(("others", "field"), ("field",)),
        summary=f"{address.name}, asked at {address.url} for fields",
        architecture={
            "family": "language",
            "endpoint": str(address),
            "prompt": prompt.to_dict(),
            "longest": 1024,
        },
        format=FORMAT,
        licence="the server's",
    )


@dataclass(frozen=True, slots=True)
class ServedPrice:
    """What a run asks of a server."""

    questions: int
    letters_written: int

    def facts(self, seconds: float) -> dict[str, float]:  # noqa: ARG002  # as a local model's price
        """Return what a user wants to know before a run."""
        return {"questions": self.questions, "letters_written": self.letters_written}


class ServedGenerator:
    """Asks a server; what :class:`~selion.models.language.generation.TextGenerator` is to a model.

    Parameters
    ----------
    server : ChatServer
    prompt : Prompt
    names : tuple of str
        Classes.
    options : GenerationOptions
        ``batch`` questions are under way at once, and none waits for another's answer.  The grammar
        is sent along until the server says that it does not take it.
    insisted : collection of str
        Options without which there shall be no answer.
    """

    def __init__(
        self,
        server: ChatServer,
        prompt: Prompt,
        names: tuple[str, ...],
        options: GenerationOptions,
        insisted: Collection[str] = (),
    ) -> None:
        prompt.spelling.labels(names)
        self.server, self.prompt, self.names, self.insisted = server, prompt, names, insisted
        self.options = replace(options, share=False)
        self.grammar = Grammar(prompt.spelling, names, (prompt.grid, prompt.grid))
        self.labels = self.grammar.labels
        self.spoken: list[SpokenAnswer | None] = []
        """The answers of the last call word by word, where the server says how sure it was."""
        self._mute = self._heard = False
        """Whether it was told that the server does not say, and whether it ever did."""
        self.structured = options.grammar != "none" and not prompt.spelling.counts_rows
        """Whether the grammar is still sent along."""
        self._another = ""
        """A model that answered instead of the one that was asked."""
        self._lock = threading.Lock()

    def ask(
        self, questions: Sequence[Question], seeds: Sequence[int] = (), batch: int = 0
    ) -> list[list[str]]:
        """Return ``samples`` answers to each question.

        Raises
        ------
        FetchFailed, BadInput
            See :meth:`selion.store.endpoint.ChatServer.complete`.
        """
        count = self.options.samples
        asked = [
            (question, seed * count + k)
            for question, seed in zip(questions, seeds or range(len(questions)), strict=True)
            for k in range(count)
        ]
        with ThreadPoolExecutor(max(1, min(batch or self.options.batch, len(asked)))) as pool:
            told = list(pool.map(lambda pair: self._answer(*pair), asked))
        texts, self.spoken = [text for text, _ in told], [words for _, words in told]
        return [texts[k : k + count] for k in range(0, len(texts), count)]

    def _answer(self, question: Question, seed: int) -> tuple[str, SpokenAnswer | None]:
        posted = {
            "messages": [
                {**message, "content": _parts(message["content"], iter(question.images))}
                for message in question.messages
            ],
            "max_tokens": min(len(self.grammar.longest()) + 8, MOST_TOKENS),
            "temperature": self.options.temperature if self.options.samples > 1 else 0.0,
            "seed": seed % 2**31,
        } | ({"logprobs": True, "top_logprobs": 20} if self.options.scores == "labels" else {})
        if self.structured:
            try:
                return self._said(posted | self._held)
            except BadInput as refused:
                if "grammar" in self.insisted:
                    raise BadInput(
                        f"--grammar {self.options.grammar} cannot be obeyed: "
                        f"{self.server.address.url} takes no grammar ({refused}); omit it, or take "
                        "none."
                    ) from refused
                plain = self._said(posted)
                with self._lock:
                    first, self.structured = self.structured, False
                if first:
                    warnings.warn(
                        f"{self.server.address.url} takes no grammar ({refused}): it is asked "
                        "without one from here on, and rows that are no mask are not known.",
                        stacklevel=2,
                    )
                return plain
        return self._said(posted)

    def _tell_of_another(self, name: Any) -> None:
        """Say once that the answers are another model's than the one that was asked."""
        if not isinstance(name, str) or not name or name == self.server.address.name:
            return
        asked = self.server.address
        with self._lock:
            first, self._another = not self._another, name
        if first:
            warnings.warn(
                f"{asked.url} was asked for {asked.name}, and its answers say that {name[:200]!r} "
                "gave them: where that is not the same model, it is not the one of the card.",
                stacklevel=2,
            )

    @property
    def _held(self) -> dict[str, Any]:
        """The grammar, in the words of llama.cpp and of vLLM."""
        text = to_ebnf(self.grammar)
        return {"grammar": text, "structured_outputs": {"grammar": text}}

    def _said(self, posted: Mapping[str, Any]) -> tuple[str, SpokenAnswer | None]:
        answer = self.server.complete(posted)
        self._tell_of_another(answer.get("model"))
        try:
            text = answer["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise FetchFailed(
                f"{self.server.address.url} gives an answer without words: wanted are the choices "
                "of a chat completion."
            )
        # some servers say the question again first, in which the signs of a mask stand too
        last = [part["text"] for part in posted["messages"][-1]["content"] if "text" in part][-1]
        said, words = _answered(text.rpartition(last)[2] if last else text), None
        if self.options.scores == "labels":
            told = _words(answer["choices"][0].get("logprobs"))
            said = said.rstrip()  # some servers take the last line break away, some leave it
            words = None if told is None else _ended(told, said)
            if words is None:
                self._tell_mute(said if told is not None else None)
            self._heard = self._heard or words is not None
        return said, words

    def _tell_mute(self, other: str | None) -> None:
        """Say once that scores are votes, because the server does not say how sure it was.

        Refused (BadInput) where a run wants nothing else, and no answer came word by word yet: one
        in thousands, of half a sign for example, does not end the run.

        Parameters
        ----------
        other : str, optional
            The answer, where the words that came with it are not its own.
        """
        fault = (
            "does not say how sure it is of its words (logprobs)"
            if other is None
            else f"is sure of other words (logprobs) than its answer {other[:60]!r} has"
        )
        if "scores" in self.insisted and not self._heard:
            raise BadInput(
                f"--answer-scores labels cannot be obeyed: {self.server.address.url} {fault}; omit "
                "it, or take votes."
            )
        with self._lock:
            first, self._mute = not self._mute, True
        if first:
            warnings.warn(
                f"{self.server.address.url} {fault}: what was written counts as sure.",
                stacklevel=2,
            )


def _words(given: Any) -> SpokenAnswer | None:
    """Return an answer word by word, as a chat completion's logprobs say it; None: they do not."""
    found = SpokenAnswer()
    try:
        for one in given["content"]:
            others = {each["token"]: float(each["logprob"]) for each in one["top_logprobs"]}
            others[one["token"]] = float(one["logprob"])
            odds = np.array(list(others.values()))
            if any(not isinstance(word, str) for word in others) or not np.isfinite(odds).all():
                return None
            found.words.append(one["token"])
            found.heard.append(Heard(tuple(others), odds))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return found if found.words else None


def _ended(told: SpokenAnswer, text: str) -> SpokenAnswer | None:
    """Return an answer word by word up to where a text ends; None: they are of another text.

    vLLM names the token that ends an answer (``<|im_end|>``) among the words, and not in the text.
    """
    joined = "".join(told.words)
    first = joined.rfind(text)
    if first < 0:
        return None
    beyond, words = len(joined) - first - len(text), list(told.words)
    while words and beyond >= len(words[-1]):
        beyond -= len(words.pop())
    if beyond:
        words[-1] = words[-1][:-beyond]
    return SpokenAnswer(words, told.heard[: len(words)])


def _answered(text: str) -> str:
    """Return what stands behind the thoughts of a model that thinks aloud, in masks too."""
    _, thought, answer = text.rpartition("</think>")
    return answer if thought or not text.lstrip().startswith("<think>") else ""


def _parts(content: Sequence[Mapping[str, Any]], images: Any) -> list[dict[str, Any]]:
    return [
        {"type": "image_url", "image_url": {"url": _written(next(images))}}
        if part["type"] == "image"
        else dict(part)
        for part in content
    ]


def _written(image: Image) -> str:
    """Return an image as an address that holds it, PNG."""
    held = io.BytesIO()
    image.save(held, "PNG")
    return f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"


class ServedSegmenter(LanguageSegmenter):
    """A model of a server -> the same Segmenter as any other."""

    _read, _first = False, ""
    """Whether any answer held a mask, and what the last call was told first."""

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities, as of a model that runs here.

        Raises
        ------
        BadInput
            If a view is not of the patch's size, or none of the first answers holds a mask: nothing
            would be known, which makes a map of the first class.
        """
        answers = super().__call__(views)
        unknown = unknown_shares(self.classes)[:, None, None]
        self._read = self._read or bool((answers != unknown).any())
        if not self._read:
            raise BadInput(
                f"{self.card.name} gave {len(self.misread)} answers, and none of them holds a mask "
                f"(the first begins {self._first[:60]!r}): it does not know the question. Give "
                "the folder of a model that was trained for it as NAME, or another model."
            )
        return answers

    def _texts(self, views: Sequence[View]) -> list[list[str]]:
        batch = max(self.generator.options.batch, len(views))
        texts = self.generator.ask(self.questions(views), place_seeds(views), batch)
        self._first = texts[0][0]
        return texts

    def price(self, windows: int) -> Any:
        """Return the questions of a number of windows; tokens are the server's own."""
        longest = len(self.generator.grammar.longest())
        count = windows * self.generator.options.samples
        return ServedPrice(count, count * longest // 8)


def load_served(card: ModelCard) -> ServedSegmenter:
    """Make a served model ready; it is not asked yet.

    Raises
    ------
    BadInput
        If its card makes no sense, or lies in a folder: whoever wrote it would be sent the pictures
        and the key.
    """
    if card.folder is not None:
        raise BadInput(
            f"The card of {card.name} in {card.folder} names a server, which only who asks may do: "
            f"give --model {SCHEME}http://HOST:PORT/v1#NAME."
        )
    address = ModelAddress.parse(str(card.architecture["endpoint"]))
    prompt = Prompt.from_dict(dict(card.architecture["prompt"]))  # type: ignore[call-overload]
    check_card(card, prompt)
    options = generation_options(dict(card.architecture.get("speaking", {})))  # type: ignore[call-overload]
    insisted = tuple(map(str, card.architecture.get(INSISTED, ())))  # type: ignore[call-overload]
    generator: Any = ServedGenerator(
        ChatServer(address), prompt, card.classes.names, options, insisted
    )
    return ServedSegmenter(card, generator, Execution(f"{address.name} at {address.url}"))
