"""Prediction: class probabilities of a source by any segmenter, block by block.

It knows no model.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
