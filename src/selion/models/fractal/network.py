"""FracTAL ResUNet with conditioned heads, the network of DECODE.

Diakogiannis, Waldner, Caccetta: Looking for change? Roll the dice and demand attention (2021) for
the attention; Waldner et al.: Detect, consolidate, delineate (Remote Sensing 13, 2197, 2021) for
the network and its three answers.  Defaults are those that PRUE compared with (arXiv 2603.27101,
Table 1: 64.8 M parameters): 32 filters, six levels, pyramids of four levels; only that it
normalised in groups of 4 where the paper does by batch.

Its three heads depend on each other in this order: distance to the boundary, boundary (it sees the
distance), extent (it sees both).  A plain call answers the extent, one channel per class, so that
it runs as any other network; ``network(image, raw=True)`` answers all three, for
:func:`selion.training.decode.decode_loss`, which teaches them (:func:`tanimoto` is the similarity
of the attention).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from selion.errors import BadInput

_CRISP = 1e-2
"""Least width of the boundary's sigmoid."""


def tanimoto(
    one: torch.Tensor,
    other: torch.Tensor,
    dims: int | Sequence[int],
    depth: int = 5,
    smooth: float = 1e-5,
) -> torch.Tensor:
    """Fractal Tanimoto similarity with complement of two fuzzy sets.

    ``T_d = (pl + s) / (2**d (pp + ll) - (2**(d+1) - 1) pl + s)`` with sums ``pl``, ``pp``, ``ll``
    over ``dims``, averaged over ``d < depth`` and over the sets and their complements; 1 for equal
    sets.

    Parameters
    ----------
    one, other : float tensors
        From 0 to 1, of one shape.
    dims : int or ints
        What is summed over; kept with size 1.
    depth : int
        Terms of the average; 0 counts as 1.
    smooth : float

    Returns
    -------
    float tensor
    """
    dims = [dims] if isinstance(dims, int) else list(dims)
    return (
        _one_sided(one, other, dims, depth, smooth)
        + _one_sided(1 - one, 1 - other, dims, depth, smooth)
    ) / 2


def _one_sided(
    one: torch.Tensor, other: torch.Tensor, dims: list[int], depth: int, smooth: float
) -> torch.Tensor:
    both, own, their = (
        (a * b).sum(dims, keepdim=True) for a, b in ((one, other), (one, one), (other, other))
    )
    terms = [
        1 / (2**d * (own + their) - (2 ** (d + 1) - 1) * both + smooth)
        for d in range(max(depth, 1))
    ]
    return (both + smooth) * sum(terms) / len(terms)


class _Shape:
    """How convolutions are made and normalised throughout a network."""

    def __init__(self, norm_groups: int) -> None:
        self._groups = norm_groups

    def norm(self, channels: int) -> nn.Module:
        return nn.GroupNorm(self._groups, channels) if self._groups else nn.BatchNorm2d(channels)

    def conv(self, given: int, wanted: int, size: int = 1, stride: int = 1) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(given, wanted, size, stride, size // 2), self.norm(wanted))


class _Attention(nn.Module):
    """FracTAL attention: query and key are compared, and weigh the value.

    They are compared along the channels (where) and over the image (what), and both weigh it.
    """

    def __init__(self, channels: int, depth: int, shape: _Shape) -> None:
        super().__init__()
        self.query, self.key, self.value = (shape.conv(channels, channels, 3) for _ in range(3))
        self.norm = shape.norm(channels)
        self._depth = depth

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            torch.sigmoid(part(features)) for part in (self.query, self.key, self.value)
        )
        where = tanimoto(query, key, 1, self._depth)
        what = tanimoto(query, key, (2, 3), self._depth)
        return self.norm((where + what) / 2 * value)


class _Unit(nn.Module):
    """A pre-activated residual block, times one plus attention.

    The attention's weight starts at zero and is learnt.
    """

    def __init__(self, channels: int, groups: int, depth: int, shape: _Shape) -> None:
        super().__init__()
        conv = partial(nn.Conv2d, channels, channels, 3, padding=1, groups=groups)
        self.block = nn.Sequential(
            shape.norm(channels),
            nn.ReLU(),
            conv(bias=False),
            shape.norm(channels),
            nn.ReLU(),
            conv(),
        )
        self.attention = _Attention(channels, depth, shape)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return (features + self.block(features)) * (1 + self.gamma * self.attention(features))


class _Pyramid(nn.Module):
    """Means over the whole image, its quarters, sixteenths, ..., beside the features themselves."""

    def __init__(self, given: int, wanted: int, levels: int, shape: _Shape) -> None:
        super().__init__()
        self.convs = nn.ModuleList(shape.conv(given, wanted) for _ in range(levels))
        self.last = shape.conv(given + levels * wanted, wanted)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        pooled = [conv(_cell_means(features, 2**level)) for level, conv in enumerate(self.convs)]
        return F.relu(self.last(torch.cat([features, *pooled], 1)))


