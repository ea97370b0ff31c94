"""A whole country.

Planned in jobs, their tables merged into one partitioned map, and that map asked, counted and
drawn.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
