"""Quality one can publish: a sample drawn by design, judged by people, and what follows from it."""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
