"""Which of selion's types show themselves in a notebook; who draws them is imported on a look."""

from __future__ import annotations

from functools import partial
from typing import Any

from selion.progress import watch

SHOWN = (
    "selion.raster.Raster",
    "selion.store.geotiff.GeoTiffSource",
    "selion.store.cube.CubeSource",
    "selion.store.photo.PhotoSource",
    "selion.labels.LabelMap",
    "selion.labels.Instances",
    "selion.classes.ClassScheme",
    "selion.data.dataset.Dataset",
    "selion.models.card.ModelCard",
    "selion.models.graph.GraphSegmenter",
    "selion.models.pixel.TorchSegmenter",
    "selion.metrics.report.Report",
)
"""By name, so that none of them is imported for it."""


def load_ipython_extension(shell: Any) -> None:
    """Show selion's types in an IPython notebook, as a small picture and the facts, and its work.

    ``import selion`` in a running notebook has done this; where selion was imported before IPython
    was, ``%load_ext selion`` does it.

    Parameters
    ----------
    shell : IPython.core.interactiveshell.InteractiveShell
    """
    formatter = shell.display_formatter.formatters["text/html"]
    for name in SHOWN:
        module, _, kind = name.rpartition(".")
        formatter.for_type_by_name(module, kind, _html)
    if hasattr(shell, "kernel"):  # a notebook, which shows a bar; a terminal has its own ways
        watch(partial(_step, shell))


def _step(shell: Any, stage: str, done: float, total: float, detail: str = "", /) -> None:
    from selion.reports import notebook_bar

    notebook_bar.step(shell, stage, done, total, detail)


def _html(thing: Any) -> str | None:
    from selion.reports import notebook

    return notebook.html(thing)
