"""Recipe of a language model: what :class:`~selion.training.recipe.Recipe` is to a network.

A recipe file with a ``[language]`` table is one of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import inf
from typing import Literal

from selion.classes import ClassScheme
from selion.metrics.pixel import Over
from selion.models.language.chat import Prompt
from selion.models.language.tiny import TinySize
from selion.segmenter import InputSpec, Scaling
from selion.training.sources import (
    Data,
    Pair,
    RecipeHead,
    at_least,
    check,
    learnable,
    per_band,
    share,
)

COUNTRYSIDE = ClassScheme(
    ("others", "field", "tree", "water", "built"),
    ("field", "water"),
    None,
    ("#000000", "#5ac85a", "#1b6e2c", "#2e86de", "#c0392b"),
)
"""Five classes of the simulated countryside; roads, rough and bare ground are others."""


@dataclass(frozen=True)
class Simulated:
    """Scenes of the simulated countryside instead of a dataset."""

    scenes: int = 0
    """0: none; the data comes from [data]."""
    validation: int = 4
    """Further scenes, of other seeds, for validation."""
    edge: int = 512
    """Pixels."""
    gsd: float = 4.0
    style: str = "mixed"
    seed: int = 1000
    """Of the first scene; validation begins 100000 later."""

    def __post_init__(self) -> None:
        at_least(0, "simulate", self, "scenes", "validation", "seed")
        check(self.scenes < 100_000, "simulate.scenes", self.scenes, "fewer than 100000")


@dataclass(frozen=True)
class Draws:
    """How patches are drawn from images."""

    least_classes: int = 1
    """A patch holds at least so many classes ..."""
    most_share: float = 1.0
    """... and none of them on more than this share of its cells.  Patches that are all field teach
    to say "field"."""
    step: int = 1
    """Patches begin at multiples of this many pixels."""
    hidden: float = 0.0
    """Share of the lessons in which the patch is said but not shown: a model that sees it in all of
    them never learns to look at the whole image."""
    turn: bool = True
    """One of the eight turns and flips of the square, for image and patch together."""
    tries: int = 200
    """Draws after which a patch is taken that is as close to the wishes as was seen."""

    def __post_init__(self) -> None:
        share("draws.most_share", self.most_share)
        share("draws.hidden", self.hidden)
        at_least(1, "draws", self, "least_classes", "step", "tries")


@dataclass(frozen=True)
class Lora:
    """A low-rank adapter on the language tower."""

    r: int = 64
    """Rank; 0: no adapter, all parameters learn (tiny models)."""
    alpha: int = 128
    dropout: float = 0.05
    targets: str = (
        r".*(language_model|text_model).*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|"
        r"down_proj)"
    )
    """Regular expression of the layers: linear ones of the language tower, so that the eyes stay as
    they are."""

    def __post_init__(self) -> None:
        check(self.r >= 0, "language.lora.r", self.r, "a rank, or 0 for all parameters")
        check(self.alpha > 0, "language.lora.alpha", self.alpha, "a number above 0")
        share("language.lora.dropout", self.dropout)
        pattern = "a regular expression of layers' names"
        check(_is_pattern(self.targets), "language.lora.targets", self.targets, pattern)


def _is_pattern(text: str) -> bool:
    try:
        re.compile(text)
    except re.error:
        return False
    return True


@dataclass(frozen=True)
class Language:
    """Which model, and how it is asked."""

    base: str = ""
    """A folder, or the id of a published model that the library can find."""
    start_from: str = ""
    """The folder of a language model of selion to go on from, instead of ``base``."""
    tiny: str = ""
    """Instead of ``base``: build a tiny model of this family, with a tokenizer trained on the
    recipe's own answers."""
    size: TinySize = field(default_factory=TinySize)
    prompt: Prompt = field(default_factory=Prompt)
    context: int = 1024
    """Edge in pixels of the image that is shown whole; larger images are shown in parts of this
    size."""
    lora: Lora = Lora()
    quantise: Literal["", "nf4"] = ""
    """"nf4": hold the base in 4 bits while an adapter learns and when it is used (QLoRA; extra
    ``qlora``); the card says so."""


