"""Evaluation: a model against a dataset, or a map against a truth.

Baselines stand beside every score.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
