"""Optional dependencies: ask for one by name, get the module or the pip line that brings it."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

from selion.errors import MissingExtra


def available(module: str) -> bool:
    """Say whether a top-level module can be imported, without importing it."""
    return find_spec(module) is not None


def require(module: str, extra: str) -> ModuleType:
    """Import an optional module.

    Raises
    ------
    MissingExtra
        If it is not installed; the message holds the ``pip install`` line.
    """
    if not available(module.partition(".")[0]):
        raise MissingExtra(
            f"This needs {module.partition('.')[0]}, which is not installed: pip install "
            f"'selion[{extra}]'."
        )
    return importlib.import_module(module)
