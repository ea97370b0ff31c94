"""From photographs with a few masks to a model of one's own: choose, train, compare, keep."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from selion import data, models, store, training
from selion.classes import ClassScheme
from selion.closerange.adaptation import (
    LOOKS,
    TRAINING,
    Adaptation,
    AdaptOptions,
    LabelWindow,
    all_windows,
    begin_adaptation,
    classes_of,
    declare_labels,
    has_mask,
    mask_path,
    seen_ids,
    set_aside,
    starting_card,
    write_windows,
)
from selion.closerange.calibration import FILE as PHOTOGRAPHS
from selion.closerange.calibration import Calibration, write_calibration
from selion.closerange.contest import AFTER, BEFORE, Contest, hold_contest
from selion.closerange.given_masks import GivenMasks, Read, find_masks
from selion.closerange.informative import (
    PhotoLook,
    PhotoSurvey,
    choose_photos,
    roi_of,
    survey_photos,
)
from selion.closerange.model import open_model
from selion.data.photos import PhotoFile, distinct, find_photos, read_photo, said_of_copies
from selion.data.values import read_mask
from selion.errors import BadInput, OutputExists, counted
from selion.models import ModelCard
from selion.models.card import CARD, sha256_of, write_card
from selion.progress import OnNote, OnStep, silent, unsaid
from selion.training.checkpoint import STATE, load_facts
from selion.training.recipe import Inputs, Model, Recipe
from selion.training.run import MODEL, TrainingPlan, is_finished, probe

RECIPE = "crops"
BATCHES = 12
"""Batches of an epoch."""
LEAST_EPOCHS, MOST_EPOCHS = 4, 600
ZOOM = (0.6, 1.5)
"""Pixels of the photograph in a pixel of a window that is learnt from, at least and at most."""


@dataclass(frozen=True, eq=False)
class Adapted:
    """What came of it."""

    adaptation: Adaptation
    contest: Contest
    card: ModelCard
    """Of the model that was kept."""
    notes: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Of the model."""
        return self.adaptation.folder


def prepare_given(
    photos: Path,
    out: Path,
    masks: Path,
    options: AdaptOptions,
    *,
    force: bool = False,
    on_step: OnStep = silent,
    on_note: OnNote = unsaid,
) -> Adaptation:
    """Choose among photographs that have a mask, and cut the windows that are learnt from.

    Parameters
    ----------
    photos, out : path
        Folder of photographs, and the one of the model.
    masks : path
        See :func:`selion.closerange.given_masks.find_masks`.
    options : AdaptOptions
    force : bool
        Start over where ``out`` holds an adaptation.
    on_step, on_note : callable, optional

    Raises
    ------
    OutputExists
        If ``out`` holds something else, or masks were changed or added since it was begun.
    BadInput, UnreadableFile, UnknownName
        If the model cannot be adapted, or masks and photographs do not fit.
    """
    card = starting_card(options)
    found = find_photos(photos, skip=[out, masks] if masks != photos else [out])
    classes = classes_of(options, card)
    given = find_masks(masks, found, classes)
    for note in given.notes:
        on_note(note)
    begun = begin_adaptation(photos, out, masks, options, force=force)
    masked, copies = distinct([photo for photo in found if photo.key in given.reads])
    if copies:
        on_note(said_of_copies(copies))
    if begun.windows:
        _refuse_changed(begun, masked, given)
    else:
        chosen = masked
        if options.count is not None and options.count < len(masked):
            chosen = _chosen(begun, masked, options.count, on_step, on_note)
        aside, groups, said = set_aside([photo.file for photo in chosen], options)
        windows = all_windows(chosen, aside, groups, options.seed)
        begun = replace(begun, windows=tuple(windows), said=said)
        begun.save()
    on_note(begun.said)
    write_windows(begun, {photo.key: photo for photo in masked}, given.reads, classes, on_step)
    return begun


