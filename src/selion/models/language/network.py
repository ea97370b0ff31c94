"""A language model that sees + card -> the same Segmenter as any other.

Views in, probabilities out.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput, MissingExtra, UnreadableFile
from selion.extras import available, require
from selion.grid import Roi
from selion.models.card import ModelCard, check_listed
from selion.models.execution import CardModel, Execution
from selion.models.language.chat import (
    PatchPlace,
    Prompt,
    cut,
    detail,
    messages,
    picture,
    refine,
    shrink,
)
from selion.models.language.generation import GenerationOptions, Prefix, Question, TextGenerator
from selion.models.language.label_odds import SpokenAnswer, label_scores
from selion.models.language.quantised import four_bits, keep_unpacked
from selion.models.language.quiet import quiet
from selion.models.language.rrle import Misread, decode_labels
from selion.models.language.sight import Sight, look
from selion.models.language.smol import WHEEL
from selion.raster import Raster
from selion.segmenter import LoadedModel, View
from selion.store.former import is_ours

FORMAT = "transformers"
"""What the card of a language model says of its files: the library's own layout, flat, beside the
card."""
WATTS = {"cpu": 65.0, "cuda": 350.0, "mps": 30.0}
"""What a processor is assumed to draw where an estimate speaks of energy."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a run of a language model takes, before it runs."""

    questions: int
    tokens_written: int
    """Of answers, as a mask of large fields needs them."""
    tokens_read: int
    """Of questions, the image that they share counted each time."""
    seen: Sight
    """What the model sees of each patch."""
    watts: float
    """Assumed draw of the processor, see :data:`WATTS`."""

    def facts(self, seconds: float) -> dict[str, float]:
        """Return what a user wants to know before a run of so many seconds."""
        return {
            "questions": self.questions,
            "tokens_written": self.tokens_written,
            "tokens_read": self.tokens_read,
            "tokens_of_patch": self.seen.tokens,
            "tokens_of_cell": round(self.seen.of_cell, 4),
            "watt_hours": round(seconds * self.watts / 3600, 2),
            "assumed_watts": self.watts,
        }


