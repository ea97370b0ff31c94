"""``selion map AREA --year YEAR --from NAME``: fields of a published map."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from selion.cli import running
from selion.cli.progress import Reporter

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.pipeline.maps import MapOptions
    from selion.pipeline.probabilities import RunReport
    from selion.world import Edition, PublishedMap


@dataclass(frozen=True)
class PublishedRun:
    """One run of ``selion map --from``."""

    edition: Edition
    area: str
    year: int
    out: Path
    options: MapOptions
    given: running.RunChoice
    say: Reporter
    report: RunReport
    crs: str
    least_confidence: float | None

    def __call__(self) -> tuple[GeoDataFrame, dict[str, Any]] | None:
        """Return the fields and what the summary says of them; None: only the plan was wanted."""
        if self.edition.product == "fields":
            return self._fields()
        return self._probabilities()

    def _probabilities(self) -> tuple[GeoDataFrame, dict[str, Any]] | None:
        from selion import world
        from selion.pipeline import maps

        if self.given.dry_run:
            self._plan()
            return None
        extra: dict[str, Any] = {}
        result = world.map_published(
            self.edition,
            self.area,
            self.year,
            self.out,
            self.options,
            crs=self.crs,
            force=self.given.force,
            on_step=self.say.step,
            use=lambda made: extra.update(self._drawn(made)),
            report=self.report,
        )
        scores = {} if self.options.scores is None else {"scores": str(self.options.scores)}
        facts = maps.summarise(result.frame) | result.facts() | extra | scores
        return result.frame, facts

    def _plan(self) -> None:
        from selion import world

        scores = world.open_probabilities(
            self.edition, self.area, self.year, gsd=self.options.predict.gsd, crs=self.crs
        )
        cost = world.reading_cost(scores)
        facts = {"edition": self.edition.name, "year": self.year, **cost.facts()}
        if scores.missing_km2:
            facts["not_looked_at_km2"] = round(scores.missing_km2, 3)
        if self.given.as_json:
            rows = [{"tile": key, "bytes": size} for key, size in cost.tiles]
            plan = {"event": "plan", **facts, "reads": rows, "notes": list(scores.notes)}
            click.echo(json.dumps(plan))
            return
        for note in scores.notes:
            self.say.note(note)
        for key, size in cost.tiles:
            click.echo(f"{key:<16} {size / 1e6:.3f} MB")
        for name, value in facts.items():
            click.echo(f"{name:<16} {value}")

    def _drawn(self, made: PublishedMap) -> dict[str, str]:
        """Draw the preview and the page, while the probabilities are here."""
        from selion.pipeline import maps
        from selion.reports import maps as mapped
        from selion.reports.preview import preview_of, write_preview
        from selion.store.beside import beside

        drawn = {}
        if self.given.preview:
            drawn["preview"] = str(write_preview(made.scores, made.frame, preview_of(self.out)))
        if self.given.page:
            target = beside(self.out, ".report.html")
            told = made.scores.scores.provenance
            written = mapped.write_report(
                made.scores,
                made.frame,
                target,
                name=self.out.stem,
                facts=maps.summarise(made.frame) | made.facts(),
                notes=made.notes,
                details={name: told[name] for name in ("title", "year", "licence", "citation")},
            )
            drawn["page"] = str(written)
        return drawn

    def _fields(self) -> tuple[GeoDataFrame, dict[str, Any]] | None:
        from selion import world
        from selion.pipeline import maps

        if self.given.dry_run:
            size, count = world.fields_cost(self.edition, self.area, self.year)
            facts = {
                "edition": self.edition.name,
                "year": self.year,
                "files": count,
                "megabytes_read": round(size / 1e6, 3),
            }
            if self.given.as_json:
                click.echo(json.dumps({"event": "plan", **facts}))
                return None
            for name, value in facts.items():
                click.echo(f"{name:<16} {value}")
            return None
        _, frame = world.map_published_fields(
            self.edition,
            self.area,
            self.year,
            self.out,
            self.options,
            least_confidence=self.least_confidence,
            force=self.given.force,
            on_step=self.say.step,
            report=self.report,
        )
        return frame, maps.summarise(frame)
