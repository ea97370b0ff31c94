"""Masks as text: codecs, grammar, conversations, and language models as segmenters."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