class LanguageSegmenter(CardModel):
    """A model card and a language model that writes masks.

    Parameters
    ----------
    card : ModelCard
        Its architecture table holds the prompt.
    generator : TextGenerator
    execution : Execution
        What runs it.

    Notes
    -----
    MAgSeg (arXiv 2605.16179), inference, with three departures: patches overlap and are blended,
    the whole image is encoded once for all of its patches, and a grammar lets only masks be
    written.
    """

    def __init__(self, card: ModelCard, generator: TextGenerator, execution: Execution) -> None:
        self.generator, self.execution = generator, execution
        # the question, how answers are drawn, and the files decide beside the name
        decides = {
            "architecture": dict(card.architecture),
            "files": dict(card.files),
            "speaking": generator.options,
        }
        super().__init__("LanguageSegmenter", card, execution, decides)
        self.batch = generator.options.batch
        """How many views run at once."""
        self.misread: list[Misread] = []
        """One for each answer of the last call."""
        self._prefix: tuple[Raster, Prefix | None] | None = None
        self._said = False
        self._longest = int(str(card.architecture.get("longest", 0)))

    def rest(self) -> None:
        """Let go of the image that is encoded."""
        self._prefix = None

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        """Return (view, class, y, x) float32 probabilities.

        The share of the answers that say a class, or how sure the model was of its labels, as the
        options have it; :func:`unknown_shares` where none can be read.

        Raises
        ------
        BadInput
            If a view is not of the patch's size.
        """
        prompt = self.generator.prompt
        answers = np.empty((len(views), len(self.classes), prompt.patch, prompt.patch), np.float32)
        self.misread = []
        for first, last in _runs(views):
            said = self._texts(views[first:last])
            spoken = iter(self.generator.spoken)
            for k, texts in enumerate(said, start=first):
                answers[k] = self._votes(texts, [next(spoken, None) for _ in texts])
        cut_off = sum(found.truncated for found in self.misread)
        if cut_off and not self._said:
            self._said = True  # once: a large image has thousands of answers
            message = (
                f"{cut_off} of {len(self.misread)} answers were cut off before their end; what was "
                "not said counts as not known, here and from here on."
            )
            warnings.warn(message, stacklevel=2)
        return answers

    def questions(self, views: Sequence[View]) -> list[Question]:
        """Return the question about each view."""
        return [self._question(view) for view in views]

    def _texts(self, views: Sequence[View]) -> list[list[str]]:
        """Answers about views of one image."""
        asked = self.questions(views)
        prefix = self._prefix_of(views[0], asked[0]) if self.generator.options.share else None
        # Draws follow from the place: the same windows give the same map, resumed or not, block by
        # block or whole.
        seeds = place_seeds(views)
        # whoever gives more views at once than the card wants has the room for it (--batch)
        batch = max(self.generator.options.batch, len(views))
        return (
            self.generator.ask(asked, seeds, batch)
            if prefix is None
            else self.generator.ask_about(asked, prefix, seeds, batch)
        )

    def _prefix_of(self, view: View, question: Question) -> Prefix | None:
        """Encode the image of a view, or take it as it was encoded for the view before.

        The same image is the same object.
        """
        if view.context is None:
            return None
        if self._prefix is None or self._prefix[0] is not view.context:
            self._prefix = view.context, self.generator.prefix(question)
        return self._prefix[1]

    def _question(self, view: View) -> Question:
        prompt = self.generator.prompt
        if view.pixels.shape[1:] != (prompt.patch, prompt.patch):
            raise BadInput(
                f"{self.card.name} speaks of patches of {prompt.patch} px; {view.pixels.shape[2]} "
                f"x {view.pixels.shape[1]} were given: leave --window out."
            )
        frame, inside = located(view)
        context = view.pixels if view.context is None else view.context.values
        patch = view.pixels if not prompt.margin else cut(context, inside, prompt.margin)
        scaling = self.inputs.scaling
        shown = shrink(picture(context, scaling), self._longest)
        place = PatchPlace.of(inside, frame)
        return Question(
            messages(prompt, self.classes, place),
            (shown, detail(picture(patch, scaling), prompt)),
        )

    def _votes(
        self, texts: Sequence[str], spoken: Sequence[SpokenAnswer | None] = ()
    ) -> np.ndarray:
        """Count the answers to one question, (class, patch, patch)."""
        prompt, count = self.generator.prompt, len(self.classes)
        votes = np.zeros((count, prompt.grid, prompt.grid), np.float32)
        labels = self.generator.labels
        for text, words in zip_longest(texts, spoken):
            mask, places, misread = decode_labels(
                text, (prompt.grid, prompt.grid), self.classes.names, prompt.spelling
            )
            self.misread.append(misread)
            votes += label_scores(text, mask, places, words, labels)
        said = votes.sum(0)
        unknown = unknown_shares(self.classes)[:, None, None]
        shares = np.where(said > 0, votes / np.maximum(said, 1), unknown)
        return np.stack([refine(share, prompt.patch) for share in shares.astype(np.float32)])

    def price(self, windows: int) -> Price:
        """Return the tokens that a number of windows takes.

        They follow from the answers that a mask of large fields needs and one question's length.
        """
        prompt = self.generator.prompt
        edge = (
            np.indices((prompt.grid, prompt.grid)).sum(0)
            // max(1, prompt.grid // 2)
            % len(self.classes)
        )
        answer = (
            len(
                self.generator.processor.tokenizer.encode(
                    prompt.answer(edge, self.classes.names), add_special_tokens=False
                )
            )
            + 1
        )
        blank = View(
            np.zeros((len(self.inputs.bands), prompt.patch, prompt.patch), np.float32),
            (slice(0, prompt.patch), slice(0, prompt.patch)),
        )
        asked = self.generator.together(self.questions([blank]))["input_ids"].shape[1]
        samples = self.generator.options.samples
        return Price(
            windows,
            windows * samples * answer,
            windows * asked,
            look(self.generator.processor, prompt),
            WATTS[self.generator.device.type],
        )


_: type[LoadedModel[np.ndarray]] = LanguageSegmenter


def unknown_shares(classes: ClassScheme) -> np.ndarray:
    """Return the (class,) float32 probabilities of a cell of which nothing was said.

    All classes alike, as far as objects stay less likely than none: the boundary between them
    counts as part of them and gets nothing (of background, field and boundary two thirds would be a
    field), and where they are as many as the other classes, all of them together get less (behind a
    refiner they are one, and rounding would decide).  Where there is no other class, things are
    alike.
    """
    things = [name in classes.things and name != classes.boundary for name in classes.names]
    others = len(classes) - sum(things) - (classes.boundary is not None)
    thing = 1.0 if sum(things) < others or not others else others / (sum(things) + 1)
    shares = np.where(things, thing, [float(name != classes.boundary) for name in classes.names])
    return (shares / shares.sum()).astype(np.float32)


def _runs(views: Sequence[View]) -> list[tuple[int, int]]:
    """Split views into runs that share an image: (first, last + 1) of each."""
    starts = [
        k
        for k, view in enumerate(views)
        if k == 0 or view.context is None or view.context is not views[k - 1].context
    ]
    return list(zip(starts, [*starts[1:], len(views)], strict=True))


def place_seeds(views: Sequence[View]) -> list[int]:
    """Return the seeds of the draws about each view, by its place."""
    return [zlib.crc32(repr((view.roi[0].start, view.roi[1].start)).encode()) for view in views]


