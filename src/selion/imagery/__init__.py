"""From an area and a year to cloud-free seasonal composites.

Search, season, radiometry, clouds, choice, median, mosaic.

The only home of STAC.  Rasters are read and written through :mod:`selion.store`.  Importing this
package is cheap; what is heavy comes with the first use.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
