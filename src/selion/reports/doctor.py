"""What this installation can do: versions, engines, processor, paths."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import selion
from selion.cores import usable_cores
from selion.extras import available

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

PIP_ENGINE = "pip install openvino"
EXTRAS = {
    "web": ("starlette", "uvicorn", "rio_tiler", "maplibre"),
    "train": (
        "torch",
        "torchvision",
        "segmentation_models_pytorch",
        "timm",
        "onnx",
        "onnxscript",
        "accelerate",
        "tensorboard",
        "transformers",
        "huggingface_hub",
    ),
    "language": ("torch", "transformers", "peft", "trl", "datasets", "num2words", "tokenizers"),
    "cluster": ("ray",),
    "notebook": ("lonboard", "ipykernel"),
}
"""Extra -> the modules that it brings."""
NEEDS = {
    "map": "an engine",
    "predict": "an engine",
    "crops": "an engine",
    "demo": "an engine",
    "view": "web",
    "review open": "web",
    "label screen": "web",
    "train": "train",
    "label depth": "train",
    "label selftrain": "train",
    "models import": "train",
    "models quantise": "train",
    "map --runner ray": "cluster",
    "train (language models)": "language",
    "maps in notebooks": "notebook",
}
"""Verb, or a part of one -> what it needs besides the package itself."""


@dataclass(frozen=True)
class VerbState:
    """Whether a verb works here."""

    lacks: tuple[str, ...] = ()
    """Modules, or what else it lacks; empty: it works."""
    install: str = ""
    """The command that brings them."""


def examine_verbs(verbs: Iterable[str]) -> dict[str, VerbState]:
    """Say of each verb, and of parts that need more, whether it works here.

    Parameters
    ----------
    verbs : iterable of str
        All verbs; what :data:`NEEDS` does not name needs the package alone.

    Returns
    -------
    dict
        Verb -> its state; nothing is imported for it.
    """
    return {name: _state(NEEDS.get(name, "")) for name in dict.fromkeys((*verbs, *NEEDS))}


def _state(need: str) -> VerbState:
    from selion import models

    if need == "an engine":
        return VerbState() if models.engines_available() else VerbState((need,), PIP_ENGINE)
    lacks = tuple(name for name in EXTRAS.get(need, ()) if not available(name))
    return VerbState(lacks, f"pip install 'selion[{need}]'") if lacks else VerbState()


def examine() -> dict[str, str]:
    """Return findings, name to sentence, in the order in which they help."""
    from pyproj.datadir import get_data_dir

    from selion import models, store

    findings = {
        "selion": selion.__version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.machine()}, {usable_cores()} cores, {_memory()}",
        "bfloat16 on the CPU": _bfloat16(),
        "engines": ", ".join(models.engines_available()) or f"none: {PIP_ENGINE}",
        "engines not here": _lacking() or "none",
        "packaged models": ", ".join(card.name for card in models.packaged_models()) or "none",
        "GDAL in rasterio": store.gdal_version(),
        "PROJ data": get_data_dir(),
    }
    return findings | {name: _version(name) for name in PACKAGES}


def _lacking() -> str:
    from selion import models

    lacking = models.engines_lacking().items()
    return ", ".join(f"{name} ({lack}; needs {cure})" for name, (lack, cure) in lacking)


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
