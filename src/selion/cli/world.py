"""``selion world``, and the options with which other verbs take its editions as sources."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from selion.cli import options as opt

if TYPE_CHECKING:
    from selion.world import Edition

edition = click.option(
    "--from",
    "edition",
    default=None,
    metavar="NAME[@ADDRESS]",
    help="Take published probabilities or fields instead of a model: see 'selion world'.",
)
confidence = click.option(
    "--min-confidence",
    "least_confidence",
    type=click.FloatRange(0, 100),
    default=None,
    help="With --from ftw-1e:fields: least confidence of 100 [default: 69].",
)
options = opt.group(edition, confidence)

NO_MODEL = (
    *("imagery", "model", "refiner", "cover", "engine", "gpu", "mps_mode", "fast"),
    *("window", "overlap", "padding", "block", "batch", "scale", "flips", "bands"),
    *("provider", "dates", "season_rule", "calendar", "crop", "cloud", "target", "limit"),
    *(
        "excluded",
        "balance",
        "pixel",
        "resampling",
        "mosaic",
        "mosaic_zarr",
        "price",
        "consistency",
    ),
)
"""What has no effect where there is no model and no image."""
NO_PIXELS = (
    *("method", "vote", "simplify", "regularise", "gsd", "crs", "scores", "save_scores"),
    *("acquired", "work"),
    *("runner", "workers", "threads", "preview", "page"),
)
"""What has no effect where outlines are taken as they are published."""


@dataclass(frozen=True, kw_only=True)
class PublishedChoice:
    """Which published map is taken, as it was given; None: none."""

    edition: str | None = None
    least_confidence: float | None = None

    def found(self) -> Edition:
        """Return the edition, and refuse what makes no sense with it."""
        from selion.world import find_edition

        found = find_edition(self.edition or "")
        if found.product == "imagery":
            raise click.UsageError(
                f"{found.name} is imagery: give it as --imagery {self.edition}, with a model."
            )
        opt.refuse_given(NO_MODEL, f"--from {found.name} takes no model and no image")
        if found.product == "fields":
            opt.refuse_given(NO_PIXELS, f"--from {found.name} takes outlines as they are published")
        if self.least_confidence is not None and found.name != "ftw-1e:fields":
            raise click.UsageError(
                f"--min-confidence has no effect, because {found.name} has none: it is for "
                "--from ftw-1e:fields."
            )
        return found


@click.command(
    "world",
    help=(
        "List published maps of the world that other verbs take by name: 'selion map AREA --year "
        "2025 --from ftw-2e'. NAME@ADDRESS names a copy: a folder, or an http(s), s3, gs or az "
        "address."
    ),
)
@opt.as_json
def world_command(as_json: bool) -> None:
    """Print the editions."""
    from selion.world import EDITIONS

    if as_json:
        rows = [
            {
                **one.about(),
                "product": one.product,
                "years": list(one.years),
                "resolution_m": one.resolution,
                "size": one.size,
                "notes": list(one.notes),
            }
            for one in EDITIONS.values()
        ]
        click.echo(json.dumps(rows, indent=2))
        return
    for one in EDITIONS.values():
        click.echo(f"{one.name:<14} {one.title}")
        years = f"{one.years[0]} to {one.years[-1]}"
        pixel = "outlines" if one.resolution is None else f"{one.resolution:g} m"
        for name, value in (
            ("product", f"{one.product}, {years}, {pixel}, {one.size}"),
            ("licence", one.licence),
            ("address", one.address),
            ("cite", one.citation),
            *(("note", note) for note in one.notes),
        ):
            click.echo(f"  {name:<12} {value}")
