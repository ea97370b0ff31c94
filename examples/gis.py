"""First hour of a GIS person: an aerial image to a GeoPackage that QGIS opens with its styles.

python examples/gis.py [IMAGE] [-o FOLDER]
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyogrio

from aerial_map import write_countryside
from hour import Hour, arguments

DRAW = """
import os, sys
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from qgis.core import (QgsApplication, QgsCoordinateReferenceSystem, QgsCoordinateTransform,
                       QgsMapRendererParallelJob, QgsMapSettings, QgsProject, QgsRasterLayer,
                       QgsVectorLayer)
from qgis.PyQt.QtCore import QSize
image, table, out = sys.argv[1:]
app = QgsApplication([], False)
app.initQgis()
below, fields = QgsRasterLayer(image, "image"), QgsVectorLayer(table, "fields", "ogr")
settings = QgsMapSettings()
settings.setLayers([fields, below])
metres = QgsCoordinateReferenceSystem("EPSG:3857")
here = QgsCoordinateTransform(below.crs(), metres, QgsProject.instance())
extent = here.transformBoundingBox(below.extent())
settings.setDestinationCrs(metres)
settings.setExtent(extent)
settings.setOutputSize(QSize(900, round(900 * extent.height() / extent.width())))
job = QgsMapRendererParallelJob(settings)
job.start()
job.waitForFinished()
job.renderedImage().save(out)
"""
"""Draws a layer over an image with the style that QGIS finds in the file."""
PYTHON = "/usr/bin/python3"
"""The system's own, which is QGIS' on Linux."""


def main(given: Sequence[str] | None = None) -> None:
    """Look, estimate, map, open in QGIS; without an image, of a simulated countryside."""
    parser = arguments(main.__doc__ or "", "hour-gis")
    parser.add_argument("image", nargs="?", type=Path)
    parser.add_argument("--qgis", default=PYTHON, help="A Python that knows QGIS; '': none.")
    parser.add_argument("--edge", type=int, default=256, help="Pixels of what is simulated.")
    asked = parser.parse_args(given)
    image = None if asked.image is None else asked.image.resolve()
    with Hour(asked.out, pages=asked.pages) as hour:
        if image is None:
            image = write_countryside(Path("aerial.tif"), asked.edge)
        hour.run("look", image)
        hour.run("map", image, "-o", "fields.gpkg", "--dry-run")
        hour.run("map", image, "-o", "fields.gpkg", shows=["fields.preview.png"])
        # What one does by mistake, and what is said: nothing is overwritten.
        hour.run("map", image, "-o", "fields.gpkg", code=2)
        styles = pyogrio.read_dataframe("fields.gpkg", layer="layer_styles", read_geometry=False)
        print("styles in the file:", ", ".join(styles["styleName"]))
        if drawn(asked.qgis, image):
            hour.run("qgis", "style", "fields.gpkg", "--colour-by", "size", shows=["qgis.png"])
        hour.page("view", ".", image)


def drawn(python: str, image: Path) -> bool:
    """Have QGIS draw the fields over the image, where it is installed."""
    if not python or not Path(python).exists():
        return False
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(  # noqa: S603  # a Python of this machine, a program of this file
            [python, "-c", DRAW, str(image), "fields.gpkg", "qgis.png"],
            capture_output=True,
            check=False,
            env={"PATH": "/usr/bin:/bin", "HOME": home},
        )
    return done.returncode == 0 and Path("qgis.png").exists()


if __name__ == "__main__":
    main()
