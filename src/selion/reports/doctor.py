"""What this installation can do: versions, engines, processor, paths."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import selion
from selion.cores import usable_cores

PACKAGES = (
    "numpy",
    "rasterio",
    "pyproj",
    "shapely",
    "geopandas",
    "pyogrio",
    "pyarrow",
    "zarr",
    "obstore",
    "openvino",
    "onnxruntime",
    "torch",
)


def examine() -> dict[str, str]:
    """Return findings, name to sentence, in the order in which they help."""
    from pyproj.datadir import get_data_dir

    from selion import models, store

    findings = {
        "selion": selion.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}, {usable_cores()} cores, {_memory()}",
        "bfloat16 on the CPU": _bfloat16(),
        "engines": ", ".join(models.engines_available()) or "none: pip install openvino",
        "packaged models": ", ".join(card.name for card in models.packaged_models()) or "none",
        "GDAL in rasterio": store.gdal_version(),
        "PROJ data": get_data_dir(),
    }
    return findings | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return "memory unknown"
    return f"{gibibytes:.0f} GiB"


def _bfloat16() -> str:
    flags = Path("/proc/cpuinfo")
    text = flags.read_text() if flags.exists() else ""
    found = [name for name in ("amx_bf16", "avx512_bf16") if name in text]
    return f"yes ({', '.join(found)}): --fast helps" if found else "no: --fast changes nothing"