@dataclass(frozen=True)
class Sft:
    """Supervised fine-tuning: learn to write the right answers."""

    steps: int = 1000
    batch: int = 4
    accumulate: int = 32
    """Batches to a step: 4 x 32 = 128, as Text4Seg has it."""
    lr: float = 2e-4
    warmup: float = 0.03
    weight_decay: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    clip: float = 1.0
    save_every: int = 200
    """Steps between two checkpoints."""

    def __post_init__(self) -> None:
        at_least(0, "sft", self, "steps", "clip")
        at_least(1, "sft", self, "batch", "accumulate", "save_every")
        learnable("sft", self)


@dataclass(frozen=True)
class Grpo:
    """Group-relative policy optimisation: learn from the score of what was written."""

    steps: int = 0
    """0: none."""
    prompts: int = 4
    """Questions to a step."""
    answers: int = 8
    """Answers to each question: the group."""
    micro: int = 0
    """Answers that are learnt from at once, a divisor of ``prompts * answers``; 0: all of them.  A
    step is the same, in less memory."""
    accumulate: int = 1
    grammar: bool = False
    """Whether answers are held to the grammar while they are drawn.  They are all masks then, but
    what is learnt from was drawn from another distribution than the model's own."""
    vllm: Literal["", "colocate", "server"] = ""
    """Draw answers by vLLM, in this process or by a server of its own at ``vllm_url``, which gets
    the weights of each step; empty: the model draws them itself.  vLLM draws by numbers of its own,
    so that a run that goes on is another one from there."""
    vllm_url: str = "http://127.0.0.1:8000"
    vllm_memory: float = 0.3
    """Share of a GPU's memory that vLLM takes in this process."""
    mask_truncated: bool = True
    """Whether answers that were cut off before their end are left out of what is learnt."""
    lr: float = 1e-6
    beta: float = 0.04
    """Weight of the divergence from the supervised model (DeepSeekMath's; the paper does not print
    its own)."""
    epsilon: float = 0.2
    temperature: float = 1.0
    over: Over = "foreground"
    """Classes over which the Dice of the reward is averaged, as :func:`selion.metrics.mean_dice`
    has them.  "foreground" leaves the background out, as equation 4 does, and a stray cell of an
    absent class costs little; "paper" is that equation to the letter, which pays a constant answer
    for each class that is absent."""
    smooth: float = 1.0
    validity: float = 0.0
    """Weight of a second reward: 1 for an answer without a fault."""
    gate: float = 0.95
    """Share of the supervised model's answers that must be without a fault before this begins."""
    alarm: float = 0.5
    """Stop when in more than this share of the groups of the last 50 steps all answers had the same
    reward: there is nothing to learn any more."""
    weight_decay: float = 0.0
    warmup: float = 0.03
    save_every: int = 100

    def __post_init__(self) -> None:
        share("grpo.gate", self.gate)
        share("grpo.alarm", self.alarm)
        at_least(0, "grpo", self, "steps", "beta", "smooth", "validity")
        check(
            self.answers >= 2,
            "grpo.answers",
            self.answers,
            "2 or more: answers are compared with each other",
        )
        at_least(1, "grpo", self, "prompts", "accumulate", "save_every")
        learnable("grpo", self)
        check(self.epsilon > 0, "grpo.epsilon", self.epsilon, "more than 0")
        share("grpo.vllm_memory", self.vllm_memory)
        finite = 0 < self.temperature < inf
        check(finite, "grpo.temperature", self.temperature, "more than 0")
        check(
            self.micro >= 0 and (not self.micro or not self.prompts * self.answers % self.micro),
            "grpo.micro",
            self.micro,
            f"a divisor of prompts * answers = {self.prompts * self.answers}, or 0",
        )


@dataclass(frozen=True)
class Inspect:
    """How the model is looked at before, between and after."""

    patches: int = 64
    """Of the validation samples; drawn like the training patches, always the same ones."""
    samples: int = 1
    """Answers to each that vote; 1: the likeliest one."""

    def __post_init__(self) -> None:
        at_least(1, "inspect", self, "patches", "samples")


