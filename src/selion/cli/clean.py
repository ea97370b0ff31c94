"""``selion clean``: lists and removes what runs that were killed have left behind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from selion.cli import options as opt

if TYPE_CHECKING:
    from selion.store.leftovers import Leftover


@click.command("clean")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@click.option(
    "--work",
    is_flag=True,
    help="Also remove finished parts of unfinished results: the same command begins anew then.",
)
@opt.as_json
def clean_command(folders: tuple[Path, ...], *, dry_run: bool, work: bool, as_json: bool) -> None:
    """Remove what runs that were killed have left.

    Half-written outputs, notes and downloads in FOLDERS [default: this one], all folders below them
    and the cache; nothing that a running process uses, and nothing that selion has not made.  Runs
    do so themselves where they write again.
    """
    import json

    from selion import store
    from selion.errors import OutputFailed, counted
    from selion.store.leftovers import KINDS, find_leftovers

    places = [*(folders or (Path(),)), *filter(Path.is_dir, [store.cache_folder()])]
    found = {left.path.absolute(): left for place in places for left in find_leftovers(place)}
    rows, stuck = [], []
    for left in found.values():
        kept = left.kind == "work" and not work
        gone, why = (False, "") if dry_run or kept else _removed(left)
        stuck += [left.path] * bool(why)
        rows.append(
            {"path": str(left.path), "kind": left.kind, "bytes": left.size, "removed": gone}
        )
        if not as_json:
            said = "removed" if gone else "kept (--work removes it)" if kept else f"left{why}"
            click.echo(f"{left.path}  {left.size / 1e6:,.1f} MB  {KINDS[left.kind]}: {said}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    else:
        click.echo(_sum([row for row in rows if row["removed"]], rows, dry_run=dry_run), err=True)
    if stuck:
        raise OutputFailed(
            f"{counted(len(stuck), 'leftover')} could not be removed, {stuck[0]} first: "
            "check the disk and the permissions, then give the same command again."
        )


def _removed(left: Leftover) -> tuple[bool, str]:
    """Remove a leftover; say whether it is gone, and what the system said if it refused."""
    try:
        return left.remove(), ""
    except OSError as error:
        return False, f" ({error.strerror})"


def _sum(gone: list[dict[str, object]], rows: list[dict[str, object]], *, dry_run: bool) -> str:
    if not rows:
        return "Nothing is left behind here."
    size = sum(int(str(row["bytes"])) for row in (rows if dry_run else gone)) / 1e6
    if dry_run:
        return f"{len(rows)} left behind, {size:,.1f} MB; nothing was removed."
    return f"{len(gone)} of {len(rows)} removed, {size:,.1f} MB."
