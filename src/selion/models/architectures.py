"""Architectures as data.

A family's name -> what builds it, the options it knows, and the window sizes it takes.

segmentation_models_pytorch gives U-Net and its kin, FPN, DeepLabV3+, UPerNet and SegFormer (from
0.4), DPT (from 0.5) and, through the prefix ``tu-``, the encoders of timm.  It has no FCN, no UNETR
and no network for two dates or more; those are :mod:`~selion.models.fcn.network`,
:mod:`~selion.models.unetr.network`, :mod:`~selion.models.siamese.network`,
:mod:`~selion.models.dates.network`, :mod:`~selion.models.fractal.network`,
:mod:`~selion.models.foundation.network`, :mod:`~selion.models.mask2former.network`,
:mod:`~selion.models.referring.network` and :mod:`~selion.models.vit_adapter`, each in a few lines
over its library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from selion.errors import BadInput, UnknownName
from selion.extras import require
from selion.models.foundation.cards import check_fed, encoder_cards
from selion.models.mask2former.inference import KEYS as INFERENCE
from selion.models.mask2former.inference import panoptic_options
from selion.segmenter import InputSpec

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Family:
    """One kind of network."""

    make: Callable[..., Any]
    """(bands, classes, weights, **options) -> torch.nn.Module; ``encoder`` is among the options
    where the family has one."""
    options: tuple[str, ...] = ()
    """Keys of the architecture beside ``family`` and ``encoder``."""
    encoders: Literal["", "smp", "timm", "foundation"] = "smp"
    """Whose names ``encoder`` is one of: smp's (with ``tu-`` before timm's), timm's, those of
    foundation models and timm's, or none."""
    presets: Mapping[str, Any] = field(default_factory=dict)
    """Options that are not left at the library's own defaults."""
    multiple: Callable[[Mapping[str, Any]], int] = lambda _: 1
    """The windows must be a multiple of this many pixels, whatever else the card says."""
    fixed: bool = False
    """Takes only windows of the size it was exported at: its positions are counted."""
    checkpoints: bool = False
    """Whether it starts from a whole published checkpoint, a folder or a fetched model, instead of
    from an encoder's weights."""
    check: Callable[[Mapping[str, Any], InputSpec], None] = lambda _, __: None
    """Refuses inputs that the network would misread."""
    sets: bool = False
    """Takes any number of dates at once, in any order."""
    kept_as: str = ""
    """How its trained networks are written, where that is not as weights and a graph: the format
    that their cards say."""
    torch_only: str | Callable[[Mapping[str, Any]], str] = ""
    """Why its graph is not to be run by other engines, of all or of an architecture; empty: they
    agree."""


def _smp(
    kind: str, bands: int, classes: int, weights: str, encoder: str, **options: Any
) -> torch.nn.Module:
    """Build a class of segmentation_models_pytorch."""
    smp = require("segmentation_models_pytorch", "train")
    return getattr(smp, kind)(
        encoder,
        encoder_weights=encoder_weights(encoder, weights),
        in_channels=bands,
        classes=classes,
        **options,
    )


def encoder_weights(encoder: str, weights: str) -> str | bool | None:
    """Say how smp wants to be asked for published weights.

    By name, or for timm's encoders by True, as their name holds the tag.
    """
    return (True if encoder.startswith("tu-") else weights) if weights else None


def _siamese(
    fusion: str, bands: int, classes: int, weights: str, encoder: str, **options: Any
) -> torch.nn.Module:
    require("segmentation_models_pytorch", "train")
    from selion.models.siamese.network import make_siamese

    return make_siamese(
        fusion, bands, classes, encoder, encoder_weights(encoder, weights), **options
    )


def _dates(bands: int, classes: int, weights: str, encoder: str, **options: Any) -> torch.nn.Module:
    require("segmentation_models_pytorch", "train")
    from selion.models.dates.network import make_dates

    return make_dates(bands, classes, encoder, encoder_weights(encoder, weights), **options)


def _fcn(bands: int, classes: int, weights: str, **options: Any) -> torch.nn.Module:
    _refuse_weights("fcn", weights)
    require("torch", "train")
    from selion.models.fcn.network import Fcn

    return Fcn(bands, classes, **options)


def _unetr(bands: int, classes: int, weights: str, encoder: str, **options: Any) -> torch.nn.Module:
    require("timm", "train")
    from selion.models.unetr.network import Unetr

    return Unetr(bands, classes, encoder, pretrained=bool(weights), **options)


def _decode(bands: int, classes: int, weights: str, **options: Any) -> torch.nn.Module:
    _refuse_weights("decode", weights)
    require("torch", "train")
    from selion.models.fractal.network import FracTalResUnet

    return FracTalResUnet(bands, classes, **options)


