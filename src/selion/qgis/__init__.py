"""QGIS: the plugin that calls the command line, where it goes, and styles.

Nothing of QGIS is imported here.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
