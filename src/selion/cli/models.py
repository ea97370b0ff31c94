"""``selion models``: what there is, what it may be used for, and how it comes here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from selion.cli import options as opt
from selion.cli.progress import reporter

if TYPE_CHECKING:
    from selion.segmenter import InputSpec


@click.group("models", help="List, show, fetch and import models.")
def models_group() -> None:
    """Hold the verbs."""


@models_group.command(
    "list", help="List all models: those that ship with selion first, then the registry."
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_command(as_json: bool) -> None:
    """Print one line a model."""
    from selion import models

    cards = models.list_models()
    short = {full: name for name, full in models.aliases().items()}
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "name": c.name,
                        "short": short.get(c.name, ""),
                        "licence": c.licence,
                        "bands": list(c.inputs.bands),
                        "dates": c.inputs.dates,
                        "optional": list(c.inputs.optional),
                        "here": c.folder is not None,
                    }
                    for c in cards
                ],
                indent=2,
            )
        )
        return
    shipped = {card.name for card in models.packaged_models()}
    width = max(len(card.name) for card in cards)
    most = max(len(name) for name in short.values())
    bands = {card.name: _bands_taken(card.inputs) for card in cards}
    wide = max(map(len, ("bands", *bands.values())))
    click.echo(
        f"{'name':<{width}}  {'short':<{most}}  {'bands':>{wide}}  classes  where       licence"
    )
    for card in cards:
        where = (
            "packaged"
            if card.name in shipped
            else "fetched"
            if card.folder
            else "to fetch"
            if card.format in ("selion", "lightning", "sam")
            else "by hand"
        )
        click.echo(
            f"{card.name:<{width}}  {short.get(card.name, ''):<{most}}  "
            f"{bands[card.name]:>{wide}}  {len(card.classes):>7}  {where:<10}  {card.licence}"
        )


def _bands_taken(inputs: InputSpec) -> str:
    """Say how many bands a model takes: ``8``, or where dates are a set ``3-4 a date``."""
    most = len(inputs.bands)
    if not inputs.dates:
        return str(most)
    return f"{f'{most - len(inputs.optional)}-' if inputs.optional else ''}{most} a date"


@models_group.command(
    "encoders",
    help="List the encoders of foundation models that a recipe of the family 'frozen' can name.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def encoders_command(as_json: bool) -> None:
    """Print one line an encoder."""
    from selion.models.foundation.cards import encoder_cards
    from selion.models.foundation.starting import kept_weights

    cards = encoder_cards().values()
    where = {
        card.name: "fetched"
        if kept_weights(card).is_file()
        else "to fetch"
        if card.url
        else "by hand"
        for card in cards
    }
    if as_json:
        table = [
            {
                "name": card.name,
                "pixels": card.seen,
                "token": card.patch,
                "features": card.width,
                "bands": list(card.bands),
                "feeds": list(card.feed),
                "where": where[card.name],
                "file": card.file,
                "licence": card.licence,
            }
            for card in cards
        ]
        click.echo(json.dumps(table, indent=2))
        return
    click.echo(f"{'name':<10} pixels  token  features  bands  where     licence")
    for card in cards:
        click.echo(
            f"{card.name:<10} {card.seen:>6}  {card.patch:>5}  {card.width:>8}  "
            f"{len(card.bands):>5}  {where[card.name]:<8}  {card.licence}"
        )


@models_group.command(
    "show",
    help="Show a model card: inputs, classes, licence, training data, scores.",
)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def show_command(name: str, as_json: bool) -> None:
    """Print a card."""
    from selion import models

    card = models.find_card(name)
    if as_json:
        click.echo(json.dumps(card.to_dict(), indent=2, default=str))
        return
    for key, value in models.describe(card).items():
        click.echo(f"{key:<18} {value}")


@models_group.command(
    "fetch",
    help=(
        "Download a model of the registry (long or short name), check it and convert it to "
        "safetensors and ONNX. The same command continues an interrupted download."
    ),
)
@click.argument("name")
@click.option("-f", "--force", is_flag=True, help="Fetch again.")
@opt.quiet
def fetch_command(name: str, force: bool, quiet: bool) -> None:
    """Fetch a model."""
    from selion import models

    with reporter(quiet=quiet, as_json=False) as say:
        card = models.fetch_model(name, force=force, on_step=say.step)
    click.echo(str(card.folder))


@models_group.command(
    "verify",
    help=(
        "Compare a model's files with its card's checksums, and what it answers here on a "
        "synthetic chip with the answers that its card keeps. Exit code 2 if they differ."
    ),
)
@click.argument("name")
@opt.engine
def verify_command(name: str, engine: str) -> None:
    """Verify a model."""
    from selion import models

    found = models.verify_model(name, engine)
    click.echo(
        f"{found.card.name}: files and answers are those of its card (largest difference "
        f"{found.difference:.1e} of a probability; {found.engine})"
    )


@models_group.command(
    "import",
    help=(
        "Convert a published .ckpt checkpoint, or a detector or a network of quarterly mosaics "
        "(--like ftw-2e) exported to .onnx, into a model folder, without ever executing what is in "
        "it."
    ),
)
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of the new model; by default beside the fetched ones, where its name finds it.",
)
@click.option(
    "--like",
    default=None,
    help="Registry model whose card is taken over (bands, scaling, licence).",
)
@click.option(
    "--half/--full", default=False, show_default="--full", help="Store weights as float16."
)
@click.option("-f", "--force", is_flag=True, help="Replace the folder.")
def import_command(
    checkpoint: Path, out: Path | None, like: str | None, half: bool, force: bool
) -> None:
    """Import a checkpoint."""
    from selion import models

    card = models.find_card(like) if like else None
    if out is not None:
        from selion.pipeline.quantisation import check_model_folder

        check_model_folder(out, checkpoint, card, force=force)
    made = models.import_checkpoint(checkpoint, out, card, half=half, force=force)
    told = (
        f"name, bands, scaling, licence and training data are those of {like}, as --like says"
        if like
        else "licence and training data are left open, as it does not say them"
    )
    click.echo(
        f"Weights are those of {checkpoint.name}, of which nobody checked where they come from; "
        f"{told}.",
        err=True,
    )
    click.echo(str(made.folder))


@models_group.command(
    "export",
    help=(
        "Write a language model whose adapter is merged into its base: it needs no base any more, "
        "and writes the same text in less time."
    ),
)
@click.argument("name")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the new model.",
)
@click.option(
    "--bfloat16",
    "half",
    is_flag=True,
    help="Store weights as bfloat16, half as many bytes, which rounds them.",
)
@click.option("-f", "--force", is_flag=True, help="Replace the folder.")
def export_command(name: str, out: Path, half: bool, force: bool) -> None:
    """Merge an adapter."""
    from selion.models import find_card
    from selion.models.language.merging import export_merged
    from selion.pipeline.quantisation import check_model_folder

    check_model_folder(out, find_card(name), force=force)
    made = export_merged(name, out, half=half, force=force)
    click.echo(str(made.folder))


@models_group.command(
    "quantise",
    help=(
        "Write a model's 8-bit form, calibrated and judged on windows of IMAGE: how often it "
        "agrees with float32, and how fast it is."
    ),
)
@click.argument("name")
@click.argument("image")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder of the new model."
)
@click.option(
    "--windows",
    type=click.IntRange(16),
    default=48,
    show_default=True,
    help="Windows drawn from the image; half of them calibrate, half judge.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Which windows.")
@click.option(
    "--least-agreement",
    "least",
    type=click.FloatRange(0, 1),
    default=0.95,
    show_default=True,
    help="Share of pixels with the same class as float32 below which nothing is written.",
)
@click.option("-f", "--force", is_flag=True, help="Replace the folder.")
def quantise_command(
    name: str, image: str, out: Path, windows: int, seed: int, least: float, force: bool
) -> None:
    """Quantise a model."""
    from selion.pipeline.quantisation import quantise_model

    card, found = quantise_model(
        name, image, out, windows=windows, seed=seed, least=least, force=force
    )
    click.echo(
        (
            f"Same class as float32 on {found.agreement:.2%} of the pixels of {found.windows} "
            f"windows that calibration did not see (worst window {found.worst:.2%}), "
            f"{found.speed:.2f} times as fast on one thread."
        ),
        err=True,
    )
    click.echo(str(card.folder))
