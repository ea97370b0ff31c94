"""Agricultural segmentation from satellite to close range.

Maps fields and crops as validated tables.
"""

import sys

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
__version__ = "0.1.0"

if (_ipython := sys.modules.get("IPython")) is not None and _ipython.get_ipython() is not None:
    # in a notebook our types show themselves; they know nothing of it, so the package tells IPython
    from selion.reports.ipython import load_ipython_extension as _show_types

    _show_types(_ipython.get_ipython())
