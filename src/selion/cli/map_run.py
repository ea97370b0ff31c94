"""A run of the verbs of mapping: what was asked for, its plan, its picture and its end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import options as opt
from selion.cli import running
from selion.cli.progress import Reporter

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.pipeline.areas import Survey
    from selion.pipeline.maps import MapJob, MapOptions
    from selion.pipeline.probabilities import RunReport
    from selion.reports.preview import Preview


NOTHING = (
    "No field was found: 'selion look IMAGE' says what the bands and numbers are taken for, the "
    "preview shows the image, and fields smaller than --min-area are left out."
)


@dataclass(frozen=True)
class MapRun:
    """One run of ``selion map``: what was asked for, and what it has to say."""

    place: running.OutputPlace
    model: str | None
    options: MapOptions
    given: running.RunChoice
    say: Reporter
    began: float

    @cached_property
    def report(self) -> RunReport:
        """What the run has to say."""
        from selion.pipeline.probabilities import RunReport

        return RunReport(on_note=self.say.note)

    @property
    def consistent(self) -> bool:
        """Whether the consistency of the map is wanted."""
        return self.options.consistency is not None

    def finish(self, frame: GeoDataFrame, extra: dict[str, Any]) -> None:
        """Send the result where it was wanted, and print what there is to say."""
        from selion.pipeline import maps

        given = {"scores": self.options.scores, "consistency_file": self.options.consistency}
        rasters = {name: str(path) for name, path in given.items() if path is not None}
        facts = maps.summarise(frame) | extra | rasters
        if not len(frame):
            self.say.note(NOTHING)
        conclude(self.report, self.place, facts, self.began, self.given)


def conclude(
    report: RunReport,
    place: running.OutputPlace,
    facts: dict[str, Any],
    began: float,
    given: running.RunChoice,
) -> None:
    """Send the result of a run where it was wanted, and print the summary and the path."""
    seconds = time.monotonic() - began
    facts |= running.tell(report, place, seconds, given) | {"seconds": round(seconds, 1)}
    if report.failed:
        facts |= {"missing_blocks": len(report.failed), "listed_in": str(report.listed)}
    opt.print_result(place.publish(report), facts, given, width=16)
    running.settle(report, place)


def print_plan(
    job: MapJob,
    say: Reporter,
    *,
    as_json: bool,
    consistency: bool = False,
    more: dict[str, Any] | None = None,
) -> None:
    """Print what a run would take, as ``--dry-run`` does."""
    from selion import prediction
    from selion.grid import ground_sampling_distance
    from selion.models.language.network import LanguageSegmenter
    from selion.models.refine.segmenter import PointRefined, Refined
    from selion.pipeline.consistency import added_cost

    cost = prediction.estimate(job.source, job.model, job.plan)
    passes = {}
    if consistency:
        added = added_cost(job.source, job.model, job.plan)
        passes = {"of_which_passes": {"windows": added.windows, "seconds": round(added.seconds, 1)}}
        cost = cost.with_more(added)
    spoken, asked = job.model, cost.windows
    if isinstance(spoken, Refined):
        asked = spoken.asked(cost.windows)
    if isinstance(spoken, Refined | PointRefined):
        spoken = spoken.base
    height, width = job.plan.grid.shape
    gsd = ground_sampling_distance(job.plan.grid)
    facts = {
        "image": str(opt.located(job.image)),
        "model": job.model.card.name,
        **({"chosen": job.chosen} if job.chosen else {}),
        "engine": job.model.engine,
        "working_pixels": [int(height), int(width)],
        "working_gsd_m": None if gsd is None else round(gsd, 3),
        "windows": cost.windows,
        "blocks": cost.blocks,
        "gigabytes_read": round(cost.gigabytes_read, 3),
        **(more or {}),
        "seconds": round(cost.seconds, 1),
        **passes,
        **(
            spoken.price(asked).facts(cost.seconds) if isinstance(spoken, LanguageSegmenter) else {}
        ),
        "notes": list(job.notes),
    }
    if as_json:
        click.echo(json.dumps({"event": "plan", **facts}))
        return
    for note in job.notes:
        say.note(note)
    for name, value in facts.items():
        if name != "notes":
            click.echo(f"{name:<16} {value}")


def preview_place(out: Path, *, wanted: bool) -> Path | None:
    """Return where the preview of a result lies; None: none is wanted."""
    from selion.reports.preview import preview_of

    return preview_of(out) if wanted else None


def watcher(path: Path | None) -> Preview | None:
    """Return who draws the preview while blocks finish."""
    from selion.reports.preview import Preview

    return None if path is None else Preview(path)


def drawn(path: Path | None) -> dict[str, str]:
    """Return the preview as a fact, if there is one."""
    return {"preview": str(path)} if path is not None and path.is_file() else {}


def with_page(
    job: MapJob, frame: Any, out: Path, *, wanted: bool, survey: Survey | None = None
) -> dict[str, str]:
    """Write the page of a map, if it is wanted, and return it as a fact."""
    from selion.pipeline import maps
    from selion.pipeline.tile_seasons import taken_seasons
    from selion.reports import maps as mapped
    from selion.store.beside import beside

    if not wanted:
        return {}
    target = beside(out, ".report.html")
    made = {
        "image": str(opt.located(job.image)),
        "model": f"{job.model.card.name}: {job.model.card.summary}",
        "licence": job.model.card.licence,
    }
    return {
        "page": str(
            mapped.write_report(
                job.source,
                frame,
                target,
                name=out.stem,
                facts=maps.summarise(frame),
                notes=job.notes,
                details=made,
                seasons=[] if survey is None else taken_seasons(survey),
            )
        )
    }


def compared(job: MapJob) -> str:
    """Say how much --fast changes.

    Where a place of the image cannot be read, that is not what stops a map.
    """
    from selion.errors import UnreadableFile
    from selion.pipeline import maps

    try:
        return maps.compare_precision(job)
    except UnreadableFile as error:
        return f"--fast was not compared with float32: {error}"
