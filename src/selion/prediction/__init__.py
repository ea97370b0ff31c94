"""Prediction: a source and any segmenter in, class probabilities out, block by block.

It knows no model.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