def _decode_multiple(architecture: Mapping[str, Any]) -> int:
    from selion.models.fractal.network import decode_multiple

    return decode_multiple(int(architecture.get("depth", 6)), int(architecture.get("pyramid", 4)))


def _frozen(
    bands: int, classes: int, weights: str, encoder: str, **options: Any
) -> torch.nn.Module:
    require("timm", "train")
    from selion.models.foundation.network import frozen_timm, named_encoder

    if encoder in encoder_cards():  # its weights are put in afterwards, see selion.models.network
        return named_encoder(bands, classes, encoder, **options)
    return frozen_timm(bands, classes, encoder, pretrained=bool(weights), **options)


def _mask2former(bands: int, classes: int, weights: str, **options: Any) -> torch.nn.Module:
    _refuse_weights("mask2former", weights)
    require("transformers", "train")
    from selion.models.mask2former.network import DecoderSize, SwinSize, make_mask2former

    panoptic_options(_take(INFERENCE, options))
    swin = _take(_SWIN, options)
    return make_mask2former(bands, classes, SwinSize(**swin), DecoderSize(**options))


def _adapter(
    bands: int, classes: int, weights: str, encoder: str, **options: Any
) -> torch.nn.Module:
    require("timm", "train")
    from selion.models.vit_adapter.network import AdapterOptions, make_adapter

    asked = panoptic_options(_take(INFERENCE, options))
    if asked and options.get("head") != "mask2former":
        raise BadInput(
            "inference = 'panoptic' was asked of a network that answers per pixel: take head = "
            "'mask2former', or omit it."
        )
    head, vit = _take(_ADAPTER_HEAD, options), _take(_VIT, options)
    return make_adapter(
        bands,
        classes,
        encoder,
        AdapterOptions(**options),
        pretrained=bool(weights),
        head=head,
        vit=vit,
    )


