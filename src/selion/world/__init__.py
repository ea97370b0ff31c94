"""The published world: maps of fields that others have made and give away.

Editions by name, their tiles found by index and read by range, joined on one grid; fields of an
area from them.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
