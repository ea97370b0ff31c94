"""``selion qgis``: the plugin and the styles."""

from __future__ import annotations

from pathlib import Path

import click

from selion.cli import options as opt


@click.group("qgis")
def qgis_group() -> None:
    """Install the QGIS plugin, which calls this selion; write styles beside files."""


@qgis_group.command("install")
@click.option(
    "--qgis-profile",
    "profile",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="Folder of a QGIS profile [default: the one that QGIS starts with].",
)
@opt.force
def install_command(profile: Path | None, *, force: bool) -> None:
    """Copy the plugin into a QGIS profile.

    Run it again after an update or a move of this environment.
    """
    from selion import qgis

    folder = qgis.install_plugin(profile, force=force)
    click.echo(
        (
            "Now tick 'selion' in QGIS under Plugins > Manage and Install Plugins > Installed; or: "
            "qgis_process plugins enable selion_provider (Debian 12: qgis_process.bin)."
        ),
        err=True,
    )
    click.echo(str(folder))


@qgis_group.command("package")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("selion_provider.zip"),
    show_default=True,
    help="The zip.",
)
@click.option("--repository", default="", help="Address of the source code, for publishing.")
@click.option("--tracker", default="", help="Address where problems are reported.")
@click.option("--homepage", default="", help="Address of the home page.")
@click.option("--email", default="", help="Of the author.")
@click.option(
    "--portable",
    is_flag=True,
    help="Do not note this environment's command: for other machines, and for publishing.",
)
@opt.force
def package_command(
    out: Path,
    repository: str,
    tracker: str,
    homepage: str,
    email: str,
    *,
    portable: bool,
    force: bool,
) -> None:
    """Write the plugin as a zip for QGIS' Install from ZIP, or for a repository of plugins."""
    from selion import qgis

    links = qgis.Links(repository, tracker, homepage, email)
    done = qgis.package_plugin(out, links, portable=portable, force=force)
    click.echo("In QGIS: Plugins > Manage and Install Plugins > Install from ZIP.", err=True)
    lacking = [*done.lacking, *([] if portable else ["--portable"])]
    if lacking:
        names = ", ".join(lacking)
        click.echo(f"Before QGIS' repository of plugins takes it, it needs: {names}.", err=True)
    click.echo(str(done.path))


@qgis_group.command("path")
def path_command() -> None:
    """Print where the plugin lies in this installation."""
    from selion import qgis

    click.echo(str(qgis.plugin_folder()))


@qgis_group.command("style")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option(
    "--colour-by",
    "name",
    default=None,
    help=(
        "Fields: 'fields' (outlines), 'confidence' or 'size'. Probabilities: a class [default: "
        "outlines; field]."
    ),
)
@opt.force
def style_command(paths: tuple[Path, ...], name: str | None, *, force: bool) -> None:
    """Write a .qml beside tables of fields or rasters of probabilities.

    QGIS takes it when the file is opened.
    """
    from selion import qgis

    for path in paths:
        click.echo(str(qgis.write_style(path, name, force=force)))
