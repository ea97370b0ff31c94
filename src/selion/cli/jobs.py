"""``selion run``: the jobs of a plan, done here or on a cluster, within limits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli.progress import reporter
from selion.errors import counted

if TYPE_CHECKING:
    from selion.country import JobLimits
    from selion.runners import RunnerOptions

HELP = """Do the jobs of PLAN that are not finished: one after the other here, several at once
(--runner processes), or on the nodes of a Ray cluster that all see the plan's folder. Each job is a
process with its own log (PLAN/jobs/NAME/job.log), and one that is over a limit is ended with a
sentence there. The same command tries what failed again; 'selion watch PLAN' shows how they stand.
"""
limit = click.FloatRange(0, min_open=True)


@dataclass(frozen=True, kw_only=True)
class JobsChoice(opt.VerbChoice):
    """Who does the jobs and what each may take, as it was given."""

    runner: str
    workers: int | None
    threads: int | None
    memory: float | None
    scratch: float | None
    hours: float | None

    def runner_options(self) -> RunnerOptions:
        """Return who does the jobs."""
        from selion.runners import RunnerOptions

        return RunnerOptions(self.runner, self.workers, self.threads)

    def limits(self) -> JobLimits:
        """Return what each may take."""
        from selion.country import JobLimits

        return JobLimits(memory=self.memory, scratch=self.scratch, hours=self.hours)


@click.command("run", help=HELP)
@click.argument("plan", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--runner",
    default="serial",
    show_default=True,
    metavar="NAME",
    help="Who does the jobs: serial, processes, ray (one on this machine), ray://HOST:PORT (a "
    "cluster), or ray://auto (the cluster that RAY_ADDRESS names).",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=None,
    help="Jobs at once [default: as many as there is room for].",
)
@click.option(
    "--threads", type=click.IntRange(1), default=None, help="Cores of each job [default: shared]."
)
@click.option("--memory", type=limit, default=None, help="Gigabytes of memory of each job (Linux).")
@click.option(
    "--scratch", type=limit, default=None, help="Gigabytes of the disk of each job, results too."
)
@click.option("--hours", type=limit, default=None, help="Hours of each job.")
@opt.as_json
@opt.quiet
def run_command(plan: Path, **values: Any) -> None:
    """Do the jobs."""
    given = opt.taken(JobsChoice, values)
    from selion.country import run_plan

    with reporter(quiet=given.quiet, as_json=given.as_json) as say:
        done = run_plan(plan, given.runner_options(), given.limits(), on_step=say.step)
    if given.as_json:
        click.echo(
            json.dumps(
                {
                    "event": "done",
                    "done": done.done,
                    "there": done.there,
                    "elsewhere": done.elsewhere,
                }
            )
        )
    elif not given.quiet:
        before = f", {len(done.there)} were finished before" if done.there else ""
        others = f", {len(done.elsewhere)} by another run" if done.elsewhere else ""
        click.echo(f"{counted(len(done.done), 'job')} done{others}{before}")
