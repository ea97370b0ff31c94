"""Tiny language models that see, built from a config with a tokenizer trained on the spot.

Real families, random weights, no download.

They exist so that the whole pipeline of a language model (tokens, images, chat template, cache,
LoRA, GRPO) runs and learns on a processor in minutes.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from selion.errors import BadInput, MissingExtra, UnknownName

PAD, START, END, TURN = "<pad>", "<bos>", "<end_of_turn>", "<start_of_turn>"
IMAGE, BEGIN_IMAGE, END_IMAGE = "<image>", "<boi>", "<eoi>"
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<start_of_turn>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ 'SLOT' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<end_of_turn>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>assistant\n' }}{% endif %}"
)
"""A chat template with a slot for each image."""


@dataclass(frozen=True, slots=True)
class TinyFamily:
    """What a family of models needs beside its config."""

    slot: str
    """What the chat template writes where an image comes."""
    tokens: Mapping[str, str]
    """Attributes of the tokenizer that the processor asks for -> special tokens."""
    processor: str
    image_processor: str
    config: Callable[[TinySize, Any], dict[str, Any]]
    """(size, tokenizer) -> the config's values."""
    images: Callable[[TinySize], dict[str, Any]]
    """Options of the image processor."""
    options: Callable[[TinySize, Any], dict[str, Any]]
    """(size, library) -> further options of the processor."""


