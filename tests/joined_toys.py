"""A tiny Llama in a GGUF file of random weights, written here by hand, for tests."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

HIDDEN, FORWARD, HEADS, FEW, BLOCKS = 64, 128, 2, 1, 3
MERGES = ["t h", "th e", "e r", "Ġ the", "i s", "Ġ is", "s e", "se g", "Ġ o", "f i", "> 0"]


def alphabet() -> list[str]:
    """The 256 characters of byte-level tokenizers (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [k for k in range(256) if k not in plain]
    return [chr(k) for k in plain] + [chr(256 + k) for k in range(len(rest))]


def text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def fact(name: str, value: object) -> bytes:
    if isinstance(value, list):
        inner = b"".join(map(text, value))
        return text(name) + struct.pack("<IIQ", 9, 8, len(value)) + inner
    if isinstance(value, float):
        return text(name) + struct.pack("<If", 6, value)
    return text(name) + struct.pack("<II", 4, value)


def packed(rng: np.random.Generator, kind: int, shape: tuple[int, ...]) -> bytes:
    """Random numbers in one of llama.cpp's formats (0 F32, 3 Q4_1, 8 Q8_0)."""
    size = int(np.prod(shape))
    if kind == 0:
        return rng.uniform(0.5, 1.5, size).astype("<f4").tobytes()
    blocks = []
    for _ in range(size // 32):
        if kind == 3:
            scale = rng.uniform(0.01, 0.03)
            head = np.array([scale, -7.5 * scale], "<f2").tobytes()
            blocks.append(head + rng.integers(0, 256, 16, np.uint8).tobytes())
        else:
            head = np.array([0.002], "<f2").tobytes()
            blocks.append(head + rng.integers(-128, 128, 32, np.int8).tobytes())
    return b"".join(blocks)


def write_llama(path: Path, seed: int = 0) -> Path:
    """Write a Llama of three blocks."""
    rng = np.random.default_rng(seed)
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet()]
    tokens += [merge.replace(" ", "") for merge in MERGES]
    facts = {
        "general.alignment": 32,
        "llama.embedding_length": HIDDEN,
        "llama.feed_forward_length": FORWARD,
        "llama.attention.head_count": HEADS,
        "llama.attention.head_count_kv": FEW,
        "llama.context_length": 8192,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.freq_base": 100000.0,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": MERGES,
    }
    few = HIDDEN // HEADS * FEW
    shapes = {"token_embd": (8, (len(tokens), HIDDEN)), "output_norm": (0, (HIDDEN,))}
    for k in range(BLOCKS):
        shapes |= {
            f"blk.{k}.attn_norm": (0, (HIDDEN,)),
            f"blk.{k}.ffn_norm": (0, (HIDDEN,)),
            f"blk.{k}.attn_q": (3, (HIDDEN, HIDDEN)),
            f"blk.{k}.attn_k": (3, (few, HIDDEN)),
            f"blk.{k}.attn_v": (3, (few, HIDDEN)),
            f"blk.{k}.attn_output": (3, (HIDDEN, HIDDEN)),
            f"blk.{k}.ffn_gate": (3, (FORWARD, HIDDEN)),
            f"blk.{k}.ffn_up": (3, (FORWARD, HIDDEN)),
            f"blk.{k}.ffn_down": (3, (HIDDEN, FORWARD)),
        }
    head = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(facts))
    head += b"".join(fact(name, value) for name, value in facts.items())
    listed, body = b"", b""
    for name, (kind, shape) in shapes.items():
        listed += text(f"{name}.weight") + struct.pack("<I", len(shape))
        listed += b"".join(struct.pack("<Q", size) for size in reversed(shape))
        listed += struct.pack("<IQ", kind, len(body))
        body += packed(rng, kind, shape)
        body += b"\0" * (-len(body) % 32)
    head += listed
    path.write_bytes(head + b"\0" * (-len(head) % 32) + body)
    return path
