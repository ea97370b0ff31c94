"""PRUE's protocol for foundation models.

A frozen encoder sees each date, a small head that learns fuses both and answers.

PRUE (arXiv 2603.27101, section 3.2 and supplements A and B): tokens of both dates are put together
along their features and go through an MLP of three layers; then either a linear probe (1 x 1
convolution and bilinear upsampling, Table 4) or a convolutional decoder (3 x 3 projection, two
residual blocks, a multi-scale module, pixel shuffle; Table 1).  Widths that the paper does not give
are those of its code: 2 D in the MLP, 512 in the decoder, 64 after the shuffle, dilations 6,
12, 18.

Which encoders there are, and what they are fed, is in docs/encoders.md.  Those of the paper are
built by name with all that their cards say (:func:`named_encoder`), those of timm by timm's names
(:func:`frozen_timm`); any other module that turns (view, band, y, x) into (view, token, feature)
goes into :class:`TwoDates` directly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPP

from selion.errors import BadInput, UnknownName
from selion.models.foundation.cards import DATE, FEED, WINDOW, find_encoder
from selion.models.foundation.feeding import Fed
from selion.models.foundation.wiring import check_count, make_encoder

_DILATIONS = (6, 12, 18)
"""Of the decoder: those of PRUE's code, as the paper gives none (docs/encoders.md)."""
DETAIL = 64
"""Channels of the convolutional decoder at the pixels' resolution."""


class Tokens(nn.Module):
    """A timm vision transformer without its class and register tokens.

    (view, band, y, x) -> (view, token, feature), row by row.
    """

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer: Any = transformer

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the tokens of the last layer, normalised."""
        return self.transformer.forward_features(image)[:, self.transformer.num_prefix_tokens :]


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        convs = [
            layer
            for _ in range(2)
            for layer in (
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
        ]
        self.block = nn.Sequential(*convs[:-1])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.relu(features + self.block(features))


def linear_probe(width: int, patch: int, classes: int) -> nn.Module:
    """Return Table 4's head: a 1 x 1 convolution, then bilinear upsampling to pixels."""
    return nn.Sequential(
        nn.Conv2d(width, classes, 1),
        nn.Upsample(scale_factor=float(patch), mode="bilinear", align_corners=False),
    )


def shuffle_decoder(
    width: int, patch: int, classes: int, hidden: int = 512, detail: int = DETAIL
) -> nn.Module:
    """Return Table 1's head.

    Projection, two residual blocks, dilated convolutions side by side, pixel shuffle.

    Parameters
    ----------
    width, patch, classes : int
        Features of a token, its edge in pixels, channels of the answer.
    hidden : int
        Channels at the tokens' resolution.
    detail : int
        Channels at the pixels' resolution.
    """
    return nn.Sequential(
        nn.Conv2d(width, hidden, 3, padding=1),
        _Residual(hidden),
        _Residual(hidden),
        ASPP(hidden, _DILATIONS, hidden),
        nn.Conv2d(hidden, detail * patch**2, 3, padding=1),
        nn.PixelShuffle(patch),
        nn.Conv2d(detail, classes, 1),
    )


