"""Which scenes of the archive see an area in a season."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from selion.errors import BadInput, NoScenes
from selion.imagery.items import BrokenItem, scene_of
from selion.imagery.sensors import find_sensor
from selion.store.retry import RetryPolicy

if TYPE_CHECKING:
    from shapely.geometry.base import BaseGeometry

    from selion.imagery.area import Area
    from selion.imagery.catalogue import Query
    from selion.imagery.providers import Provider
    from selion.imagery.scene import Scene, Season

CLOUD = 75.0
"""Percent: PRUE, appendix D."""
ONE_PASS = 20 * 60.0
"""Seconds: two products of one tile and one satellite closer than this show one pass (catalogues
tell the time of the granule or of the whole datatake); the next pass is 100 minutes later at the
earliest."""
SAME_PIECE = 0.5
"""Share of the smaller footprint from which on two products of one pass are one piece processed
twice, and not two pieces of it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An item of the catalogue that cannot be used, and why."""

    id: str
    why: str


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence["Scene"]):
    """What a search found: a sequence of scenes that also knows what was left aside."""

    scenes: tuple[Scene, ...]
    """By tile, then time."""
    refused: tuple[Refused, ...] = ()
    """Broken items."""
    older: tuple[str, ...] = ()
    """Items that show a pass in an older processing than a scene that is kept."""
    cloudy: int = 0
    """Items that were above the cloud limit (as far as the server sent them)."""

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, k: Any) -> Any:
        return self.scenes[k]

    @property
    def tiles(self) -> tuple[str, ...]:
        """Tiles that were seen, in order."""
        return tuple(sorted({scene.tile for scene in self.scenes}))


def find_scenes(
    area: Area,
    season: Season,
    provider: Provider,
    cloud: float = CLOUD,
    *,
    retry: RetryPolicy | None = None,
    collections: Sequence[str] = (),
) -> SearchResult:
    """Search a catalogue for the scenes that see an area in a season.

    Parameters
    ----------
    area : Area
    season : Season
    provider : Provider
    cloud : float
        Scenes must have less percent of cloud than this; 100 takes all.  Scenes of which the
        catalogue does not say it stay.
    retry : RetryPolicy, optional
    collections : sequence of str, optional
        Instead of the provider's.

    Returns
    -------
    SearchResult
        Each pass over a tile once, in its newest processing; the same for the same answers, in
        whatever order they came.

    Raises
    ------
    SearchFailed
        If the catalogue does not answer, or with something that is none.
    NoScenes
        If there is nothing to use.
    """
    if not 0 < cloud <= 100:
        raise BadInput(
            f"A cloud limit of {cloud:g} % was given; wanted is a number above 0 and up to 100."
        )
    from selion.imagery.catalogue import Query, ask

    wanted = tuple(collections) or provider.collections
    query = Query(area.outlines, season.start, season.end, wanted, cloud if cloud < 100 else None)
    items = list(ask(provider, query, retry or RetryPolicy()))
    result = choose_items(items, area, season, provider, cloud, wanted)
    if not result.scenes:
        raise NoScenes(
            _nothing(
                area,
                season,
                provider,
                cloud,
                _cloudy_ones(result, area, season, provider, query, retry),
                result,
            )
        )
    return result


def choose_items(
    items: Iterable[Mapping[str, Any]],
    area: Area,
    season: Season,
    provider: Provider,
    cloud: float,
    collections: Sequence[str] = (),
) -> SearchResult:
    """Make scenes of the items that are usable, and keep one per pass and tile.

    Whatever the server filtered is filtered again: some servers ignore what they do not know.
    """
    import shapely

    # it may have a hundred thousand points, and there may be a thousand footprints
    shapely.prepare(area.geometry)
    scenes, refused, seen, cloudy = [], [], set(), 0
    for item in items:
        key = (str(item.get("collection")), str(item.get("id")))
        if key in seen:
            continue
        seen.add(key)
        try:
            scene = scene_of(item, provider)
        except BrokenItem as error:
            refused.append(Refused(str(item.get("id")), str(error)))
            continue
        if not _fits(scene, area, season):
            continue
        if cloud < 100 and scene.cloud is not None and scene.cloud >= cloud:
            cloudy += 1
            continue
        scenes.append(scene)
    kept, older = newest(scenes, collections)
    return SearchResult(
        tuple(kept),
        tuple(sorted(set(refused), key=lambda one: (one.id, one.why))),
        tuple(older),
        cloudy,
    )


def _fits(scene: Scene, area: Area, season: Season) -> bool:
    return season.start <= scene.time.date() <= season.end and bool(
        area.geometry.intersects(_shape(scene))
    )


def _shape(scene: Scene) -> BaseGeometry:
    from shapely.geometry import shape

    return shape(scene.footprint)


def newest(
    scenes: Iterable[Scene], collections: Sequence[str] = ()
) -> tuple[list[Scene], list[str]]:
    """Keep the newest processing of each pass over a tile.

    Two products of one pass that overlap by less than half are two pieces of it, from two
    datastrips, and both stay.

    Returns
    -------
    (list of Scene, list of str)
        Scenes by tile and time, and the ids of those that were older.
    """
    kept: list[Scene] = []
    older = []
    for group in _passes(scenes):
        pieces: list[Scene] = []
        for scene in sorted(group, key=lambda scene: _rank(scene, collections)):
            same = any(_same_piece(scene, other) for other in pieces)
            (older.append(scene.id) if same else pieces.append(scene))
        kept += pieces
    return sorted(
        kept, key=lambda scene: (scene.tile, scene.time, scene.platform, scene.id)
    ), sorted(older)


def _passes(scenes: Iterable[Scene]) -> Iterator[list[Scene]]:
    """Group scenes of one tile and satellite that are minutes apart."""
    group: list[Scene] = []
    for scene in sorted(
        scenes, key=lambda scene: (scene.tile, scene.platform, scene.time, scene.id)
    ):
        alike = group and (scene.tile, scene.platform) == (group[0].tile, group[0].platform)
        if group and not (alike and (scene.time - group[0].time).total_seconds() < ONE_PASS):
            yield group
            group = []
        group.append(scene)
    if group:
        yield group


def _rank(scene: Scene, collections: Sequence[str]) -> tuple[Any, ...]:
    """Sort the product to keep first.

    Newest baseline, then the preferred collection, then the latest processing.
    """
    collection = str(scene.properties.get("collection", ""))
    place = list(collections).index(collection) if collection in collections else len(collections)
    made = max(
        (
            str(scene.properties.get(name) or "")
            for name in ("s2:generation_time", "processing:datetime", "updated", "created")
        ),
        default="",
    )
    return (
        *(-number for number in baseline_number(scene.baseline)),
        place,
        _descending(made),
        scene.id,
    )


def baseline_number(baseline: str | None) -> tuple[int, int]:
    """Return the baseline as two numbers that can be compared; (0, 0) if it is not known.

    Examples
    --------
    >>> baseline_number("05.10"), baseline_number("N0400"), baseline_number(None)
    ((5, 10), (4, 0), (0, 0))
    """
    digits = "".join(letter for letter in baseline or "" if letter.isdigit())
    return (int(digits[:-2]), int(digits[-2:])) if len(digits) > 2 else (0, 0)


def _descending(text: str) -> tuple[int, ...]:
    return tuple(-ord(letter) for letter in text)


def _same_piece(one: Scene, other: Scene) -> bool:
    a, b = _shape(one), _shape(other)
    return bool(a.intersection(b).area >= SAME_PIECE * min(a.area, b.area))


# nothing found


def _cloudy_ones(
    result: SearchResult,
    area: Area,
    season: Season,
    provider: Provider,
    query: Query,
    retry: RetryPolicy | None,
) -> int:
    """Count the passes above the cloud limit: ask once more, for clouds as well."""
    from selion.imagery.catalogue import ask

    if query.cloud is None:
        return 0
    items = ask(provider, query.without_cloud(), retry or RetryPolicy())
    return max(
        len(choose_items(items, area, season, provider, 100, query.collections)), result.cloudy
    )


def _nothing(
    area: Area, season: Season, provider: Provider, cloud: float, cloudy: int, result: SearchResult
) -> str:
    where = (
        f"{area.name} "
        f"({'; '.join(','.join(f'{value:.2f}' for value in box) for box in area.boxes)})"
    )
    when = f"{season.name} {season.start} to {season.end}"
    head = f"{provider.name} has no scene of {where} in {when} with less than {cloud:g} % cloud"
    if cloudy:
        return (
            f"{head}, but {cloudy} cloudier: raise the limit (--max-cloud "
            f"{min(100, 5 * round((cloud + 20) / 5))}) or take other dates."
        )
    if result.refused:
        first = result.refused[0]
        return (
            f"{head} that can be used; {len(result.refused)} are broken ({first.id}: {first.why}): "
            "take another provider."
        )
    if season.start > datetime.now(UTC).date():
        return f"{head}: these days lie in the future; take an earlier year."
    sensor = find_sensor(provider.sensor)
    cure = (
        f"{sensor.title} sees since {sensor.first_year}"
        if season.end < date(sensor.first_year, 7, 1)
        else "check that the area is on land and not beyond 84 N or 56 S"
    )
    return f"{head}, nor any cloudier one: {cure}, or take other dates or another provider."
