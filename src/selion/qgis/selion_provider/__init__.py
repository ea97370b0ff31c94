"""The selion plugin of QGIS.

It runs in QGIS' Python, so nothing of selion nor numpy is imported here: work is done by the
command line, in its own environment.
"""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:  # noqa: N802  # QGIS asks for this name
    """Return the plugin."""
    from .plugin import SelionPlugin

    return SelionPlugin(iface)