def located(view: View) -> tuple[tuple[int, int], Roi]:
    """Return the (y, x) size of the image that a view's model is shown whole.

    With it comes where in it the view lies.
    """
    if view.context is None or view.context_roi is None:
        height, width = view.pixels.shape[1:]
        return (height, width), (slice(0, height), slice(0, width))
    rows, columns = view.context_roi
    top, left = view.roi[0].start - rows.start, view.roi[1].start - columns.start
    height, width = view.pixels.shape[1:]
    frame = tuple(view.context.grid.shape)
    return (int(frame[0]), int(frame[1])), (slice(top, top + height), slice(left, left + width))


def lacks(card: ModelCard) -> str:  # noqa: ARG001  # the signature of an engine
    """Say why no language model can run here; empty if one can."""
    missing = [module for module in ("torch", "transformers") if not available(module)]
    return f"{missing[0]} is not installed" if missing else ""


def load(
    card: ModelCard,
    folder: Path | None = None,
    engine: str = "auto",
    *,
    fast: bool = False,
    threads: int | None = None,
) -> LanguageSegmenter:
    """Load a card's language model.

    Parameters
    ----------
    card : ModelCard
    folder : path, optional
        Where its files lie; the card's own folder without it.
    engine : {"auto", "cuda", "mps", "torch"}
        Where it runs; "torch" is the processor.
    fast : bool
        Compute in bfloat16, which CUDA does anyhow unless the card says ``precision = "float32"``.
    threads : int, optional
        Of a processor.

    Raises
    ------
    MissingExtra
        If the libraries, or the device that was asked for, are not there.
    BadInput
        If the model cannot see, the card's prompt makes no sense, or the tokenizer cannot write the
        answers.
    UnreadableFile
        If the model's files are not where the card says.
    """
    lack = lacks(card)
    if lack:
        raise MissingExtra(
            f"{card.name} is a language model, which needs the extra 'language' ({lack}): pip "
            "install 'selion[language]'."
        )
    torch = require("torch", "language")
    folder = folder or check_listed(card, here(card))
    device = choose_device(engine, card.name)
    if threads:
        torch.set_num_threads(threads)
    options = generation_options(_table(card, "speaking"))
    precision = choose_precision(device, options.precision, fast=fast)
    model, processor = load_pair(
        card.architecture.get("base") or folder,
        folder,
        getattr(torch, precision),
        card.name,
        str(card.architecture.get("quantised", "")),
    )
    prompt = Prompt.from_dict(_table(card, "prompt"))
    check_card(card, prompt)
    generator = TextGenerator(
        model.to(device).eval(),
        processor,
        prompt,
        card.classes.names,
        options,
    )
    for sentence in generator.advice:
        warnings.warn(sentence, stacklevel=2)
    where = torch.cuda.get_device_name() if device == "cuda" else device.upper()
    return LanguageSegmenter(
        card, generator, Execution(f"torch {torch.__version__} on {where}", precision)
    )


def here(card: ModelCard) -> Path:
    """Return a card's folder.

    Raises
    ------
    UnreadableFile
        If its files are not on this machine.
    """
    if card.folder is None:
        raise UnreadableFile(
            f"The language model {card.name} is not on this machine: give the folder that holds "
            "its card and its files."
        )
    return card.folder


def _table(card: ModelCard, key: str) -> dict[str, Any]:
    table = card.architecture.get(key, {})
    if not isinstance(table, Mapping):
        raise BadInput(f"The card of {card.name} says {key} = {table!r}; wanted is a table.")
    return dict(table)


def check_card(card: ModelCard, prompt: Prompt) -> None:
    """Refuse a card that does not fit its model.

    Its window is not the patch that the model speaks of, or its classes are not those it was
    trained on.

    Raises
    ------
    BadInput
    """
    if card.inputs.window != prompt.patch:
        raise BadInput(
            f"The card of {card.name} has a window of {card.inputs.window} px, but its model "
            f"answers for patches of {prompt.patch}: correct the window."
        )
    taught = card.architecture.get("taught", card.classes.names)
    if tuple(taught) != card.classes.names:  # type: ignore[arg-type]
        said, wanted = ", ".join(map(str, taught)), ", ".join(card.classes.names)  # type: ignore[call-overload]
        raise BadInput(
            f"{card.name} was trained to write the classes {said}, but its card has {wanted}: take "
            "an adapter for these classes, or train one."
        )


