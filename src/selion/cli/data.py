"""``selion data``: list, fetch, check and make datasets."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from selion.cli import options as opt
from selion.cli.progress import Reporter, reporter

if TYPE_CHECKING:
    from selion.data import Chips, Labelled

FAULTY = 2
"""Exit code of ``check`` when it finds a fault."""
as_json = click.option("--json", "as_json", is_flag=True, help="Print as JSON.")


@click.group("data", help="List, show, fetch, check and make datasets.")
def data_group() -> None:
    """Hold the verbs."""


@data_group.command(
    "list",
    help="List the datasets that selion reads, with source, licence and size.",
)
@as_json
def list_command(as_json: bool) -> None:
    """Print one line a dataset."""
    from selion.data import list_datasets

    made = list_datasets()
    if as_json:
        rows = [
            {
                "name": d.name,
                "title": d.title,
                "licence": d.licence,
                "size": d.size,
                "home": d.home,
                "fetch": bool(d.download),
            }
            for d in made
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(d.name) for d in made)
    click.echo(f"{'name':<{width}}  {'comes':<8}  {'licence':<44}  size")
    for d in made:
        click.echo(
            (
                f"{d.name:<{width}}  {'fetch' if d.download else 'by hand':<8}  "
                f"{_short(d.licence, 44):<44}  {_short(d.size, 60)}"
            ).rstrip()
        )


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3].rstrip()}..."


@data_group.command("show", help="Show a dataset: licence, classes, splits, known problems.")
@click.argument("name")
@as_json
def show_command(name: str, as_json: bool) -> None:
    """Print a declaration."""
    from selion.data import find_dataset

    made = find_dataset(name)
    if as_json:
        click.echo(json.dumps(asdict(made), indent=2))
        return
    facts = {
        "name": made.name,
        "title": made.title,
        "licence": made.licence,
        "size": made.size,
        "home": made.home,
        "citation": made.citation,
    }
    facts |= {
        "classes": ", ".join(made.classes.names),
        "layout": made.layout,
        "images": ", or ".join(f.image for f in made.files),
        "checked": made.checked,
    }
    facts |= {
        "groups": ", ".join(f"{group} ({licence})" for group, licence in made.groups.items()),
        "presence only": ", ".join(made.presence_only),
    }
    for key, value in (*facts.items(), ("notes", made.notes)):
        if value:
            click.echo(f"{key:<14} {value}")


@data_group.command(
    "fetch",
    help=(
        "Download a dataset, check it and unpack it. Existing files are kept, and the same "
        "command continues an interrupted download."
    ),
)
@click.argument("name")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the dataset; nothing in it is ever removed.",
)
@click.option(
    "-c",
    "--countries",
    "--groups",
    "groups",
    multiple=True,
    help="Only these, for example -c belgium -c kenya or -c belgium,kenya [default: all].",
)
@click.option("--keep-archives", is_flag=True, help="Keep the archives after they are unpacked.")
@opt.quiet
@as_json
def fetch_command(
    name: str, out: Path, groups: tuple[str, ...], keep_archives: bool, quiet: bool, as_json: bool
) -> None:
    """Fetch a dataset."""
    from selion.data import fetch_dataset

    wanted = [part.strip().lower() for group in groups for part in group.split(",") if part.strip()]
    with reporter(quiet=quiet, as_json=as_json) as say:
        paths = fetch_dataset(
            name, out, wanted, keep_archives=keep_archives, on_step=say.step, on_note=say.note
        )
    for path in dict.fromkeys(paths):
        click.echo(json.dumps({"event": "result", "path": str(path)}) if as_json else str(path))


@data_group.command(
    "check",
    help=(
        "Check a dataset for errors: inverted masks, shifted labels, leaks between "
        "splits, missing pairs, unknown values, sizes and grids that do not fit, NaN. Exit code 2 "
        "with faults, 0 without."
    ),
)
@click.argument("folder")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of a dataset that is given by its catalogue name.",
)
@click.option("--split", default=None, help="Only this split.")
@click.option("-c", "--countries", "--groups", "groups", multiple=True, help="Only these groups.")
@click.option(
    "--shifts",
    type=click.IntRange(0),
    default=200,
    show_default=True,
    help="Images in which labels are laid against the image's edges.",
)
@opt.quiet
@as_json
def check_command(
    folder: str,
    root: Path | None,
    split: str | None,
    groups: tuple[str, ...],
    shifts: int,
    quiet: bool,
    as_json: bool,
) -> None:
    """Check a dataset."""
    from selion.data import CheckOptions, check_dataset, list_datasets, load_dataset

    wanted = [part.strip() for group in groups for part in group.split(",") if part.strip()]
    if root is not None and folder not in {one.name for one in list_datasets()}:
        opt.refuse_given(["root"], f"{folder} is a folder, not the name of a dataset")
    dataset = load_dataset(folder, root, split, wanted or None)
    with reporter(quiet=quiet or as_json, as_json=False) as say:
        report = check_dataset(dataset, CheckOptions(shifts=shifts), on_step=say.step)
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else report.to_text())
    if report.faults:
        sys.exit(FAULTY)


@dataclass(frozen=True)
class MakeChoice:
    """Options of ``selion data make``, as they were given."""

    area: Path | None
    complete: bool
    keep: str | None
    boundary: str
    boundary_as: Literal["inside", "line"]
    classes: str
    size: int | None
    model: str
    overlap: float
    split_by: Literal["auto", "land", "strips"]
    block_km: float
    val: float
    test: float
    seed: int
    empty: bool
    licence: str
    group: str


@data_group.command(
    "make",
    help=(
        "Cut images and polygons into chips with masks, split by location: a folder that "
        "`selion train` and `selion data check` read."
    ),
)
@click.argument("images", nargs=-1, required=True)
@click.option(
    "-p",
    "--polygons",
    type=click.Path(path_type=Path),
    required=True,
    help="GeoPackage, GeoParquet, GeoJSON ... of fields, in any CRS.",
)
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="Output folder.")
@click.option(
    "--area",
    type=click.Path(path_type=Path),
    default=None,
    help="Polygons outside of which nothing is known; there masks are 255.",
)
@click.option(
    "--complete",
    is_flag=True,
    help=(
        "Every field of the images is outlined: all the rest is background. Without it, what lies "
        "away from all outlines is not known (255), and images without any are left out."
    ),
)
@click.option(
    "--where",
    "keep",
    default=None,
    help="Only rows with this value are fields, for example class=1.",
)
@click.option(
    "--boundary",
    default="1",
    show_default=True,
    help="Width of the boundary: pixels, or metres with an m (10m).",
)
@click.option(
    "--boundary-as",
    type=click.Choice(["inside", "line"]),
    default="inside",
    show_default=True,
    help=(
        "inside: the outermost pixels inside a field; line: every pixel that the outline touches, "
        "as in Fields of The World."
    ),
)
@click.option(
    "--classes",
    type=click.Choice(["3", "2"]),
    default="3",
    show_default=True,
    help="With or without a boundary class.",
)
@click.option(
    "--size",
    type=click.IntRange(8),
    default=None,
    help="Edge of a chip in pixels.  [default: 256, or more where a window of --model covers more]",
)
@click.option(
    "-m",
    "--model",
    default="",
    help=(
        "Model name or folder that will be tuned, whose windows the chips hold; without it that "
        "which `selion train own-polygons` starts from."
    ),
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 0.75),
    default=0.0,
    show_default=True,
    help="Share of a chip in common with its neighbour.",
)
@click.option(
    "--split-by",
    type=click.Choice(["auto", "land", "strips"]),
    default="auto",
    show_default=True,
    help=(
        "land: blocks drawn at random, the same for all images; strips: across each image, for "
        "one or a few small ones; auto: land, or strips where blocks leave a split empty."
    ),
)
@click.option(
    "--block-km",
    type=click.FloatRange(0.01, 2000),
    default=5.0,
    show_default=True,
    help="Edge of the blocks of land that are drawn for splits.",
)
@click.option(
    "--val",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the blocks for validation.",
)
@click.option(
    "--test",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of the blocks for testing.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the split.")
@click.option(
    "--empty/--no-empty", default=True, show_default=True, help="Keep chips without a field."
)
@click.option(
    "--licence",
    default="",
    help="Licence of images and labels; written into dataset.toml and from there onto model cards.",
)
@click.option("--group", default="", help="Country or site of these images.")
@opt.force
@opt.quiet
@as_json
def make_command(
    images: tuple[str, ...],
    polygons: Path,
    out: Path,
    force: bool,
    quiet: bool,
    as_json: bool,
    **values: Any,
) -> None:
    """Make a dataset."""
    given = opt.taken(MakeChoice, values)
    if given.split_by == "strips":
        opt.refuse_given(["block_km", "seed"], "strips are not drawn by lot")
    from selion.data import make_dataset

    if given.size is not None:
        opt.refuse_given(["model"], "--size says how large chips are")
    labelled = _labelled(polygons, given)
    with reporter(quiet=quiet or as_json, as_json=False) as say:
        made = make_dataset(
            images,
            labelled,
            out,
            _chips(given, given.size or _fitting(images, given.model, say)),
            licence=given.licence,
            group=given.group,
            force=force,
            on_step=say.step,
        )
        for note in made.notes:
            say.note(note)
    if as_json:
        click.echo(json.dumps(asdict(made) | {"folder": str(made.folder)}, indent=2))
        return
    if not quiet:
        counts = ", ".join(
            f"{name or 'no split'} {count:,}" for name, count in sorted(made.counts.items())
        )
        shares = ", ".join(f"{name} {share:.1%}" for name, share in made.shares.items())
        click.echo(
            f"Chips: {counts}. Pixels: {shares}. Fields, by chip: {made.objects:,}.", err=True
        )
    click.echo(str(made.folder))


def _labelled(polygons: Path, given: MakeChoice) -> Labelled:
    from selion.classes import FTW2, FTW3
    from selion.data.burning import Burning
    from selion.data.polygons import Labelled

    keep = None
    if given.keep is not None:
        column, mark, value = given.keep.partition("=")
        if not mark:
            raise click.BadParameter("wanted is COLUMN=VALUE", param_hint="--where")
        keep = (column.strip(), value.strip())
    width = given.boundary.strip().lower()
    try:
        size = (
            {"metres": float(width.removesuffix("m"))}
            if width.endswith("m")
            else {"width": int(width)}
        )
    except ValueError as error:
        raise click.BadParameter(
            f"{width!r} is neither pixels (2) nor metres (10m)", param_hint="--boundary"
        ) from error
    burning = Burning(**size, boundary=given.boundary_as)
    area = given.area
    return Labelled(
        polygons,
        area if isinstance(area, Path) else None,
        keep,
        burning,
        FTW3 if given.classes == "3" else FTW2,
        given.complete,
    )


def _fitting(images: tuple[str, ...], model: str, say: Reporter) -> int:
    """Return the edge of chips that hold a window of a model, and say why."""
    from selion.training.chip_sizes import fitting_size

    found = fitting_size(images, model)
    say.note(found.sentence)
    return found.edge


def _chips(given: MakeChoice, size: int) -> Chips:
    from selion.data.place import Land
    from selion.data.polygons import Chips
    from selion.data.strips import Strips

    shares = (given.val, given.test)
    land = (
        Strips(*shares, wide=True)
        if given.split_by == "strips"
        else Land(given.block_km, *shares, given.seed)
    )
    fallback = given.split_by == "auto"
    return Chips(size, given.overlap, land, bool(given.empty), fallback)
