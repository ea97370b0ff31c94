"""The grammar as text, and xgrammar as the engine that keeps to it.

The text is EBNF, as llama.cpp, xgrammar and vLLM read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from selion.errors import BadInput
from selion.extras import require
from selion.models.language.grammar import Grammar
from selion.models.language.rrle import CLOSE, OPEN


def to_ebnf(grammar: Grammar) -> str:
    """Write a grammar down.

    A rule for each number of pixels that are left in a row, so that every row has its exact width.

    Runs of the same class may follow each other here, which
    :class:`~selion.models.language.grammar.Grammar` does not let through; both decode.

    Raises
    ------
    BadInput
        If the codec can repeat or skip rows: how many rows are left would need a rule each.
    """
    if grammar.codec.counts_rows:
        raise BadInput(
            f"The codec {grammar.codec.name} repeats rows or skips them, which this form of "
            "grammar cannot count: take grammar = 'selion', or the codec rrle-compact."
        )
    return "\n".join(_rules(grammar)) + "\n"


def _rules(grammar: Grammar) -> Iterator[str]:
    rows, columns = grammar.shape
    between = json.dumps("\n" + grammar.codec.indent)
    body = f" {between} ".join(f"r{columns}" for _ in range(rows))
    yield f"root ::= {json.dumps(OPEN)} {body} {json.dumps(chr(10) + CLOSE)}"
    yield f"label ::= {' | '.join(json.dumps(label) for label in grammar.labels)}"
    join = f"{json.dumps(grammar.codec.join)} " if grammar.codec.join else ""
    for left in range(1, columns + 1):
        parts = [
            json.dumps(str(left)),
            *(f"{json.dumps(str(count))} {join}r{left - count}" for count in range(1, left)),
        ]
        yield f"r{left} ::= label ({' | '.join(parts)})"


def xgrammar_processor(grammar: Grammar, tokenizer: Any, config: Any, ends: Sequence[int]) -> Any:
    """Return xgrammar's logits processor for a grammar.

    Raises
    ------
    MissingExtra
        If xgrammar is not installed.
    """
    xgrammar = require("xgrammar", "grammar")
    size = getattr(config, "text_config", config).vocab_size
    about = xgrammar.TokenizerInfo.from_huggingface(
        tokenizer, vocab_size=size, stop_token_ids=list(ends)
    )
    compiled = xgrammar.GrammarCompiler(about).compile_grammar(to_ebnf(grammar))
    return require("xgrammar.contrib.hf", "grammar").LogitsProcessor(compiled)