def _take(keys: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """Take the options of these keys out of others."""
    return {key: options.pop(key) for key in keys if key in options}


def _segment_anything(
    kind: Literal["sam", "sam2"], bands: int, classes: int, weights: str, **options: Any
) -> torch.nn.Module:
    require("transformers", "train")
    from selion.models.sam.semantic import make_class_prompts

    return make_class_prompts(kind, bands, classes, weights, **options)


def _referring(
    kind: str, bands: int, classes: int, weights: str, **options: Any
) -> torch.nn.Module:
    require("transformers", "train")
    from selion.models.referring.network import make_referring

    return make_referring(kind, bands, classes, weights, **options)


def _embedded(bands: int, classes: int, weights: str, **options: Any) -> torch.nn.Module:
    if weights:
        raise BadInput(
            f"model.pretrained = {weights!r} was given, and the family 'embedded' is put together "
            "of two models: name them by model.architecture.vlm and .sam."
        )
    require("transformers", "language")
    from selion.models.embedded.making import make_embedded

    return make_embedded(bands, classes, **options)


def _patch(architecture: Mapping[str, Any]) -> int:
    """Return the patch of a transformer in pixels.

    What is said, or what the name of its encoder says; 16 if neither does.
    """
    found = re.search(r"patch(\d+)", str(architecture.get("encoder", "")))
    return int(architecture.get("patch_size") or (found[1] if found else 16))


def _refuse_weights(family: str, weights: str) -> None:
    if weights:
        raise BadInput(
            f"The family {family!r} has no encoder with {weights} weights: take model.pretrained = "
            "'' instead."
        )


_UNET = (
    "encoder_depth",
    "decoder_channels",
    "decoder_use_norm",
    "decoder_attention_type",
    "decoder_interpolation",
)
_DEEPLAB = (
    "encoder_depth",
    "encoder_output_stride",
    "decoder_channels",
    "decoder_atrous_rates",
    "decoder_aspp_separable",
    "decoder_aspp_dropout",
)
_FPN = (
    "encoder_depth",
    "decoder_pyramid_channels",
    "decoder_segmentation_channels",
    "decoder_merge_policy",
    "decoder_dropout",
    "decoder_interpolation",
)
_DPT = (
    "encoder_depth",
    "encoder_output_indices",
    "decoder_readout",
    "decoder_intermediate_channels",
    "decoder_fusion_channels",
    "dynamic_img_size",
    "img_size",
    "patch_size",
    "embed_dim",
    "num_heads",
)
_VIT = ("img_size", "patch_size", "embed_dim", "depth", "num_heads")
_FROZEN = (
    "head",
    "fused",
    "hidden",
    "detail",
    "trainable",
    "seen",
    "encoder_bands",
    *_VIT,
    "date",
    "feed",
    "window",
    "size",
)
_SWIN = ("embed_dim", "depths", "num_heads", "window_size")
_MASK2FORMER = (
    "queries",
    "hidden",
    *_SWIN,
    "decoder_layers",
    "encoder_layers",
    "feedforward",
    "mask_feature_size",
    *INFERENCE,
)
_ADAPTER_HEAD = ("hidden", "queries", "encoder_layers", "decoder_layers", "feedforward")
_ADAPTER = (
    "upsampler",
    "norm",
    "points",
    "deform_heads",
    "ratio",
    "drop_path",
    "recompute",
    "head",
    *INFERENCE,
    *_ADAPTER_HEAD,
    *_VIT,
)
_SEGMENT_ANYTHING = ("size", "image_size", "prompts", "trained")
_REFERRING = (
    "phrases",
    *_SWIN,
    "text_hidden",
    "text_layers",
    "text_heads",
    "vocabulary",
    "drop_path",
)
_REGIONS = ("hidden", "regions", "layers", "encoder_layers", "heads", "feedforward")
_EMBEDDED = ("phrases", "vlm", "sam", "learns", "instruction", "reject", "lora")
_ASKED = "its phrases are read by a language model at each call, which was tried in torch only"
_MASKED = (
    "Mask2Former looks only where its last mask is above one half, and OpenVINO answers NaN where "
    "ONNX Runtime and torch differ by rounding"
)

FAMILIES: dict[str, Family] = {
    "unet": Family(partial(_smp, "Unet"), _UNET),
    # The code of PRUE calls a U-Net with its decoder widths reversed unet_r; Table 5's row "UNETR"
    # can only be this one.
    "unet_r": Family(
        partial(_smp, "Unet"), _UNET, presets={"decoder_channels": (16, 32, 64, 128, 256)}
    ),
    "unet++": Family(partial(_smp, "UnetPlusPlus"), _UNET),
    "manet": Family(
        partial(_smp, "MAnet"),
        (
            "encoder_depth",
            "decoder_channels",
            "decoder_use_norm",
            "decoder_pab_channels",
            "decoder_interpolation",
        ),
    ),
    "linknet": Family(partial(_smp, "Linknet"), ("encoder_depth", "decoder_use_norm")),
    "fpn": Family(partial(_smp, "FPN"), _FPN),
    "deeplabv3+": Family(partial(_smp, "DeepLabV3Plus"), _DEEPLAB),
    "upernet": Family(
        partial(_smp, "UPerNet"),
        ("encoder_depth", "decoder_channels", "decoder_use_norm", "upsampling"),
    ),
    "segformer": Family(
        partial(_smp, "Segformer"), ("encoder_depth", "decoder_segmentation_channels", "upsampling")
    ),
    "dpt": Family(
        partial(_smp, "DPT"),
        _DPT,
        presets={"dynamic_img_size": True},
        multiple=_patch,
        fixed=True,
    ),
    "unetr": Family(
        _unetr,
        ("channels", *_VIT),
        "timm",
        multiple=_patch,
        fixed=True,
    ),
    "fcn": Family(_fcn, ("filters",), ""),
    "fcsiamconc": Family(partial(_siamese, "conc"), _UNET),
    "fcsiamdiff": Family(partial(_siamese, "diff"), _UNET),
    "fcsiamavg": Family(partial(_siamese, "avg"), _UNET),
    "dates": Family(_dates, _UNET, sets=True),
    "decode": Family(
        _decode,
        ("filters", "depth", "heads", "widths", "pyramid", "tanimoto_depth", "norm_groups"),
        "",
        multiple=_decode_multiple,
    ),
    "frozen": Family(_frozen, _FROZEN, "foundation", fixed=True, check=check_fed),
    "mask2former": Family(
        _mask2former, _MASK2FORMER, "", multiple=lambda _: 32, fixed=True, torch_only=_MASKED
    ),
    "vit-adapter": Family(
        _adapter,
        _ADAPTER,
        "timm",
        multiple=_patch,
        fixed=True,
        torch_only=lambda said: _MASKED if said.get("head") == "mask2former" else "",
    ),
    "lavt": Family(
        partial(_referring, "lavt"),
        _REFERRING,
        "",
        multiple=lambda _: 32,
        fixed=True,
        checkpoints=True,
        torch_only=_ASKED,
    ),
    "gres": Family(
        partial(_referring, "gres"),
        (*_REFERRING, *_REGIONS),
        "",
        multiple=lambda _: 32,
        fixed=True,
        checkpoints=True,
        torch_only=_ASKED,
    ),
    "embedded": Family(_embedded, _EMBEDDED, "", torch_only=_ASKED, kept_as="embedded"),
    "sam": Family(
        partial(_segment_anything, "sam"), _SEGMENT_ANYTHING, "", fixed=True, checkpoints=True
    ),
    "sam2": Family(
        partial(_segment_anything, "sam2"), _SEGMENT_ANYTHING, "", fixed=True, checkpoints=True
    ),
}
"""Family -> what builds it.  The names are those of published checkpoints where there are some."""


def find_family(architecture: Mapping[str, Any]) -> Family:
    """Look up an architecture's family, and check that its other keys are known.

    Raises
    ------
    UnknownName
        If the family or a key is not known; the nearest one is offered.
    """
    name = str(architecture.get("family", ""))
    if name not in FAMILIES:
        raise UnknownName.among("architecture", name, FAMILIES)
    family = FAMILIES[name]
    known = ("family", *(("encoder",) if family.encoders else ()), *family.options)
    for key in architecture:
        if key not in known:
            raise UnknownName.among("architecture key", key, known)
    return family


def torch_only(architecture: Mapping[str, Any]) -> str:
    """Say why the graph of an architecture is run by torch only.

    Empty if every engine may, or the family is not known.
    """
    family = FAMILIES.get(str(architecture.get("family", "")))
    said = family.torch_only if family else ""
    return said(architecture) if callable(said) else said


def check_encoder(name: str, source: str) -> None:
    """Refuse an encoder that the library does not have.

    Raises
    ------
    BadInput
        If none is named.
    UnknownName
        If there is none of that name; the nearest one is offered.
    """
    if not name:
        example = "efficientnet-b3" if source == "smp" else "vit_small_patch16_224"
        raise BadInput(f"The architecture names no encoder: wanted is a name such as {example!r}.")
    if source == "foundation" and name in encoder_cards():
        return
    smp, timm = require("segmentation_models_pytorch", "train"), require("timm", "train")
    if source in {"timm", "foundation"}:
        if not timm.is_model(name):
            named = encoder_cards() if source == "foundation" else ()
            raise UnknownName.among("encoder", name, [*named, *timm.list_models()])
    elif name.startswith("tu-"):
        if not timm.is_model(name.removeprefix("tu-")):
            raise UnknownName.among(
                "encoder", name, [f"tu-{known}" for known in timm.list_models()]
            )
    elif name not in smp.encoders.get_encoder_names():
        raise UnknownName.among("encoder", name, smp.encoders.get_encoder_names())


def build(
    architecture: Mapping[str, Any], in_channels: int, classes: int, weights: str = ""
) -> torch.nn.Module:
    """Build the network that a card describes.

    Parameters
    ----------
    architecture : mapping
        ``family``, ``encoder`` where the family has one, and the family's options.
    in_channels, classes : int
    weights : str
        Name of published weights for the encoder; empty: random ones.  Errors of their download are
        the library's own; :func:`selion.models.build_network` explains them.

    Raises
    ------
    UnknownName
        If the family, the encoder or a key is not known.
    BadInput
        If a value cannot be used, or no encoder is named.
    """
    family = find_family(architecture)
    options = {**family.presets, **architecture}
    del options["family"]
    if family.encoders:
        check_encoder(str(architecture.get("encoder", "")), family.encoders)
    try:
        return family.make(in_channels, classes, weights, **options)
    except (ValueError, TypeError) as error:
        said = ", ".join(f"{key} = {value!r}" for key, value in architecture.items())
        raise BadInput(
            f"The architecture {said} cannot be built for {in_channels} bands: {str(error).strip()}"
        ) from error


def check_window(architecture: Mapping[str, Any], inputs: InputSpec) -> None:
    """Refuse windows that the network cannot take, before it is trained or exported.

    Raises
    ------
    BadInput
        If the multiple of the windows is not one of the network's, or the network takes one size
        only and others are allowed, or a set of dates is to be shown to one of fixed bands, or
        bands and scaling are not those that its encoder is fed.
    UnknownName
        As :func:`find_family`.
    """
    family = find_family(architecture)
    multiple, name = family.multiple(architecture), architecture["family"]
    if inputs.multiple % multiple:
        raise BadInput(
            f"The family {name!r} wants windows that are a multiple of {multiple} px; "
            f"{inputs.multiple} was given: set input.multiple = {multiple}."
        )
    if family.fixed and inputs.multiple != inputs.window:
        raise BadInput(
            f"The family {name!r} takes windows of one size only: set input.multiple = "
            f"input.window (given are {inputs.multiple} and {inputs.window})."
        )
    if inputs.dates and not family.sets:
        sets = ", ".join(repr(one) for one, known in FAMILIES.items() if known.sets)
        raise BadInput(
            f"The family {name!r} takes a fixed number of bands, but input.dates = "
            f"{inputs.dates!r} was given: take the family {sets}, or leave input.dates out."
        )
    family.check(architecture, inputs)
