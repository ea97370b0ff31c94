"""Training: a recipe and samples become a model with its card.

Torch and the rest of the ``train`` extra are imported when something is trained; reading a recipe
needs neither.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
