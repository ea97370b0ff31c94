"""Two-stage self-training.

Train on everything, look at everything again, keep what both agree on, train once more.

::

    run/stage-1/             a training run on human labels and kept pseudo-labels
    run/trimap/masks/<key>   what pseudo-label and stage 1 agree on, 255 elsewhere
    run/trimap/agreement.csv
    run/stage-2/             a training run on those
    run/model/               the second stage's model

Every piece is whole or not there, and what is there is gone on with: a killed run, started again,
ends with the same weights (on a processor).

References
----------
DepthCropSeg++, section on two-stage self-training.  The paper does not say whether human labels are
trimapped too; by default they are not, nor are masks that are all crop, because both would be
erased just where the model is wrong.  It says of the second stage that the model "is fine-tuned"
(II.C) and that the supervision is used "to retrain" it (II.E): by default stage 2 begins where the
recipe does, with ``fine_tune`` where stage 1 ended.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import data, models, store
from selion import training as train
from selion.classes import IGNORE
from selion.data.dataset import Dataset, Entry
from selion.errors import BadInput, EmptyImage, OutputExists
from selion.grid import ground_sampling_distance
from selion.labelling.masks import ending, write_mask
from selion.labelling.scenes import predicted_labels
from selion.labelling.selection import PREFIX, Selection, read_truth
from selion.labelling.trimap import (
    AGREEMENT,
    TrimapAgreement,
    agree,
    measure_agreement,
    write_agreement,
)
from selion.labels import LabelMap
from selion.progress import OnStep, silent
from selion.segmenter import Segmenter
from selion.store.scratch import is_bare
from selion.training.mixture import Mixture
from selion.training.plan import origin_of

if TYPE_CHECKING:
    from selion.training.recipe import Recipe
    from selion.training.run import TrainingPlan

STAGE_1, TRIMAP, STAGE_2, MODEL = "stage-1", "trimap", "stage-2", "model"
ABOUT = "selftrain.json"
SAID = "said"
"""In it: which masks are all crop, and which people corrected; their files do not tell."""


@dataclass(frozen=True, slots=True)
class TrimapOptions:
    """Which labels the first stage's predictions may erase."""

    human: bool = False
    full: bool = False
    """Masks that are all crop."""
    sure: float = 0.0
    """Least probability that the first stage must give a label it agrees with (section IV,
    "confidence-guided filtering"); what it is less sure of becomes 255 too."""

    def __post_init__(self) -> None:
        if not 0 <= self.sure <= 1:
            raise BadInput(f"sure = {self.sure:g} was given; wanted is a probability.")


@dataclass(frozen=True, slots=True)
class DrawOptions:
    """How often pseudo-labelled images are drawn, and how finely.

    Without a wish each image counts as much as any other, under the recipe's own settings.
    """

    share: float | None = None
    """Of the windows of each epoch."""
    gsd: tuple[float, float] | None = None
    """Metres at which their windows are drawn."""

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share < 1:
            raise BadInput(
                f"A share of pseudo-labels of {self.share:g} was given; wanted is a number above 0 "
                "and below 1."
            )
        if self.gsd is not None and not 0 < self.gsd[0] <= self.gsd[1]:
            raise BadInput(
                f"Ground sampling distances of {self.gsd[0]:g} and {self.gsd[1]:g} m were given; "
                "wanted are two above 0, the finer one first."
            )


@dataclass(frozen=True, eq=False)
class SelfTraining:
    """A two-stage run that could begin."""

    recipe: Recipe
    training: Dataset
    """Human labels and pseudo-labels, in the recipe's classes."""
    validation: Dataset
    kept: Selection
    options: TrimapOptions = TrimapOptions()
    drawn: DrawOptions = DrawOptions()
    notes: tuple[str, ...] = ()
    fine_tune: bool = False
    """Stage 2 goes on from stage 1's weights."""

    def erasable(self, entry: Entry) -> bool:
        """Say whether the trimap may erase labels of a sample."""
        if not entry.key.startswith(PREFIX) or entry.key in self.kept.drawn:
            return self.options.human
        return self.options.full or entry.key not in self.kept.full


