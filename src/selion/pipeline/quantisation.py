"""A model in 8-bit integers, calibrated on windows of a user's own image.

`selion models quantise`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from selion import prediction, store
from selion.errors import BadInput
from selion.models import ModelCard, find_card, load_model
from selion.models.quantise import AGREEMENT, LEAST, Fidelity, quantise
from selion.prediction.resample import read_frame
from selion.prediction.windows import cut_window
from selion.raster import Source
from selion.segmenter import Segmenter, View
from selion.store.apart import check_apart
from selion.store.replaced import FolderKind

LEAST_VALID = 0.9
"""Share of a window that must be seen."""
MODEL = FolderKind(
    "a model",
    ("card.toml",),
    tuple(
        f"*.{ending}"
        for ending in (
            *("onnx", "onnx.data", "onnx_data", "safetensors", "npz", "json", "toml", "txt"),
            *("model", "jinja", "md"),
        )
    ),
)
"""A folder of weights: which files it has besides its card is told by the family."""


def check_model_folder(folder: str | Path, *read: ModelCard | Path | None, force: bool) -> None:
    """Refuse a folder for a new model that may not be written, or that holds what it is made from.

    Parameters
    ----------
    folder : path
    *read : ModelCard or path
        What the new model is made from.
    force : bool
        Whether an older model is replaced.

    Raises
    ------
    BadInput
        Which model would be lost.
    OutputExists, OutputFailed
        See :func:`selion.store.check_output`.
    """
    check_apart(Path(folder), *(one.folder if isinstance(one, ModelCard) else one for one in read))
    store.check_output(folder, force, MODEL)


def quantise_model(
    name: str | Path,
    image: str | Path,
    folder: str | Path,
    *,
    windows: int = 48,
    seed: int = 0,
    least: float = AGREEMENT,
    force: bool = False,
) -> tuple[ModelCard, Fidelity]:
    """Write a model's 8-bit form, calibrated and judged on one image.

    Parameters
    ----------
    name : str or path
        The model.
    image : path or address
        An image like those that will be mapped; half of the windows drawn from it calibrate, the
        others judge.
    folder : path
        The new model's.
    windows : int
        How many are drawn.
    seed : int
        Which.
    least : float
        Share of the judged pixels on which both must say the same class.
    force : bool
        Replace the folder.

    Returns
    -------
    ModelCard, Fidelity

    Raises
    ------
    BadInput
        If fewer than 16 windows are asked for, the image has too few that are seen, the model has
        no graph, or its 8-bit form agrees with it on too few pixels.
    """
    if windows < 2 * LEAST:
        raise BadInput(
            f"{windows} windows were asked for; wanted are {2 * LEAST} or more, half of them to "
            "calibrate and half to judge."
        )
    card = find_card(name)
    check_model_folder(folder, card, force=force)
    source = store.open_raster(image)
    views = draw_windows(source, load_model(name, threads=1), windows, seed)
    if not views:
        raise BadInput(
            f"{image} has no window of which {LEAST_VALID:.0%} are seen: give another image."
        )
    return quantise(card, views[::2], views[1::2], folder, least=least, force=force)


def draw_windows(source: Source, model: Segmenter, count: int, seed: int) -> list[View]:
    """Draw windows of a source as a model would be shown them.

    The seed decides their order.
    """
    # a fine lattice: small images have many windows too
    plan = prediction.plan(source, model, prediction.PredictOptions(overlap=0.75))
    working = plan.working(source)
    rows, columns = (len(starts) for starts in plan.lattice.starts)
    views: list[View] = []
    for number in np.random.default_rng(seed).permutation(rows * columns):
        position = (int(number) // columns, int(number) % columns)
        roi = plan.lattice_roi(*position)
        window = cut_window(read_frame(working, roi), roi, position, plan)
        if window is not None and window.valid.mean() >= LEAST_VALID:
            views.append(window.view)
        if len(views) == count:
            break
    return views
