"""From a recipe to a model's folder: data, network, loop, export."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from selion import store
from selion.data.dataset import Dataset
from selion.errors import BadInput, OutputExists, OutputFailed, SelionError, counted
from selion.fields import CUT
from selion.models import ModelCard, build_network, export
from selion.models.architectures import check_window
from selion.models.card import StartingPoint
from selion.models.toml import to_toml
from selion.prediction.look_together import Chip, Conversion, conversion_of, distinct
from selion.progress import OnStep, silent
from selion.raster import Source
from selion.sample import Sample
from selion.store.calls import sealed
from selion.training.checkpoint import BEST, STATE, check_same, load_facts
from selion.training.crops import boundary_metres
from selion.training.datasets import (
    at_scale_of_start,
    check_samples,
    fingerprint,
    joined,
    like_start,
    open_samples,
    uncut_image,
)
from selion.training.encoders import credit, published_encoder
from selion.training.log import LOG
from selion.training.mixture import Mixture, epoch_length
from selion.training.plan import UNNAMED, Plan, SampleOrigin, origin_of
from selion.training.pooling import check_batch, check_epoch
from selion.training.reading import read_recipe, recipe_table
from selion.training.recipe import Recipe
from selion.training.start import (
    START,
    find_start,
    keep_start,
    start_notes,
    take_weights,
    with_kept_start,
)
from selion.training.stitching import stitched

if TYPE_CHECKING:
    import torch

    from selion.segmenter import InputSpec
    from selion.training.beside import Settled
    from selion.training.loop import Trained
    from selion.training.start_beside import StartBeside

RECIPE, MODEL = "recipe.toml", "model"
"""In a run's folder: the recipe with everything that it extends, and the exported model."""


@dataclass(frozen=True, eq=False)
class TrainingPlan(Plan[Recipe]):
    """A run of a network that could begin."""

    @property
    def windows(self) -> int:
        """Windows of the whole run."""
        return epoch_length(self.samples, self.recipe) * self.recipe.schedule.epochs


@dataclass(frozen=True, eq=False)
class Result:
    """What a run made."""

    plan: TrainingPlan
    trained: Trained
    card: ModelCard
    """Of the exported model, with its scores and folder."""
    beside: StartBeside | None = None
    """What it started from on the same held-out samples, where that could be scored."""
    notes: tuple[str, ...] = ()
    """Sentences for the user."""


def plan_training(recipe: Recipe) -> TrainingPlan:
    """Open a recipe's data and look whether one can learn from it; nothing is computed yet.

    Raises
    ------
    BadInput, UnknownName, UnreadableFile, BandMismatch, GridMismatch
        If recipe and data do not fit; see :mod:`selion.training.datasets`.
    """
    check_batch(recipe)
    given, recipe = recipe, like_start(at_scale_of_start(recipe))
    training, validation = open_samples(recipe)
    plan = plan_samples(recipe, training, validation, origin_of(training))
    if recipe.crops == given.crops or recipe.crops.gsd is None:
        return plan
    told = (
        f"Windows have pixels of {recipe.crops.gsd[0]:g} m, at which {recipe.model.start_from} "
        "maps such an image, and so will the new model; crops.gsd says another scale."
    )
    return replace(plan, notes=(*plan.notes, told))