def plan_selftraining(
    recipe: Recipe,
    kept: Selection,
    options: TrimapOptions | None = None,
    drawn: DrawOptions | None = None,
    *,
    fine_tune: bool = False,
) -> SelfTraining:
    """Join human labels and pseudo-labels.

    Parameters
    ----------
    recipe : Recipe
        Its ``data`` names the labelled dataset; without one there are only pseudo-labels, and
        nothing to validate on.
    kept : Selection
    options : TrimapOptions, optional
    drawn : DrawOptions, optional
    fine_tune : bool
        Let stage 2 go on from stage 1's weights instead of the recipe's start.

    Raises
    ------
    BadInput
        If the pseudo-labels have classes that the recipe does not know, or pixels that it would not
        work on.
    UnknownName, UnreadableFile
        If the dataset is not there.
    """
    strange = [name for name in kept.classes.names if name not in recipe.classes.names]
    if strange:
        raise BadInput(
            f"The pseudo-labels have the class {strange[0]!r}, but the recipe {recipe.name} knows "
            f"{', '.join(recipe.classes.names)}: take another recipe."
        )
    if recipe.data.truth == "instances":  # pseudo-labels are masks
        recipe = replace(recipe, data=replace(recipe.data, truth="auto"))
    _check_fineness(recipe, kept)
    notes = list(kept.notes)
    drawn = drawn or DrawOptions()
    if recipe.data.dataset or recipe.data.image:
        from selion.training.datasets import open_samples

        human, validation = open_samples(recipe)
        if not isinstance(human, data.Dataset) or not isinstance(validation, data.Dataset):
            raise BadInput(
                f"The recipe {recipe.name} mixes datasets (data.mix): self-training wants one "
                "labelled dataset, so remove data.mix."
            )
    else:
        notes.append(
            "No labelled dataset was given: training is on pseudo-labels alone, and the model "
            "will have no scores."
        )
        human = validation = data.Dataset("none", recipe.classes, ())
        drawn = replace(drawn, share=None)
    name = f"{human.name} and pseudo-labels" if len(human) else "pseudo-labels"
    joined = replace(human, name=name, entries=(*human.entries, *kept.entries))
    return SelfTraining(
        recipe,
        joined,
        validation,
        kept,
        options or TrimapOptions(),
        drawn,
        tuple(notes),
        fine_tune,
    )


def _check_fineness(recipe: Recipe, kept: Selection) -> None:
    """Refuse labels finer than their images where the model would work on the pixels of its images.

    It would learn at one size and be used at another.
    """
    sample = kept.entries[0].open()
    if (
        sample.labels is None
        or sample.labels.grid.shape == sample.image.grid.shape
        or recipe.input.gsd is not None
    ):
        return
    fine = ground_sampling_distance(sample.labels.grid) or 0.0
    raise BadInput(
        f"The pseudo-labels have pixels of {fine:.3g} m, finer than their images, but the recipe "
        f"{recipe.name} works on pixels as they are: add --set 'input.gsd=[{fine:.2g}, "
        f"{fine:.2g}]' or take a recipe with such metres (fields-rgb-vhr), or make labels with "
        "--no-finer."
    )


