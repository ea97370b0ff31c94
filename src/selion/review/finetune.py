"""Learning from a review.

The model that made a map goes on from its own weights, on what people decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selion import models, store, training
from selion.errors import BadInput, UnknownName
from selion.grid import ground_sampling_distance
from selion.review.export import LABELS, export_review
from selion.review.labels import LabelOptions
from selion.review.opened import model_of
from selion.training.datasets import like_start
from selion.training.recipe import Inputs, Model, Recipe

if TYPE_CHECKING:
    from selion.models import ModelCard
    from selion.review.opened import MapFiles
    from selion.training.run import TrainingPlan

RECIPE = "review"
WINDOW = 256
"""Edge in pixels of the windows that are learned from, where the model's own are not smaller."""
FOLDER = "review"
"""Folder in that of the run, which gets the corrected map and the labels that are learned from."""


def plan_from_review(
    files: MapFiles,
    folder: Path,
    recipe: str = RECIPE,
    changes: Sequence[str] = (),
    *,
    model: str = "",
    force: bool = False,
    keep: bool = False,
) -> TrainingPlan:
    """Write the labels of a review into the folder of a run.

    The training of the map's own model on them is planned.

    Parameters
    ----------
    files : MapFiles
    folder : path
        Of the run; gets ``review/`` with the corrected map and the labels.
    recipe : str
        Name or file of a recipe; its data, input, classes and network become those of the model,
        unless ``changes`` say otherwise.
    changes : sequence of str
        ``key=value`` each, as ``--set``.
    model : str
        Name or folder of the model; without it the map says which one made it.
    force : bool
        Whether labels of an earlier run are replaced.
    keep : bool
        Whether they stay as they are, for a run that is resumed.

    Raises
    ------
    BadInput
        If nothing was decided, there is no image, or the model cannot be trained further.
    """
    chosen = training.read_recipe(recipe, changes)
    if not isinstance(chosen, Recipe):
        raise BadInput(
            f"The recipe {recipe} trains a language model, which does not learn from a review: "
            "give one of fields."
        )
    said = chosen.model.start_from if _said(changes, "model.start_from") else ""
    card = _card(model or said or model_of(files))
    if files.image is None:
        raise BadInput("There is no image beside the map to learn from: name it with --image.")
    native = ground_sampling_distance(store.open_raster(files.image).grid)
    chosen = like_start(fitted(chosen, card, changes, folder / FOLDER / LABELS, native), native)
    finer = 1.0 if native is None or chosen.crops.gsd is None else chosen.crops.gsd[1] / native
    options = LabelOptions(
        size=max(8, round(chosen.window * finer)),
        width=chosen.data.boundary_pixels,
        val=chosen.data.validation_share,
    )
    if not (keep and (folder / FOLDER / LABELS).is_dir()):
        export_review(files, folder / FOLDER, options, force=force)
    return training.plan_training(chosen)


def _said(changes: Sequence[str], key: str) -> bool:
    """Say whether a change sets a key, or something in its table."""
    return any(change.partition("=")[0].strip().startswith(key) for change in changes)


def _card(name: str) -> ModelCard:
    if not name:
        raise BadInput("The map does not say which model made it: name it with --model.")
    try:
        return models.find_card(name)
    except UnknownName as error:
        raise BadInput(
            f"The map was made by the model {name!r}, which is not known here: give its folder "
            "with --model."
        ) from error


def fitted(
    recipe: Recipe,
    card: ModelCard,
    changes: Sequence[str],
    labels: Path,
    native: float | None = None,
) -> Recipe:
    """Return a recipe like a model, on a folder of labels.

    It is for the network, the bands, the classes and the working resolution of the model.

    Parameters
    ----------
    native : float or None
        Ground sampling distance of the image in metres: windows are drawn at the distance at which
        the model maps it.

    Raises
    ------
    BadInput
        If the model has no architecture that can be trained, or no class of fields.
    """
    if not card.architecture or "field" not in card.classes.names:
        raise BadInput(
            f"{card.name} cannot be trained on fields: its card has no architecture, or no class "
            "'field'; give another with --model."
        )
    spec = card.inputs
    window = recipe.input.window if _said(changes, "input.window") else spec.window
    inputs = Inputs(
        spec.bands,
        spec.scaling.divide,
        spec.scaling.subtract,
        spec.scaling.clip,
        spec.gsd,
        window,
        spec.overlap,
        spec.multiple,
        spec.dates or None,
        spec.optional or None,
        spec.byte_divide,
        None if spec.finer == 1 else spec.finer,
    )
    network = Model(
        dict(card.architecture),
        start_from=str(card.folder or card.name),
        keep_start=recipe.model.keep_start,
        batch_norm=recipe.model.batch_norm,
    )
    working = spec.working_gsd(native)
    crops = recipe.crops
    if not _said(changes, "crops.size") and not crops.size:
        crops = replace(
            crops, size=min(spec.window, max(WINDOW // spec.multiple, 1) * spec.multiple)
        )
    if working is not None and not _said(changes, "crops.gsd"):
        crops = replace(crops, gsd=(working, working))
    weights = recipe.loss.weights if len(recipe.loss.weights) in (0, len(card.classes)) else ()
    return replace(
        recipe,
        name=recipe.name if _said(changes, "name") else f"{card.name}-reviewed",
        classes=card.classes,
        data=replace(recipe.data, dataset=str(labels), image="", polygons="", area=""),
        input=recipe.input if _said(changes, "input.bands") else inputs,
        model=recipe.model if _said(changes, "model.architecture") else network,
        loss=replace(recipe.loss, weights=weights),
        crops=crops,
    )
