"""Small products written by hand after the agencies' specifications, with rasterio and text."""

from __future__ import annotations

import json
import tarfile
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


MTL = {
    "PRODUCT_CONTENTS": {"PROCESSING_LEVEL": "L2SP"},
    "IMAGE_ATTRIBUTES": {
        "SPACECRAFT_ID": "LANDSAT_8",
        "DATE_ACQUIRED": "",
        "SCENE_CENTER_TIME": "10:05:21.6634220Z",
    },
    "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS": {
        f"REFLECTANCE_{what}_BAND_{k}": number
        for k in range(1, 8)
        for what, number in (("MULT", "2.75e-05"), ("ADD", "-0.2"))
    },
    "LEVEL1_RADIOMETRIC_RESCALING": {
        f"REFLECTANCE_{what}_BAND_{k}": number
        for k in range(1, 8)
        for what, number in (("MULT", "2.0000E-05"), ("ADD", "-0.100000"))
    },
}


def write_landsat(
    parent: Path,
    numbers: np.ndarray,
    day="2023-08-03",
    *,
    form="txt",
    number=8,
    qa: np.ndarray | None = None,
    **place,
) -> Path:
    """Write a Landsat scene of (4, y, x) red, green, blue and near infrared as uint16."""
    short = day.replace("-", "")
    kind = {8: "LC", 9: "LC", 5: "LT", 7: "LE"}[number]
    scene = f"{kind}0{number}_L2SP_192027_{short}_20230915_02_T1"
    root = parent / scene
    bands = (4, 3, 2, 5) if number > 7 else (3, 2, 1, 4)
    for k, values in zip(bands, numbers, strict=True):
        write_raster(root / f"{scene}_SR_B{k}.TIF", values.astype(np.uint16), "GTiff", **place)
    if qa is not None:
        write_raster(root / f"{scene}_QA_PIXEL.TIF", qa.astype(np.uint16), "GTiff", **place)
    groups = MTL | {"IMAGE_ATTRIBUTES": MTL["IMAGE_ATTRIBUTES"] | {"DATE_ACQUIRED": day}}
    if form == "json":
        text = json.dumps({"LANDSAT_METADATA_FILE": groups})
    elif form == "xml":
        inner = "".join(
            f"<{group}>{''.join(f'<{k}>{v}</{k}>' for k, v in values.items())}</{group}>"
            for group, values in groups.items()
        )
        text = f"<LANDSAT_METADATA_FILE>{inner}</LANDSAT_METADATA_FILE>"
    else:
        lines = ["GROUP = LANDSAT_METADATA_FILE"]
        for group, values in groups.items():
            lines += [f"  GROUP = {group}"]
            lines += [
                f'    {k} = "{v}"' if ":" in v else f"    {k} = {v}" for k, v in values.items()
            ]
            lines += [f"  END_GROUP = {group}"]
        text = "\n".join([*lines, "END_GROUP = LANDSAT_METADATA_FILE", "END"])
    if form:
        (root / f"{scene}_MTL.{form}").write_text(text)
    return root


def in_tar(folder: Path) -> Path:
    """Put the files of a folder into a .tar, as USGS does."""
    path = folder.with_suffix(".tar")
    with tarfile.open(path, "w") as file:
        for one in sorted(folder.iterdir()):
            file.add(one, one.name)
    return path


def write_planet(
    parent: Path,
    values: np.ndarray,
    kind="AnalyticMS_SR_8b",
    coefficients=(),
    udm2=None,
    day="2023-07-20",
    **place,
) -> Path:
    """Write a PlanetScope image of (4 or 8, y, x) in its product's order."""
    scene = f"{day.replace('-', '')}_101530_12_2461_3B"
    path = parent / f"{scene}_{kind}.tif"
    write_raster(path, values.astype(np.uint16), "GTiff", nodata=0, **place)
    if udm2 is not None:
        write_raster(parent / f"{scene}_udm2.tif", udm2.astype(np.uint8), "GTiff", **place)
    if coefficients:
        bands = "".join(
            f"<ps:bandSpecificMetadata><ps:bandNumber>{k}</ps:bandNumber>"
            f"<ps:reflectanceCoefficient>{one}</ps:reflectanceCoefficient>"
            "</ps:bandSpecificMetadata>"
            for k, one in enumerate(coefficients, 1)
        )
        text = f'<a xmlns:ps="http://schemas.planet.com/ps/v1">{bands}</a>'
        (parent / f"{scene}_{kind}_metadata.xml").write_text(text)
    return path
