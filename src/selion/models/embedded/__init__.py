"""Embedding-as-mask: a language model whose hidden state at a token prompts a mask decoder (LISA, LISAt, GSVA)."""
