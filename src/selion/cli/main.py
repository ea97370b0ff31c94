"""``selion``: one group, one verb for each step of the pipeline."""

from __future__ import annotations

import errno
import importlib
import io
import os
import shlex
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

import selion
from selion.cli.begun import guarded
from selion.cli.private import private
from selion.cli.shown import shown
from selion.errors import Incomplete, SelionError, without_secrets


class Verb(NamedTuple):
    """Where the command of a verb is defined, and its line in ``selion --help``."""

    module: str
    """Of this package."""
    command: str
    summary: str


VERBS = {
    "map": Verb("mapping", "map_command", "Map the fields of an image or an area."),
    "look": Verb("look", "look_command", "Say what an image's bands and numbers are."),
    "predict": Verb("halves", "predict_command", "Predict the class probabilities of an image."),
    "fields": Verb("halves", "fields_command", "Turn class probabilities into a table of fields."),
    "world": Verb("world", "world_command", "List published maps that 'map --from' takes."),
    "scenes": Verb(
        "imagery",
        "scenes_command",
        "List the scenes that a composite would use.",
    ),
    "composite": Verb(
        "imagery", "composite_command", "Make a cloud-free composite of two seasons."
    ),
    "evaluate": Verb(
        "evaluate", "evaluate_command", "Score models on a dataset, or maps against a truth."
    ),
    "reproduce": Verb("reproduce", "reproduce_group", "Score a paper's tables again."),
    "change": Verb("change", "change_command", "Compare maps of two or more years."),
    "history": Verb("history", "history_command", "Join many years: one id for each field."),
    "plan": Verb("plan", "plan_command", "Split a country into jobs; estimate time and cost."),
    "run": Verb("jobs", "run_command", "Do the jobs of a plan, here or on a cluster."),
    "watch": Verb("watch", "watch_command", "Watch the jobs of a plan: progress, failures, cost."),
    "merge": Verb(
        "country",
        "merge_command",
        "Merge the jobs of a country into one map.",
    ),
    "query": Verb("country", "query_command", "Select the fields of an area from a merged map."),
    "stats": Verb(
        "country",
        "stats_command",
        "Count and measure fields by administrative unit.",
    ),
    "tiles": Verb("country", "tiles_command", "Write vector tiles of a merged map."),
    "sample": Verb("survey", "sample_command", "Draw a random sample to judge a map by."),
    "estimate": Verb("survey", "estimate_command", "Estimate accuracy and area from a sample."),
    "crops": Verb(
        "crops",
        "crops_group",
        "Measure close-range photographs, and plots in orthomosaics.",
    ),
    "view": Verb("view", "view_command", "View images, probabilities and fields in the browser."),
    "review": Verb(
        "review",
        "review_group",
        "Review and correct a map in the browser.",
    ),
    "train": Verb("train", "train_command", "Train a model."),
    "label": Verb(
        "label",
        "label_group",
        "Make, screen, compare and train on pseudo-labels.",
    ),
    "models": Verb("models", "models_group", "List, show, fetch and import models."),
    "data": Verb("data", "data_group", "List, fetch, check and make datasets."),
    "qgis": Verb(
        "qgis", "qgis_group", "Install the QGIS plugin, which calls this selion; write styles."
    ),
    "simulate": Verb(
        "simulate", "simulate_command", "Write a simulated countryside with its truth."
    ),
    "demo": Verb("simulate", "demo_command", "Map a simulated scene and score it."),
    "verify": Verb("verify", "verify_command", "Verify a result: nothing changed, nothing broken."),
    "clean": Verb("clean", "clean_command", "Remove what runs that were killed have left."),
    "doctor": Verb("doctor", "doctor_command", "Show which verbs work here, and what others lack."),
}
"""All that has to be said of a verb outside its own module, in the order of the help."""


