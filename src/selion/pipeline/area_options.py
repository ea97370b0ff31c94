"""What may be chosen for the composite of an area: archive, seasons, scenes, grid."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from selion import imagery, store
from selion.errors import BadInput

if TYPE_CHECKING:
    from selion.imagery import Provider, Season, Sensor

FINEST, COARSEST = 1.0, 10_000.0
"""Metres: pixels that a composite may have."""


@dataclass(frozen=True)
class AreaOptions:
    """What a composite may choose; the defaults are PRUE's recipe on the area's own grid."""

    provider: str = "earth-search"
    """Name, or the address of a STAC API or of a static catalogue."""
    seasons: tuple[Season, Season] | None = None
    """Dates given by the user; None: by ``rule``."""
    rule: str = "latitude"
    """"latitude": PRUE's Algorithms 1 and 2; "calendar": the crop calendar that
    ``calendar`` names, a file of regions or a folder of rasters, or None: selion's own."""
    calendar: Path | None = None
    crop: str = "main"
    """Of the crop calendar: "summer", "winter" or "main", which of a given calendar is "summer"."""
    cloud: float = 75.0
    """Scenes with this much cloud or more, in percent, are not looked at."""
    target: int = 5
    """Clear views wanted per pixel."""
    limit: int = 10
    """Scenes per tile and season at most."""
    excluded: frozenset[int] | None = None
    """Classes of the cloud mask that are masked; None: the sensor's default."""
    balance: bool = True
    """Whether orbits of different brightness are brought together; PRUE's recipe does not."""
    crs: str = "auto"
    """Grid of the mosaic: auto, utm, equal-area, or any CRS."""
    gsd: float | None = None
    """Pixels of the mosaic, in metres; None: the sensor's."""
    resampling: Literal["nearest", "bilinear", "cubic"] = "bilinear"
    mosaic: store.Place | None = None
    """Folder, or prefix on an object store, in which the composites of whole tiles are kept and
    shared (:class:`selion.pipeline.tile_mosaic.TileMosaic`); None: what the area needs is composed
    for this run alone."""
    mosaic_zarr: bool = False
    """Whether each composite of the mosaic is kept as Zarr as well, for xarray."""
    retry: store.RetryPolicy = field(default_factory=store.RetryPolicy)

    def __post_init__(self) -> None:
        check_season_wishes(self.seasons, self.rule, self.calendar, self.crop)
        if self.mosaic_zarr and self.mosaic is None:
            raise BadInput(
                "The composites were asked for as Zarr without a mosaic to keep them in: add "
                "--mosaic FOLDER, or leave out --mosaic-zarr."
            )
        if self.gsd is not None and not FINEST <= self.gsd <= COARSEST:
            sensor = sensor_of(self)
            raise BadInput(
                f"Pixels of {self.gsd} m were asked for; wanted are {FINEST:g} to {COARSEST:g} m "
                f"({sensor.title} has {sensor.gsd:g} m)."
            )

    @property
    def pixel(self) -> float:
        """Pixels of the mosaic, in metres."""
        return sensor_of(self).gsd if self.gsd is None else self.gsd

    @property
    def wishes(self) -> imagery.PlanOptions:
        """How scenes are chosen."""
        return imagery.PlanOptions(
            target=self.target,
            limit=self.limit,
            excluded=self.masked,
            retry=self.retry,
            balance=self.balance,
        )

    @property
    def masked(self) -> frozenset[int]:
        """The classes that are masked."""
        if self.excluded is not None:
            return self.excluded
        return sensor_of(self).mask.excluded


def check_season_wishes(
    seasons: tuple[Season, Season] | None, rule: str, calendar: Path | None, crop: str
) -> None:
    """Refuse (BadInput) a calendar, or a crop of it, that would decide no season."""
    if seasons is None and rule == "calendar":
        return
    if seasons is not None and rule == "calendar" and calendar is None and crop == "main":
        raise BadInput(
            "The season rule calendar was asked for, but dates are given, so it has no effect: "
            "leave out --season-rule or --dates."
        )
    if calendar is None and crop == "main":
        return
    how = "dates are given" if seasons is not None else f"the season rule is {rule}"
    raise BadInput(
        f"A --calendar or its --crop was given, but {how}, so it has no effect: "
        "add --season-rule calendar, or leave it out."
    )


def check_year_of_dates(seasons: tuple[Season, Season] | None, year: int) -> None:
    """Refuse (BadInput) dates that were given for another year than the one that is asked for."""
    if seasons is None or any(one.start.year <= year <= one.end.year for one in seasons):
        return
    raise BadInput(
        f"The dates {seasons[0].start} to {seasons[1].end} have no day in {year}, the year that "
        "was asked for: correct one of them."
    )


def sensor_of(options: AreaOptions) -> Sensor:
    """Return the sensor whose products the provider has."""
    return imagery.find_sensor(provider_of(options).sensor)


def provider_of(options: AreaOptions) -> Provider:
    """Return the provider of what is composed; a mosaic needs it no more where it is whole."""
    return imagery.find_provider(options.provider, perhaps_gone=options.mosaic is not None)
