"""Labels that no human drew.

Masks out of depth, predictions as labels, what two of them agree on, and training on what was kept.

Everything here is a comparison or a prediction: a pseudo-label is a prediction, and a trimap is a
comparison of two label maps.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