def plan_samples(
    recipe: Recipe,
    samples: Sequence[Sample],
    validation: Sequence[Sample] = (),
    origin: SampleOrigin = UNNAMED,
) -> TrainingPlan:
    """Plan a run on samples that are at hand already.

    Raises
    ------
    BadInput
        As :func:`plan_training`.
    """
    check_batch(recipe)
    folds, held = recipe.validate.folds, len(validation)
    if folds:
        from selion.training.folds import all_judge

        (recipe, samples), validation = all_judge(recipe, samples, validation), ()
    samples, validation, told = converted(samples, validation, recipe)
    shares = check_samples(samples, recipe)
    check_epoch(recipe, samples)
    seen = ", ".join(
        f"{name} {share:.0%}" for name, share in zip(recipe.classes.names, shares, strict=True)
    )
    held_out = f" and {len(validation):,} validation" if not folds else ""
    said = [
        f"{len(samples):,} training{held_out} samples of {origin.source}; classes {seen}.",
        *origin.notes,
    ]
    if "field" in recipe.classes.names:
        from selion.training.beside import little_notes

        said += little_notes(samples, validation)
    said += told
    if folds:
        said.append(
            f"All of them judge, those that the data hold out ({held:,}) too: in {folds} folds, "
            f"each answered after {counted(recipe.schedule.epochs, 'epoch')} on the others."
        )
    elif not len(validation):
        said.append("There is no validation split: the model will have no scores.")
    start = starts_of(recipe)
    encoder = published_encoder(recipe, start)
    said += start_notes(start)
    licences = (origin.licence, f"{encoder.licence} (encoder {encoder.name})" if encoder else "")
    training = (
        f"{origin.source}, {len(samples):,} samples, {recipe.schedule.epochs} epochs, recipe "
        f"{recipe.name}, seed {recipe.seed}"
    )
    training += f", judged in {folds} folds" if folds else ""
    if told:
        training += f"; images: {' '.join(told)}"
    card = ModelCard(
        recipe.name,
        recipe.input.spec(),
        recipe.classes,
        summary=recipe.summary,
        architecture=dict(recipe.model.architecture),
        licence=recipe.licence or "; ".join(filter(None, licences)),
        attribution="; ".join(
            filter(None, (recipe.attribution or origin.citation, credit(recipe, encoder)))
        ),
        training=training,
        boundary=boundary_metres(samples[0], recipe),
        started_from=start,
    )
    return TrainingPlan(recipe, samples, validation, card, tuple(said))


def converted(
    samples: Sequence[Sample], validation: Sequence[Sample], recipe: Recipe
) -> tuple[Sequence[Sample], Sequence[Sample], tuple[str, ...]]:
    """Return samples in the numbers that a map feeds the model, and what was done.

    See :func:`selion.prediction.look_together.conversion_of`: what chips are is told by all of
    them together, those held out as well.  The parts of a mixture are looked at each by itself.
    """
    if not isinstance(samples, Mixture):
        return converted_alike(samples, validation, recipe.input.spec())
    apart = validation.parts if isinstance(validation, Mixture) else (validation,)
    hows = [
        conversion_of([*_chips(part), *_held_chips(part, apart)], made.input.spec())
        for part, made in zip(samples.parts, samples.recipes, strict=True)
    ]
    learnt = tuple(_dataset_as(part, how) for part, how in zip(samples.parts, hows, strict=True))
    places = {(part.name, part.folder): k for k, part in reversed([*enumerate(samples.parts)])}
    held: Sequence[Sample] = validation
    if isinstance(held, Mixture):
        parts = (_dataset_as(one, hows[places[one.name, one.folder]]) for one in held.parts)
        held = replace(held, parts=tuple(parts))
    elif isinstance(held, Dataset):
        known = places.get((held.name, held.folder))
        held = _dataset_as(held, replace(hows[0], own=()) if known is None else hows[known])
    told = (text for how in hows for text in (*how.said, *how.doubts))
    return replace(samples, parts=learnt), held, tuple(dict.fromkeys(told))


def converted_alike(
    samples: Sequence[Sample], validation: Sequence[Sample], inputs: InputSpec
) -> tuple[Sequence[Sample], Sequence[Sample], tuple[str, ...]]:
    """Do what :func:`converted` does for samples of one dataset and a model's inputs."""
    chips = [*_chips(samples), *_chips(validation)]
    names = distinct([name for name, _ in chips])
    called = [(name, opened) for name, (_, opened) in zip(names, chips, strict=True)]
    how, count = conversion_of(called, inputs), len(samples)
    own, others = _as(samples, how, names[:count]), _as(validation, how, names[count:])
    return own, others, (*how.said, *how.doubts)


