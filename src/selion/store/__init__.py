"""Bytes: rasters read by window and written block by block, photographs, cubes, downloads.

The only home of rasterio, zarr, obstore and pooch.  Importing this package is cheap; what is heavy
comes with the first use.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
