"""The algorithms: each is one verb of the command line with the choices that a form can hold."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from osgeo import ogr
from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsFeatureRequest,
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputHtml,
    QgsProcessingOutputRasterLayer,
    QgsProcessingParameterEnum,
    QgsProcessingParameterExtent,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsProcessingParameterVectorDestination,
    QgsProcessingParameterVectorLayer,
    QgsVectorFileWriter,
)

from . import command
from .algorithm import KEEP, OUTPUT, Called

LONLAT = "EPSG:4326"
POLYGONS = [QgsProcessing.TypeVectorPolygon]


def _fields_destination() -> QgsProcessingParameterVectorDestination:
    return QgsProcessingParameterVectorDestination(
        OUTPUT, "Fields", QgsProcessing.TypeVectorPolygon
    )


def _raster_path(layer: Any, what: str) -> str:
    """Return the file or address of a raster layer; raises where it is neither."""
    if layer is None or layer.providerType() != "gdal":
        raise QgsProcessingException(
            f"{what} is not a file that selion can open: give a GeoTIFF, COG, VRT, photograph or "
            "its address."
        )
    return str(layer.source())


class MapImage(Called):
    """``selion map IMAGE``."""

    NAME, LABEL = "mapimage", "Map the fields of an image"
    HELP = (
        "An image of 3 bands (red, green, blue, 1 to 10 m) or of 8 (two Sentinel-2 dates) becomes "
        "a table of fields with area, perimeter and confidence."
    )

    def initAlgorithm(self, _configuration: Any = None) -> None:  # noqa: N802
        """Declare the form."""
        self.addParameter(QgsProcessingParameterRasterLayer("IMAGE", "Image"))
        self.add_model_parameters()
        self.add_outline_parameters()
        self.addParameter(_fields_destination())
        self.addParameter(
            QgsProcessingParameterRasterDestination(
                "SCORES", "Probabilities", optional=True, createByDefault=False
            )
        )
        self.add_counts()

    def processAlgorithm(  # noqa: N802
        self, given: Any, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run."""
        image = _raster_path(self.parameterAsRasterLayer(given, "IMAGE", context), "The image")
        out = self.parameterAsOutputLayer(given, OUTPUT, context)
        scores = (
            self.parameterAsOutputLayer(given, "SCORES", context) if given.get("SCORES") else ""
        )
        options = {
            **self.model_options(given, context),
            **self.outline_options(given, context),
            "scores": scores,
        }
        result = self.call(
            command.map_image(image, out, **options),
            out,
            feedback,
            keep=self.parameterAsBoolean(given, KEEP, context),
        )
        if result and scores:
            self.style_raster(scores, context)
        return self.results(out, result, **({"SCORES": scores} if scores else {}))