def _refuse_changed(begun: Adaptation, masked: Sequence[PhotoFile], given: GivenMasks) -> None:
    """Refuse to go on with masks that are no longer those that were cut."""
    cut = defaultdict(list)
    for window in begun.windows:
        if has_mask(begun, window):
            cut[window.key].append(window)
    known = {window.key for window in begun.windows}
    changed = []
    for photo in masked:
        if photo.key not in known and begun.options.count is None:
            changed.append(photo.key)
        if photo.key in cut and _differs(begun, photo, given.reads[photo.key], cut[photo.key]):
            changed.append(photo.key)
    if changed:
        more = "" if len(changed) == 1 else f" and {len(changed) - 1:,} more"
        raise OutputExists(
            f"{begun.folder} was begun with other masks: {changed[0]}{more} changed or came since. "
            "Start over with --force, or choose another folder."
        )


def _differs(
    begun: Adaptation, photo: PhotoFile, read: Read, windows: Sequence[LabelWindow]
) -> bool:
    """Say whether the mask of a photograph is no longer the one that windows were cut of."""
    ids = read(store.open_raster(photo.path).grid)
    cut = [(roi_of(one.box), read_mask(mask_path(begun, one))[0]) for one in windows]
    if all(np.array_equal(ids[roi], mask) for roi, mask in cut):
        return False
    ids = seen_ids(ids, read_photo(photo.path).image.valid)
    return not all(np.array_equal(ids[roi], mask) for roi, mask in cut)


def _chosen(
    begun: Adaptation,
    photos: Sequence[PhotoFile],
    count: int,
    on_step: OnStep,
    on_note: OnNote,
) -> list[PhotoFile]:
    """Look at photographs, and return the most informative ones."""
    looks = look_through(begun, photos, on_step, on_note)
    by_key = {photo.key: photo for photo in photos}
    picked = choose_photos(looks, count)
    on_note(
        f"{len(picked)} of {len(looks):,} photographs were chosen: where the model is in doubt or "
        "differs from the colour rules, and unlike each other."
    )
    return [by_key[looks[k].key] for k in picked]


def look_through(
    begun: Adaptation, photos: Sequence[PhotoFile], on_step: OnStep, on_note: OnNote
) -> list[PhotoLook]:
    """Look at each photograph with the model that is adapted, or take what was seen before."""
    model = open_model(begun.options.model)
    by = f"{model.name} {begun.options.seed} {sorted(model.key['files'].items())}"
    survey = PhotoSurvey(begun.folder / LOOKS, by)
    known = len(survey.looks)
    if known:
        on_note(f"{known:,} photographs were looked at before.")
    segmenter = model.fit(None)  # type: ignore[arg-type]  # a network is the same for all
    looks, failed = survey_photos(photos, segmenter, survey, begun.options.seed, on_step, on_note)
    if failed:
        on_note(f"{len(failed):,} photographs cannot be read and are left out: {failed[0]} ...")
    return looks


def train_again(adaptation: Adaptation) -> Adaptation:
    """Forget the training, as the masks are about to change; they and the photographs stay."""
    shutil.rmtree(adaptation.folder / TRAINING, ignore_errors=True)
    again = replace(adaptation, epochs=0)
    again.save()
    return again


