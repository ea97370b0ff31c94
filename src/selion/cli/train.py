"""``selion train``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.progress import Reporter, reporter

if TYPE_CHECKING:
    from selion.store import Place


@dataclass(frozen=True, kw_only=True)
class TrainChoice(opt.VerbChoice):
    """Options of ``selion train``, as they were given."""

    out: Path | None
    resume: bool
    sweeps: tuple[str, ...]
    review: Place | None
    image: Place | None
    model: str
    listing: bool
    dry_run: bool


@click.command(
    "train",
    context_settings={"allow_extra_args": True},
    help=(
        "Train a network by RECIPE, score it on the validation split, and write model, "
        "checkpoint and report."
    ),
)
@click.argument("recipe", required=False)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the run [default: the recipe's name].",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, for example schedule.lr=3e-4; repeatable.",
)
@click.option("--resume", is_flag=True, help="Resume from the folder's last checkpoint.")
@click.option(
    "--sweep",
    "sweeps",
    multiple=True,
    metavar="KEY=A,B,C",
    help=(
        "Train once with each value and print the table; recipe=A,B sweeps over recipes; "
        "repeatable."
    ),
)
@click.option(
    "--from-review",
    "review",
    type=opt.place,
    default=None,
    metavar="MAP",
    help=(
        "Fine-tune the model that made the map on the decisions of 'selion review MAP'. RECIPE is "
        "then 'review' unless another is given."
    ),
)
@click.option(
    "--image",
    type=opt.place,
    default=None,
    help="With --from-review: the image of the map, if the map does not name it.",
)
@click.option(
    "-m",
    "--model",
    default="",
    help="With --from-review: the model to fine-tune, if the map does not name it.",
)
@click.option("--list", "listing", is_flag=True, help="List the packaged recipes.")
@opt.group(opt.force, opt.dry_run, opt.as_json, opt.quiet)
def train_command(recipe: str | None, changes: tuple[str, ...], **values: Any) -> None:
    """Train, or sweep, or say what would be done."""
    given = opt.taken(TrainChoice, values)
    _refuse_more(click.get_current_context().args)
    from selion import training

    _refuse_unused(given)
    if given.listing:
        for name, summary in training.list_recipes().items():
            click.echo(f"{name:<40} {summary}".rstrip())
        return
    if given.review:
        recipe = recipe or "review"
    if not recipe:
        raise click.UsageError(
            "Missing argument 'RECIPE': a TOML file or a packaged recipe (selion train --list)."
        )
    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        if given.sweeps:
            _sweep(recipe, changes, given, say)
        else:
            _one(recipe, changes, given, say)


def _refuse_more(more: list[str]) -> None:
    """Refuse words beside the recipe, with the options that were probably meant."""
    if not more:
        return
    hint = "give one recipe, and what it is to change with --set."
    if len(more) == 2:
        hint = f"give them as --set data.image={more[0]} --set data.polygons={more[1]}."
    elif len(more) == 1:
        hint = f"give a folder of chips as --set data.dataset={more[0]}."
    raise click.UsageError(f"{' '.join(more)} stands beside the recipe: {hint}")


def _refuse_unused(given: TrainChoice) -> None:
    """Refuse what would have no effect."""
    if given.listing:
        names = {str(one.name) for one in click.get_current_context().command.params}
        opt.refuse_given(names - {"listing"}, "--list only lists the packaged recipes")
    if given.sweeps:
        opt.refuse_given(["review"], "a --sweep trains on the data of its recipe")
    if not given.review:
        opt.refuse_given(["image", "model"], "no map was given by --from-review")


def _one(recipe: str, changes: tuple[str, ...], given: TrainChoice, say: Reporter) -> None:
    from selion import training
    from selion.reports import training_run
    from selion.training.scoring import MEASURES

    plan: Any
    if given.review:
        plan, given = _from_review(recipe, changes, given, given.review, say)
    else:
        chosen = training.read_recipe(recipe, changes)
        if isinstance(chosen, training.LanguageRecipe):
            _language(chosen, given, say)
            return
        plan = _planned(chosen, given, say)
    for note in plan.notes:
        say.note(note)
    if given.dry_run:
        _estimate(plan, say)
        return
    folder = given.out or Path(plan.recipe.name)
    if given.resume and training_run.is_finished(plan, folder):
        say.note(
            f"{folder} is finished: all {plan.recipe.schedule.epochs} epochs are done. Start over "
            "with --force, or in another folder."
        )
        facts = json.loads((folder / training_run.NUMBERS).read_text("utf-8")) | {
            "model": str(folder / "model")
        }
        click.echo(str(folder / training_run.REPORT) if not given.as_json else _json(facts))
        return
    result = training_run.run(
        plan, folder, resume=given.resume, force=given.force, on_step=say.step
    )
    if not result.trained.leads:
        return
    if result.trained.scores is not None:
        found = result.trained.scores
        measured = ", ".join(f"{MEASURES[name]} {found.interval(name)}" for name in found.measures)
        say.note(f"Validation: {measured} ({len(found.keys)} samples).")
    for note in result.notes:
        say.note(note)
    say.note(
        f"{result.trained.images_per_second:.3g} windows/s, {result.trained.waited:.1%} of the "
        f"time waited for data; {result.trained.engine}."
    )
    click.echo(
        str(folder / training_run.REPORT)
        if not given.as_json
        else _json(training_run.numbers(result) | {"model": str(result.card.folder)})
    )


def _planned(recipe: Any, given: TrainChoice, say: Reporter) -> Any:
    """Plan a run; where its data are refused, a --dry-run still says what it starts from."""
    from selion import training
    from selion.errors import SelionError
    from selion.training.run import starts_of
    from selion.training.start import start_notes

    try:
        return training.plan_training(recipe)
    except SelionError:
        for note in start_notes(starts_of(recipe)) if given.dry_run else ():
            say.note(note)
        raise


def _from_review(
    recipe: str, changes: tuple[str, ...], given: TrainChoice, reviewed: Place, say: Reporter
) -> tuple[Any, TrainChoice]:
    """Write the labels of a review into the folder of the run, and plan its training.

    A run that is resumed keeps its labels.  Returned are the plan, and the options with the
    folder of the run.
    """
    from selion import review

    files = review.find_map(reviewed, given.image)
    folder = given.out or Path(f"{files.table.stem}-reviewed")
    chosen = replace(given, out=folder)
    say.note(
        f"Corrected map and labels {'would go' if given.dry_run else 'go'} to "
        f"{folder / review.FOLDER}."
    )
    if given.dry_run:
        # The probe needs the labels, and the run that follows must find its folder as it was.
        folder = Path(
            click.get_current_context().with_resource(TemporaryDirectory(prefix="selion-review-"))
        )
    plan = review.plan_from_review(
        files,
        folder,
        recipe,
        changes,
        model=given.model,
        force=given.force,
        keep=given.resume,
    )
    return plan, chosen


def _language(recipe: Any, given: TrainChoice, say: Reporter) -> None:
    """Train a language model: supervised, then by reward."""
    from selion.training import language_run

    plan = language_run.plan_language(recipe)
    for note in plan.notes:
        say.note(note)
    if given.dry_run:
        for note in language_run.forecast(plan):
            say.note(note)
        return
    result = language_run.train_language(
        plan,
        given.out or Path(recipe.name),
        resume=given.resume,
        force=given.force,
        on_step=say.step,
    )
    if not result.leads:
        return
    for note in result.notes:
        say.note(note)
    click.echo(
        str(result.card.folder)
        if not given.as_json
        else _json({"model": str(result.card.folder), "scores": result.card.scores})
    )


def _estimate(plan: Any, say: Reporter) -> None:
    from selion.training.run import make_network, probe

    _, start = make_network(plan.recipe)
    pace = probe(plan)
    say.note(f"Network: {start}")
    say.note(
        f"{plan.windows:,} windows at {pace:.1f} a second, by a short probe: "
        f"{plan.windows / pace / 60:.0f} minutes, without validation. Nothing was written."
    )


def _sweep(recipe: str, changes: tuple[str, ...], given: TrainChoice, say: Reporter) -> None:
    from selion.reports import sweep

    chosen = sweep.variants(recipe, given.sweeps)
    folder = given.out or Path(f"{Path(recipe).stem}-sweep")
    if given.dry_run:
        for variant in chosen:
            say.note(
                f"{variant.name}: {variant.recipe} {' '.join((*changes, *variant.changes))} -> "
                f"{folder / sweep.folder_name(variant)}"
            )
        return
    rows = sweep.run_sweep(
        chosen,
        changes,
        folder,
        resume=given.resume,
        force=given.force,
        on_step=say.step,
        on_note=say.note,
    )
    path = sweep.write_sweep(rows, folder)
    body = sweep.table(rows)
    if given.as_json:
        click.echo(_json({"header": sweep.header(rows), "rows": body, "report": str(path)}))
        return
    say.note(sweep.text_table([sweep.header(rows), *body]))
    click.echo(str(path))


def _json(facts: dict[str, Any]) -> str:
    import json

    return json.dumps({"event": "result", **facts})