def _cell_means(features: torch.Tensor, cells: int) -> torch.Tensor:
    """Replace each value by the mean of its cell of a grid of ``cells`` x ``cells``.

    It is done by reshaping, which every engine knows at every size.
    """
    views, channels, height, width = features.shape
    split = features.reshape(views, channels, cells, height // cells, cells, width // cells)
    return split.mean((3, 5), keepdim=True).expand_as(split).reshape(features.shape)


class _Join(nn.Module):
    """Bring the coarser features up, and put them together with the finer ones."""

    def __init__(self, wanted: int, shape: _Shape) -> None:
        super().__init__()
        self.up, self.both = shape.conv(2 * wanted, wanted), shape.conv(2 * wanted, wanted)

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        coarse = F.relu(self.up(F.interpolate(coarse, scale_factor=2.0, mode="nearest")))
        return self.both(torch.cat([coarse, fine], 1))


def _answer(given: int, filters: int, wanted: int, shape: _Shape) -> nn.Sequential:
    return nn.Sequential(
        shape.conv(given, filters, 3),
        nn.ReLU(),
        shape.conv(filters, filters, 3),
        nn.ReLU(),
        nn.Conv2d(filters, wanted, 1),
    )


def decode_multiple(depth: int, pyramid: int) -> int:
    """Return what the windows must be a multiple of.

    The coarsest level must divide into the cells of the pyramid.
    """
    return 2 ** (depth - 1) * 2 ** (pyramid - 1)


class FracTalResUnet(nn.Module):
    """DECODE's network.

    Parameters
    ----------
    bands, classes : int
        The extent is answered in ``classes`` channels, boundary and distance in one each.
    filters : int
        Channels of the first level; they double with each level.
    depth : int
        Levels.
    heads : int
        Groups of the first level's residual convolutions; they double with each level.
    widths : int
        Units per level.
    pyramid : int
        Levels of the pyramids of means.
    tanimoto_depth : int
        Terms of the similarity in the attention.
    norm_groups : int
        Normalise by this many groups of channels; 0: by batch.

    Raises
    ------
    ValueError
        If the filters do not divide into the heads or groups.
    """

    def __init__(
        self,
        bands: int,
        classes: int,
        filters: int = 32,
        depth: int = 6,
        heads: int = 4,
        widths: int = 1,
        pyramid: int = 4,
        tanimoto_depth: int = 5,
        norm_groups: int = 0,
    ) -> None:
        super().__init__()
        if (
            depth < 2
            or pyramid < 1
            or filters % (2 * heads)
            or (norm_groups and filters % norm_groups)
        ):
            raise ValueError(
                f"{depth} levels, {pyramid} pyramid levels, {filters} filters, {heads} heads, "
                f"{norm_groups} groups: filters must divide by twice the heads"
            )
        shape = _Shape(norm_groups)
        self.multiple = decode_multiple(depth, pyramid)

        def stage(channels: int, groups: int) -> nn.Sequential:
            return nn.Sequential(
                *(_Unit(channels, groups, tanimoto_depth, shape) for _ in range(widths))
            )

        sizes = [filters * 2**level for level in range(depth)]
        self.first = shape.conv(bands, filters)
        self.down = nn.ModuleList(stage(size, heads * 2**level) for level, size in enumerate(sizes))
        self.halve = nn.ModuleList(shape.conv(size, 2 * size, 3, 2) for size in sizes[:-1])
        self.middle = _Pyramid(sizes[-1], sizes[-1], pyramid, shape)
        self.join = nn.ModuleList(_Join(size, shape) for size in reversed(sizes[:-1]))
        self.up = nn.ModuleList(
            stage(sizes[level], heads * 2 ** (level + 1)) for level in reversed(range(depth - 1))
        )
        self.pyramid = _Pyramid(2 * filters, filters, pyramid, shape)
        self.distance = _answer(2 * filters, filters, 1, shape)
        self.distance_back, self.boundary_back = shape.conv(1, filters), shape.conv(1, filters)
        self.boundary = _answer(2 * filters, filters, 1, shape)
        self.both_back = shape.conv(2 * filters, filters)
        self.extent = _answer(2 * filters, filters, classes, shape)
        self.crisp = nn.Parameter(torch.ones(1))

    def forward(
        self, image: torch.Tensor, raw: bool = False
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """(view, band, y, x) -> (view, class, y, x) logits of the extent.

        With ``raw`` those of all three heads.

        Raises
        ------
        BadInput
            See :meth:`heads`.
        """
        heads = self.heads(image)
        return heads if raw else heads["extent"]

    def heads(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Answer all three heads, as logits.

        A sigmoid (softmax for the extent) makes probabilities of them.

        Parameters
        ----------
        image : (view, band, y, x) float tensor

        Returns
        -------
        dict of float tensors
            ``extent`` (view, class, y, x); ``boundary`` (view, 1, y, x), already divided by its
            learnt width; ``distance`` (view, 1, y, x), whose sigmoid is the distance to the
            boundary as a share of the field's largest.

        Raises
        ------
        BadInput
            If height or width is not a multiple of ``multiple``: cells and levels would not fit.
            Nothing is padded here.
        """
        if not torch.jit.is_tracing() and any(size % self.multiple for size in image.shape[2:]):
            raise BadInput(
                f"This FracTAL ResUNet wants windows that are a multiple of {self.multiple} px; "
                f"{tuple(image.shape[2:])} was given: pad the image."
            )
        start = self.first(image)
        last = torch.cat([start, self._features(start)], 1)
        pooled = self.pyramid(last)
        # not from the pooled features: means over cells would smear it
        distance = self.distance(last)
        seen = F.relu(self.distance_back(torch.sigmoid(distance)))
        boundary = self.boundary(torch.cat([pooled, seen], 1)) / (
            _CRISP + torch.sigmoid(self.crisp)
        )
        edge = F.relu(self.boundary_back(torch.sigmoid(boundary)))
        both = F.relu(self.both_back(torch.cat([edge, seen], 1)))
        return {
            "extent": self.extent(torch.cat([both, pooled], 1)),
            "boundary": boundary,
            "distance": distance,
        }

    def _features(self, features: torch.Tensor) -> torch.Tensor:
        kept = []
        for level, stage in enumerate(self.down):
            features = stage(features)
            if level < len(self.halve):
                kept.append(features)
                features = self.halve[level](features)
        features = self.middle(features)
        for join, stage in zip(self.join, self.up, strict=True):
            features = stage(join(features, kept.pop()))
        return features
