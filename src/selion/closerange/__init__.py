"""Close range: masks and traits of a folder of photographs.

Photographs become masks, overlays and one tidy table of cover and traits.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
