"""A Swin transformer that reads words between its stages: LAVT's encoder, which ReLA takes over.

Yang et al.: LAVT, language-aware vision transformer for referring image segmentation (CVPR 2022,
arXiv 2112.02244), sections 3.2 and 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import BertConfig, BertModel, SwinConfig, SwinModel

from selion.errors import BadInput


@dataclass(frozen=True, slots=True)
class ReferringSize:
    """Sizes of a Swin transformer and of a BERT; by default Swin-B and BERT-base."""

    embed_dim: int = 128
    depths: Sequence[int] = (2, 2, 18, 2)
    num_heads: Sequence[int] = (4, 8, 16, 32)
    window_size: int = 12
    text_hidden: int = 768
    text_layers: int = 12
    text_heads: int = 12
    vocabulary: int = 30522
    drop_path: float = 0.3

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.embed_dim * 2**k for k in range(len(self.depths)))

    def swin(self, bands: int) -> SwinConfig:
        """Return the configuration of the Swin transformer."""
        return SwinConfig(
            num_channels=bands,
            embed_dim=self.embed_dim,
            depths=list(self.depths),
            num_heads=list(self.num_heads),
            window_size=self.window_size,
            drop_path_rate=self.drop_path,
            image_size=384,
        )

    def bert(self) -> BertConfig:
        """Return the configuration of the BERT."""
        return BertConfig(
            vocab_size=self.vocabulary,
            hidden_size=self.text_hidden,
            num_hidden_layers=self.text_layers,
            num_attention_heads=self.text_heads,
            intermediate_size=4 * self.text_hidden,
        )


def make_readers(size: ReferringSize, bands: int, weights: Path | None) -> tuple[Any, Any]:
    """Return a Swin transformer without its last norm, and a BERT without its pooler.

    Parameters
    ----------
    size : ReferringSize
    bands : int
    weights : path, optional
        A folder with the folders ``swin`` and ``bert`` of published weights, as transformers writes
        them; either may be missing, and begins at random.

    Raises
    ------
    BadInput
        If neither is there, or one is of another size or other bands.
    """
    swin: Any = SwinModel(size.swin(bands), add_pooling_layer=False)
    bert = BertModel(size.bert(), add_pooling_layer=False)
    if weights is not None:
        found = [name for name in ("swin", "bert") if (weights / name).is_dir()]
        if not found:
            raise BadInput(
                f"{weights} has neither a folder swin nor a folder bert: give one that has the "
                "published weights of a Swin transformer, of a BERT, or of both, as transformers "
                "writes them."
            )
        for name, network in (("swin", swin), ("bert", bert)):
            if name in found:
                take_reader(network, weights / name)
    swin.layernorm = nn.Identity()  # each stage has a norm of its own
    return swin, bert


def take_reader(network: Any, folder: Path) -> None:
    """Fill a network of transformers with published weights of its own kind.

    Raises
    ------
    BadInput
        If they are of another size.
    """
    theirs = type(network).from_pretrained(folder, add_pooling_layer=False).state_dict()
    ours = network.state_dict()
    wrong = [
        name
        for name, value in ours.items()
        if name not in theirs or theirs[name].shape != value.shape
    ]
    if wrong:
        raise BadInput(
            f"The weights in {folder} are of another size: {wrong[0]} is "
            f"{tuple(theirs[wrong[0]].shape) if wrong[0] in theirs else 'not there'}, wanted is "
            f"{tuple(ours[wrong[0]].shape)}. Correct model.architecture."
        )
    network.load_state_dict(theirs)


class PixelWordAttention(nn.Module):
    """LAVT's PWAM: each pixel gathers the words that matter to it (equations 1 to 6).

    Parameters
    ----------
    width : int
        Channels of the pixels, of the keys and of the answer.
    words : int
        Channels of a word.
    """

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.query = nn.Conv1d(width, width, 1)
        self.key = nn.Conv1d(words, width, 1)
        self.value = nn.Conv1d(words, width, 1)
        self.out = nn.Conv1d(width, width, 1)
        self.vision = nn.Conv1d(width, width, 1)
        self.both = nn.Conv1d(width, width, 1)

    def forward(
        self, pixels: torch.Tensor, words: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """(view, width, pixel), (view, words, token), (view, token) -> (view, width, pixel)."""
        query = _even(self.query(pixels))
        key, value = (part(words) * mask[:, None] for part in (self.key, self.value))
        near = torch.einsum("bcp,bct->bpt", query, key) * query.shape[1] ** -0.5
        near = near.masked_fill(mask[:, None] == 0, -1e4).softmax(2)
        said = _even(self.out(torch.einsum("bpt,bct->bcp", near, value)))
        joined = nn.functional.gelu(self.vision(pixels)) * said
        return nn.functional.gelu(self.both(joined))


def _even(values: torch.Tensor) -> torch.Tensor:
    """Bring each channel of (view, width, pixel) to mean 0 and spread 1 over the pixels."""
    spread = values.var(2, keepdim=True, correction=0)
    return (values - values.mean(2, keepdim=True)) * torch.rsqrt(spread + 1e-5)


class LanguageGate(nn.Module):
    """LAVT's language pathway: how much of what was read goes on into the next stage (7, 8).

    It begins closed, so that published weights of the Swin transformer begin as they were.  Its
    last layer alone is 0: were both, neither would ever learn.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = (nn.Linear(width, width, bias=False) for _ in range(2))
        nn.init.zeros_(self.last.weight)

    def forward(self, said: torch.Tensor) -> torch.Tensor:
        """(view, pixel, width) -> the same, weighed."""
        return torch.tanh(self.last(torch.relu(self.first(said)))) * said


class ReadingSwin(nn.Module):
    """A Swin transformer whose stages read words.

    Parameters
    ----------
    swin : SwinModel
    words : int
        Channels of a word.
    widths : sequence of int
        Channels of each stage.
    """

    def __init__(self, swin: Any, words: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.swin = swin
        self.reading = nn.ModuleList(PixelWordAttention(width, words) for width in widths)
        # what the last stage reads goes to the decoder only
        self.gates = nn.ModuleList(LanguageGate(width) for width in widths[:-1])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)

    def forward(
        self, image: torch.Tensor, words: torch.Tensor, mask: torch.Tensor
    ) -> list[torch.Tensor]:
        """Look at an image for each phrase.

        Parameters
        ----------
        image : (view, band, y, x) float tensor
        words : (phrase, words, token) float tensor
        mask : (phrase, token) tensor

        Returns
        -------
        list of (view * phrase, width, y / 4 .. 32, x / 4 .. 32) float tensors
        """
        pixels, shape = self.swin.embeddings(image)
        views, phrases = len(image), len(words)
        words = words.repeat(views, 1, 1)
        mask = mask.to(words.dtype).repeat(views, 1)
        found = []
        for k, stage in enumerate(self.swin.encoder.layers):
            for block in stage.blocks:
                pixels = block(pixels, shape, always_partition=True)[0]
            if k == 0:  # before anything is read, all phrases see the same
                pixels = pixels.repeat_interleave(phrases, 0)
            said = self.reading[k](pixels.transpose(1, 2), words, mask).transpose(1, 2)
            even = self.norms[k](said).transpose(1, 2)
            found.append(even.reshape(len(even), -1, *shape))
            if stage.downsample is not None:
                pixels = stage.downsample(pixels + self.gates[k](said), shape)
                shape = tuple((edge + 1) // 2 for edge in shape)
        return found