@dataclass(frozen=True, slots=True)
class TinySize:
    """How small."""

    image: int = 32
    """Edge in pixels to which each image is resized."""
    patch: int = 8
    """Edge of a patch of the vision tower: ``(image / patch)**2`` tokens for an image, none of them
    pooled away, so that a token knows where it is."""
    hidden: int = 96
    layers: int = 4
    heads: int = 4
    vision_hidden: int = 96
    vision_layers: int = 2
    vocabulary: int = 512
    """Tokens at most; the tokenizer takes fewer where the texts have no more."""

    def __post_init__(self) -> None:
        if self.image % self.patch:
            raise BadInput(
                f"An image of {self.image} px was asked for with patches of {self.patch} px: give "
                "a multiple."
            )

    @property
    def tokens(self) -> int:
        """Tokens of an image."""
        return (self.image // self.patch) ** 2


def train_tokenizer(texts: Iterable[str], family: TinyFamily, vocabulary: int = 512) -> Any:
    """Train a byte-pair tokenizer; digits stay apart, as in the large families.

    Returns
    -------
    PreTrainedTokenizerFast
        Pads on the left, knows the family's special tokens and the chat template.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = list(dict.fromkeys((PAD, START, END, TURN, *family.tokens.values())))
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=max(vocabulary, len(alphabet) + len(special)),
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        padding_side="left",
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=dict(family.tokens),
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = TEMPLATE.replace("SLOT", family.slot)
    return tokenizer


def make_tiny(
    family: str, texts: Sequence[str], size: TinySize = TinySize(), seed: int = 0
) -> tuple[Any, Any]:
    """Build a tiny model with random weights, and its processor.

    Parameters
    ----------
    family : str
        One of :data:`FAMILIES`.
    texts : sequence of str
        What the tokenizer is trained on: prompts and answers as they will come.
    size : TinySize
    seed : int
        Of the random weights.

    Returns
    -------
    model, processor

    Raises
    ------
    BadInput
        If models of the family cannot be asked about patches.
    UnknownName
        If the family is not known.
    MissingExtra
        If its processor wants a package that is not installed.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    refuse_family(family, f"a tiny {family}")
    if family not in FAMILIES:
        raise UnknownName.among("tiny family", family, FAMILIES)
    kind = FAMILIES[family]
    tokenizer = train_tokenizer(texts, kind, size.vocabulary)
    config = AutoConfig.for_model(family, **kind.config(size, tokenizer))
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(config)
    _place_eyes(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model, _processor(kind, tokenizer, size)


UNTAKEN: Mapping[str, str] = {
    "paligemma": (
        "puts all images before all words, and lets every token of the question see every other: "
        "it cannot be shown a whole image, an instruction and then a patch, nor go on from an "
        "image that was encoded once"
    ),
}
"""Model types that the road is not for -> why."""


def refuse_family(kind: str, name: str) -> None:
    """Refuse a model of a family that cannot be asked about the patches of an image.

    Parameters
    ----------
    kind : str
        The model type of its config.
    name : str
        What to call it.

    Raises
    ------
    BadInput
    """
    if kind in UNTAKEN:
        raise BadInput(
            f"{name} is of the family {kind}, which {UNTAKEN[kind]}. Take one of "
            f"{', '.join(FAMILIES)}."
        )


def _place_eyes(model: Any) -> None:
    """Give the vision tower's learned places a start that knows of rows and columns.

    It also gets a projection that is not 0.

    Large models have learned both; from zeros a tiny one would spend its minutes on finding out
    where a token is.
    """
    import torch

    for name, parameter in model.named_parameters():
        if "position_embedding" in name and parameter.ndim == 2:
            edge = int(parameter.shape[0] ** 0.5)
            if edge * edge == parameter.shape[0]:
                parameter.data.copy_(torch.from_numpy(places(edge, parameter.shape[1])))
        elif name.endswith("mm_input_projection_weight"):
            torch.nn.init.normal_(parameter, std=parameter.shape[0] ** -0.5)


def places(edge: int, size: int) -> np.ndarray:
    """Return (edge * edge, size) float32 sines and cosines of row and column, row-major."""
    quarter = size // 4
    waves = np.pi * np.arange(1, quarter + 1) / edge / 2
    line = (np.arange(edge) + 0.5)[:, None] * waves[None]
    wave = np.concatenate([np.sin(line), np.cos(line)], 1)
    rows, columns = np.repeat(wave, edge, 0), np.tile(wave, (edge, 1))
    found = np.zeros((edge * edge, size), np.float32)
    found[:, : 4 * quarter] = np.concatenate([rows, columns], 1)
    return found


def _processor(kind: TinyFamily, tokenizer: Any, size: TinySize) -> Any:
    transformers = importlib.import_module("transformers")
    images = getattr(transformers, kind.image_processor)(**kind.images(size))
    try:
        return getattr(transformers, kind.processor)(
            image_processor=images,
            tokenizer=tokenizer,
            chat_template=tokenizer.chat_template,
            **kind.options(size, transformers),
        )
    except ImportError as error:
        raise MissingExtra(
            f"{kind.processor} wants a package that is not installed "
            f"({str(error).strip().splitlines()[0]})"
        ) from error


def _text(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    """Return what the language towers of all families have in common.

    Weights begin with the spread that keeps the size of what goes through a layer of so few
    numbers; the 0.02 of large models is a sixth of it here, and a tiny model then takes three times
    as many steps to learn to look.
    """
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": size.hidden,
        "intermediate_size": 2 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.heads,
        "max_position_embeddings": 8192,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "initializer_range": size.hidden**-0.5,
    }


def _gemma3(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    head = size.hidden // size.heads
    return {
        "text_config": _text(size, tokenizer)
        | {
            "head_dim": head,
            "query_pre_attn_scalar": head,
            "layer_types": ["full_attention"] * size.layers,
        },
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.heads,
            "image_size": size.image,
            "patch_size": size.patch,
            "vision_use_head": False,
            "initializer_range": size.vision_hidden**-0.5,
        },
        "mm_tokens_per_image": size.tokens,
        "initializer_range": size.hidden**-0.5,
        "boi_token_index": tokenizer.convert_tokens_to_ids(BEGIN_IMAGE),
        "eoi_token_index": tokenizer.convert_tokens_to_ids(END_IMAGE),
        "image_token_index": tokenizer.convert_tokens_to_ids(IMAGE),
    }


def _qwen(size: TinySize, tokenizer: Any, **vision: Any) -> dict[str, Any]:
    """Return what the families of Qwen have in common; ``vision`` is what each has of its own."""
    head = size.hidden // size.heads
    return {
        "text_config": _text(size, tokenizer)
        | {
            "head_dim": head,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e4,
                "mrope_section": [head // 8, head // 8, head // 4],
            },
        },
        "vision_config": {
            "depth": size.vision_layers,
            "num_heads": size.heads,
            "patch_size": size.patch // 2,  # two by two of them are one token
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "initializer_range": size.vision_hidden**-0.5,
            **vision,
        },
        "image_token_id": tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        "vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        "vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        "initializer_range": size.hidden**-0.5,
    }


def _qwen2_vl(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    """Its vision tower's own width is ``embed_dim``; ``hidden_size`` is that of its tokens."""
    return _qwen(
        size, tokenizer, embed_dim=size.vision_hidden, hidden_size=size.hidden, mlp_ratio=2
    )


def _qwen2_5_vl(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    return _qwen(
        size,
        tokenizer,
        hidden_size=size.vision_hidden,
        intermediate_size=2 * size.vision_hidden,
        window_size=size.image,
        fullatt_block_indexes=[0],
        out_hidden_size=size.hidden,
    )


def _qwen3_vl(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    return _qwen(
        size,
        tokenizer,
        hidden_size=size.vision_hidden,
        intermediate_size=2 * size.vision_hidden,
        out_hidden_size=size.hidden,
        num_position_embeddings=(2 * size.image // size.patch) ** 2,
        deepstack_visual_indexes=[0],  # seen by the first layers of the language tower, too
    )


def _llava(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": _text(size, tokenizer)
        | {"model_type": "llama", "head_dim": size.hidden // size.heads},
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.heads,
            "image_size": size.image,
            "patch_size": size.patch,
            "projection_dim": size.hidden,
        },
        "vision_feature_layer": -1,
        "image_seq_length": size.tokens,
        "image_token_index": tokenizer.convert_tokens_to_ids(IMAGE),
    }


def _internvl(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": _text(size, tokenizer) | {"model_type": "qwen2"},
        "vision_config": {
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.heads,
            "image_size": [size.image, size.image],
            "patch_size": [size.patch, size.patch],
            "initializer_range": size.vision_hidden**-0.5,
        },
        "downsample_ratio": 1.0,
        "image_seq_length": size.tokens,
        "image_token_id": tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    }


def _idefics3(size: TinySize, tokenizer: Any) -> dict[str, Any]:
    return {
        "text_config": _text(size, tokenizer)
        | {"model_type": "llama", "head_dim": size.hidden // size.heads},
        "vision_config": {
            "hidden_size": size.vision_hidden,
            "intermediate_size": 2 * size.vision_hidden,
            "num_hidden_layers": size.vision_layers,
            "num_attention_heads": size.heads,
            "image_size": size.image,
            "patch_size": size.patch,
            "initializer_range": size.vision_hidden**-0.5,
        },
        "scale_factor": 1,  # tokens that are pooled into one, along each edge
        "image_token_id": tokenizer.convert_tokens_to_ids(IMAGE),
        "pad_token_id": tokenizer.pad_token_id,
    }


def _longest(size: TinySize) -> dict[str, Any]:
    edge = {"longest_edge": size.image}
    return {"size": edge, "max_image_size": edge, "do_image_splitting": False}


def _square(size: TinySize) -> dict[str, Any]:
    return {"size": {"height": size.image, "width": size.image}}


def _cropped(size: TinySize) -> dict[str, Any]:
    return {
        "size": {"shortest_edge": size.image},
        "crop_size": {"height": size.image, "width": size.image},
    }


def _unsplit(size: TinySize) -> dict[str, Any]:
    return {"size": {"height": size.image, "width": size.image}, "max_patches": 1}


def _area(size: TinySize) -> dict[str, Any]:
    pixels = size.image**2
    return {
        "size": {"shortest_edge": pixels, "longest_edge": pixels},
        "patch_size": size.patch // 2,
        "merge_size": 2,
        "temporal_patch_size": 2,
    }


_QWEN = partial(
    TinyFamily,
    "<|vision_start|><|image_pad|><|vision_end|>",
    {
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start": "<|vision_start|>",
        "vision_end": "<|vision_end|>",
    },
)

FAMILIES: Mapping[str, TinyFamily] = {
    "gemma3": TinyFamily(
        BEGIN_IMAGE,
        {"image_token": IMAGE, "boi_token": BEGIN_IMAGE, "eoi_token": END_IMAGE},
        "Gemma3Processor",
        "Gemma3ImageProcessor",
        _gemma3,
        _square,
        lambda size, _: {"image_seq_length": size.tokens},
    ),
    "qwen2_vl": _QWEN(
        "Qwen2VLProcessor",
        "Qwen2VLImageProcessor",
        _qwen2_vl,
        _area,
        lambda _, library: {"video_processor": library.Qwen2VLVideoProcessor()},
    ),
    "qwen2_5_vl": _QWEN(
        "Qwen2_5_VLProcessor",
        "Qwen2VLImageProcessor",
        _qwen2_5_vl,
        _area,
        lambda _, library: {"video_processor": library.Qwen2VLVideoProcessor()},
    ),
    "qwen3_vl": _QWEN(
        "Qwen3VLProcessor",
        "Qwen2VLImageProcessor",
        _qwen3_vl,
        _area,
        lambda _, library: {"video_processor": library.Qwen3VLVideoProcessor()},
    ),
    "llava": TinyFamily(
        IMAGE,
        {"image_token": IMAGE},
        "LlavaProcessor",
        "CLIPImageProcessor",
        _llava,
        _cropped,
        lambda size, _: {
            "patch_size": size.patch,
            "vision_feature_select_strategy": "default",
            "num_additional_image_tokens": 1,  # the class token, which is not kept
        },
    ),
    "internvl": TinyFamily(
        "<IMG_CONTEXT>",
        {
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        "InternVLProcessor",
        "GotOcr2ImageProcessor",
        _internvl,
        _unsplit,
        lambda size, library: {
            "image_seq_length": size.tokens,
            "video_processor": library.InternVLVideoProcessor(),
        },
    ),
    "idefics3": TinyFamily(
        IMAGE,
        {
            "image_token": IMAGE,
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
        },
        "Idefics3Processor",
        "Idefics3ImageProcessor",
        _idefics3,
        _longest,
        lambda size, _: {"image_seq_len": size.tokens},
    ),
    "smolvlm": TinyFamily(
        IMAGE,
        {
            "image_token": IMAGE,
            "fake_image_token": "<fake_token_around_image>",
            "global_image_token": "<global-img>",
        },
        "SmolVLMProcessor",
        "SmolVLMImageProcessor",
        _idefics3,
        _longest,
        lambda size, library: {
            "image_seq_len": size.tokens,
            "video_processor": library.SmolVLMVideoProcessor(),
        },
    ),
}
"""Model type (as in the library's configs) -> what it takes to make a tiny one."""
