"""ViT-Adapter: transformer, pyramid, interactions, their sum, a head.

Chen et al.: Vision transformer adapter for dense predictions (ICLR 2023, arXiv 2205.08534); with
FADE in the place of its bilinear steps it is the network of DepthCropSeg++.  Its reference size
(BEiT-L at 896 px, Mask2Former of 1,024 channels and 200 queries) has 570.593 M parameters.

Departures: BatchNorm or GroupNorm for SyncBN; tokens of patches other than 16 px are brought to
1/16 of the image bilinearly; the sizes of the image need only be multiples of the patch; a ViT
keeps its class and register tokens (only the BEiT of the paper's code does).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from selion.errors import UnknownName
from selion.models.vit_adapter.attention import Shape
from selion.models.vit_adapter.backbone import Backbone
from selion.models.vit_adapter.heads import HEADS, Head
from selion.models.vit_adapter.interaction import (
    NORMS,
    Extractor,
    Injector,
    SpatialPrior,
    to_maps,
    to_tokens,
)
from selion.models.vit_adapter.upsample import UPSAMPLERS, Resized, Stepwise, added, resize

if TYPE_CHECKING:
    from selion.models.mask2former.network import SetAnswer

INTERACTIONS = 4
"""Groups of blocks, each with an exchange between tokens and pyramid: the paper's N = 4."""


@dataclass(frozen=True, slots=True)
class AdapterOptions:
    """What a ViT-Adapter is beside its transformer and the sizes of its head.

    Raises
    ------
    UnknownName
        If there is no such head, upsampler or norm.
    """

    head: str = "pixel"
    """"pixel" or "mask2former"."""
    upsampler: str = "fade"
    """"fade", "carafe", "dysample" or "bilinear"."""
    norm: str = "batch"
    """"batch" or "group"."""
    points: int = 4
    """Places of the deformable attention for each head and level."""
    deform_heads: int = 0
    """Its heads; 0: as many as the transformer has."""
    ratio: float = 0.5
    """Features of its values, as a share of the width."""
    drop_path: float = 0.0
    """Of the transformer's last block and of the extractors; it rises along the transformer, as in
    timm."""
    recompute: bool = False
    """Less memory in training, for a third more time: compute again in the backward pass what else
    would be kept."""

    def __post_init__(self) -> None:
        for kind, given, known in (
            ("head", self.head, HEADS),
            ("upsampler", self.upsampler, [*UPSAMPLERS, "bilinear"]),
            ("norm", self.norm, NORMS),
        ):
            if given not in known:
                raise UnknownName.among(kind, given, known)


class Interaction(nn.Module):
    """Injector, some blocks of the transformer, extractors (section 3.4, figure 4).

    The blocks stay the backbone's.

    Parameters
    ----------
    width, heads, points, ratio
        Of the deformable attention.
    extractors : int
        1; the last interaction has 3.
    drop_path : float
        Of the extractors.
    """

    def __init__(
        self, width: int, heads: int, points: int, ratio: float, extractors: int, drop_path: float
    ) -> None:
        super().__init__()
        self.injector = Injector(width, heads, points, ratio)
        self.extractors = nn.ModuleList(
            Extractor(width, heads, points, ratio, drop_path) for _ in range(extractors)
        )

    def extract(
        self, pyramid: torch.Tensor, shapes: Sequence[Shape], tokens: torch.Tensor, grid: Shape
    ) -> torch.Tensor:
        """Run all extractors."""
        for extractor in self.extractors:
            pyramid = extractor(pyramid, shapes, tokens, grid)
        return pyramid


