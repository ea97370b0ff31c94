"""Data: what models learn from and are measured on.

``load_dataset`` opens any dataset by name or folder; ``check_dataset`` looks for what spoils one;
``make_dataset`` makes one from images and polygons.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
