"""Segment Anything fine-tuned for classes.

Its image encoder, its own mask decoder, and learnt prompts in the place of points, one set per
class.

Why its own decoder: its two-way attention and upsampling were trained on a billion masks and stay
useful, the new part is a few hundred numbers per class, and SAM and SAM 2 differ in nothing else.
PRUE (arXiv 2603.27101, Table 1, "SAM-FT") does otherwise: it keeps the points, trains image encoder
and mask decoder of ViT-H on instances, and asks with a grid of points at the end (pixel IoU 0.45,
object F1 0.37); with ``trained = "all"`` the same weights learn here, but what is learnt are the
classes of all pixels at once, and objects are found as for any other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import nn
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VisionConfig,
    SamConfig,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What both were trained with; pixels come in from 0 to 1."""
TRAINED = ("decoder", "all")
_UNUSED = (
    "iou_prediction_head",
    "pred_obj_score_head",
    *(f"output_hypernetworks_mlps.{k}" for k in (1, 2, 3)),
)
"""Parts of the decoder whose answers are not used: the quality of a mask, whether there is an
object, and the second to fourth mask of a prompt."""


@dataclass(frozen=True, slots=True)
class VitSize:
    """Numbers of SAM's encoder that differ between the published models.

    With them comes the rest of a tiny one for tests.
    """

    hidden: int
    layers: int
    heads: int
    whole: tuple[int, ...]
    """Layers that attend to the whole image."""
    window: int = 14
    width: int = 256
    """Channels of the embedding, and of the decoder."""


@dataclass(frozen=True, slots=True)
class HieraSize:
    """Numbers of SAM 2's encoder that differ between the published models."""

    widths: tuple[int, int, int, int]
    blocks: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    whole: tuple[int, ...]
    background: int = 7
    width: int = 256


SAM_SIZES: Mapping[str, VitSize] = {
    "base": VitSize(768, 12, 12, (2, 5, 8, 11)),
    "large": VitSize(1024, 24, 16, (5, 11, 17, 23)),
    "huge": VitSize(1280, 32, 16, (7, 15, 23, 31)),
    "test": VitSize(32, 2, 2, (1,), 2, 16),
}
SAM2_SIZES: Mapping[str, HieraSize] = {
    "tiny": HieraSize((96, 192, 384, 768), (1, 2, 7, 2), (1, 2, 4, 8), (8, 4, 14, 7), (5, 7, 9)),
    "small": HieraSize(
        (96, 192, 384, 768), (1, 2, 11, 2), (1, 2, 4, 8), (8, 4, 14, 7), (7, 10, 13)
    ),
    "base-plus": HieraSize(
        (112, 224, 448, 896), (2, 3, 16, 3), (2, 4, 8, 16), (8, 4, 14, 7), (12, 16, 20), 14
    ),
    "large": HieraSize(
        (144, 288, 576, 1152), (2, 6, 36, 4), (2, 4, 8, 16), (8, 4, 16, 8), (23, 33, 43)
    ),
    "test": HieraSize((8, 16, 32, 64), (1, 1, 2, 1), (1, 1, 2, 2), (4, 2, 4, 2), (3,), 7, 16),
}
"""Published sizes, and one small enough for tests."""


def make_sam(size: str, image_size: int = 1024) -> SamModel:
    """Build SAM of a published size, with random weights.

    Raises
    ------
    ValueError
        If there is no such size, or ``image_size`` is not a multiple of 16.
    """
    numbers = _size(SAM_SIZES, size, image_size, 16)
    vision = SamVisionConfig(
        hidden_size=numbers.hidden,
        num_hidden_layers=numbers.layers,
        num_attention_heads=numbers.heads,
        global_attn_indexes=list(numbers.whole),
        window_size=numbers.window,
        output_channels=numbers.width,
        num_pos_feats=numbers.width // 2,
        image_size=image_size,
        initializer_range=0.02,  # the published 1e-10 is meant for weights that are loaded
    )
    prompt = SamPromptEncoderConfig(hidden_size=numbers.width, image_size=image_size)
    config: Any = SamConfig(
        vision_config=vision,
        prompt_encoder_config=prompt,
        mask_decoder_config=SamMaskDecoderConfig(**_decoder(numbers.width)),
    )
    return SamModel(config)