def adapt_model(
    adaptation: Adaptation, *, on_step: OnStep = silent, on_note: OnNote = unsaid
) -> Adapted:
    """Train on the windows that have masks, compare on those kept aside, keep what is better.

    Parameters
    ----------
    adaptation : Adaptation
        Its folder holds windows and masks; a training that was stopped goes on.
    on_step, on_note : callable, optional

    Returns
    -------
    Adapted
        Its folder is a model.

    Raises
    ------
    BadInput
        If there are no masks on both sides, or a class never occurs.
    """
    card = starting_card(adaptation.options)
    classes = classes_of(adaptation.options, card)
    there = [one for one in adaptation.windows if has_mask(adaptation, one)]
    for aside, what in ((False, "to learn from"), (True, "to compare on")):
        if not any(one.aside is aside for one in there):
            raise BadInput(
                f"There is no mask {what}: draw masks for more of the photographs (the same "
                "command opens the page again)."
            )
    declare_labels(adaptation, there, classes)
    labels = data.load_dataset(adaptation.labels)
    plan, adaptation = _planned(adaptation, card, classes, labels, on_note)
    folder = adaptation.folder / TRAINING
    _train(plan, folder, 60 * adaptation.options.minutes, on_step, on_note)
    contest = _compare(adaptation, card, classes, labels.select("val"), folder, on_step)
    kept = _publish(adaptation, card, contest, folder)
    return Adapted(adaptation, contest, kept, (*plan.notes, contest.sentence))


def _planned(
    adaptation: Adaptation,
    card: ModelCard,
    classes: ClassScheme,
    labels: data.dataset.Dataset,
    on_note: OnNote,
) -> tuple[TrainingPlan, Adaptation]:
    """Plan the training; how many epochs fit into the minutes is measured once."""
    recipe = recipe_of(adaptation, card, classes)
    samples = labels.select("train")
    origin = training.SampleOrigin(
        f"photographs of {adaptation.photos.name} with masks", _licence(adaptation, card)
    )
    if not adaptation.epochs:
        plan = training.plan_samples(recipe, samples, (), origin)
        for note in plan.notes:
            if "no validation split" not in note:
                on_note(note)
        pace = probe(plan)
        epochs = round(60 * adaptation.options.minutes * pace / recipe.crops.per_epoch)
        adaptation = replace(adaptation, epochs=min(max(epochs, LEAST_EPOCHS), MOST_EPOCHS))
        adaptation.save()
        on_note(
            f"{adaptation.epochs} epochs of {recipe.crops.per_epoch} windows, {pace:.1f} windows a "
            f"second: {adaptation.epochs * recipe.crops.per_epoch / pace / 60:.1f} minutes."
        )
    recipe = replace(recipe, schedule=replace(recipe.schedule, epochs=adaptation.epochs))
    return training.plan_samples(recipe, samples, (), origin), adaptation


def _licence(adaptation: Adaptation, card: ModelCard) -> str:
    own = adaptation.options.licence or "not stated by their owner"
    return f"{card.licence or 'not stated'} (start {card.name}); photographs and masks: {own}"


def recipe_of(adaptation: Adaptation, card: ModelCard, classes: ClassScheme) -> Recipe:
    """Return the recipe ``crops`` for the network, bands and classes at hand."""
    recipe = training.read_recipe(RECIPE)
    if not isinstance(recipe, Recipe):
        raise TypeError(RECIPE)
    spec = card.inputs
    inputs = Inputs(
        spec.bands,
        spec.scaling.divide,
        spec.scaling.subtract,
        spec.scaling.clip,
        spec.gsd,
        spec.window,
        spec.overlap,
        spec.multiple,
    )
    schedule = replace(recipe.schedule, keep="last")
    return replace(
        recipe,
        name=adaptation.folder.resolve().name,
        summary=f"{card.name}, adapted to photographs of {adaptation.photos.name}",
        seed=adaptation.options.seed,
        attribution=card.attribution,
        classes=classes,
        input=inputs,
        model=Model(dict(card.architecture), start_from=str(card.folder or card.name)),
        crops=replace(
            recipe.crops,
            mode="random",
            zoom=ZOOM,
            gsd=None,
            per_epoch=BATCHES * recipe.schedule.batch,
        ),
        schedule=schedule,
    )


def _train(
    plan: TrainingPlan, folder: Path, seconds: float, on_step: OnStep, on_note: OnNote
) -> None:
    """Train, go on with it, or leave it as it is when it is done."""
    if is_finished(plan, folder, seconds):
        on_note("The training is finished.")
        return
    begun = (folder / STATE).is_file()
    if begun:
        epoch = load_facts(folder / STATE)["epoch"]
        on_note(f"Training goes on after epoch {epoch} of {plan.recipe.schedule.epochs}.")
    made = training.train_plan(
        plan, folder, resume=begun, force=not begun, limit=seconds, on_step=on_step
    )
    on_note(_spent(plan, made.trained, seconds))


