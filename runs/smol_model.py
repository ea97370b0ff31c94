"""The model of ``smol_fit.py``: SmolLM2's first blocks with a low-rank adapter, eyes, a projector.

The same arithmetic as transformers' ``LlavaForConditionalGeneration`` with the adapter merged
(tests/models/test_joined.py holds one against the other), written out so that lessons of one shape
need no masks and answers are drawn with a cache that stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from selion.models.language.eyes import Eyes
from smol_data import SHOWN, Words

KINDS = ("q", "k", "v", "o", "gate", "up", "down")
FILES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
THETA, EPS = 100_000.0, 1e-5


@dataclass
class Base:
    """What the language model starts from."""

    linear: dict[str, torch.Tensor]
    """(layer, out, in) of each of :data:`KINDS`."""
    norm1: torch.Tensor
    """(layer, number)."""
    norm2: torch.Tensor
    norm: torch.Tensor
    embed: torch.Tensor
    """(token, number), the image's slot left out."""
    heads: tuple[int, int]
    """Of queries, and of keys."""


def read_base(held: Any) -> Base:
    """Read the blocks that lie in ``start.npz``."""
    from selion.models.language.gguf import unpack
    from selion.models.language.smol import unpermuted

    heads = int(held["heads"][0]), int(held["heads"][1])
    count = sum(name.endswith(".attn_q") for name in held.files)
    size = held["norm"].shape[0]
    linear: dict[str, list[torch.Tensor]] = {kind: [] for kind in KINDS}
    norms: dict[str, list[torch.Tensor]] = {"attn_norm": [], "ffn_norm": []}
    for layer in range(count):
        for kind, name in zip(KINDS, FILES, strict=True):
            numbers = unpack("Q4_1", held[f"Q4_1.{layer}.{name}"])
            columns = numbers.size // size if kind == "down" else size
            weight = numbers.reshape(-1, columns)
            if kind in "qk":
                weight = unpermuted(weight, heads[kind == "k"])
            linear[kind].append(torch.from_numpy(np.ascontiguousarray(weight)))
        for name, found in norms.items():
            found.append(torch.from_numpy(unpack("F32", held[f"F32.{layer}.{name}"])))
    return Base(
        {kind: torch.stack(found) for kind, found in linear.items()},
        torch.stack(norms["attn_norm"]),
        torch.stack(norms["ffn_norm"]),
        torch.from_numpy(held["norm"]),
        torch.from_numpy(held["embed"].astype(np.float32)),
        heads,
    )


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Turn (..., number) queries or keys by their place."""
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class Writer(nn.Module):
    """The language model; its linear layers are merged with their adapters once a step."""

    def __init__(self, base: Base, rank: int, number: torch.dtype) -> None:
        super().__init__()
        self.heads, self.number, self.scale = base.heads, number, 2.0
        for kind, weight in base.linear.items():
            layers, out, columns = weight.shape
            self.register_buffer(f"base_{kind}", weight.to(number), persistent=False)
            down = torch.randn(layers, rank, columns) * columns**-0.5
            setattr(self, f"a_{kind}", nn.Parameter(down))
            setattr(self, f"b_{kind}", nn.Parameter(torch.zeros(layers, out, rank)))
        for name in ("norm1", "norm2", "norm"):
            self.register_buffer(name, getattr(base, name).to(number), persistent=False)
        slot = base.embed.mean(0, keepdim=True)
        self.embed = nn.Parameter(torch.cat([base.embed, slot]))
        self.layers = len(base.norm1)
        self.width = base.embed.shape[1] // base.heads[0]
        self.quick: tuple[Any, int] = (block, 0)
        """A compiled block, and the rows that it is for."""

    def weights(self) -> list[tuple[torch.Tensor, ...]]:
        """Return each block's weights with the adapter merged: qkv, o, gate and up, down."""
        found = {
            kind: getattr(self, f"base_{kind}")
            + self.scale
            * torch.bmm(
                getattr(self, f"b_{kind}").to(self.number),
                getattr(self, f"a_{kind}").to(self.number),
            )
            for kind in KINDS
        }
        qkv = torch.cat([found["q"], found["k"], found["v"]], 1).unbind(0)
        both = torch.cat([found["gate"], found["up"]], 1).unbind(0)
        return list(zip(qkv, found["o"].unbind(0), both, found["down"].unbind(0), strict=True))

    def angles(self, place: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return cosines and sines of (...) places: (..., number of a head)."""
        steps = torch.arange(0, self.width, 2, device=place.device).float() / self.width
        turn = place[..., None].float() * THETA**-steps
        turn = torch.cat([turn, turn], -1)
        return turn.cos().to(self.number), turn.sin().to(self.number)

    def forward(self, x: torch.Tensor, weights: Any, keep: list[Any] | None = None) -> torch.Tensor:
        """Return (n, token, number) states of (n, token, number) inputs.

        ``keep`` takes each block's keys and values.
        """
        cos, sin = self.angles(torch.arange(x.shape[1], device=x.device))
        quick, rows = self.quick
        run = quick if rows == len(x) and torch.is_grad_enabled() else block
        for layer in range(self.layers):
            norms = self.norm1[layer], self.norm2[layer]
            x, key, value = run(x, weights[layer], norms, (cos, sin), self.heads)
            if keep is not None:
                keep.append((key, value))
        return F.rms_norm(x, x.shape[-1:], self.norm, EPS)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Return (..., token) float32 logits."""
        return (states @ self.embed.to(self.number).T).float()


def block(
    x: torch.Tensor,
    weights: tuple[torch.Tensor, ...],
    norms: tuple[torch.Tensor, torch.Tensor],
    angles: tuple[torch.Tensor, torch.Tensor],
    heads: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One block over whole rows, each token seeing those before it."""
    qkv, out, both, down = weights
    count, length, size = x.shape
    width = size // heads[0]
    found = (F.rms_norm(x, (size,), norms[0], EPS) @ qkv.T).view(count, length, -1, width)
    query, key, value = found.transpose(1, 2).split([heads[0], heads[1], heads[1]], 1)
    query, key = turned(query, *angles), turned(key, *angles)
    group = heads[0] // heads[1]
    seen = F.scaled_dot_product_attention(
        query,
        key.repeat_interleave(group, 1),
        value.repeat_interleave(group, 1),
        is_causal=True,
    )
    x = x + seen.transpose(1, 2).reshape(count, length, size) @ out.T
    gate, up = (F.rms_norm(x, (size,), norms[1], EPS) @ both.T).chunk(2, -1)
    return x + (F.silu(gate) * up) @ down.T, key, value


class Model(nn.Module):
    """Eyes, projector and writer; a question and its answer in one row of tokens."""

    def __init__(
        self, base: Base, words: Words, rank: int, number: torch.dtype, shown: int = SHOWN
    ) -> None:
        super().__init__()
        self.eyes, self.writer, self.words = Eyes(size=shown), Writer(base, rank, number), words
        seen, size = self.eyes.place.shape[1], base.embed.shape[1]
        self.linear_1, self.linear_2 = nn.Linear(seen, size), nn.Linear(size, size)
        self.aside = nn.Conv2d(seen // 4, len(words.names), 1)
        """Says what each cell is, in training alone: so the eyes learn what there is to see."""
        nn.init.normal_(self.linear_2.weight, std=0.3 * size**-0.5)

    def look(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (n, token, number) tokens of images in 0 .. 255, and (n, class, grid, grid)."""
        dense = self.eyes.dense(
            ((pixels - 127.5) / 127.5).contiguous(memory_format=torch.channels_last)
        )
        tokens = self.linear_2(F.gelu(self.linear_1(self.eyes.tokens(dense))))
        return tokens, self.aside(dense).float()

    def row(self, whole: torch.Tensor, patch: torch.Tensor, said: torch.Tensor) -> torch.Tensor:
        """Join two images' tokens and (n, token) words behind them: (n, token, number)."""
        number, embed = self.writer.number, self.writer.embed
        device, count = said.device, len(said)
        fixed = [
            embed[torch.tensor(ids, device=device)].expand(count, -1, -1)
            for ids in (self.words.before, self.words.instruct)
        ]
        parts = [fixed[0], whole, fixed[1], patch, embed[said]]
        return torch.cat([part.to(number) for part in parts], 1)

    def prefix(self) -> int:
        """Tokens up to the words behind the second image."""
        images = 2 * self.eyes.place.shape[0]
        return len(self.words.before) + len(self.words.instruct) + images


class Answers:
    """Answers drawn token by token, all of a batch at once.

    Keys and values lie in one place; on a GPU the step is recorded once and replayed.
    """

    def __init__(self, model: Model, batch: int, room: int, behind: int, device: str) -> None:
        self.model, self.room, self.batch, self.device = model, room, batch, device
        writer = model.writer
        length = model.prefix() + behind + room
        shape = (writer.layers, 2, batch, writer.heads[1], length, writer.width)
        self.cache = torch.zeros(shape, dtype=writer.number, device=device)
        self.place = torch.zeros(batch, dtype=torch.long, device=device)
        self.token = torch.zeros(batch, dtype=torch.long, device=device)
        self.heat = torch.zeros((), device=device)
        self.weights: Any = None
        self.graph: Any = None

    def _step(self) -> None:
        """Write ``token`` at ``place`` and draw the next one."""
        writer = self.model.writer
        x = writer.embed[self.token].to(writer.number)[:, None]
        cos, sin = (part[:, None, None] for part in writer.angles(self.place))
        rows = torch.arange(self.batch, device=self.device)
        length = self.cache.shape[4]
        hidden = torch.arange(length, device=self.device)[None] > self.place[:, None]
        bias = torch.zeros_like(hidden, dtype=writer.number).masked_fill(hidden, -torch.inf)
        many, few = writer.heads
        for layer in range(writer.layers):
            qkv, out, both, down = self.weights[layer]
            found = F.rms_norm(x, x.shape[-1:], writer.norm1[layer], EPS) @ qkv.T
            query, key, value = (
                found.view(self.batch, 1, -1, writer.width)
                .transpose(1, 2)
                .split([many, few, few], 1)
            )
            query, key = turned(query, cos, sin), turned(key, cos, sin)
            keys, values = self.cache[layer]
            keys[rows, :, self.place], values[rows, :, self.place] = key[:, :, 0], value[:, :, 0]
            asked = query.view(self.batch, few, many // few, writer.width)
            heat = asked @ keys.transpose(2, 3) * writer.width**-0.5
            share = (heat + bias[:, None, None]).float().softmax(-1).to(writer.number)
            x = x + (share @ values).reshape(self.batch, 1, -1) @ out.T
            gate, up = (F.rms_norm(x, x.shape[-1:], writer.norm2[layer], EPS) @ both.T).chunk(2, -1)
            x = x + (F.silu(gate) * up) @ down.T
        states = F.rms_norm(x, x.shape[-1:], writer.norm, EPS)
        self._draw(writer.logits(states[:, 0]))
        self.place += 1

    def _draw(self, logits: torch.Tensor) -> None:
        noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-9, 1 - 1e-7)))
        self.token.copy_((logits + self.heat * noise).argmax(-1))

    def _record(self) -> None:
        """Record the step, where that can be done."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        place, token = self.place.clone(), self.token.clone()
        with torch.cuda.stream(side):
            for _ in range(2):
                self._step()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._step()
        self.place.copy_(place)
        self.token.copy_(token)

    @torch.no_grad()
    def __call__(
        self,
        whole: torch.Tensor,
        patch: torch.Tensor,
        said: torch.Tensor,
        sizes: torch.Tensor,
        heat: float,
    ) -> torch.Tensor:
        """Return (batch, room) tokens.

        Parameters
        ----------
        whole, patch : (batch, token, number) tensor
        said : (batch, behind) int64 tensor
            Words behind the second image, padded on the right.
        sizes : (batch,) int64 tensor
            How many of them are words.
        heat : float
            Temperature; 0: the likeliest token.
        """
        model = self.model
        self._take(model.writer.weights())
        keep: list[Any] = []
        states = model.writer(model.row(whole, patch, said), self.weights, keep)
        for layer, (keys, values) in enumerate(keep):
            length = keys.shape[2]
            self.cache[layer, 0, :, :, :length] = keys
            self.cache[layer, 1, :, :, :length] = values
        self.heat.fill_(heat)
        last = model.prefix() + sizes - 1
        self._draw(model.writer.logits(states[torch.arange(self.batch, device=self.device), last]))
        self.place.copy_(last + 1)
        if self.graph is None and self.device == "cuda":
            try:
                self._record()
            except RuntimeError as error:
                print(f"the step is not recorded: {str(error)[:120]}", flush=True)
                self.graph = False
        written = [self.token.clone()]
        closed = model.words.closed[-1]
        over = self.token == closed
        for number in range(self.room - 1):
            if self.graph:
                self.graph.replay()
            else:
                self._step()
            written.append(self.token.clone())
            over |= self.token == closed
            if number % 16 == 15 and bool(over.all()):
                break
        found = torch.stack(written, 1)
        return F.pad(found, (0, self.room - found.shape[1]), value=closed)

    def _take(self, weights: list[tuple[torch.Tensor, ...]]) -> None:
        """Put weights where the recorded step looks for them."""
        if self.weights is None:
            self.weights = [tuple(one.clone() for one in layer) for layer in weights]
            return
        for mine, theirs in zip(self.weights, weights, strict=True):
            for old, new in zip(mine, theirs, strict=True):
                old.copy_(new)
