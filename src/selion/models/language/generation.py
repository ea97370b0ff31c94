"""Asking a language model that sees.

One question, many questions about one image, many answers to one question.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput, UnknownName
from selion.extras import require
from selion.models.language.chat import Message, Prompt
from selion.models.language.grammar import (
    Grammar,
    MaskGrammar,
    TokenGrammar,
    check_tokenizer,
    spell,
)
from selion.models.language.guess import RowGuess
from selion.models.language.label_odds import EarProcessor, LabelEar, SpokenAnswer
from selion.models.language.writing import Writer, can_settle, empty_cache

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

ENGINES = ("selion", "xgrammar", "none")
"""What keeps answers to the grammar."""
SCORES = ("votes", "labels")
"""Whether an answer gives its classes the score 1, or how sure the model was of each label."""
PRECISIONS = ("auto", "float32", "bfloat16")
"""In what a model computes."""
CLOSE_ENOUGH = 2e-3
"""Logits of the shared and of the whole encoding may differ by this share of their spread, in
float32; in half precisions by 30 times as much."""


@dataclass(frozen=True, slots=True, repr=False)
class GenerationOptions:
    """How answers are drawn."""

    samples: int = 1
    """Answers to each question, which vote; 1: the likeliest one."""
    temperature: float = 1.0
    """Of the draws, where there are several."""
    grammar: str = "selion"
    """One of :data:`ENGINES`."""
    batch: int = 8
    """Answers that are written at once."""
    share: bool = True
    """Whether the whole image is encoded once for all its patches."""
    draft: int = 64
    """Tokens that are guessed ahead and checked in one pass, at most; the answers are the same with
    0, one token a pass."""
    scores: str = "votes"
    """One of :data:`SCORES`: what a cell's class is worth."""
    precision: str = "auto"
    """One of :data:`PRECISIONS`; "auto": bfloat16 on CUDA, float32 elsewhere."""

    def __post_init__(self) -> None:
        numbers = {
            "samples": self.samples,
            "temperature": self.temperature,
            "batch": self.batch,
            "draft": self.draft,
        }
        wrong = [
            f"{name} = {value!r}"
            for name, value in numbers.items()
            if not isinstance(value, int | float)
        ]
        if wrong:
            raise BadInput(
                f"{', '.join(wrong)} was given as a generation option; wanted is a number."
            )
        broken = [
            f"{name} = {value!r}"
            for name, value in numbers.items()
            if name != "temperature" and not isinstance(value, int)
        ]
        if broken:
            raise BadInput(
                f"{', '.join(broken)} was given as a generation option; wanted is a whole number."
            )
        if not isinstance(self.share, bool):
            raise BadInput(
                f"share = {self.share!r} was given as a generation option; wanted is true or false."
            )
        if self.samples < 1 or self.batch < 1 or not self.temperature > 0:
            raise BadInput(
                f"{self.samples} samples at temperature {self.temperature:g} in batches of "
                f"{self.batch} were asked for; wanted is 1 or more of each."
            )
        if self.draft < 0:
            raise BadInput(f"A draft of {self.draft} tokens was given; wanted is 0 or more.")
        if self.grammar not in ENGINES:
            raise UnknownName.among("grammar engine", self.grammar, ENGINES)
        if self.scores not in SCORES:
            raise UnknownName.among("kind of scores", self.scores, SCORES)
        if self.precision not in PRECISIONS:
            raise UnknownName.among("precision", self.precision, PRECISIONS)

    def __repr__(self) -> str:
        # unfinished work is found by a key over this text, which begins with the class's first name
        # (guesses change no answer, and the precision stands in the sentence on what runs it)
        silent = {"draft", "precision"} | ({"scores"} if self.scores == SCORES[0] else set())
        deciding = [name for name in self.__slots__ if name not in silent]
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in deciding)
        return f"Speaking({values})"


@dataclass(frozen=True, eq=False, slots=True)
class Question:
    """Messages with slots, and what goes into them."""

    messages: list[Message]
    images: tuple[Image, ...]


@dataclass(frozen=True, eq=False)
class Prefix:
    """What all patches of an image have in common, encoded."""

    ids: torch.Tensor
    """(token,) int64."""
    cache: Any
    """Keys and values of one row."""