class MapArea(Called):
    """``selion map AREA --year``."""

    NAME, LABEL = "maparea", "Map the fields of an area and a year"
    HELP = (
        "The Sentinel-2 scenes of the area are searched, chosen and composed, then mapped. Needs "
        "the network, unless the catalogue is a folder on this machine."
    )

    def initAlgorithm(self, _configuration: Any = None) -> None:  # noqa: N802
        """Declare the form."""
        self.addParameter(
            QgsProcessingParameterFeatureSource("AREA", "Area (polygons)", POLYGONS, optional=True)
        )
        self.addParameter(QgsProcessingParameterExtent("EXTENT", "... or an extent", optional=True))
        self.addParameter(
            QgsProcessingParameterNumber(
                "YEAR", "Year of the harvest", defaultValue=2024, minValue=2016, maxValue=2100
            )
        )
        provider = (
            "Catalogue: earth-search, planetary-computer, cdse, or the address of a STAC API or "
            "catalogue"
        )
        self.addParameter(
            QgsProcessingParameterString("PROVIDER", provider, defaultValue="earth-search")
        )
        self.add_model_parameters()
        self.add_outline_parameters()
        self.addParameter(_fields_destination())
        self.add_counts()

    def checkParameterValues(self, given: Any, context: QgsProcessingContext) -> Any:  # noqa: N802
        """Want one of area and extent."""
        if not given.get("AREA") and not given.get("EXTENT"):
            return False, "Give the area as polygons or as an extent."
        return super().checkParameterValues(given, context)

    def processAlgorithm(  # noqa: N802
        self, given: Any, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run."""
        out = self.parameterAsOutputLayer(given, OUTPUT, context)
        year = self.parameterAsInt(given, "YEAR", context)
        options = {**self.model_options(given, context), **self.outline_options(given, context)}
        options["provider"] = self.parameterAsString(given, "PROVIDER", context)
        with tempfile.TemporaryDirectory(prefix="selion-") as folder:
            area = self._area(given, context, Path(folder))
            words = command.map_area(area, year, out, **options)
            result = self.call(
                words, out, feedback, area=True, keep=self.parameterAsBoolean(given, KEEP, context)
            )
        return self.results(out, result)

    def _area(self, given: Any, context: QgsProcessingContext, folder: Path) -> str:
        """Write the polygons as GeoJSON, or the extent as west,south,east,north."""
        lonlat = QgsCoordinateReferenceSystem(LONLAT)
        source = self.parameterAsSource(given, "AREA", context) if given.get("AREA") else None
        if source is None:
            box = self.parameterAsExtent(given, "EXTENT", context, lonlat)
            return (
                f"{box.xMinimum():.7f},{box.yMinimum():.7f},{box.xMaximum():.7f},"
                f"{box.yMaximum():.7f}"
            )
        path = folder / "area.geojson"
        options = QgsVectorFileWriter.SaveVectorOptions()
        options.driverName = "GeoJSON"
        writer = QgsVectorFileWriter.create(
            str(path),
            source.fields(),
            source.wkbType(),
            lonlat,
            context.transformContext(),
            options,
        )
        for feature in source.getFeatures(
            QgsFeatureRequest().setDestinationCrs(lonlat, context.transformContext())
        ):
            writer.addFeature(feature)
        del writer  # closes the file
        return str(path)


class FieldsFromScores(Called):
    """``selion fields``."""

    NAME, LABEL = "fields", "Fields from probabilities"
    HELP = (
        "Outlines anew from the probabilities of an earlier run, with other settings: no model is "
        "run, so it is quick."
    )

    def initAlgorithm(self, _configuration: Any = None) -> None:  # noqa: N802
        """Declare the form."""
        self.addParameter(
            QgsProcessingParameterRasterLayer(
                "SCORES", "Probabilities (of 'Map the fields of an image')"
            )
        )
        self.add_outline_parameters()
        self.addParameter(_fields_destination())
        self.add_counts()

    def processAlgorithm(  # noqa: N802
        self, given: Any, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run."""
        scores = _raster_path(
            self.parameterAsRasterLayer(given, "SCORES", context), "The raster of probabilities"
        )
        out = self.parameterAsOutputLayer(given, OUTPUT, context)
        return self.results(
            out,
            self.call(
                command.fields(scores, out, **self.outline_options(given, context)), out, feedback
            ),
        )


def _vector_path(layer: Any, what: str) -> str:
    """Return the file of a vector layer; raises where it is none, or holds other layers as well."""
    source, filtered = ("", "") if layer is None else (layer.source(), layer.subsetString())
    try:
        return command.file_of(str(source), what, _layers_of, str(filtered))
    except command.NoFile as problem:
        raise QgsProcessingException(str(problem)) from problem


def _layers_of(path: str) -> list[str]:
    opened = ogr.Open(path)
    count = 0 if opened is None else opened.GetLayerCount()
    return [opened.GetLayer(number).GetName() for number in range(count)]


class Evaluate(Called):
    """``selion evaluate --pred --truth``."""

    NAME, LABEL = "evaluate", "Score a map against a truth"
    HELP = (
        "Compares two layers of polygons: object and pixel scores with intervals, kinds of error, "
        "baselines. Writes a page."
    )

    def initAlgorithm(self, _configuration: Any = None) -> None:  # noqa: N802
        """Declare the form."""
        self.addParameter(QgsProcessingParameterVectorLayer("MAP", "Map", POLYGONS))
        self.addParameter(QgsProcessingParameterVectorLayer("TRUTH", "Truth", POLYGONS))
        self.addParameter(
            QgsProcessingParameterVectorLayer(
                "WITHIN", "Where the truth was mapped (empty: everywhere)", POLYGONS, optional=True
            )
        )
        number = QgsProcessingParameterNumber
        self.addParameter(
            number(
                "IOU", "IoU of a match", number.Double, defaultValue=0.5, minValue=0.05, maxValue=1
            )
        )
        self.addParameter(
            QgsProcessingParameterFileDestination(OUTPUT, "Report", "HTML files (*.html)")
        )

    def processAlgorithm(  # noqa: N802
        self, given: Any, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run in a folder of its own and keep the page."""
        found = _vector_path(self.parameterAsVectorLayer(given, "MAP", context), "The map")
        truth = _vector_path(self.parameterAsVectorLayer(given, "TRUTH", context), "The truth")
        within = self.parameterAsVectorLayer(given, "WITHIN", context)
        out = Path(self.parameterAsFileOutput(given, OUTPUT, context))
        options = {"iou": self.parameterAsDouble(given, "IOU", context), "reproject": True}
        if within is not None:
            options["extent"] = _vector_path(within, "The layer of where the truth was mapped")
        with tempfile.TemporaryDirectory(prefix="selion-") as folder:
            result = self.call(
                command.evaluate(found, truth, folder, **options), str(out), feedback
            )
            if not result:
                return {}
            out.write_bytes((Path(folder) / "report.html").read_bytes())
        return {OUTPUT: str(out)}


RULES = ("fixed", "paper")


class Change(Called):
    """``selion change``."""

    NAME, LABEL = "change", "Change between two years"
    HELP = (
        "What became of the fields: kept, moved, split, merged, gone, new. Needs the probabilities "
        "of both maps ('Map the fields of an image' writes them)."
    )

    def initAlgorithm(self, _configuration: Any = None) -> None:  # noqa: N802
        """Declare the form."""
        for name, words in (
            ("BEFORE", "Fields of the earlier year"),
            ("AFTER", "Fields of the later year"),
        ):
            self.addParameter(QgsProcessingParameterVectorLayer(name, words, POLYGONS))
            beside = "Their probabilities (empty: the .scores.tif beside them)"
            self.addParameter(
                QgsProcessingParameterRasterLayer(f"{name}_SCORES", beside, optional=True)
            )
        self.advanced(
            QgsProcessingParameterEnum(
                "RULE",
                "When a pixel has changed",
                ["on a fixed scale", "on that of the map (PRUE)"],
                defaultValue=0,
            )
        )
        self.addParameter(QgsProcessingParameterFolderDestination(OUTPUT, "Folder of the results"))
        self.addOutput(QgsProcessingOutputRasterLayer("OUTCOMES", "What became of the fields"))
        self.addOutput(QgsProcessingOutputRasterLayer("CHANGE", "Changed pixels"))
        self.addOutput(QgsProcessingOutputHtml("REPORT", "Report"))

    def processAlgorithm(  # noqa: N802
        self, given: Any, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run, and add the two rasters, which bring their colours."""
        before, after = (self._year(given, name, context) for name in ("BEFORE", "AFTER"))
        out = self.parameterAsString(given, OUTPUT, context)
        rule = RULES[self.parameterAsEnum(given, "RULE", context)]
        result = self.call(command.change(before, after, out, rule=rule), out, feedback)
        if not result:
            return {}
        files = result["steps"][0]["files"]
        found = {
            "OUTCOMES": str(Path(out) / files["outcomes"]),
            "CHANGE": str(Path(out) / files["change"]),
        }
        for path in found.values():
            details = QgsProcessingContext.LayerDetails(
                Path(path).stem, context.project(), Path(path).stem
            )
            context.addLayerToLoadOnCompletion(path, details)
        return {OUTPUT: out, "REPORT": result["path"], **found}

    def _year(self, given: Any, name: str, context: QgsProcessingContext) -> tuple[str, str]:
        table = _vector_path(self.parameterAsVectorLayer(given, name, context), "A layer of fields")
        scores = self.parameterAsRasterLayer(given, f"{name}_SCORES", context)
        return table, "" if scores is None else _raster_path(scores, "The raster of probabilities")


ALGORITHMS = (MapImage, MapArea, FieldsFromScores, Evaluate, Change)
