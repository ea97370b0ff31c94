"""A small copy of the layouts in which Fields of The World publishes its global maps.

Probabilities, polygons, indexes and quarterly mosaics of fields that do not exist, with the truth.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
