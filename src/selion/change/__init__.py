"""Change between years: of pixels by a rule, of fields by what became of each.

Ids that follow a field.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