def self_train(
    plan: SelfTraining,
    folder: Path,
    run: Callable[..., Any] = train.train_plan,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> Path:
    """Run both stages, or what is left of them.

    Parameters
    ----------
    plan : SelfTraining
    folder : path
    run : callable
        Trains a stage: :func:`selion.training.train_plan`, or one that writes a report besides.
    force : bool
        Begin anew in a folder that holds another run.
    on_step : callable, optional
        (stage, done, total, detail).

    Returns
    -------
    Path
        Folder of the final model.

    Raises
    ------
    OutputExists
        If the folder holds a run on other data or by another recipe.
    """
    begin(plan, folder, force=force)
    train_stage(stage_plan(plan, plan.training, 1), folder / STAGE_1, run, on_step)
    model = models.load_model(folder / STAGE_1 / MODEL)
    make_trimaps(plan, model, folder / TRIMAP, on_step)
    second = stage_plan(_second_start(plan, folder), trimapped(plan, folder / TRIMAP), 2)
    train_stage(second, folder / STAGE_2, run, on_step)
    return _publish(folder)


def _second_start(plan: SelfTraining, folder: Path) -> SelfTraining:
    """Let the second stage begin where the first one ended, where that is wished."""
    if not plan.fine_tune:
        return plan
    start = replace(plan.recipe.model, pretrained="", start_from=str(folder / STAGE_1))
    return replace(plan, recipe=replace(plan.recipe, model=start))


def begin(plan: SelfTraining, folder: Path, *, force: bool = False) -> None:
    """Make the folder, or see that it holds the same run; with force another one is removed."""
    trimap = asdict(plan.options)
    if not plan.options.sure:  # runs that were begun before there was a choice go on
        del trimap["sure"]
    about: dict[str, Any] = {
        "recipe": train.recipe_table(plan.recipe),
        "trimap": trimap,
        "samples": stamp(plan.training),
    }
    about |= {"fine_tune": True} if plan.fine_tune else {}
    about |= {"drawn": asdict(plan.drawn)} if plan.drawn != DrawOptions() else {}
    about[SAID] = {"all crop": sorted(plan.kept.full), "corrected": sorted(plan.kept.drawn)}
    path, about = folder / ABOUT, json.loads(json.dumps(about))
    store.check_output(path, force=True)
    if path.is_file() and _is_of(json.loads(path.read_text("utf-8")), about) and not force:
        return
    if folder.is_dir() and not is_bare(folder):
        if not force:
            raise OutputExists(
                f"{folder} holds something else, or a run with another recipe, labels or "
                "decisions: choose another folder, or start over with --force."
            )
        for name in (STAGE_1, TRIMAP, STAGE_2, MODEL):
            shutil.rmtree(folder / name, ignore_errors=True)
    store.write_text(path, json.dumps(about, indent=1) + "\n", force=True)


def _is_of(before: dict[str, Any], about: dict[str, Any]) -> bool:
    """Say whether a run is the one that is asked for; older ones do not tell what people said."""
    return before in (about, {name: told for name, told in about.items() if name != SAID})


def stamp(samples: Dataset) -> str:
    """Return a hash of names and files, which changes when an image or a label does."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in samples.entries:
        digest.update(entry.key.encode())
        for path in entry.files:
            digest.update(store.fingerprint(path).encode() if path.exists() else b"missing")
    return digest.hexdigest()


def stage_plan(plan: SelfTraining, samples: Dataset, stage: int) -> TrainingPlan:
    """Return the training plan of a stage; only the name of the model tells them apart."""
    recipe = replace(plan.recipe, name=f"{plan.recipe.name}-stage-{stage}")
    origin = origin_of(samples)
    told = replace(origin, notes=(*origin.notes, *plan.notes))
    return train.plan_samples(recipe, mixed(samples, recipe, plan.drawn), plan.validation, told)


def mixed(samples: Dataset, recipe: Recipe, drawn: DrawOptions) -> Dataset | Mixture:
    """Part a training set into labels of people and pseudo-labels.

    Each has its share of the windows; it stays as it is where nothing was wished.
    """
    if drawn == DrawOptions():
        return samples
    ours = replace(
        samples,
        name="pseudo-labels",
        entries=tuple(e for e in samples.entries if e.key.startswith(PREFIX)),
    )
    theirs = replace(
        samples,
        name="labels of people",
        entries=tuple(e for e in samples.entries if not e.key.startswith(PREFIX)),
    )
    share = len(ours) / len(samples) if drawn.share is None else drawn.share
    parts = [
        (theirs, recipe, 1 - share),
        (
            ours,
            replace(recipe, crops=replace(recipe.crops, gsd=drawn.gsd or recipe.crops.gsd)),
            share,
        ),
    ]
    there = [part for part in parts if len(part[0])]
    return Mixture(
        tuple(p for p, _, _ in there), tuple(r for _, r, _ in there), tuple(s for _, _, s in there)
    )


def train_stage(plan: TrainingPlan, folder: Path, run: Callable[..., Any], on_step: OnStep) -> None:
    """Train a stage, go on with it, or leave it as it is when it is done."""
    if (folder / "done").is_file():
        return
    resume = (folder / train.STATE).is_file()
    run(plan, folder, resume=resume, force=not resume, on_step=on_step)
    store.write_text(folder / "done", "The model of this stage is complete.\n", force=True)


def make_trimaps(
    plan: SelfTraining, model: Segmenter, folder: Path, on_step: OnStep = silent
) -> dict[str, TrimapAgreement]:
    """Look at the whole training set again and write what label and prediction agree on.

    That is done for the samples whose labels may be erased.

    Returns
    -------
    dict
        Key -> agreement, of all samples with labels; also in ``agreement.csv``.
    """
    found: dict[str, TrimapAgreement] = {}
    for done, entry in enumerate(plan.training.entries):
        on_step("second pass", done, len(plan.training.entries), entry.key)
        agreement = _second_pass(plan, entry, model, folder)
        if agreement is not None:
            found[entry.key] = agreement
    write_agreement(found, plan.recipe.classes.names, folder / AGREEMENT)
    on_step("second pass", len(plan.training.entries), len(plan.training.entries), "")
    return found


def _second_pass(
    plan: SelfTraining, entry: Entry, model: Segmenter, folder: Path
) -> TrimapAgreement | None:
    """Compare one sample with the model.

    Its trimap is written where it is wanted and not there yet.
    """
    sample = entry.open()
    if sample.labels is None:
        return None
    labels = in_scheme(sample.labels, model)
    try:
        said, sure = predicted_labels(
            sample.image, model, grid=labels.grid, sure=(0.0, plan.options.sure)
        )
    except EmptyImage:
        return None
    target = trimap_path(folder, entry.key, labels)
    if plan.erasable(entry) and not target.is_file():
        write_mask(agree(labels, sure), target, force=True)
    return measure_agreement(labels, said)


def in_scheme(labels: LabelMap, model: Segmenter) -> LabelMap:
    """Bring labels to the ids of a model's classes, by name."""
    table = np.full(256, IGNORE, np.uint8)
    table[: len(labels.classes)] = [model.classes.index(name) for name in labels.classes.names]
    return LabelMap(table[labels.ids], labels.grid, model.classes)


def trimap_path(folder: Path, key: str, labels: LabelMap) -> Path:
    """Return where the trimap of a sample lies."""
    return folder / "masks" / f"{key}{ending(labels)}"


def trimapped(plan: SelfTraining, folder: Path) -> Dataset:
    """Return the training set with the labels of the trimaps, where there are any."""
    entries = tuple(
        _with_trimap(entry, folder, plan) if plan.erasable(entry) else entry
        for entry in plan.training.entries
    )
    return replace(
        plan.training, name=f"{plan.training.name}, where stage 1 agrees", entries=entries
    )


def _with_trimap(entry: Entry, folder: Path, plan: SelfTraining) -> Entry:
    paths = [folder / "masks" / f"{entry.key}{suffix}" for suffix in (".png", ".tif")]
    path = next((p for p in paths if p.is_file()), None)
    return (
        entry
        if path is None
        else replace(
            entry,
            truth=partial(read_truth, path, plan.recipe.classes, False),
            files=(*entry.files[:1], path),
        )
    )


def _publish(folder: Path) -> Path:
    """Copy the second stage's model to the run's own."""
    with store.atomic_folder(folder / MODEL, force=True) as temporary:
        shutil.copytree(folder / STAGE_2 / MODEL, temporary, dirs_exist_ok=True)
    return folder / MODEL