def _chips(samples: Sequence[Sample]) -> list[Chip]:
    """Return names of samples and what opens their images; truths are not read."""
    if isinstance(samples, Dataset):
        return [(entry.key, entry.image) for entry in samples.entries]
    return [(one.key, partial(_image, one)) for one in samples]


def _held_chips(part: Dataset, held: Sequence[Sequence[Sample]]) -> list[Chip]:
    """Return the chips of a dataset that are held out, by their names."""
    known = {entry.key for entry in part.entries}
    mine = (one for one in held if isinstance(one, Dataset))
    same = (one for one in mine if (one.name, one.folder) == (part.name, part.folder))
    return [chip for one in same for chip in _chips(one) if chip[0] not in known]


def _image(sample: Sample) -> Source:
    return sample.image


def _as(samples: Sequence[Sample], how: Conversion, names: Sequence[str]) -> Sequence[Sample]:
    """Return samples whose images are converted when they are opened."""
    if isinstance(samples, Dataset):
        return _dataset_as(samples, how, names)
    if not how.is_needed:
        return samples
    return [
        replace(one, image=how.of(name)(one.image))
        for one, name in zip(samples, names, strict=True)
    ]


def _dataset_as(samples: Dataset, how: Conversion, names: Sequence[str] = ()) -> Dataset:
    """Return a dataset whose images are converted; ``names`` are others than its keys."""
    if not how.is_needed:
        return samples
    entries = (
        replace(one, image=partial(_opened, one.image, how.of(name)))
        for one, name in zip(samples.entries, names or samples.keys, strict=True)
    )
    return replace(samples, entries=tuple(entries))


def _opened(image: Callable[[], Source], how: Conversion) -> Source:
    return how(image())


def starts_of(recipe: Recipe) -> tuple[StartingPoint, ...]:
    """Return what a recipe's network starts from.

    What is not here is refused where it is loaded, which a run that is resumed does not do.
    """
    model = recipe.model
    try:
        return find_start(model.start_from, model.architecture, model.pretrained)
    except SelionError:
        return ()


def make_network(recipe: Recipe) -> tuple[torch.nn.Module, str]:
    """Build a recipe's network with its start; also a sentence on what it starts from.

    Random weights follow from the recipe's seed.
    """
    import torch

    from selion.training.criterion import check_network, make_loss

    check_window(recipe.model.architecture, recipe.input.spec())
    torch.manual_seed(recipe.seed)
    network = build_network(
        recipe.model.architecture,
        len(recipe.input.bands),
        len(recipe.classes),
        recipe.model.pretrained,
    )
    check_network(
        network,
        make_loss(recipe.loss, recipe.classes),
        recipe.loss,
        str(recipe.model.architecture.get("family", "")),
    )
    size = f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} M parameters"
    if recipe.model.start_from:
        return network, f"{size}; {take_weights(network, recipe.model.start_from)}"
    joined = [str(recipe.model.architecture.get(key, "")) for key in ("vlm", "sam")]
    if all(joined):
        return network, f"{size}, joined of {' and '.join(joined)}."
    return (
        network,
        f"{size}, encoder from {recipe.model.pretrained}."
        if recipe.model.pretrained
        else f"{size}, random start.",
    )


@sealed("selion.train", "folder")
def train(
    recipe: Recipe | Path | str,
    folder: Path | str,
    changes: Sequence[str] = (),
    *,
    resume: bool = False,
    force: bool = False,
    on_step: OnStep = silent,
) -> Result:
    """Train by a recipe: read it, open its data, train, export the model.

    Parameters
    ----------
    recipe : Recipe, path or str
        A recipe, its file, or the name of a packaged one.
    folder : path
        Gets the run; see :func:`train_plan`.  :func:`selion.reports.training_run.write_report` adds
        the report to it.
    changes : sequence of str
        ``key=value`` each, as ``--set``; only where the recipe is read.
    resume, force, on_step
        As for :func:`train_plan`.

    Returns
    -------
    Result
        The run; its model lies in ``folder/model``.

    Raises
    ------
    BadInput
        If the recipe is one of a language model, or changes were given for a recipe that was read
        already.
    """
    if isinstance(recipe, Recipe) and changes:
        raise BadInput(
            f"The recipe {recipe.name} was read already and the changes {', '.join(changes)} were "
            "given: use dataclasses.replace, or give its name."
        )
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, changes)
    if not isinstance(chosen, Recipe):
        raise BadInput(
            f"{recipe} trains a language model: use selion.training.language_run.train_language, "
            "or 'selion train'."
        )
    return train_plan(
        plan_training(chosen), Path(folder), resume=resume, force=force, on_step=on_step
    )