class _Upsampling(nn.Module):
    """Learnt upsampling by any factor.

    Features are enlarged bilinearly, and a 3 x 3 convolution makes of them what lies between.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.learnt = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, classes, 1)
        )

    def forward(self, features: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        return self.learnt(F.interpolate(features, size=size, mode="bilinear", align_corners=False))


class _Reach(nn.Module):
    """PRUE's way from an answer to the window: a transposed convolution, then bilinearly.

    The convolution enlarges by the nearest whole number; where that is 1, by one pixel.
    """

    def __init__(self, classes: int, given: int, window: int) -> None:
        super().__init__()
        scale = max(1, round(window / given))
        self.learnt = nn.ConvTranspose2d(classes, classes, 2 * scale, scale, scale // 2)
        self._window = window

    def forward(self, answer: torch.Tensor) -> torch.Tensor:
        return _enlarged(self.learnt(answer), self._window)


def _enlarged(image: torch.Tensor, size: int) -> torch.Tensor:
    return F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)


class TwoDates(nn.Module):
    """An encoder for each date, fusion by token, a head.

    Parameters
    ----------
    encoder : torch.nn.Module
        (view, band, y, x) -> (view, token, feature), tokens row by row.  Unless it is trainable
        it is frozen: no gradients, and always as in evaluation.
    width, patch : int
        Features of a token, and its edge in pixels.
    classes : int
    head : {"linear", "convolutional"}
    fused : int
        Features within the MLP; 0: twice ``width``.
    encoder_bands : ints, optional
        Which bands of a date the encoder is fed, by position; default all.
    seen : int
        Edge in pixels of the image that the encoder is shown, for encoders of one size (120, 224):
        windows are brought to it bilinearly, and the answer back to the window's size: by a learnt
        upsampling after the convolutional decoder, bilinearly after the linear probe.  0: the
        window as it is.
    trainable : bool
        Whether the encoder learns too.
    **options
        Of :func:`shuffle_decoder`.

    Raises
    ------
    ValueError
        If there is no such head.
    BadInput
        If ``trainable`` is no bool, a width or an edge is no whole number that can be one, or the
        linear probe is given widths of the decoder.
    """

    def __init__(
        self,
        encoder: nn.Module,
        width: int,
        patch: int,
        classes: int,
        head: str = "convolutional",
        fused: int = 0,
        encoder_bands: Sequence[int] = (),
        seen: int = 0,
        *,
        trainable: bool = False,
        **options: int,
    ) -> None:
        super().__init__()
        if not isinstance(trainable, bool):
            raise BadInput(
                f"trainable = {trainable!r} was given; wanted is true or false, without quotes."
            )
        if head == "linear" and options:
            raise BadInput(
                f"{', '.join(options)} was given with head = 'linear', which has no such widths: "
                "leave it out, or take head = 'convolutional'."
            )
        for name, count in options.items():
            check_count(name, count, "the decoder")
        check_count("fused", fused, "the MLP that fuses two dates", least=0)
        check_count("seen", seen, "the encoder", least=0)
        if seen % patch:
            raise ValueError(
                f"seen = {seen} px was given for tokens of {patch} px; wanted is a multiple"
            )
        if head not in HEADS:
            raise ValueError(f"there is no head called {head!r}; known are {', '.join(HEADS)}")
        self.encoder = encoder if trainable else encoder.requires_grad_(requires_grad=False).eval()
        fused = fused or 2 * width
        self.fuse = nn.Sequential(
            nn.Linear(2 * width, fused),
            nn.ReLU(),
            nn.Linear(fused, fused),
            nn.ReLU(),
            nn.Linear(fused, width),
        )
        learnt = bool(seen) and head == "convolutional"
        detail = options.get("detail", DETAIL)
        self.head = HEADS[head](width, patch, detail if learnt else classes, **options)
        self.upsampling = _Upsampling(detail, classes) if learnt else None
        self._patch, self._bands, self._seen = patch, list(encoder_bands), seen
        self._trainable = trainable

    def train(self, mode: bool = True) -> TwoDates:  # torch's own signature
        """Set the mode of all but a frozen encoder.

        Its dropout stays off and its statistics stay.
        """
        super().train(mode)
        if not self._trainable:
            self.encoder.eval()
        return self

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, bands of the first date then of the second, y, x) -> (view, class, y, x) logits.

        Raises
        ------
        BadInput
            If height or width is not a multiple of a token's edge, or the encoder answers another
            number of tokens than fit.
        """
        if not self._seen:
            return self._answer(image)
        size = [int(extent) for extent in image.shape[2:]]
        answer = self._answer(
            F.interpolate(
                image, size=(self._seen, self._seen), mode="bilinear", align_corners=False
            )
        )
        if self.upsampling is not None:
            return self.upsampling(answer, size)
        return F.interpolate(answer, size=size, mode="bilinear", align_corners=False)

    def _answer(self, image: torch.Tensor) -> torch.Tensor:
        """Answer at the size that the encoder sees."""
        rows, columns = image.shape[2] // self._patch, image.shape[3] // self._patch
        if not torch.jit.is_tracing() and (rows * self._patch, columns * self._patch) != tuple(
            image.shape[2:]
        ):
            raise BadInput(
                f"The encoder's tokens are {self._patch} px wide; {tuple(image.shape[2:])} px was "
                "given: take a multiple."
            )
        tokens = torch.cat([self._see(date) for date in image.chunk(2, 1)], 2)
        if not torch.jit.is_tracing() and tokens.shape[1] != rows * columns:
            raise BadInput(
                f"The encoder answered {tokens.shape[1]} tokens for {rows} x {columns} patches of "
                f"{self._patch} px: give the patch size that it has."
            )
        fused = self.fuse(tokens)
        return self.head(fused.transpose(1, 2).reshape(image.shape[0], -1, rows, columns))

    def _see(self, date: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(self._trainable and torch.is_grad_enabled()):
            return self.encoder(date[:, self._bands] if self._bands else date)


class NamedDates(TwoDates):
    """PRUE's protocol to the letter, over an encoder that is fed by its card.

    Windows are of one size.  What the decoder answers at another size goes through PRUE's
    transposed convolution and is then brought to the window bilinearly; the linear probe answers by
    token, and that is brought to the window in one step.

    Parameters
    ----------
    feed : torch.nn.Module
        The bands of a date -> what the encoder is shown.
    encoder : torch.nn.Module
        (view, band, y, x) -> (view, token, feature).
    width, tokens, classes : int
        Features of a token, tokens along an edge, channels of the answer.
    window : int
        Edge in pixels of a window.
    shuffle : int
        By how much the decoder's pixel shuffle enlarges.
    head, fused, trainable, **options
        See :class:`TwoDates`.
    """

    def __init__(
        self,
        feed: nn.Module,
        encoder: nn.Module,
        width: int,
        tokens: int,
        classes: int,
        *,
        window: int,
        shuffle: int,
        head: str = "convolutional",
        fused: int = 0,
        trainable: bool = False,
        **options: int,
    ) -> None:
        super().__init__(
            encoder, width, shuffle, classes, head, fused, (), 0, trainable=trainable, **options
        )
        self.feed = feed
        self._tokens, self._window = tokens, window
        self.reach: nn.Module | None = None
        if head == "linear":
            self.head = nn.Conv2d(width, classes, 1)
        elif tokens * shuffle != window:
            self.reach = _Reach(classes, tokens * shuffle, window)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(view, bands of the first date then of the second, y, x) -> (view, class, y, x) logits.

        Raises
        ------
        BadInput
            If the window is of another size.
        """
        if not torch.jit.is_tracing() and tuple(image.shape[2:]) != (self._window,) * 2:
            raise BadInput(
                f"The network takes windows of {self._window} px; {tuple(image.shape[2:])} px was "
                "given: cut windows of that size."
            )
        seen = torch.cat([self._see(self.feed(date)) for date in image.chunk(2, 1)], 2)
        fused = self.fuse(seen).transpose(1, 2)
        answer = self.head(fused.reshape(image.shape[0], -1, self._tokens, self._tokens))
        if self.reach is not None:
            return self.reach(answer)
        return answer if answer.shape[2] == self._window else _enlarged(answer, self._window)


HEADS = {"linear": linear_probe, "convolutional": shuffle_decoder}


def frozen_timm(
    bands: int,
    classes: int,
    encoder: str,
    *,
    pretrained: bool,
    encoder_bands: Sequence[int] = (),
    **options: Any,
) -> TwoDates:
    """Build the protocol over a vision transformer of timm.

    Parameters
    ----------
    bands : int
        Of both dates together.
    classes : int
    encoder : str
        timm's name, with the tag of its weights: ``vit_large_patch16_dinov3.sat493m``.
    pretrained : bool
        Load the weights that the tag names; where more than three bands are fed, timm repeats the
        first layer's weights over them and scales them.
    encoder_bands : ints, optional
        See :class:`TwoDates`.
    **options
        ``head``, ``fused``, ``hidden``, ``detail``, ``seen``, ``trainable`` of :class:`TwoDates`;
        the rest is timm's (``img_size``, ``patch_size``, ``embed_dim``, ``depth``, ...).

    Raises
    ------
    ValueError
        If the bands do not divide into two dates, or the encoder is no vision transformer.
    BadInput
        If it cannot be of such a size.
    """
    if bands % 2 or any(not 0 <= band < bands // 2 for band in encoder_bands):
        raise ValueError(
            "wanted are the bands of two dates, and encoder_bands that are positions among the "
            "bands of one"
        )
    own = {
        key: options.pop(key)
        for key in ("head", "fused", "hidden", "detail", "seen", "trainable")
        if key in options
    }
    _check_transformer(encoder, options)
    check_count("seen", own.get("seen", 0), "the encoder", least=0)
    if own.get("seen"):
        options.setdefault("img_size", own["seen"])
    channels = len(encoder_bands) or bands // 2
    try:
        transformer: Any = timm.create_model(
            encoder,
            pretrained=pretrained,
            in_chans=channels,
            num_classes=0,
            dynamic_img_size=True,
            **options,
        )
    except AssertionError as error:  # timm's own, of sizes that do not fit those of the encoder
        raise ValueError(f"{error}") from error
    patch = transformer.patch_embed.patch_size[0]
    return TwoDates(
        Tokens(transformer),
        transformer.embed_dim,
        patch,
        classes,
        encoder_bands=encoder_bands,
        **own,
    )


_OF_TIMM = ("embed_dim", "depth", "num_heads", "patch_size", "img_size")


def _check_transformer(encoder: str, options: Mapping[str, Any]) -> None:
    """Refuse sizes that no vision transformer has, before timm divides by them."""
    for key in _OF_TIMM:
        if key in options:
            check_count(key, options[key], f"the encoder {encoder!r}")
    for key, unit, what in (
        ("embed_dim", "num_heads", "heads"),
        ("img_size", "patch_size", "px of a token"),
    ):
        if key in options and unit in options and options[key] % options[unit]:
            raise BadInput(
                f"{key} = {options[key]} was given for the encoder {encoder!r}; wanted is a "
                f"multiple of the {options[unit]} {what} ({unit})."
            )


def named_encoder(
    bands: int,
    classes: int,
    encoder: str,
    *,
    date: Sequence[str] = DATE,
    feed: str = FEED,
    window: int = WINDOW,
    size: Mapping[str, Any] | None = None,
    **options: Any,
) -> NamedDates:
    """Build the protocol over an encoder that has a card.

    Parameters
    ----------
    bands : int
        Of both dates together.
    classes : int
    encoder : str
        Name of the encoder: ``clay``, see :func:`selion.models.foundation.cards.encoder_cards`.
    date : sequence of str
        Bands of a date, by what they mean.
    feed : {"prue", "authors"}
        Whose way of filling and normalising bands.
    window : int
        Edge in pixels of a window.
    size : mapping, optional
        What of the encoder's size is other than published.
    **options
        ``head``, ``fused``, ``hidden``, ``detail``, ``trainable`` of :class:`NamedDates`.

    Raises
    ------
    UnknownName
        If encoder, feed or a size is not known.
    BadInput
        If window, size or an option cannot be used.
    ValueError
        If the bands are not those of two dates.
    """
    card = find_encoder(encoder)
    if isinstance(window, bool) or not isinstance(window, int) or window < 1:
        raise BadInput(
            f"window = {window!r} was given for the encoder {encoder!r}; wanted is the edge of a "
            f"window in pixels, {WINDOW} for instance."
        )
    if bands != 2 * len(date):
        raise ValueError(
            f"wanted are the bands of two dates, {', '.join(date)} of each: {2 * len(date)} bands"
        )
    if feed not in card.feed:
        raise UnknownName.among(f"way of feeding {encoder}", feed, card.feed)
    network, made = make_encoder(card, size or {})
    return NamedDates(
        Fed(card, card.feed[feed], date, made.seen),
        network,
        made.width,
        made.seen // made.patch,
        classes,
        window=window,
        shuffle=card.shuffle or made.patch,
        **options,
    )