class Verbs(click.Group):
    """Import a verb's module only when that verb is called, so that ``selion --help`` is quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        """Return the verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a verb."""
        if cmd_name not in VERBS:
            return None
        verb = VERBS[cmd_name]
        module = importlib.import_module(f"selion.cli.{verb.module}")
        command = private(getattr(module, verb.command), cmd_name)
        return shown(guarded(command, cmd_name), cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Offer the nearest verb for one that does not exist."""
        import difflib

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], VERBS, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(VERBS)}."
            ctx.fail(f"There is no verb {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


@click.command(
    cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(selion.__version__, prog_name="selion")
def cli() -> None:
    """Agricultural segmentation from satellite to close range.

    Maps fields and crops as validated tables.
    """


def _stop_as_asked() -> None:
    """Let the ways in which schedulers and QGIS stop a process do what Ctrl-C does.

    Tidy up, keep finished blocks.
    """
    for name in ("SIGTERM", "SIGBREAK", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, signal.default_int_handler)


def _open_streams() -> None:
    """Give a process that was started without standard streams (``>&- 2>&-``) mute ones.

    Else the first files that it opens get their numbers, and what a library prints would go into
    these; and Python has None in their place.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            # the lowest number that is free: this one, as those below are open by now
            mute = os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
            os.set_inheritable(mute, True)
        if getattr(sys, name) is None:
            mode = "r" if number == 0 else "w"
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  # for as long as the process lives


PAGES = frozenset(("starlette", "uvicorn", "anyio", "rio_tiler", "morecantile", "maplibre"))
"""Packages that serve pages; what they warn of is shown where Python is asked to (``-W``)."""


def _warn_in_a_sentence() -> None:
    """Show warnings of ours as one sentence, as errors are; those of the libraries as ever.

    But nobody who looks at a page is told what its server's libraries tell programmers.
    """
    ours, before = str(Path(__file__).resolve().parents[1]), warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        if issubclass(category, UserWarning) and filename.startswith(ours):
            click.echo(f"Warning: {message}", err=True)
        elif sys.warnoptions or not PAGES.intersection(Path(filename).parts):
            before(message, category, filename, *rest)

    warnings.showwarning = show  # type: ignore[assignment]


SYSTEM = {
    errno.ENOSPC: "free some space, or choose another place",
    getattr(errno, "EDQUOT", errno.ENOSPC): "free some space, or choose another place",
    errno.EFBIG: "choose another place, or raise the limit of a file's size (ulimit -f)",
    errno.EROFS: "choose another place",
    errno.EACCES: "check the permissions, or choose another place",
    errno.EPERM: "check the permissions, or choose another place",
    errno.EIO: "check the disk",
    errno.EXDEV: "its file system moves no files between folders, choose another place",
    errno.EMFILE: "close other programs, or raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENAMETOOLONG: "give a shorter name",
}
"""What the system may refuse through no fault of ours, and what to do."""


def system_sentence(error: OSError) -> str:
    """Return a sentence on what the system refused; empty where it may be a defect of ours."""
    cure = SYSTEM.get(error.errno or 0)
    if cure is None:
        return ""
    place = "a file" if error.filename is None else os.fsdecode(error.filename)
    return f"{place} could not be read or written ({error.strerror}): {cure}."


def _trace_without_secrets(*problem: Any) -> None:
    """Print what a defect of ours leaves, without the signatures and passwords of addresses."""
    import traceback

    click.echo(without_secrets("".join(traceback.format_exception(*problem))), err=True, nl=False)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line.

    Errors of ours are one sentence and exit code 2, others keep their traceback.
    """
    _open_streams()
    _stop_as_asked()
    _warn_in_a_sentence()
    sys.excepthook = _trace_without_secrets
    try:
        cli.main(arguments, prog_name="selion", standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.ClickException as problem:
        usage = io.StringIO()
        problem.show(file=usage)
        click.echo(without_secrets(usage.getvalue()), err=True, nl=False)
        sys.exit(2)
    except Incomplete as problem:
        click.echo(f"Incomplete: {problem}", err=True)
        sys.exit(3)
    except SelionError as problem:
        click.echo(f"Error: {problem}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as problem:
        said = system_sentence(problem)
        if not said:
            raise
        click.echo(f"Error: {said}", err=True)
        sys.exit(2)
    except MemoryError:
        click.echo(
            "Error: The memory does not suffice: give smaller inputs, less at once, or check that "
            "a file does not announce more than it holds.",
            err=True,
        )
        sys.exit(2)
    except (KeyboardInterrupt, click.exceptions.Abort):
        again = going_on(sys.argv[1:] if arguments is None else arguments)
        click.echo(
            "\nStopped. What is finished is kept; this command continues from here:\n"
            f"  {without_secrets(again)}",
            err=True,
        )
        sys.exit(130)


ANEW = ("adapt", "crops", "plots", "selftrain", "train")
"""Verbs that begin anew with --force, also where it is their own work that lies there."""


def going_on(arguments: Sequence[str]) -> str:
    """Return the command that goes on where one was stopped: resuming, and starting nothing over.

    Examples
    --------
    >>> going_on(["train", "crops", "--force", "-o", "my run"])
    "selion train crops -o 'my run' --resume"
    """
    words = list(arguments)
    command: click.Command = cli
    context = click.Context(cli)
    for word in words:
        inner = command.get_command(context, word) if isinstance(command, click.Group) else None
        if inner is None:
            break
        command = inner
    if command.name in ANEW or words[:1] == ["crops"]:
        words = [word for word in words if word not in ("-f", "--force", "--overwrite")]
    resumes = any("--resume" in one.opts for one in command.params)
    if resumes and "--resume" not in words:
        words.append("--resume")
    return shlex.join(["selion", *words])


if __name__ == "__main__":
    main()