class Adapter(nn.Module):
    """What is neither transformer nor head.

    Parameters
    ----------
    backbone : Backbone
        Only its sizes are read: it is not part of this module.
    bands : int
    options : AdapterOptions

    Raises
    ------
    ValueError
        If the transformer has fewer blocks than there are interactions, or widths do not divide.
    """

    def __init__(self, backbone: Backbone, bands: int, options: AdapterOptions) -> None:
        super().__init__()
        width, heads = backbone.width, options.deform_heads or backbone.heads
        norm = NORMS[options.norm]
        if backbone.depth < INTERACTIONS:
            raise ValueError(
                f"{backbone.depth} blocks were given; ViT-Adapter wants {INTERACTIONS} or more"
            )
        self.prior = SpatialPrior(bands, width, norm)
        self.level = nn.Parameter(torch.randn(3, width))
        counts = [1] * (INTERACTIONS - 1) + [3]
        self.interactions: Any = nn.ModuleList(
            Interaction(width, heads, options.points, options.ratio, count, options.drop_path)
            for count in counts
        )
        self.up = nn.ConvTranspose2d(width, width, 2, 2)
        make: Callable[..., nn.Module] = (
            Resized
            if options.upsampler == "bilinear"
            else partial(Stepwise, UPSAMPLERS[options.upsampler])
        )
        self.fuse = make(width, recompute=options.recompute)
        self.norms = nn.ModuleList(norm(width) for _ in range(4))
        self.recompute = options.recompute

    def forward(self, image: torch.Tensor, backbone: Backbone) -> list[torch.Tensor]:
        """(view, band, y, x) -> four (view, width, y, x).

        They are of 1/4, 1/8, 1/16 and 1/32 of the image, rounded up.
        """
        finest, *coarser = self.prior(image)
        shapes = [(int(level.shape[2]), int(level.shape[3])) for level in coarser]
        pyramid = torch.cat(
            [to_tokens(level) + self.level[k] for k, level in enumerate(coarser)], 1
        )
        tokens, grid = backbone.embed(image)
        seen = []
        for interaction, blocks in zip(
            self.interactions, np.array_split(np.arange(backbone.depth), INTERACTIONS), strict=True
        ):
            tokens = self._inject(interaction, tokens, backbone.prefix, grid, pyramid, shapes)
            tokens = backbone.run(tokens, int(blocks[0]), int(blocks[-1]) + 1, grid)
            pyramid = self._again(
                interaction.extract, pyramid, shapes, tokens[:, backbone.prefix :], grid
            )
            seen.append(to_maps(tokens[:, backbone.prefix :], [grid])[0])
        return self._merge(finest, to_maps(pyramid, shapes), seen)

    def _inject(
        self,
        interaction: Any,
        tokens: torch.Tensor,
        prefix: int,
        grid: Shape,
        pyramid: torch.Tensor,
        shapes: Sequence[Shape],
    ) -> torch.Tensor:
        """Inject into the tokens that have a place; class and register tokens have none."""
        placed = self._again(interaction.injector, tokens[:, prefix:], grid, pyramid, shapes)
        return torch.cat([tokens[:, :prefix], placed], 1) if prefix else placed

    def _again(self, step: Callable[..., torch.Tensor], *given: Any) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(step, *given, use_reentrant=False)
        return step(*given)

    def _merge(
        self, finest: torch.Tensor, coarser: list[torch.Tensor], seen: list[torch.Tensor]
    ) -> list[torch.Tensor]:
        """Add the transformer's four maps to the pyramid's: the first to the finest."""
        finer, middle, coarse = coarser
        finest = finest + self.up(finer)[..., : finest.shape[2], : finest.shape[3]]
        first, second, fourth = (resize(seen[k], middle) for k in (0, 1, 3))
        finest, finer = self.fuse(finest, finer, first, second)
        maps = (finest, finer, added(seen[2], middle), added(fourth, coarse))
        return [norm(level) for norm, level in zip(self.norms, maps, strict=True)]


class AdapterSegmenter(nn.Module):
    """Backbone, adapter and head.

    Parameters
    ----------
    backbone : Backbone
    adapter : Adapter
    head : Head
        Of :data:`selion.models.vit_adapter.heads.HEADS`.
    """

    def __init__(self, backbone: Backbone, adapter: Adapter, head: Head) -> None:
        super().__init__()
        self.backbone, self.adapter, self.head = backbone, adapter, head

    def forward(self, image: torch.Tensor, raw: bool = False) -> torch.Tensor | SetAnswer:
        """Answer views.

        Parameters
        ----------
        image : (view, band, y, x) float32 tensor
            Height and width are multiples of the patch.
        raw : bool
            With the head "mask2former": answer the queries themselves, as the set loss wants them.

        Returns
        -------
        (view, class, y, x) float32 tensor, or SetAnswer
            Logits.

        Raises
        ------
        BadInput
            If the size is no multiple of the patch, or ``raw`` is asked of a head that has no
            queries.
        """
        maps = self.adapter(image, self.backbone)
        return self.head.answer(maps) if raw else self.head(maps, image)


def make_adapter(
    bands: int,
    classes: int,
    encoder: str,
    options: AdapterOptions,
    *,
    pretrained: bool = False,
    head: Mapping[str, Any] | None = None,
    vit: Mapping[str, Any] | None = None,
) -> AdapterSegmenter:
    """Build a ViT-Adapter of any size.

    Parameters
    ----------
    bands, classes : int
    encoder : str
        timm's name, see :class:`~selion.models.vit_adapter.backbone.Backbone`.
    options : AdapterOptions
    pretrained : bool
        Load the encoder's published weights.
    head : mapping, optional
        Of the head: ``hidden``, and ``queries``, ``encoder_layers``, ``decoder_layers``,
        ``feedforward`` where it has queries.
    vit : mapping, optional
        Of timm: ``img_size``, ``patch_size``, ``embed_dim``, ``depth``, ``num_heads``.

    Raises
    ------
    ValueError
        If an option is not the head's, the encoder cannot be adapted, or widths do not divide.
    """
    head = head or {}
    foreign = sorted(set(head) - {"hidden"}) if options.head == "pixel" else []
    if foreign:
        raise ValueError(
            f"the head 'pixel' has no {', '.join(foreign)}: take head = 'mask2former', or leave it "
            "out"
        )
    backbone = Backbone(
        encoder,
        bands,
        pretrained=pretrained,
        recompute=options.recompute,
        drop_path_rate=options.drop_path,
        **(vit or {}),
    )
    adapter = Adapter(backbone, bands, options)
    return AdapterSegmenter(
        backbone,
        adapter,
        HEADS[options.head](backbone.width, classes, NORMS[options.norm], **head),
    )
