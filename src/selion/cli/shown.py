"""How a verb shows its options: in groups, the rare ones with ``--help-all``; names that it had.

One table for all verbs, by the names of the parameters.  A verb with few options shows them all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import click

from selion.cli.completion import completed

FEW = 12
"""Up to as many options a verb has no groups."""
GROUPS = {
    "Input": (
        "bands gsd scale year years imagery edition provider dates season_rule calendar crop cloud "
        "target limit excluded balance crs pixel resampling mosaic "
        "mosaic_zarr least_confidence elevation "
        "land_covers districts district_column reference reference_column reference_year image "
        "maps truth layout split by extent reproject protocol data countries census weights own "
        "pseudo labelled root decisions polygons area keep depths distance plan tables marker "
        "sample"
    ),
    "Model": (
        "model refiner engine device fast flips window overlap batch samples grammar answer_scores "
        "scale edge review changes sweeps recipe resume listing share curve reading"
    ),
    "Objects": (
        "method vote cover simplify regularise min_area max_area land_cover crop_codes crop_share "
        "water_codes fusion tolerance rule threshold iou cap classes ratios widths pixels sure "
        "unsure least_score finer clip refine full find_full least trimap_human trimap_full "
        "calibration deployment oracle boundary boundary_as size split_by block_km val test empty "
        "expected error breaks near unit draws figures published objects sizes"
    ),
    "Output": (
        "out scores consistency collection acquired page preview force cell tiles addresses "
        "overlays keep_depth licence group print_marker as_json quiet"
    ),
    "Running": (
        "dry_run work runner workers threads block profile price prices probe probe_file probe_km "
        "probe_at halo seed quick"
    ),
}
"""Heading -> parameters, in the order of the help."""
RARE = {
    "Input": (
        "calendar crop season_rule cloud target limit excluded balance crs pixel resampling mosaic "
        "mosaic_zarr scale least_confidence layout protocol reproject extent by census weights "
        "reference_column reference_year district_column distance"
    ),
    "Model": (
        "refiner engine fast overlap batch samples grammar answer_scores window device share curve "
        "reading"
    ),
    "Objects": (
        "vote cover regularise crop_codes crop_share water_codes fusion ratios widths cap draws "
        "calibration oracle clip find_full trimap_human trimap_full near unit expected error "
        "breaks published block_km boundary_as empty"
    ),
    "Output": "collection acquired keep_depth consistency",
    "Running": "work runner workers threads block profile price probe_at probe_km",
}
"""What ``--help`` leaves to ``--help-all`` where there are many options."""
_RARE = frozenset(" ".join(RARE.values()).split())
FORMER = {
    "crops photos": {"--gsd": "--mm-per-pixel", "--min-area": "--min-pixels"},
    "crops plots": {"--min-area": "--min-pixels", "--names": "--name-column"},
    "crops trial": {"--table": "--photo-table", "--names": "--name-column"},
    "label depth": {
        "--refine": "--edges-by-depth",
        "--edge": "--network-edge",
        "--clip": "--clip-percent",
    },
    "label pseudo": {"--dates": "--average-dates"},
    "label selftrain": {"--gsd": "--gsd-range", "--least": "--least-quality"},
    "merge": {"--min-area": "--least-remnant"},
    "plan": {"--workers": "--cluster-workers"},
    "qgis install": {"--profile": "--qgis-profile"},
    "qgis style": {"--by": "--colour-by"},
    "review open": {"--scores": "--scores-from"},
    "sample": {"--size": "--count", "--least": "--least-count"},
    "simulate": {"--gsd": "--pixel", "--image": "--kind"},
    "stats": {"--by": "--districts", "--name": "--district-column"},
    "verify": {"--overlap": "--shared-area"},
    "view": {"--names": "--places"},
}
"""Verb -> names that its options had, and have now: a name means the same in all verbs."""
ALL = "help_all"


def shown(command: click.Command, path: str) -> click.Command:
    """Return a command, or a group with all of its commands, that shows its options in groups."""
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            shown(inner, f"{path} {name}")
        return command
    completed(command, path)
    if not isinstance(command.format_options, partial):
        command.format_options = partial(_format, command)  # type: ignore[method-assign]
        command.parse_args = partial(  # type: ignore[method-assign]
            _parse, command.parse_args, FORMER.get(path, {})
        )
        if _rare(command):
            command.get_params = partial(  # type: ignore[method-assign]
                _params, command.get_params, _help_all()
            )
    return command


def _listed(command: click.Command) -> list[click.Option]:
    return [one for one in command.params if isinstance(one, click.Option) and not one.hidden]


def _rare(command: click.Command) -> list[click.Option]:
    """Return the options that ``--help`` leaves out."""
    listed = _listed(command)
    return [one for one in listed if one.name in _RARE] if len(listed) > FEW else []


def hidden_names(command: click.Command) -> set[str]:
    """Return the names of the parameters that ``--help`` leaves out."""
    return {str(one.name) for one in _rare(command)}


def _help_all() -> click.Option:
    def show(ctx: click.Context, _param: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            ctx.meta[ALL] = True
            click.echo(ctx.get_help())
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="Show all options and exit.",
    )


def _params(
    usual: Callable[[click.Context], list[click.Parameter]], more: click.Option, ctx: click.Context
) -> list[click.Parameter]:
    return [*usual(ctx), more]


def _format(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """Write the options of a command, by groups where there are many."""
    left = [] if ctx.meta.get(ALL) else _rare(command)
    listed = [one for one in _listed(command) if one not in left]
    ways = [one for one in command.get_params(ctx) if one not in command.params]
    help_options = [one for one in ways if isinstance(one, click.Option)]
    sections = _sections(listed) if len(_listed(command)) > FEW else iter([("Options", listed)])
    for heading, options in sections:
        _write(heading, [*options, *(help_options if heading == "Options" else [])], ctx, formatter)
    if len(_listed(command)) > FEW:
        _write("Help", help_options, ctx, formatter)
    if left:
        formatter.write_paragraph()
        formatter.write_text(
            f"{len(left)} more options, which are rarely needed: --help-all shows them."
        )


def _write(
    heading: str, options: list[click.Option], ctx: click.Context, formatter: click.HelpFormatter
) -> None:
    rows = [row for one in options if (row := one.get_help_record(ctx)) is not None]
    if not ctx.meta.get(ALL):
        rows = [(_plain(names), text) for names, text in rows]
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)


def _plain(names: str) -> str:
    """Leave out the names that an option has in ``ftw`` (``-sn``, ``--min_size``), and ranges."""
    names = re.sub(r" RANGE$", "", names)
    return re.sub(r"(^|, )(-\w\w+|--\w+_\w+)(?=,|$| [A-Z])", "", names).removeprefix(", ")


def _sections(options: list[click.Option]) -> Iterator[tuple[str, list[click.Option]]]:
    """Part options by the table; what nobody has put into a group comes last."""
    known: set[str] = set()
    for heading, names in GROUPS.items():
        wanted = [name for name in names.split() if name not in known]
        yield heading, [one for name in wanted for one in options if one.name == name]
        known |= set(wanted)
    yield "More", [one for one in options if one.name not in known]


def _parse(
    usual: Callable[[click.Context, list[str]], list[str]],
    former: dict[str, str],
    ctx: click.Context,
    args: list[str],
) -> list[str]:
    """Read the words of a command; of a name that an option had it is said how it is called now."""
    words = []
    for k, word in enumerate(args):
        name, equals, value = word.partition("=")
        if "--" in args[:k] or name not in former:
            words.append(word)
            continue
        if not ctx.resilient_parsing:
            click.echo(
                f"{name} is called {former[name]} in '{ctx.command_path}' now, since {name} means "
                "something else in other verbs; the old name still works.",
                err=True,
            )
        words.append(f"{former[name]}{equals}{value}")
    return list(usual(ctx, words))
