"""Weights and the engines that run them: cards, registry, ONNX and torch behind one protocol."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
