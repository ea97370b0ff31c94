"""What QGIS loads: it registers the provider, with or without a window."""

from __future__ import annotations

from typing import Any

from qgis.core import QgsApplication

from .provider import SelionProvider


class SelionPlugin:
    """Adds the provider to Processing."""

    def __init__(self, iface: Any) -> None:
        self.iface = iface
        self.provider: SelionProvider | None = None

    def initProcessing(self) -> None:  # noqa: N802  # QGIS asks for this name
        """Register the provider; ``qgis_process`` calls this alone."""
        self.provider = SelionProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:  # noqa: N802
        """Start with a window."""
        self.initProcessing()

    def unload(self) -> None:
        """Take the provider away."""
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