def _spent(plan: TrainingPlan, trained: training.Trained, seconds: float) -> str:
    """Say how much was learnt in which time, and whether time ran out."""
    epochs, per = plan.recipe.schedule.epochs, plan.recipe.crops.per_epoch
    done, planned = trained.steps * plan.recipe.schedule.batch, epochs * per
    took = f"The training took {trained.spent / 60:.1f} minutes"
    if done >= planned:
        return f"{took}: all {planned:,} windows that were planned."
    return (
        f"{took} and was ended there, as --minutes {seconds / 60:g} says: {done:,} of the "
        f"{planned:,} windows that were planned."
    )


def _compare(
    adaptation: Adaptation,
    card: ModelCard,
    classes: ClassScheme,
    samples: data.dataset.Dataset,
    folder: Path,
    on_step: OnStep,
) -> Contest:
    given = [(AFTER, f"{adaptation.folder.resolve().name}, adapted", folder / MODEL)]
    if card.classes.names == classes.names and card.folder is not None:
        given.insert(0, (BEFORE, card.name, card.folder))
    loaded = [(name, title, models.load_model(path)) for name, title, path in given]
    photos = {one.name: one.key for one in adaptation.windows}
    return hold_contest(samples, classes, loaded, photos, on_step)


def _publish(adaptation: Adaptation, card: ModelCard, contest: Contest, folder: Path) -> ModelCard:
    """Put the files of what was kept beside ``adapt.json``, its card last."""
    source = folder / MODEL if contest.kept == AFTER or card.folder is None else card.folder
    made = models.read_card(source)
    own = contest.of(contest.kept)
    scores = (
        {}
        if own is None
        else {"miou": round(own.miou, 6)}
        | {f"iou_{name}": round(value, 6) for name, value in own.iou.items()}
    )
    about = f"Kept by 'selion crops adapt': {contest.sentence}"
    if source == folder / MODEL:
        about = f"{about} Scale: {scale_of(adaptation)}."
        made = _with_scale(adaptation, made, source)
    else:  # nothing was learnt by what is kept
        about = " ".join(filter(None, (made.notes, about)))
    made = replace(made, scores={"kept aside": scores}, notes=about)
    (adaptation.folder / CARD).unlink(missing_ok=True)
    for name in made.files:
        with store.atomic_write(adaptation.folder / name, force=True) as temporary:
            shutil.copyfile(source / name, temporary)
    with store.atomic_write(adaptation.folder / CARD, force=True) as temporary:
        write_card(made, temporary)
    return models.read_card(adaptation.folder)


def _with_scale(adaptation: Adaptation, card: ModelCard, folder: Path) -> ModelCard:
    """Write at which millimetres a pixel it learnt, where that is known: others are flagged.

    The interval of cover stays the model's own.
    """
    if adaptation.options.gsd is None:
        return card
    low, high = (adaptation.options.gsd * zoom for zoom in ZOOM)
    write_calibration(Calibration(1.0, 1.0, 0.0, gsd=(low, high)), folder / PHOTOGRAPHS)
    return replace(card, files={**card.files, PHOTOGRAPHS: sha256_of(folder / PHOTOGRAPHS)})


def scale_of(adaptation: Adaptation) -> str:
    """Say how many windows were learnt from, and at which size of pixels."""
    low, high = ZOOM
    learnt = sum(not one.aside for one in adaptation.windows if has_mask(adaptation, one))
    return (
        f"learnt from {counted(learnt, 'window')} of the photographs' own pixels, each {low:g} to "
        f"{high:g} of them; take photographs from about the same height"
    )
