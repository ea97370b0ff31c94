"""What is said about an image for MAgSeg's tables: by a model, by the truth, by a grid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox

from selion import metrics, store
from selion.classes import ClassScheme
from selion.evaluation.answers import Answer, EvaluateOptions, answer, truth_ids, with_method
from selion.grid import Lattice, ground_sampling_distance
from selion.models.card import ModelCard
from selion.models.execution import CardModel, Execution
from selion.papers.landscape_scores import FIELD
from selion.prediction.planning import SAME
from selion.raster import Raster
from selion.sample import Sample
from selion.segmenter import InputSpec, Scaling, View

FIELDS_ALONE = ClassScheme(("others", FIELD), (FIELD,))


def blind_grid(sample: Sample, edge: int) -> np.ndarray:
    """Return (y, x) ids of squares; 0 pixels: none."""
    height, width = (int(n) for n in sample.image.grid.shape)
    if not edge:
        return np.zeros((height, width), np.int32)
    found: np.ndarray = metrics.regular_grid((height, width), edge)
    return found


def kept_answer(
    model: Any, sample: Sample, folder: Path, told: Callable[[], None] = lambda: None
) -> Answer:
    """Let a model answer about a sample, or take what it said before.

    Returns
    -------
    Answer
        With ``ids`` and, where the model tells classes, ``classes``.
    """
    path = folder / f"{answer_name(sample.key)}.npz"
    if not path.is_file():
        told()
        options = with_method(EvaluateOptions(), model)
        said = answer(model, sample, options)
        classes = {} if said.classes is None else {"classes": said.classes}
        path.parent.mkdir(parents=True, exist_ok=True)
        with store.atomic_write(path, force=True) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, ids=said.ids, **classes)  # type: ignore[arg-type]
    with np.load(path) as kept:
        return Answer(kept["ids"], classes=kept.get("classes"))


def safe_name(name: str) -> str:
    """Return a text that can be a file's name."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


def answer_name(key: str) -> str:
    """Return what the answer about a sample is kept as: two samples never share a name."""
    safe = safe_name(key)
    told = hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return safe if safe == key else f"{safe}-{told}"


def seam_of(inputs: InputSpec, said: Answer, grid: GeoBox) -> float:
    """Return the rate of class changes at the edges of windows over the rate elsewhere.

    NaN where the model works on pixels of another size than those of the image's grid: its windows
    end elsewhere.
    """
    native = ground_sampling_distance(grid)
    working = inputs.working_gsd(native)
    resampled = native and working and abs(working / native - 1) >= SAME
    if said.classes is None or resampled or inputs.upsampling != 1:
        return float("nan")
    height, width = (int(n) for n in said.classes.shape)
    lattice = Lattice((height, width), inputs.window, inputs.overlap)
    return float(metrics.seam_error(said.classes, *metrics.lattice_seams(lattice)))


class _Oracle(CardModel):
    """Its input is the truth, one band for each class."""

    def __init__(self, card: ModelCard) -> None:
        super().__init__("Oracle", card, Execution("nothing"))

    def __call__(self, views: Sequence[View]) -> np.ndarray:
        return np.stack([view.pixels for view in views]).astype(np.float32)


def oracle_answer(sample: Sample) -> tuple[Answer, ClassScheme]:
    """Answer as a model would whose every pixel is right, by the road that all models go.

    Returns
    -------
    Answer
    ClassScheme
        Of the sample's labels; fields alone where it has objects and no labels.
    """
    scheme = sample.labels.classes if sample.labels is not None else FIELDS_ALONE
    ids = sample.labels.ids if sample.labels is not None else (truth_ids(sample) > 0).astype(int)
    told = (ids[None] == np.arange(len(scheme))[:, None, None]).astype(np.float32)
    bands = tuple(f"said:{name}" for name in scheme.names)
    image = Raster(told, sample.image.grid, bands)
    scaling = Scaling((1.0,), (0.0,), (0.0, 1.0))
    model = _Oracle(ModelCard("oracle", InputSpec(bands, scaling, window=128), scheme))
    options = with_method(EvaluateOptions(), model)
    return answer(model, replace(sample, image=image), options), scheme
