"""From an area and a year, or an image, to a table of fields.

The stages joined, and what they cost.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
