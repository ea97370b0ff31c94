"""Refiners behind any model: a boundary network, or prompted masks."""
