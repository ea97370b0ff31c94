"""TerraFM's encoder of Sentinel-2 images, level 2A.

Danish et al.: TerraFM, a scalable foundation model for unified multisensor Earth observation (ICLR
2026, arXiv 2506.06281).  Each sensor has a first layer of its own, to three times the width; a
projection brings it down; the rest is a vision transformer.  The layers of the other sensors are
left in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from selion.models.foundation.published import BLOCK, PublishedFile, blocks_of, check_image, named

_BANDS = 12
"""Sentinel-2's without the cirrus band."""
_OWN = {
    "patch_embed.s2_l2a_embed": "sensor",
    "patch_embed.projection.proj1.weight": "narrow.0.weight",
    **{
        f"patch_embed.{theirs}.{kind}": f"{ours}.{kind}"
        for theirs, ours in (
            ("conv2d_s2_l2a", "embed"),
            ("projection.norm_input", "narrow.1"),
            ("projection.proj2", "narrow.2"),
            ("projection.proj3", "narrow.3"),
        )
        for kind in ("weight", "bias")
    },
}
_FILE = PublishedFile(
    "TerraFM",
    ("cls_token", "pos_embed", *named("norm"), *_OWN),
    "blocks.{}.",
    BLOCK,
    (
        *(f"patch_embed.{of}" for of in ("conv2d_s1.", "conv2d_s2_l1c.", "s1_", "s2_l1c_")),
        "head.",
    ),
)


@dataclass(frozen=True, slots=True)
class TerraFmSize:
    """Sizes of TerraFM; the published base is the default."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    patch: int = 16
    seen: int = 256
    """Edge of the image in pixels."""
    trained: int = 224
    """Edge of the images that the positions were learnt on; those of another size lie between."""


class TerraFmEncoder(nn.Module):
    """TerraFM for Sentinel-2, level 2A.

    Parameters
    ----------
    size : TerraFmSize

    Notes
    -----
    Bands are B01 to B12 without B10, in that order.
    """

    def __init__(self, size: TerraFmSize = TerraFmSize()) -> None:
        super().__init__()
        self.size = size
        wide = 3 * size.width
        self.embed = nn.Conv2d(_BANDS, wide, size.patch, size.patch)
        self.sensor = nn.Parameter(torch.zeros(1, wide))
        self.narrow = nn.Sequential(
            nn.Linear(wide, wide, bias=False),
            nn.LayerNorm(wide),
            nn.Linear(wide, wide),
            nn.Linear(wide, size.width),
        )
        learnt, rows = size.trained // size.patch, size.seen // size.patch
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + learnt**2, size.width))
        self.blocks = blocks_of(size.width, size.depth, size.heads, 1e-6)
        self.norm = nn.LayerNorm(size.width, eps=1e-6)
        self.between: torch.Tensor
        self.register_buffer("between", _between(learnt, rows), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, band, y, x) -> (view, token, feature), row by row.

        Raises
        ------
        BadInput
            If the image has not the bands or the size.
        """
        check_image("TerraFM", image, _BANDS, self.size.seen)
        tokens = self.narrow(self.embed(image).flatten(2).transpose(1, 2) + self.sensor)
        tokens = tokens + self.between @ self.pos_embed[:, 1:]
        first = (self.cls_token + self.pos_embed[:, :1]).expand(tokens.shape[0], -1, -1)
        return self.norm(self.blocks(torch.cat([first, tokens], 1)))[:, 1:]


def _between(learnt: int, rows: int) -> torch.Tensor:
    """Return how positions of ``rows`` patches are made of learnt ones.

    Bicubic, with the scale that the authors' code asks for: a tenth of a patch is added to the
    number of patches, so that rounding cannot lose one.

    Returns
    -------
    torch.Tensor
        (token, learnt token)
    """
    one = torch.eye(learnt**2)
    if learnt == rows:
        return one
    scale = (rows + 0.1) / learnt
    shown = F.interpolate(
        one.reshape(1, learnt**2, learnt, learnt), scale_factor=(scale, scale), mode="bicubic"
    )
    return shown.reshape(learnt**2, rows**2).T.contiguous()


def read_terrafm(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Turn ``TerraFM-B.pth`` or ``TerraFM-L.pth`` into the weights of :class:`TerraFmEncoder`.

    Raises
    ------
    BadInput
        If a tensor of the encoder is missing, or one is there that the file has not.
    """
    given, _ = _FILE.take(state)
    return {_OWN.get(name, name): tensor for name, tensor in given.items()}
