"""Small products written by hand after the agencies' specifications, with rasterio and text."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

ORDER = ("B04", "B03", "B02", "B08")
PLACE = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_300_000)}
MTD = """<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{number}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/x.xsd">
<n1:General_Info><Product_Info>
<PRODUCT_START_TIME>{day}T10:10:31.024Z</PRODUCT_START_TIME>
<PRODUCT_URI>S2A_MSI{level}_{short}T101031_{base}_R022_T32TQT_{short}T200000.SAFE</PRODUCT_URI>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
</Product_Info><Product_Image_Characteristics>{numbers}</Product_Image_Characteristics>
</n1:General_Info><n1:Quality_Indicators_Info>
<Cloud_Coverage_Assessment>12.5</Cloud_Coverage_Assessment>
</n1:Quality_Indicators_Info></n1:Level-{number}_User_Product>"""


def write_raster(path, values, driver="JP2OpenJPEG", zoom=1, **more):
    """Write (band, y, x) or (y, x) at ten times ``zoom`` metres, without loss."""
    values = values if values.ndim == 3 else values[None]
    count, height, width = values.shape
    place = PLACE | more
    place["transform"] = place["transform"] * Affine.scale(zoom)
    lossless = {"QUALITY": "100", "REVERSIBLE": "YES"} if driver == "JP2OpenJPEG" else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    size = {"count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", driver=driver, **size, **place, **lossless) as file:
        file.write(values)
    return path


def write_safe(
    parent: Path,
    numbers: np.ndarray,
    day="2023-08-03",
    *,
    level="2A",
    baseline="05.09",
    offsets=(-1000,) * 13,
    scl: np.ndarray | None = None,
    quantification=10_000,
    **place,
) -> Path:
    """Write a Sentinel-2 product of (4, y, x) red, green, blue and near infrared as uint16."""
    short = day.replace("-", "")
    root = parent / f"S2A_MSIL{level}_{short}T101031_N{baseline.replace('.', '')}_R022_T32TQT.SAFE"
    granule = root / "GRANULE" / f"L{level}_T32TQT_A000001_{short}T101031" / "IMG_DATA"
    ten = granule / "R10m" if level == "2A" else granule
    tail = "_10m" if level == "2A" else ""
    for band, values in zip(ORDER, numbers, strict=True):
        name = f"T32TQT_{short}T101031_{band}{tail}.jp2"
        write_raster(ten / name, values.astype(np.uint16), **place)
    if scl is not None:
        name = f"T32TQT_{short}T101031_SCL_20m.jp2"
        write_raster(granule / "R20m" / name, scl.astype(np.uint8), zoom=2, **place)
    tag, value = ("BOA", "BOA_") if level == "2A" else ("RADIO", "")
    listed = "".join(
        f'<{tag}_ADD_OFFSET band_id="{k}">{offset}</{tag}_ADD_OFFSET>'
        for k, offset in enumerate(offsets)
    )
    said = f"<{value}QUANTIFICATION_VALUE>{quantification}</{value}QUANTIFICATION_VALUE>{listed}"
    text = MTD.format(
        number=level,
        level=f"L{level}",
        day=day,
        short=short,
        base=f"N{baseline.replace('.', '')}",
        baseline=baseline,
        numbers=said,
    )
    (root / f"MTD_MSIL{level}.xml").write_text(text)
    return root


def packed(folder: Path, *, within=True) -> Path:
    """Pack a folder as a zip beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for one in sorted(folder.rglob("*")):
            if one.is_file():
                file.write(one, one.relative_to(folder.parent if within else folder))
    return path