def choose_device(engine: str, name: str) -> str:
    """Return torch's name of the device for an engine's.

    Raises
    ------
    MissingExtra
        If it is not there.
    BadInput
        If the engine cannot run language models.
    """
    torch = require("torch", "language")
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if engine in ("auto", ""):
        return next((device for device, there in has.items() if there), "cpu")
    if engine in has:
        if not has[engine]:
            raise MissingExtra(
                f"The engine {engine} was asked for, but torch sees no such device: take --engine "
                "torch."
            )
        return engine
    if engine in ("torch", "cpu"):
        return "cpu"
    raise BadInput(
        f"{name} is a language model, which the engine {engine} cannot run: take cuda, mps or "
        "torch."
    )


def choose_precision(device: str, wanted: str = "auto", *, fast: bool = False) -> str:
    """Return torch's name of what a model computes in.

    Half precision is what these models were made in, and twice as fast on a GPU; a processor may
    lack it and is then slower with it.

    Parameters
    ----------
    device : {"cpu", "cuda", "mps"}
    wanted : {"auto", "float32", "bfloat16"}
        As a card says.
    fast : bool
        Whether bfloat16 was asked for, whatever the device.
    """
    if fast:
        return "bfloat16"
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "cuda" else "float32"


def load_pair(
    base: Any,
    folder: Path | None,
    dtype: Any,
    name: str,
    quantise: str = "",
    *,
    trainable: bool = False,
) -> tuple[Any, Any]:
    """Load a model that sees, and its processor.

    The adapter that lies in a folder is loaded if there is one.

    Parameters
    ----------
    base : path or str
        A folder, or the id of a published model; the name of SmolLM2's wheel: the rest of the model
        lies in ``folder`` (:mod:`selion.models.language.joined`).
    folder : path, optional
        Where an adapter and the processor may lie.
    dtype : torch dtype
    name : str
        For messages.
    quantise : {"", "nf4"}
        Whether the base is held in 4 bits (:mod:`selion.models.language.quantised`).
    trainable : bool
        Whether the adapter goes on learning.

    Raises
    ------
    MissingExtra
        If its processor, or a base in 4 bits, wants a package that is not installed.
    UnreadableFile
        If there is no model, or not all of it.
    BadInput
        If it cannot see, or cannot be held in 4 bits.
    """
    require("transformers", "language")
    held = four_bits(quantise, dtype, str(name))
    if base == WHEEL:
        from selion.models.language.joined import load_joined

        if folder is None:
            raise BadInput(
                f"{WHEEL} is a language model without eyes: give language.start_from, the folder "
                "of a model that lies on it (landscape-smol), instead of language.base."
            )
        if held:
            raise BadInput(
                f"{WHEEL} is small and cannot be held in 4 bits: set language.quantise = ''."
            )
        with quiet():
            model, processor = load_joined(folder, dtype)
        return _with_adapter(model, folder, trainable=trainable), processor
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

    own = folder is not None and any(
        (folder / file).is_file() for file in ("processor_config.json", "preprocessor_config.json")
    )
    try:
        with quiet():
            config = AutoConfig.from_pretrained(base)
            check_eyes(config, str(name))
            model = AutoModelForImageTextToText.from_pretrained(
                base, dtype=dtype, use_safetensors=True, **held
            )
            processor = AutoProcessor.from_pretrained(folder if own else base)
    except ImportError as error:  # some processors want a package of their own, SmolVLM's num2words
        raise MissingExtra(
            f"The language model of {name} wants a package that is not installed "
            f"({str(error).strip().splitlines()[0]})"
        ) from error
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0][:200]
        raise UnreadableFile(
            f"The language model of {name} cannot be loaded from {base} ({first}): give a folder "
            "that holds one, or an id that can be downloaded."
        ) from error
    return _with_adapter(keep_unpacked(model), folder, trainable=trainable), processor


def _with_adapter(model: Any, folder: Path | None, *, trainable: bool) -> Any:
    """Return a model with the adapter that lies in a folder, if there is one."""
    if folder is None or not (folder / "adapter_config.json").is_file():
        return model
    peft = require("peft", "language")
    return peft.PeftModel.from_pretrained(model, str(folder), is_trainable=trainable)


def check_eyes(config: Any, name: str) -> None:
    """Refuse a model without vision.

    Raises
    ------
    BadInput
    """
    if getattr(config, "vision_config", None) is None:
        raise BadInput(
            f"{name} ({config.model_type}) has no vision: wanted is a model that takes images and "
            "text."
        )


def generation_options(table: Mapping[str, Any]) -> GenerationOptions:
    """Read how a card's model is asked; a key that there is not is named."""
    unknown = [key for key in table if key not in GenerationOptions.__slots__]
    if unknown:
        raise BadInput(
            f"{', '.join(unknown)} was given; a language model knows "
            f"{', '.join(GenerationOptions.__slots__)}."
        )
    if is_ours(table.get("grammar"), "selion", "The grammar of a card's answers"):
        table = {**table, "grammar": "selion"}
    return GenerationOptions(**table)
