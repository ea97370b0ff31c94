"""Whether a result is what its run made: sums, outlines, agreement, provenance, repeatability."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
