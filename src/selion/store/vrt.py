"""A VRT: the place, names, colours and tags of pixels that lie in a plain file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
from odc.geo.geobox import GeoBox

TYPES = {
    "uint8": "Byte", "int8": "Int8", "uint16": "UInt16", "int16": "Int16", "uint32": "UInt32",
    "int32": "Int32", "float32": "Float32", "float64": "Float64",
}  # fmt: skip
"""numpy's names and GDAL's."""
COLOURS = {"red": "Red", "green": "Green", "blue": "Blue", "nir": "NIR", "rededge": "RedEdge"}
"""Band names that GDAL knows as colours."""
Palette = Mapping[int, tuple[int, int, int, int]]
"""Red, green, blue and alpha of values."""


def vrt_of(
    pixels: Path,
    grid: GeoBox,
    bands: Sequence[str],
    dtype: np.dtype,
    *,
    nodata: float | None,
    tags: Mapping[str, str],
    palette: Palette,
    scale: float | None = None,
    overviews: tuple[str, Sequence[int]] = ("nearest", ()),
) -> str:
    """Return the text of a VRT that is to lie beside ``pixels``.

    ``overviews`` are the way they are computed, and their factors.
    """
    height, width = grid.shape
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    if grid.crs is not None:
        ET.SubElement(root, "SRS", dataAxisToSRSAxisMapping=_axes(grid)).text = grid.crs.to_wkt()
    a, b, c, d, e, f = grid.transform[:6]
    if not grid.transform.is_identity:
        ET.SubElement(root, "GeoTransform").text = ", ".join(
            repr(float(number)) for number in (c, a, b, f, d, e)
        )
    metadata = ET.SubElement(root, "Metadata")
    for key, value in tags.items():
        ET.SubElement(metadata, "MDI", key=key).text = value
    for number, name in enumerate(bands, 1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=TYPES[dtype.name], band=str(number))
        ET.SubElement(band, "Description").text = name
        if nodata is not None:
            ET.SubElement(band, "NoDataValue").text = repr(float(nodata))
        ET.SubElement(band, "ColorInterp").text = (
            "Palette" if palette else COLOURS.get(name, "Gray" if len(bands) == 1 else "Undefined")
        )
        if scale is not None:
            ET.SubElement(band, "Scale").text = repr(float(scale))
        if palette:
            _add_colours(band, palette)
        source = ET.SubElement(band, "SimpleSource")
        ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = pixels.name
        ET.SubElement(source, "SourceBand").text = str(number)
    way, factors = overviews
    if factors:
        listed = ET.SubElement(root, "OverviewList", resampling=way)
        listed.text = " ".join(str(factor) for factor in factors)
    return ET.tostring(root, "unicode")


def _axes(grid: GeoBox) -> str:
    """Say which axes of the CRS our x and y are: in degrees the CRS names latitude first."""
    first = (
        grid.crs.proj.axis_info[0].direction
        if grid.crs is not None and grid.crs.proj.axis_info
        else "east"
    )
    return "2,1" if first == "north" else "1,2"


def _add_colours(band: ET.Element, palette: Palette) -> None:
    table = ET.SubElement(band, "ColorTable")
    for value in range(256):
        red, green, blue, alpha = palette.get(value, (0, 0, 0, 255))
        ET.SubElement(table, "Entry", c1=str(red), c2=str(green), c3=str(blue), c4=str(alpha))
