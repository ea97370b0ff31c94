"""Options of who does the work and where it lies, once for all verbs that have blocks."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.private import LocalPath
from selion.cli.watching import sent_now
from selion.cores import usable_cores
from selion.errors import BadInput, OutputFailed, without_secrets
from selion.store.atomic import write_text

if TYPE_CHECKING:
    from selion.pipeline.probabilities import RunReport
    from selion.runners import RunnerOptions
    from selion.store.far_lease import FarLease

JOURNAL = "journal"


class Anywhere(click.ParamType):
    """A path, or the address of a place on an object store."""

    name = "path or URL"

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:  # noqa: ARG002  # click's signature
        """Return what to add where the option is missing."""
        return opt.NO_OUTPUT

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Path | str:
        """Return a Path, or the address as it was given."""
        from selion.store import is_object_url

        if not is_object_url(value):
            checked: Path = LocalPath(path_type=Path).convert(value, param, ctx)
            return checked
        if without_secrets(str(value)) != str(value):
            self.fail(
                f"{without_secrets(str(value))} was given with a key in it, which would be "
                "written down: keys are read from the environment (AWS_ACCESS_KEY_ID, ...).",
                param,
                ctx,
            )
        if not str(value).partition("://")[2].partition("/")[0]:
            self.fail(
                f"{value} names no bucket: wanted is for example s3://BUCKET/PREFIX.", param, ctx
            )
        return str(value)


out = click.option(
    "-o",
    "--out",
    type=Anywhere(),
    required=True,
    help="Output file, its ending decides the format; or s3://, gs:// or az:// BUCKET/NAME.",
)
work = click.option(
    "--work",
    type=Anywhere(),
    default=None,
    help="Keep finished parts in this folder, also after the run; or s3://BUCKET/PREFIX.",
)
runner = click.option(
    "--runner",
    default="serial",
    show_default=True,
    metavar="NAME",
    help=(
        "What runs the blocks: serial, processes, ray (one on this machine) or ray://HOST:PORT (a "
        "cluster)."
    ),
)
workers = click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Workers of processes or ray, the cores shared out among them [default: one per core].",
)
profile = click.option(
    "--profile", is_flag=True, help="Print the time of each stage, and write it beside the output."
)
options = opt.group(runner, workers, profile)


@dataclass(frozen=True, kw_only=True)
class RunChoice(opt.VerbChoice):
    """What all verbs that have blocks let the user choose."""

    runner: str
    workers: int | None
    profile: bool
    threads: int | None = None
    work: Path | str | None = None
    dry_run: bool = False
    preview: bool = False
    page: bool = False

    def runner_options(self) -> RunnerOptions:
        """Return who does the blocks."""
        from selion.runners import RunnerOptions

        return RunnerOptions(self.runner, self.workers, self.threads)


@dataclass(frozen=True)
class OutputPlace:
    """Where a run writes: a file here, and where it goes in the end."""

    out: Path
    """Here."""
    work: Path | None
    journal: str | None
    """On an object store, for finished blocks."""
    remote: str | None = None
    """The folder that the files beside ``out`` are sent to; None: they stay."""
    force: bool = False
    passing: bool = False
    """Whether the journal goes when the run is complete."""
    lease: FarLease | None = None
    """Of an output on a store."""
    first: bool = False
    """Whether no whole output was on the store when the command was first begun."""

    def publish(self, report: RunReport) -> str:
        """Send what was written to where it was wanted; return its address."""
        from selion.store import ObjectFolder

        if self.lease is not None:
            self.lease.check()
            if self.first:
                self.lease.send()
        if self.passing and not report.failed and self.journal is not None:
            journal = ObjectFolder(self.journal)
            journal.delete(*journal.names())
        if self.remote is None:
            return str(self.out)
        folder = ObjectFolder(self.remote)
        # the output itself last: when it is there, all is
        for path in sorted(self.out.parent.iterdir(), key=lambda path: path == self.out):
            if path.is_file() and not path.name.startswith("."):
                folder.upload(path, path.name, force=self.force or path != self.out)
        if not report.failed:
            from selion.pipeline.probabilities import list_of

            folder.delete(list_of(self.out).name)
        return f"{self.remote}/{self.out.name}"


@contextmanager
def working_alone(work: Path | str | None) -> Iterator[None]:
    """Be the only command that keeps its finished blocks in a folder, or on a prefix of a store.

    Another one would remove blocks that are not its own.  A killed process gives it back.

    Raises
    ------
    BadInput
        If another command does.
    OutputFailed, FetchFailed
        If the folder cannot be written, or the store does not answer.
    """
    from selion.store import ObjectFolder
    from selion.store.far_lease import far_leased
    from selion.store.lock import leased

    if work is None:
        yield
        return
    if isinstance(work, str):
        with far_leased(ObjectFolder(work.rstrip("/")), JOURNAL):
            yield
        return
    lock = work.expanduser() / f".{JOURNAL}.lease"
    new = not lock.parent.exists()
    with ExitStack() as held:
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            free = held.enter_context(leased(lock))
        except OSError as error:
            raise OutputFailed(
                f"The folder {work} for finished parts cannot be made ({error.strerror}): give one "
                "that can be written."
            ) from error
        if not free:
            raise BadInput(
                f"{work} holds the finished parts of another command, which is at work: wait until "
                "it has ended, or give another --work."
            )
        held.callback(_give_back, lock, new=new)
        yield


def _give_back(lock: Path, *, new: bool) -> None:
    """Remove a lock while it is held, and a folder that was made for it and holds nothing."""
    with suppress(OSError):  # it went meanwhile, or something lies there
        lock.unlink(missing_ok=True)
        if new:
            lock.parent.rmdir()


@contextmanager
def placed(
    out: Path | str,
    work: Path | str | None,
    *,
    force: bool,
    dry: bool = False,
    alone: bool = True,
) -> Iterator[OutputPlace]:
    """Decide where a run writes, before any work is done.

    An output on an object store is made in a folder for the time being, and sent when it is whole;
    its finished blocks are kept on the store meanwhile, so that another machine can go on.  Nobody
    else writes it within the block, nor, where the run is to be ``alone``, keeps blocks in the same
    ``work``; in a dry run nothing is written at all.

    Raises
    ------
    OutputExists
        If it is on the store already, complete, and ``force`` is false.
    BadInput
        If another command writes the same object, or keeps its blocks there, at present.
    """
    with (
        nullcontext() if dry or not alone else working_alone(work),
        _placed(out, work, force=force, dry=dry) as place,
    ):
        yield place


@contextmanager
def _placed(
    out: Path | str, work: Path | str | None, *, force: bool, dry: bool
) -> Iterator[OutputPlace]:
    local_work = work if isinstance(work, Path) else None
    journal = f"{work.rstrip('/')}/{JOURNAL}" if isinstance(work, str) else None
    if isinstance(out, Path):
        yield OutputPlace(out, local_work, journal, force=force)
        return
    from selion.pipeline.probabilities import FAILED
    from selion.store import ObjectFolder
    from selion.store.far_lease import far_leased, is_sent_by
    from selion.store.object_store import exists

    prefix, _, name = out.rpartition("/")
    if not name or prefix.count("/") < 2:
        raise click.BadParameter(
            f"{out} names no file: wanted is for example s3://BUCKET/PREFIX/fields.parquet.",
            param_hint="--out",
        )
    folder = ObjectFolder(prefix)
    partial = not force and folder.has(f"{name}{FAILED}")
    sent = sent_now()
    again = not (force or partial) and folder.has(name)
    if again and not is_sent_by(folder, name, sent.asked):
        raise exists(out)
    passing = Path(tempfile.mkdtemp(prefix="selion-"))
    try:
        with sent.until_then(
            nullcontext() if dry else far_leased(folder, name, sent.asked)
        ) as lease:
            yield OutputPlace(
                passing / name,
                local_work,
                journal or _remote_work(prefix, name),
                prefix,
                force or partial or again,
                passing=journal is None,
                lease=lease,
                first=not force,
            )
    finally:
        shutil.rmtree(passing, ignore_errors=True)


def _remote_work(prefix: str, name: str) -> str:
    """Return where on a store a run keeps its blocks.

    Under the former name if an unfinished run left some there.
    """
    from selion.store import ObjectFolder
    from selion.store.former import former, note

    here = f"{prefix}/.{name}.selion"
    if ObjectFolder(former(here)).names() and not ObjectFolder(here).names():
        note(former(here))
        return former(here)
    return here


def tell(report: RunReport, place: OutputPlace, seconds: float, given: RunChoice) -> dict[str, Any]:
    """Write where the seconds went beside the output, if that is wanted.

    It is printed unless all is to be quiet.  Return what the summary says.
    """
    if not given.profile:
        return {}
    stages = {name: round(spent, 3) for name, spent in report.stages.seconds.items()}
    path = place.out.with_name(f"{place.out.name}.profile.json")
    told = {"seconds": round(seconds, 3), "stages": stages, "cores": usable_cores()}
    scored = report.stages.ended.get("network")
    if scored is not None:
        told["after_scores"] = round(time.perf_counter() - scored, 3)
    write_text(path, json.dumps(told, indent=1) + "\n", force=True)
    if not (given.as_json or given.quiet):
        click.echo(
            (
                f"{seconds:.1f} s passed; seconds of work by stage, all threads and workers "
                "together (stages overlap):"
            ),
            err=True,
        )
        for name, spent in stages.items():
            click.echo(f"  {name:<16} {spent:10.2f} s  {spent / max(seconds, 1e-9):6.1%}", err=True)
        if "after_scores" in told:
            click.echo(f"{told['after_scores']} s of them when all scores were there", err=True)
    return {"profile": str(path)} if not given.as_json else {"stages": stages, "profile": str(path)}


def settle(report: RunReport, place: OutputPlace) -> None:
    """End the command with Incomplete if blocks are missing."""
    if report.failed:
        raise report.incomplete(
            place.out if place.remote is None else Path(f"{place.remote}/{place.out.name}")
        )
