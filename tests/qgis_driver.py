"""Runs in QGIS' own Python (never in selion's): loads the installed plugin, runs algorithms
headless, says what came of it as JSON.

python3 qgis_driver.py PLUGINS STEPS.json ANSWERS.json
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsVectorLayer,
)

PLUGINS = "/usr/share/qgis/python/plugins"


class Feedback(QgsProcessingFeedback):
    """Keeps what is said, and presses cancel when a stage begins."""

    def __init__(self, cancel_at: str) -> None:
        super().__init__(False)
        self.cancel_at, self.lines, self.bar = cancel_at, [], []
        self.pressed = 0.0
        self.progressChanged.connect(self.bar.append)

    def setProgressText(self, text: str) -> None:  # noqa: N802  # QGIS' names
        self.lines.append(text)
        if self.cancel_at and text.startswith(self.cancel_at) and not self.pressed:
            self.pressed = time.monotonic()
            self.cancel()

    def pushInfo(self, text: str) -> None:  # noqa: N802
        self.lines.append(text)


def drawn(path: str) -> dict:
    """How QGIS draws a file when it opens it, without being told."""
    raster = path.endswith(".tif")
    layer = QgsRasterLayer(path, "raster") if raster else QgsVectorLayer(path, "fields", "ogr")
    renderer = layer.renderer()
    found = {"valid": layer.isValid(), "renderer": renderer.type()}
    if raster:
        return {**found, "band": renderer.band()}
    if found["renderer"] == "singleSymbol":
        found["line"] = renderer.symbol().symbolLayer(0).strokeColor().name()
    count, _, names, *_ = layer.listStylesInDatabase()
    return {
        **found,
        "features": layer.featureCount(),
        "styles": sorted(names),
        "count": count,
        "legend": [item.label() for item in renderer.legendSymbolItems()],
    }


def restyled(path: str, qml: str) -> dict:
    layer = QgsVectorLayer(path, "fields", "ogr")
    _, good = layer.loadNamedStyle(qml)
    renderer = layer.renderer()
    return {
        "good": good,
        "renderer": renderer.type(),
        "legend": [item.label() for item in renderer.legendSymbolItems()],
    }


class Window:
    """What the plugin asks of QGIS' window."""

    def __init__(self) -> None:
        self.layer, self.menu, self.told, self.refreshed = None, [], [], []

    def mainWindow(self) -> None:  # noqa: N802  # QGIS' names
        return None

    def activeLayer(self) -> object:  # noqa: N802
        return self.layer

    def addCustomActionForLayerType(self, action, menu, kind, everywhere) -> None:  # noqa: N802
        self.menu.append(action)

    def removeCustomActionForLayerType(self, action) -> None:  # noqa: N802
        self.menu.remove(action)

    def messageBar(self) -> Window:  # noqa: N802
        return self

    layerTreeView = messageBar  # noqa: N815

    def pushWarning(self, title: str, text: str) -> None:  # noqa: N802
        self.told.append(text)

    def refreshLayerSymbology(self, name: str) -> None:  # noqa: N802
        self.refreshed.append(name)


def clicked(path: str, bare: str) -> dict:
    """What the menu of a layer does, entry by entry; and with a layer that lacks a column."""
    import selion_provider

    window = Window()
    plugin = selion_provider.classFactory(window)
    plugin.initProcessing = lambda: None  # the provider is there already
    plugin.initGui()
    window.layer = QgsVectorLayer(path, "fields", "ogr")
    looks = []
    for action in window.menu:
        action.trigger()
        looks.append(window.layer.renderer().type())
    window.layer = QgsVectorLayer(bare, "bare", "ogr")
    window.menu[0].trigger()
    titles = [action.text() for action in window.menu]
    plugin.unload()
    return {"menu": titles, "looks": looks, "refused": window.told, "left": len(window.menu)}


def run(step: dict) -> dict:
    import processing

    feedback, context = Feedback(step.get("cancel_at", "")), QgsProcessingContext()
    context.setProject(QgsProject.instance())
    answer: dict = {}
    try:
        answer["results"] = processing.run(
            step["run"], step["given"], context=context, feedback=feedback
        )
    except QgsProcessingException as problem:
        answer["error"] = str(problem)
    answer |= {"lines": feedback.lines, "bar": feedback.bar}
    if feedback.pressed:
        answer["stopped_after"] = time.monotonic() - feedback.pressed
    return answer


def main() -> None:
    plugins, steps, answers = sys.argv[1:]
    sys.path[:0] = [PLUGINS, plugins]
    application = QgsApplication([], True)
    application.initQgis()
    from processing.core.Processing import Processing

    Processing.initialize()
    import selion_provider

    plugin = selion_provider.classFactory(None)
    plugin.initProcessing()
    given = json.loads(Path(steps).read_text("utf-8"))
    found = [
        drawn(step["draw"])
        if "draw" in step
        else clicked(*step["menu"])
        if "menu" in step
        else restyled(*step["restyle"])
        if "restyle" in step
        else run(step)
        for step in given
    ]
    registry = application.processingRegistry()
    facts = {"algorithms": [a.id() for a in registry.providerById("selion").algorithms()]}
    Path(answers).write_text(json.dumps({**facts, "steps": found}, default=str), "utf-8")
    plugin.unload()
    os._exit(0)  # QGIS 3.22 crashes now and then when it takes itself apart


if __name__ == "__main__":
    main()