class TextGenerator:
    """A model, its processor, and how it is asked.

    Parameters
    ----------
    model, processor
        As the library loads them.
    prompt : Prompt
    names : tuple of str
        Classes.
    options : GenerationOptions

    Raises
    ------
    BadInput
        If a class name collides with the prompt's codec, or the tokenizer cannot write its answers:
        whatever keeps answers to the grammar.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        prompt: Prompt,
        names: tuple[str, ...],
        options: GenerationOptions = GenerationOptions(),
    ) -> None:
        self.model, self.processor, self.prompt, self.names, self.options = (
            model,
            processor,
            prompt,
            names,
            options,
        )
        # names that collide with the codec are refused before an image is read
        prompt.spelling.labels(names)
        self.grammar = Grammar(prompt.spelling, names, (prompt.grid, prompt.grid))
        self.advice = check_tokenizer(processor.tokenizer, self.grammar)
        """Sentences on what costs more tokens than it needs."""
        self.spoken: list[SpokenAnswer | None] = []
        """The answers of the last call word by word, where ``scores`` are those of labels."""
        self._shares: bool | None = None

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        found: torch.device = next(self.model.parameters()).device
        return found

    @cached_property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        given = self.model.generation_config.eos_token_id
        tokens = given if isinstance(given, list | tuple) else [given]
        own = [self.processor.tokenizer.eos_token_id]
        return tuple(dict.fromkeys(token for token in (*own, *tokens) if token is not None))

    @cached_property
    def ear(self) -> LabelEar | None:
        """What listens to how sure the model is of labels; None: nothing does."""
        if self.options.scores != "labels":
            return None
        tokenizer = self.processor.tokenizer
        return LabelEar(tokenizer, spell(tokenizer, self.grammar.alphabet), self.labels)

    @property
    def labels(self) -> tuple[str, ...]:
        """How each class is spelled, whole."""
        return self.grammar.labels

    @cached_property
    def tokens(self) -> TokenGrammar:
        """The grammar over the model's own tokens."""
        return TokenGrammar(self.grammar, self.processor.tokenizer, self.ends)

    @cached_property
    def room(self) -> int:
        """Tokens that the longest answer takes, with some to spare for one that spells it oddly."""
        return (
            int(
                1.25
                * len(
                    self.processor.tokenizer.encode(
                        self.grammar.longest(), add_special_tokens=False
                    )
                )
            )
            + 8
        )

    def ask(
        self, questions: Sequence[Question], seeds: Sequence[int] = (), batch: int = 0
    ) -> list[list[str]]:
        """Return ``samples`` answers to each question, every one encoded whole.

        Parameters
        ----------
        questions : sequence of Question
        seeds : sequence of int
            Of the draws of each question's answers; 0, 1, 2 ... without it.
        batch : int
            Answers that are written at once; 0: as the options say.
        """
        return self._answers(questions, self.together, seeds, batch)

    def ask_about(
        self,
        questions: Sequence[Question],
        prefix: Prefix,
        seeds: Sequence[int] = (),
        batch: int = 0,
    ) -> list[list[str]]:
        """Return ``samples`` answers to each question about the image of a prefix.

        The image is not encoded again.
        """
        return self._answers(questions, lambda some: self.behind(some, prefix), seeds, batch)

    def _answers(
        self,
        questions: Sequence[Question],
        inputs: Callable[[Sequence[Question]], dict[str, Any]],
        seeds: Sequence[int],
        batch: int,
    ) -> list[list[str]]:
        count, batch = self.options.samples, batch or self.options.batch
        repeated = [question for question in questions for _ in range(count)]
        given = seeds or range(len(questions))
        self.spoken = []
        if self.options.grammar == "xgrammar" or not self.settles:
            texts = (
                self._written(repeated, inputs, batch)
                if count == 1
                else self._drawn(questions, given, inputs)
            )
        else:
            drawn = [97 * seed + k for seed in given for k in range(count)] if count > 1 else []
            texts = self.writer.write(
                len(repeated), batch, lambda some: inputs([repeated[k] for k in some]), drawn
            )
            self.spoken = list(self.writer.spoken)
        return [texts[k : k + count] for k in range(0, len(texts), count)]

    def _written(
        self,
        questions: Sequence[Question],
        inputs: Callable[[Sequence[Question]], dict[str, Any]],
        batch: int,
    ) -> list[str]:
        """Write the likeliest answer to each question, token by token."""
        runs = [questions[k : k + batch] for k in range(0, len(questions), batch)]
        return [text for run in runs for text in self._write(inputs(run))]

    def _drawn(
        self,
        questions: Sequence[Question],
        seeds: Iterable[int],
        inputs: Callable[[Sequence[Question]], dict[str, Any]],
    ) -> list[str]:
        """Draw answers token by token, those to one question together.

        What else is asked at the time must not matter: the library draws for a batch as a whole.
        """
        torch = require("torch", "language")
        texts = []
        for question, seed in zip(questions, seeds, strict=True):
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                texts += self._write(inputs([question] * self.options.samples))
        return texts

    @cached_property
    def settles(self) -> bool:
        """Whether guesses can be taken back; if not, each answer is written token by token."""
        return can_settle(self.model)

    @cached_property
    def writer(self) -> Writer:
        """What writes the answers."""
        options = self.options
        return Writer(
            self.model,
            self.processor.tokenizer,
            self.tokens if options.grammar == "selion" else None,
            RowGuess(self.grammar.codec, self.names, self.grammar.shape),
            self.ends,
            self.room,
            draft=options.draft,
            temperature=options.temperature if options.samples > 1 else None,
            ear=self.ear,
        )

    def prefix(self, question: Question) -> Prefix | None:
        """Encode what a question shares with all others about its image.

        None if this model's cache cannot be gone on from, which is tried out.

        The words up to the patch are the prefix: the image and the instruction.
        """
        torch = require("torch", "language")
        whole = self._tokenized(question)
        alone = self._tokenized(
            Question(
                [{"role": "user", "content": question.messages[0]["content"][:2]}],
                question.images[:1],
            )
        )
        same = 0
        limit = min(whole["input_ids"].shape[1], alone["input_ids"].shape[1])
        while same < limit and whole["input_ids"][0, same] == alone["input_ids"][0, same]:
            same += 1
        first = {
            name: value[:, :same] if _per_token(value, alone["input_ids"]) else value
            for name, value in alone.items()
        }
        with torch.inference_mode():
            room = {"past_key_values": empty_cache()} if self.settles else {}
            cache = self.model(**first, **room, use_cache=True, logits_to_keep=1).past_key_values
            found = Prefix(whole["input_ids"][0, :same], cache)
            if self._shares is None:
                self._shares = self._holds(question, whole, found)
            return found if self._shares else None

    def _holds(self, question: Question, whole: Mapping[str, Any], prefix: Prefix) -> bool:
        """Compare the first token's logits behind the prefix with those of the whole question.

        Done for the first image only.
        """
        torch = require("torch", "language")
        try:
            behind = self.behind([question], prefix)
            wanted, found = (self.first_logits(inputs)[0] for inputs in (whole, behind))
        except (RuntimeError, ValueError, IndexError, TypeError, AttributeError):
            return False  # a family, or a version of the library, that goes another way
        spread = float(wanted.max() - wanted.min())
        slack = (
            CLOSE_ENOUGH
            if wanted.dtype == torch.float32 and self.model.dtype == torch.float32
            else 30 * CLOSE_ENOUGH
        )
        return bool((wanted - found).abs().max() <= slack * max(spread, 1e-6))

    def first_logits(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """Return (question, vocabulary) logits of the first token of each answer."""
        config = self.config(1)
        config.max_new_tokens, config.output_logits, config.return_dict_in_generate = 1, True, True
        config.do_sample = False
        with require("torch", "language").inference_mode():
            logits: torch.Tensor = self.model.generate(**inputs, generation_config=config).logits[0]
        return logits.float()

    def _write(self, inputs: Mapping[str, Any]) -> list[str]:
        """Let the model write an answer to each row."""
        torch = require("torch", "language")
        ear = None if self.ear is None else EarProcessor(self.ear)
        with torch.inference_mode():
            written = self.model.generate(
                **inputs,
                generation_config=self.config(self.room),
                logits_processor=[*([] if ear is None else [ear]), *self._processors()],
            )
        if ear is not None:
            self.spoken += ear.finish(written[:, -1].tolist())
        texts: list[str] = self.processor.tokenizer.batch_decode(
            written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return texts

    def config(self, room: int) -> Any:
        """Return how answers of at most ``room`` tokens are drawn."""
        from transformers import GenerationConfig

        sample = self.options.samples > 1
        drawn = (
            {"temperature": self.options.temperature, "top_k": 0, "top_p": 1.0} if sample else {}
        )
        pad = self.processor.tokenizer.pad_token_id
        return GenerationConfig(
            max_new_tokens=room,
            do_sample=sample,
            eos_token_id=list(self.ends),
            pad_token_id=self.ends[0] if pad is None else pad,
            use_cache=True,
            **drawn,
        )

    def _processors(self) -> list[Any]:
        if self.options.grammar == "none":
            return []
        if self.options.grammar == "xgrammar":
            from selion.models.language.ebnf import xgrammar_processor

            return [
                xgrammar_processor(
                    self.grammar, self.processor.tokenizer, self.model.config, self.ends
                )
            ]
        return [MaskGrammar(self.tokens)]

    def _tokenized(self, question: Question) -> dict[str, Any]:
        """Turn one question into the model's inputs."""
        return self.together([question])

    def together(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Turn questions into one batch, padded on the left."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # processors speak of their own options here
            inputs = self.processor.apply_chat_template(
                [filled(question) for question in questions],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                processor_kwargs={"padding": True, "padding_side": "left"},
            )
        return {name: self._moved(value) for name, value in inputs.items()}

    def _moved(self, value: Any) -> Any:
        return value.to(self.device, dtype=self.model.dtype if value.is_floating_point() else None)

    def behind(self, questions: Sequence[Question], prefix: Prefix) -> dict[str, Any]:
        """Turn questions into a batch behind a prefix.

        The gap between prefix and rest is padded, and only the last images are encoded.
        """
        torch = require("torch", "language")
        singles = [self._tokenized(question) for question in questions]
        longest = max(single["input_ids"].shape[1] for single in singles)
        start = len(prefix.ids)
        rows: dict[str, list[Any]] = {}
        for single in singles:
            gap = longest - single["input_ids"].shape[1]
            for name, value in single.items():
                if _per_token(value, single["input_ids"]):
                    filler = self._filler(name)
                    rows.setdefault(name, []).append(
                        torch.cat(
                            [value[:, :start], value.new_full((1, gap), filler), value[:, start:]],
                            1,
                        )
                    )
        seen = self.processor.image_processor(
            images=[[question.images[-1]] for question in questions], return_tensors="pt"
        )
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(len(questions))
        vision = {
            name: self._moved(value)
            for name, value in seen.items()
            if hasattr(value, "to") and name in {*singles[0]}
        }
        tokens = {name: torch.cat(values) for name, values in rows.items()}
        return {
            **tokens,
            **vision,
            "position_ids": self._places(tokens, singles),
            "past_key_values": cache,
        }

    def _places(self, tokens: dict[str, Any], singles: Sequence[Mapping[str, Any]]) -> Any:
        """Return where tokens stand.

        Some families count rows and columns of all images of a question, those of the prefix too.
        """
        torch = require("torch", "language")
        sizes = [
            name
            for name, value in singles[0].items()
            if name not in tokens and not value.is_floating_point()
        ]
        return self.model._prepare_position_ids_for_generation(  # noqa: SLF001  # what ``generate`` itself asks, with the sizes of all images
            tokens["input_ids"],
            {**tokens, **{name: torch.cat([single[name] for single in singles]) for name in sizes}},
        )

    def _filler(self, name: str) -> int:
        return self.processor.tokenizer.pad_token_id or 0 if name == "input_ids" else 0


def filled(question: Question) -> list[Message]:
    """Put the images of a question into its slots."""
    images = iter(question.images)
    return [
        {
            **message,
            "content": [
                {"type": "image", "image": next(images)} if part["type"] == "image" else part
                for part in message["content"]
            ],
        }
        for message in question.messages
    ]


def _per_token(value: Any, ids: Any) -> bool:
    """Say whether an input has one number for each token."""
    return hasattr(value, "shape") and value.shape == ids.shape
