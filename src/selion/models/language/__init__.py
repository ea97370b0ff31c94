"""Masks as text: codecs, grammar, conversations, and language models as segmenters."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "chat": ["PatchPlace", "Prompt", "messages"],
        "grammar": ["Grammar", "MaskGrammar", "TokenGrammar", "check_tokenizer"],
        "rrle": ["CODECS", "Codec", "Misread", "decode", "encode", "find_codec"],
    },
)
