"""A seeded countryside that does not exist and knows all about itself.

Fields, cover, two seasons, clouds, a photograph of plants.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