def train_plan(
    plan: TrainingPlan,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    limit: float = math.inf,
    on_step: OnStep = silent,
) -> Result:
    """Train, and export the model into ``folder/model``.

    Parameters
    ----------
    plan : TrainingPlan
    folder : path
        Gets ``recipe.toml``, ``start.toml`` (what it starts from, if that is not random),
        ``state.safetensors`` (the last checkpoint), ``log.jsonl``, event files for TensorBoard,
        and ``model/``.
    resume : bool
        Go on from the folder's checkpoint.
    force : bool
        Begin anew in a folder that holds a run.
    limit : float
        Seconds after which it ends, see :func:`selion.training.loop.fit`; folds have none.
    on_step : callable, optional
        (stage, done, total, detail).

    Raises
    ------
    OutputExists
        If the folder holds a run, and neither ``resume`` nor ``force`` is given.
    """
    from selion.training.loop import fit

    again, resume = resume, check_folder(folder, resume=resume, force=force)
    network, _ = make_network(
        plan.recipe
        if not resume
        else replace(plan.recipe, model=replace(plan.recipe.model, pretrained="", start_from=""))
    )
    if not resume:  # only now: where no network can be made, what an earlier run left stays
        _begin(folder, plan)
    else:
        plan = replace(plan, card=with_kept_start(folder, plan.card))
    from selion.training.beside import score_of_start, settle

    if plan.recipe.validate.folds:
        from selion.training.folds import train_in_folds

        go_on = resume or again  # a run that was stopped may have been among its folds
        with _no_empty_run(folder):
            found, trained, network = train_in_folds(
                plan, make_network, folder, on_step, _uncut(plan), resume=go_on
            )
        card = write_model(found, network, folder / MODEL)
        return Result(plan, found.trained, card, found.beside, found.notes)
    stamp = fingerprint(plan.samples, plan.validation)
    with _no_empty_run(folder):
        trained = fit(
            network,
            plan.samples,
            plan.recipe,
            plan.card,
            folder,
            validation=plan.validation,
            score=score_of_start(plan),
            resume=resume,
            data=stamp,
            limit=limit,
            on_step=on_step,
        )
    found = settle(plan, network, trained, on_step, _uncut(plan))
    card = write_model(found, network, folder / MODEL)
    ended = () if limit < math.inf else _ended(plan, trained)
    return Result(plan, found.trained, card, found.beside, (*ended, *found.notes))


def _uncut(plan: TrainingPlan) -> Sequence[Sample]:
    """Return own images uncut, as the model reads them, where these set how fields are chosen.

    That of the recipe, or those that the chips of a folder were cut from, put together again.
    """
    recipe = plan.recipe
    if not recipe.model.tune_cut or recipe.data.mix:
        return ()
    whole = uncut_image(recipe)
    if len(whole):
        return converted(whole, (), recipe)[0]
    return stitched(joined(plan.samples, plan.validation))


def _ended(plan: TrainingPlan, trained: Trained) -> tuple[str, ...]:
    """Say that a run ended before its last epoch."""
    schedule = plan.recipe.schedule
    done = max((int(entry["epoch"]) for entry in trained.history), default=schedule.epochs)
    if done >= schedule.epochs:
        return ()
    said = (
        f"Ended after {done} of {schedule.epochs} epochs: {schedule.patience} validations in a row "
        "were no better (schedule.patience)."
    )
    return (said,)


