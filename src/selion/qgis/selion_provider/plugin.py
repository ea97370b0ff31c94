"""What QGIS loads: it registers the provider, and with a window the styles of a layer."""

from __future__ import annotations

from functools import partial
from typing import Any

from qgis.core import QgsApplication, QgsMapLayer

from .provider import SelionProvider
from .settings import HERE

LOOKS = (
    ("confidence", "Colour by confidence", "confidence"),
    ("size", "Colour by size", "metrics:area"),
    ("fields", "Outlines only", ""),
)
"""Style, what the menu says, and the column that it needs."""


class SelionPlugin:
    """Adds the provider to Processing, and styles to the menu of a layer of polygons."""

    def __init__(self, iface: Any) -> None:
        self.iface = iface
        self.provider: SelionProvider | None = None
        self.actions: list[Any] = []

    def initProcessing(self) -> None:  # noqa: N802  # QGIS asks for this name
        """Register the provider; ``qgis_process`` calls this alone."""
        self.provider = SelionProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:  # noqa: N802
        """Start with a window."""
        self.initProcessing()
        from qgis.PyQt.QtGui import QIcon
        from qgis.PyQt.QtWidgets import QAction

        icon = QIcon(str(HERE / "icon.svg"))
        for style, title, _ in LOOKS:
            action = QAction(icon, title, self.iface.mainWindow())
            action.triggered.connect(partial(self.show_by, style))
            self.iface.addCustomActionForLayerType(action, "selion", QgsMapLayer.VectorLayer, True)
            self.actions.append(action)

    def show_by(self, style: str, *_: Any) -> bool:
        """Draw the layer that is chosen in a style; say so where it lacks what that needs."""
        layer = self.iface.activeLayer()
        needed = next(column for name, _, column in LOOKS if name == style)
        if layer is None or layer.type() != QgsMapLayer.VectorLayer:
            return self._refused("Choose a layer of fields first.")
        if needed and needed not in [field.name() for field in layer.fields()]:
            return self._refused(
                f"{layer.name()} has no column '{needed}', which this style shows."
            )
        layer.loadNamedStyle(str(HERE / f"{style}.qml"))
        layer.triggerRepaint()
        self.iface.layerTreeView().refreshLayerSymbology(layer.id())
        return True

    def _refused(self, why: str) -> bool:
        self.iface.messageBar().pushWarning("selion", why)
        return False

    def unload(self) -> None:
        """Take the provider and the menu away."""
        for action in self.actions:
            self.iface.removeCustomActionForLayerType(action)
        self.actions = []
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