def make_sam2(size: str, image_size: int = 1024) -> Sam2Model:
    """Build SAM 2 of a published size without its memory of earlier frames, with random weights.

    Raises
    ------
    ValueError
        If there is no such size, or ``image_size`` is not a multiple of 32.
    """
    numbers = _size(SAM2_SIZES, size, image_size, 32)
    backbone = Sam2HieraDetConfig(
        hidden_size=numbers.widths[0],
        image_size=[image_size, image_size],
        embed_dim_per_stage=list(numbers.widths),
        blocks_per_stage=list(numbers.blocks),
        num_attention_heads_per_stage=list(numbers.heads),
        window_size_per_stage=list(numbers.windows),
        global_attention_blocks=list(numbers.whole),
        window_positional_embedding_background_size=[numbers.background, numbers.background],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=list(numbers.widths[::-1]),
        backbone_feature_sizes=[[image_size // k, image_size // k] for k in (4, 8, 16)],
        fpn_hidden_size=numbers.width,
    )
    prompt = Sam2PromptEncoderConfig(hidden_size=numbers.width, image_size=image_size)
    # A mask that is chosen by its stability would make the answer jump between masks that learn and
    # masks that do not.
    decoder = Sam2MaskDecoderConfig(
        dynamic_multimask_via_stability=False, **_decoder(numbers.width)
    )
    config: Any = Sam2Config(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    return Sam2Model(config)


def _decoder(width: int) -> dict[str, Any]:
    return {"hidden_size": width, "mlp_dim": 8 * width, "iou_head_hidden_dim": width}


def _size(sizes: Mapping[str, Any], name: str, image_size: int, multiple: int) -> Any:
    if name not in sizes:
        raise ValueError(f"there is no size {name!r}; known are {', '.join(sizes)}")
    if image_size < multiple or image_size % multiple:
        raise ValueError(f"image_size = {image_size}; wanted is a multiple of {multiple}")
    return sizes[name]


class ClassPrompts(nn.Module):
    """SAM or SAM 2 that answers with classes.

    Parameters
    ----------
    model : SamModel or Sam2Model
    bands, classes : int
        Where the image has not three bands, a 1 x 1 convolution makes three of them; it starts as
        the first three.
    prompts : int
        Learnt prompt tokens per class.
    trained : {"decoder", "all"}
        Whether the image encoder learns too; frozen, it is always as in evaluation.
    """

    def __init__(
        self, model: Any, bands: int, classes: int, *, prompts: int = 2, trained: str = "decoder"
    ) -> None:
        super().__init__()
        if trained not in TRAINED or prompts < 1:
            raise ValueError(
                f"trained = {trained!r}, prompts = {prompts}; wanted are one of "
                f"{', '.join(TRAINED)}, and at least one prompt"
            )
        self.encoder, self.decoder, self.position = (
            model.vision_encoder,
            model.mask_decoder,
            model.shared_image_embedding,
        )
        width = model.config.prompt_encoder_config.hidden_size
        self.unmasked = model.prompt_encoder.no_mask_embed
        self.memoryless = model.no_memory_embedding if isinstance(model, Sam2Model) else None
        self.prompts = nn.Parameter(0.02 * torch.randn(classes, prompts, width))
        self.bands = nn.Identity() if bands == 3 else _first_three(bands)
        self._edge = int(model.config.prompt_encoder_config.image_size)
        self._frozen = trained != "all"
        self.encoder.requires_grad_(not self._frozen)
        for name, part in self.decoder.named_parameters():
            part.requires_grad_(not name.startswith(_UNUSED))
        self.train(self.training)

    def train(self, mode: bool = True) -> ClassPrompts:  # torch's own signature
        """Set the mode of all but a frozen encoder."""
        super().train(mode)
        if self._frozen:
            self.encoder.eval()
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) from 0 to 1 -> (view, class, y, x) logits."""
        three = self.bands(image)
        mean, deviation = (
            torch.tensor(values, device=image.device, dtype=image.dtype)[:, None, None]
            for values in (MEAN, DEVIATION)
        )
        square = F.interpolate(
            (three - mean) / deviation,
            (self._edge, self._edge),
            mode="bilinear",
            align_corners=False,
        )
        fine, seen = self._see(square)
        # (view, class, token, feature)
        prompts = self.prompts[None].expand(image.shape[0], -1, -1, -1)
        answer = self.decoder(
            image_embeddings=seen,
            image_positional_embeddings=self._places(seen).expand(image.shape[0], -1, -1, -1),
            sparse_prompt_embeddings=prompts,
            dense_prompt_embeddings=self.unmasked.weight.reshape(1, -1, 1, 1).expand_as(seen),
            multimask_output=False,
            **({"high_resolution_features": fine} if fine else {}),
        )
        return F.interpolate(
            answer[0][:, :, 0], image.shape[2:], mode="bilinear", align_corners=False
        )

    def _see(self, square: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the finer features that SAM 2's decoder takes too, and the embedding."""
        # Below the encoder nothing learns but the bands; where there are none to learn, no graph is
        # kept.
        with torch.set_grad_enabled(
            torch.is_grad_enabled() and (square.requires_grad or not self._frozen)
        ):
            if self.memoryless is None:
                return [], self.encoder(square).last_hidden_state
            levels = list(self.encoder(square).fpn_hidden_states)
        return [self.decoder.conv_s0(levels[0]), self.decoder.conv_s1(levels[1])], levels[
            2
        ] + self.memoryless.reshape(1, -1, 1, 1)

    def _places(self, seen: torch.Tensor) -> torch.Tensor:
        """Return (1, feature, y, x): where each cell of the embedding is."""
        cells = torch.ones(seen.shape[2:], device=seen.device, dtype=seen.dtype)
        y, x = ((cells.cumsum(axis) - 0.5) / seen.shape[2 + axis] for axis in (0, 1))
        return self.position(torch.stack([x, y], -1)).permute(2, 0, 1)[None]


def _first_three(bands: int) -> nn.Conv2d:
    """Return a 1 x 1 convolution to three channels that starts as the first bands.

    They are the only ones, repeated, where there are fewer.
    """
    mix = nn.Conv2d(bands, 3, 1)
    with torch.no_grad():
        mix.weight.zero_()
        mix.bias.zero_()  # type: ignore[union-attr]
        for k in range(3):
            mix.weight[k, min(k, bands - 1)] = 1
    return mix


MAKERS = {"sam": make_sam, "sam2": make_sam2}


def make_class_prompts(
    kind: Literal["sam", "sam2"],
    bands: int,
    classes: int,
    weights: str = "",
    *,
    size: str = "",
    image_size: int = 1024,
    prompts: int = 2,
    trained: str = "decoder",
) -> ClassPrompts:
    """Build SAM or SAM 2 for classes.

    Parameters
    ----------
    kind : {"sam", "sam2"}
    bands, classes : int
    weights : str
        Folder of a checkpoint, or name of a fetched model; empty: random ones.
    size : str
        Of :data:`SAM_SIZES` or :data:`SAM2_SIZES`; empty: the smallest published.
    image_size : int
        Edge in pixels to which windows are resized; less than the published 1024 is faster, and
        positions are interpolated.
    prompts, trained
        See :class:`ClassPrompts`.

    Raises
    ------
    ValueError
        If a value cannot be used, or the weights do not fit.
    UnknownName, UnreadableFile, BadInput
        If there are no such weights.
    """
    model: Any = MAKERS[kind](size or ("base" if kind == "sam" else "tiny"), image_size)
    if weights:
        _start_from(model, kind, weights)
    return ClassPrompts(model, bands, classes, prompts=prompts, trained=trained)


def _start_from(model: nn.Module, kind: str, weights: str) -> None:
    from selion.models.objects import check_here
    from selion.models.registry import find_card
    from selion.models.sam.network import load_prompted

    loaded = load_prompted(Path(check_here(find_card(weights))))
    if loaded.kind.family != kind:
        raise ValueError(
            f"the weights {weights!r} are those of {loaded.kind.family}, not of {kind}"
        )
    wanted, state = model.state_dict(), loaded.model.state_dict()
    fitted = {
        name: _fitted(name, tensor, wanted[name].shape)
        for name, tensor in state.items()
        if name in wanted
    }
    model.load_state_dict(fitted, strict=True)


def _fitted(name: str, tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Interpolate positions to another image size; what else differs is another size of model."""
    if tensor.shape == tuple(shape):
        return tensor
    # (1, y, x, feature)
    if name.endswith("pos_embed") and tensor.ndim == 4 and tensor.shape[-1] == shape[-1]:
        return F.interpolate(
            tensor.permute(0, 3, 1, 2), tuple(shape[1:3]), mode="bicubic", align_corners=False
        ).permute(0, 2, 3, 1)
    if ".rel_pos_" in name and tensor.shape[1] == shape[1]:  # (2 n - 1, feature)
        return F.interpolate(tensor.T[None], shape[0], mode="linear", align_corners=False)[0].T
    raise ValueError(
        f"the weights have {name} of shape {tuple(tensor.shape)}, the architecture {tuple(shape)}: "
        "name the size that the weights have"
    )