def write_model(found: Settled, network: torch.nn.Module, folder: Path) -> ModelCard:
    """Write the model of a finished run; on a process that does not lead, nothing."""
    from selion.training.state import put

    trained, card = found.trained, found.card
    scores = {} if trained.scores is None else {"validation": trained.scores.to_dict()}
    if found.beside is not None:
        scores["start_on_validation"] = found.beside.scores.to_dict()
    card = replace(card, scores=scores) if scores else card
    if not trained.leads:
        return card
    put(network, trained.weights)
    if found.score is None:
        return export(network, card, folder, force=True, besides=found.besides)
    with TemporaryDirectory() as place:
        path = Path(place) / CUT
        found.score.save(path)
        return export(network, card, folder, force=True, besides=(path,))


def check_folder(folder: Path, *, resume: bool, force: bool) -> bool:
    """Refuse a folder that holds another run, or none to go on from.

    Say whether there is a checkpoint to go on from.  Nothing is changed.
    """
    if resume and (folder / STATE).exists():
        return True  # the recipe that the run began with stays; the loop compares it with this one
    if resume and ((folder / MODEL).exists() or not (folder / RECIPE).exists()):
        raise BadInput(
            f"{folder} holds no run to resume: omit --resume, or give the folder of one."
        )
    if ((folder / MODEL).exists() or (folder / STATE).exists()) and not force:
        raise OutputExists(
            f"{folder} holds a run already: continue with --resume, start over with --force, or "
            "choose another folder."
        )
    return False


def is_finished(plan: TrainingPlan, folder: Path, limit: float = math.inf) -> bool:
    """Say whether a folder holds the model of this very plan, its epochs or its seconds over.

    Raises
    ------
    BadInput
        If its checkpoint is of another recipe or of other data.
    """
    if not ((folder / STATE).is_file() and (folder / MODEL).is_dir()):
        return False
    facts = load_facts(folder / STATE)
    check_same(
        facts,
        {
            "recipe": recipe_table(plan.recipe),
            "data": fingerprint(plan.samples, plan.validation),
        },
        folder / STATE,
    )
    return int(facts["epoch"]) >= plan.recipe.schedule.epochs or bool(
        limit <= facts.get("ended", 0.0)
    )


@contextmanager
def _no_empty_run(folder: Path) -> Iterator[None]:
    """Take away what a run left that could not write its first checkpoint: it would look like one.

    A model of an earlier run stays.
    """
    try:
        yield
    except (OutputFailed, OSError):
        if not (folder / STATE).exists():
            left = (folder / RECIPE, folder / START, folder / BEST, folder / LOG)
            for path in (*left, *folder.glob("events.out.tfevents.*")):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()  # only an empty one can go so
        raise


def _begin(folder: Path, plan: TrainingPlan) -> None:
    """Make a run's folder with its recipe, and what it starts from.

    Checkpoints and logs of another run go, and its model stays until there is a new one.
    """
    for path in (
        folder / STATE,
        folder / BEST,
        folder / LOG,
        *folder.glob("events.out.tfevents.*"),
    ):
        path.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with store.atomic_write(folder / RECIPE, force=True) as temporary:
        temporary.write_text(to_toml(recipe_table(plan.recipe)), "utf-8")
    keep_start(folder, plan.card)


def probe(plan: TrainingPlan, steps: int = 3) -> float:
    """Return windows per second of a few steps, the first one left out: what a dry run tells.

    Nothing is written, and nothing that is trained is kept.
    """
    from selion.training.loop import fit

    recipe = plan.recipe
    size = recipe.schedule.batch * recipe.schedule.accumulate
    brief = replace(
        recipe,
        schedule=replace(recipe.schedule, epochs=1),
        crops=replace(recipe.crops, per_epoch=steps * size),
        model=replace(recipe.model, pretrained="", start_from=""),
    )
    network, _ = make_network(brief)
    samples = plan.samples if isinstance(plan.samples, Mixture) else plan.samples[: steps * size]
    run = partial(fit, network, samples, card=plan.card)
    warm = replace(brief, crops=replace(brief.crops, per_epoch=size))
    run(recipe=warm)
    return run(recipe=brief).images_per_second
