"""A truth beside a prediction.

Pixel, object, boundary and deployment scores, statistics and reports.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
