"""The versions of all that decides the bytes of a result, here and now."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import selion
from selion.store.gdal import gdal_version

DECIDING = (
    *("numpy", "scipy", "pandas", "geopandas", "pyarrow", "pyogrio", "pyproj", "shapely"),
    *("rasterio", "odc-geo", "scikit-image", "connected-components-3d", "numba", "zarr"),
    *("numcodecs", "pillow", "openvino", "onnxruntime"),
)
"""Distributions whose version may decide bytes."""
LEARNING = {"torch": "torch", "torchvision": "torchvision", "timm": "timm"}
LEARNING |= {"segmentation_models_pytorch": "segmentation-models-pytorch"}
LEARNING |= {"transformers": "transformers", "trl": "trl", "peft": "peft"}
"""Module -> distribution of those that do so only where torch was used."""


def deciding_versions() -> dict[str, str]:
    """Return the versions of what decides bytes here, in this process.

    Returns
    -------
    dict
        Name -> version: selion and a digest of its code, Python, the kind of machine, GDAL, the
        libraries of the core, and those of learning where torch is in use.
    """
    found = dict(_fixed())
    if "torch" in sys.modules:
        found |= _versions(tuple(LEARNING[name] for name in LEARNING if name in sys.modules))
    return found


@cache
def _fixed() -> Mapping[str, str]:
    here = {
        "selion": selion.__version__,
        "code": _code(),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "gdal": gdal_version(),
    }
    return here | _versions(DECIDING)


@cache
def _versions(names: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # another engine is enough
            continue
    return found


def _code() -> str:
    """Return what tells one state of this package's code from another."""
    folder = Path(selion.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
