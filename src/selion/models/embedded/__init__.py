"""Embedding-as-mask: a hidden state of a language model prompts a mask decoder.

It is the state at a token (LISA, LISAt, GSVA).
"""
