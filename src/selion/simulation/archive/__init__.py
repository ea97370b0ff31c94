"""A small Sentinel-2 archive of a countryside that does not exist.

Tiles in their UTM zones, orbits, clouds, provider's items, and the truth.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