@dataclass(frozen=True)
class Machine:
    """What runs it."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    threads: int = 0
    workers: int = -1
    """Processes that draw and prepare conversations beside the training; -1: four on a GPU, or as
    many as there are cores, and none on a processor, which has no time to spare."""
    keep: int = 2
    """Checkpoints that are kept."""
    patience: float = 300.0
    """Seconds after which a process of a run of several that does not answer counts as lost, and
    the others end."""

    split: bool = False
    """Split the weights among the processes of a run (FSDP2) instead of holding all in each: for a
    base that does not fit on one GPU.  What learns is the same."""

    def __post_init__(self) -> None:
        check(
            0 < self.patience <= 604_800,
            "hardware.patience",
            self.patience,
            "seconds, more than 0 and at most a week",
        )
        at_least(-1, "hardware", self, "workers")
        at_least(0, "hardware", self, "threads")
        at_least(1, "hardware", self, "keep")


@dataclass(frozen=True)
class LanguageRecipe(RecipeHead):
    """A training run of a language model before it is run: supervised, then by reward."""

    name: str = "magseg"
    classes: ClassScheme = COUNTRYSIDE
    bands: tuple[str, ...] = ("red", "green", "blue")
    divide: tuple[float, ...] = (255.0,)
    subtract: tuple[float, ...] = (0.0,)
    gsd: Pair | None = None
    overlap: float = 0.25
    """Of neighbouring patches when the model is used; the paper's patches do not overlap, and show
    seams."""
    data: Data = field(default_factory=Data)
    simulate: Simulated = Simulated()
    language: Language = field(default_factory=Language)
    draws: Draws = Draws()
    sft: Sft = Sft()
    grpo: Grpo = Grpo()
    inspect: Inspect = Inspect()
    hardware: Machine = Machine()

    def __post_init__(self) -> None:
        given = [key for key in ("base", "start_from", "tiny") if getattr(self.language, key)]
        check(
            len(given) <= 1,
            "language.base",
            " and ".join(given),
            "one of base, start_from and tiny",
        )
        check(
            not self.simulate.scenes or not (self.data.dataset or self.data.image),
            "simulate.scenes",
            self.simulate.scenes,
            "0 where data.dataset or data.image names what is learnt from",
        )
        check(
            not self.data.mix,
            "data.mix",
            f"{len(self.data.mix)} datasets",
            "none where a language model learns: give one folder by data.dataset",
        )
        check(
            not self.language.quantise or (self.language.lora.r > 0 and not self.language.tiny),
            "language.quantise",
            self.language.quantise,
            "'' where all parameters learn: a base in 4 bits wants an adapter (language.lora.r) "
            "and a model that is there (language.base)",
        )
        check(
            not self.hardware.split or (self.language.lora.r > 0 and not self.language.quantise),
            "hardware.split",
            "true",
            "false where all parameters learn (language.lora.r = 0) or the base is held in 4 bits",
        )
        seen = "three bands, the colours of what the model is shown, or one, which is shown grey"
        check(len(self.bands) in {1, 3}, "bands", list(self.bands), seen)
        per_band("divide", self.divide, self.bands)
        per_band("subtract", self.subtract, self.bands)
        check(all(self.divide), "divide", list(self.divide), "numbers other than 0")
        check(0 <= self.overlap <= 0.75, "overlap", self.overlap, "a number from 0 to 0.75")
        check(self.seed >= 0, "seed", self.seed, "0 or more")
        check(
            not self.draws.hidden or self.language.prompt.coordinates,
            "draws.hidden",
            self.draws.hidden,
            "0, or language.prompt.coordinates = true",
        )
        # names that collide with the codec are refused before anything is read
        self.language.prompt.spelling.labels(self.classes.names)
        patch, context = self.language.prompt.patch, self.language.context
        check(context >= patch, "language.context", context, f"at least the patch of {patch} px")

    @property
    def window(self) -> int:
        """Edge in pixels of the chips that are cut from own polygons.

        The image that is shown whole.
        """
        return self.language.context

    def spec(self) -> InputSpec:
        """Return the card's InputSpec."""
        patch = self.language.prompt.patch
        scaling = Scaling(self.divide, self.subtract, (0.0, 1.0))
        return InputSpec(
            self.bands, scaling, self.gsd, patch, self.overlap, 1, self.language.context
        )
