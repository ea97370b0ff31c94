"""What each tile contributes.

Cut to the area, scenes chosen on coarse cloud masks, radiometry checked, before a band is read at
full resolution.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import NoReturn

import numpy as np
from odc.geo.geobox import GeoBox

from selion.errors import BadInput, FetchFailed, NoScenes, UnreadableFile
from selion.imagery.area import Area
from selion.imagery.balance import Glance, orbit_gains
from selion.imagery.choose import LIMIT, TARGET, Choice, choose
from selion.imagery.clouds import parse_excluded
from selion.imagery.cut import TilePart, cut, middle, needed, whole_part
from selion.imagery.overview import OverviewSource, check_scene, find_clear, find_grid
from selion.imagery.providers import Provider, find_provider, known_providers
from selion.imagery.reading import Unreachable, answers
from selion.imagery.reflectance import Radiometry
from selion.imagery.scene import Scene, Season, TilePlan, sensor_of
from selion.imagery.sensors import Sensor
from selion.imagery.signing import Signer
from selion.progress import OnStep, silent
from selion.store.retry import RetryPolicy

Pair = tuple[Season, Season]
STAGE = "choose"
IN_VAIN = 12
"""Scenes that are tried before anything was read; when the server answered none of them it is dead,
and a hundred more would take an hour."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How scenes are chosen; the defaults are PRUE's."""

    target: int = TARGET
    """Clear views wanted per pixel."""
    limit: int = LIMIT
    """Most scenes per tile and season."""
    excluded: frozenset[int] | None = None
    """Classes of the mask that are not clear; None: the sensor's default."""
    margin: float = 0.0
    """Metres around cloud and shadow that are not clear either."""
    around: float = 1280.0
    """Metres around the area that are composed too: half a window of 256 px, so that a model sees
    the area's edge as it sees its middle."""
    coarse: float | None = None
    """Edge in metres of the pixels on which scenes are chosen; None: 20 to 320, by the size of the
    part."""
    threads: int = 8
    """Readers at once."""
    retry: RetryPolicy | None = None
    """With servers."""
    balance: bool = True
    """Whether orbits that show a tile brighter or darker than the others are brought together
    (:mod:`selion.imagery.balance`); PRUE does not."""


def plan_tiles(
    area: Area,
    seasons: Pair | Callable[[float, float], Pair],
    scenes: Iterable[Scene],
    signers: Mapping[str, Signer],
    options: PlanOptions | None = None,
    *,
    providers: Mapping[str, Provider] | None = None,
    on_step: OnStep = silent,
) -> list[TilePlan]:
    """Plan the composites of all tiles that an area needs, in both seasons.

    Parameters
    ----------
    area : Area
    seasons : pair of Season, or callable
        The same for all tiles, or by longitude and latitude of the middle of a tile: of all of
        it, whatever part the area needs.
    scenes : iterable of Scene
        What the catalogue has; each is looked at in the season that its day lies in.
    signers : mapping of str to Signer
        By the scenes' provider.
    options : PlanOptions, optional
    providers : mapping of str to Provider, optional
        What is known of their radiometry; the known ones need not be given.
    on_step : callable, optional
        Called with ``"choose"``, scenes looked at, scenes to look at, and tile and season.

    Returns
    -------
    list of TilePlan
        By tile and season.  A plan without scenes says in its notes why; nothing can be composed
        from it.

    Raises
    ------
    NoScenes
        If no tile has a clear view in any season.
    UnreadableFile
        If not one scene can be read.
    FetchFailed
        If the server answers none of the first requests.
    BadInput
        If a provider has no signer, or the options make no sense.

    Notes
    -----
    Tiles whose part lies wholly in other tiles are left out (:func:`selion.imagery.cut.needless`),
    unless one of those turns out to have no clear view.  Scenes are looked at in the order of time,
    so that of equal gains the earlier scene wins.
    """
    with ThreadPoolExecutor(max((options or PlanOptions()).threads, 1)) as pool:
        planner = _planner(
            area, seasons, scenes, signers, options or PlanOptions(), providers or {}, on_step, pool
        )
        plans = planner.run()
    return _checked(plans, planner)


def plan_whole_tile(
    tile: str,
    grid: GeoBox,
    area: Area,
    seasons: Pair,
    scenes: Iterable[Scene],
    signers: Mapping[str, Signer],
    options: PlanOptions | None = None,
    *,
    providers: Mapping[str, Provider] | None = None,
    on_step: OnStep = silent,
) -> list[TilePlan]:
    """Plan the composites of all of a tile, in both seasons, whatever an area needs of it.

    Parameters
    ----------
    tile : str
    grid : GeoBox
        The tile at the bands' resolution.
    area : Area
        The tile's outline, for messages.
    seasons : pair of Season
        The tile's.
    scenes : iterable of Scene
        Those of other tiles are not looked at.
    signers, options, providers, on_step
        As for :func:`plan_tiles`.

    Returns
    -------
    list of TilePlan
        One per season.  A plan without scenes says in its notes why.

    Raises
    ------
    FetchFailed
        If the server does not answer for more than half of the scenes: what is kept for good is not
        made of what was left.
    BadInput
        As for :func:`plan_tiles`.
    """
    own = [scene for scene in scenes if scene.tile == tile]
    part = whole_part(tile, grid)
    if not own:
        return [_nothing(part, season) for season in seasons]
    with ThreadPoolExecutor(max((options or PlanOptions()).threads, 1)) as pool:
        planner = _planner(
            area, seasons, own, signers, options or PlanOptions(), providers or {}, on_step, pool
        )
        planner.total = sum(len(planner.candidates(part, season)) for season in seasons)
        plans = [planner.plan(part, season) for season in seasons]
    planner.check_end()
    return plans


def _nothing(part: TilePart, season: Season) -> TilePlan:
    note = (
        f"Tile {part.tile} has no scene in {season.name} ({season.start} to {season.end}): widen "
        "the season or raise the cloud limit."
    )
    return TilePlan(part.tile, season, part.grid, part.roi, (), (), notes=(note,))


def grids_of(
    scenes: Iterable[Scene],
    signers: Mapping[str, Signer],
    known: Mapping[str, GeoBox],
    retry: RetryPolicy | None = None,
) -> dict[str, GeoBox]:
    """Return the grid of each tile that scenes are of, at the bands' resolution.

    Parameters
    ----------
    scenes : iterable of Scene
    signers : mapping of str to Signer
        By the scenes' provider.
    known : mapping of str to GeoBox
        Grids of tiles of which no file needs to be opened.
    retry : RetryPolicy, optional

    Returns
    -------
    dict of str to GeoBox
        Without the tiles of which no scene can be read.

    Raises
    ------
    FetchFailed
        If the server does not answer for a tile.
    """
    scenes = sorted(scenes, key=lambda scene: (scene.time, scene.id))
    archive, found, silent_ones = OverviewSource(signers, {}, retry), dict[str, GeoBox](), {}
    for scene in scenes:
        if scene.tile in known or scene.tile in found:
            continue
        try:
            found[scene.tile] = find_grid(scene, archive)
        except Unreachable as error:
            silent_ones[scene.tile] = error
        except BadInput:
            continue
    lost = [tile for tile in silent_ones if tile not in found]
    if lost:
        raise FetchFailed(
            f"The server answered for no scene of tile {lost[0]}: {silent_ones[lost[0]]} Run the "
            "same command again when it does."
        )
    tiles = {scene.tile for scene in scenes}
    return found | {tile: grid for tile, grid in known.items() if tile in tiles}


@dataclass(eq=False)
class _Planner:
    """What is held while planning."""

    area: Area
    seasons: Callable[[float, float], Pair]
    scenes: Mapping[str, Sequence[Scene]]
    """By tile, in the order of time."""
    archive: OverviewSource
    sensor: Sensor
    options: PlanOptions
    on_step: OnStep
    pool: ThreadPoolExecutor
    broken: dict[str, str] = field(default_factory=dict)
    """Scene -> why it cannot be read."""
    answered: str = ""
    """The last scene that could be read."""
    silent: dict[str, None] = field(default_factory=dict)
    """Scenes whose server did not answer, in this order."""
    done: int = 0
    total: int = 0

    def run(self) -> list[TilePlan]:
        """Plan tile by tile, and then those that had been thought needless and are not."""
        parts = self.parts()
        pairs = {part.tile: self.seasons(*middle(part.full)) for part in parts}
        made: dict[tuple[str, int], TilePlan] = {}
        while True:
            fresh = [
                (part, number)
                for number in (0, 1)
                for part in self._needed(parts, pairs, number, made)
                if (part.tile, number) not in made
            ]
            if not fresh:
                self.check_end()
                return [made[key] for key in sorted(made)]
            self.total += sum(
                len(self.candidates(part, pairs[part.tile][number])) for part, number in fresh
            )
            for part, number in fresh:
                made[part.tile, number] = self.plan(part, pairs[part.tile][number])

    def parts(self) -> list[TilePart]:
        """Cut the area out of each tile that has a scene which can be read."""
        grids = self.pool.map(self._grid, sorted(self.scenes))
        cuts = [
            cut(tile, grid, self.area, self.options.around, self.options.coarse)
            for tile, grid in zip(sorted(self.scenes), grids, strict=True)
            if grid
        ]
        return [part for part in cuts if part is not None]

    def _grid(self, tile: str) -> GeoBox | None:
        for scene in self.scenes[tile]:
            try:
                grid = find_grid(scene, self.archive)
            except BadInput as error:
                self._leave_out(scene.id, error)
            else:
                self.answered = scene.id
                return grid
        return None

    def _needed(
        self,
        parts: Sequence[TilePart],
        pairs: Mapping[str, Pair],
        number: int,
        made: Mapping[tuple[str, int], TilePlan],
    ) -> list[TilePart]:
        """Return the parts to plan in a season.

        Not those that others cover which have, or may have, a clear view then.
        """
        seeing: list[TilePart] = []
        blind: list[TilePart] = []
        for part in parts:
            key = part.tile, number
            sees = (
                made[key].scenes if key in made else self.candidates(part, pairs[part.tile][number])
            )
            (seeing if sees else blind).append(part)
        if not self.sensor.fixed_tiles:  # a scene does not fill the box around it
            return seeing + blind
        return needed(seeing, blind)

    def candidates(self, part: TilePart, season: Season) -> list[Scene]:
        """Return the scenes of a tile in a season, in the order of time."""
        return [
            scene
            for scene in self.scenes[part.tile]
            if season.start <= scene.time.date() <= season.end
        ]

    def plan(self, part: TilePart, season: Season) -> TilePlan:
        """Find where scenes are clear, choose, check those chosen.

        Without the ones that break then, choose again.
        """
        scenes = self.candidates(part, season)
        views = self.find_clear(part, season, scenes)
        checked: dict[str, tuple[Radiometry, Glance]] = {}
        while True:
            usable = [
                scene for scene in scenes if scene.id in views and scene.id not in self.broken
            ]
            stack = (
                np.stack([views[scene.id] for scene in usable])
                if usable
                else np.zeros((0, *part.overview.shape), bool)
            )
            choice = choose(stack, self.options.target, self.options.limit, part.inside)
            chosen = [usable[k] for k in choice.order]
            asked = {
                scene.id: self.pool.submit(
                    check_scene, scene, part, self.archive, self.options.excluded
                )
                for scene in chosen
                if scene.id not in checked
            }
            checked |= self._gathered(asked)
            if all(scene.id in checked for scene in chosen):
                break
        self._check_answers(part, season, scenes)
        decided = {scene.id: checked[scene.id][0] for scene in chosen}
        if self.options.balance:
            # a wrong offset would look like an orbit's brightness
            sure = [checked[scene.id][1] for scene in chosen if not decided[scene.id].doubt]
            decided = _balanced(chosen, decided, sure)
        return _plan(part, season, scenes, chosen, decided, choice, self)

    def find_clear(
        self, part: TilePart, season: Season, scenes: Sequence[Scene]
    ) -> dict[str, np.ndarray]:
        """Return where each scene that can be read is clear."""
        asked = {
            scene.id: self.pool.submit(
                find_clear, scene, part, self.archive, self.options.excluded, self.options.margin
            )
            for scene in scenes
        }
        return self._gathered(asked, f"{part.tile} {season.name}")

    def _gathered(self, asked: Mapping[str, Future], detail: str | None = None) -> dict:
        """Wait for what was asked of each scene, and leave out those that could not answer."""
        found = {}
        for name, future in asked.items():
            try:
                found[name] = future.result()
                self.answered = name
            except BadInput as error:
                self._leave_out(name, error)
            if detail is not None:
                self.done += 1
                self.on_step(STAGE, self.done, self.total, detail)
        return found

    def _leave_out(self, name: str, error: BadInput) -> None:
        """Go on without a scene; raise when the server seems to be dead."""
        self.broken[name] = str(error)
        if isinstance(error, Unreachable):
            self.silent[name] = None
        if len(self.silent) >= IN_VAIN and not self.answered:
            self._give_up(f"{len(self.silent)} scenes were tried", "none of them", str(error))

    def _check_answers(self, part: TilePart, season: Season, scenes: Sequence[Scene]) -> None:
        """Raise where most of what there is was not answered: tomorrow it would be there again."""
        lost = [scene.id for scene in scenes if scene.id in self.silent]
        if 2 * len(lost) > len(scenes):
            what = f"{len(lost)} of the {len(scenes)} scenes of tile {part.tile} in {season.name}"
            self._give_up(f"{what} were not answered", "these", self.broken[lost[-1]])

    def check_end(self) -> None:
        """Raise where scenes were left out, and one that was read before cannot be read any more.

        A token that expired, a server or a bucket that went away midway looks like scenes that are
        not there, and another plan would come of it.
        """
        scene = next(
            (one for own in self.scenes.values() for one in own if one.id == self.answered), None
        )
        if scene is None or not self.broken:
            return
        href = scene.hrefs[self.sensor.mask.band]
        if not href.startswith(("http://", "https://")):
            return
        address = self.archive.signers[scene.provider](href)
        if not answers(address, self.options.retry):
            last = next(reversed(self.broken.values()))
            tried = f"{len(self.broken)} scenes could not be read"
            self._give_up(tried, f"for {scene.id} before, but does not now", last)

    def _give_up(self, tried: str, of_what: str, last: str) -> NoReturn:
        self.pool.shutdown(wait=False, cancel_futures=True)
        raise FetchFailed(
            f"{tried}, and the server answered {of_what}; the last one said: {last} Try again "
            "later."
        )


def _planner(
    area: Area,
    seasons: Pair | Callable[[float, float], Pair],
    scenes: Iterable[Scene],
    signers: Mapping[str, Signer],
    options: PlanOptions,
    providers: Mapping[str, Provider],
    on_step: OnStep,
    pool: ThreadPoolExecutor,
) -> _Planner:
    by_tile: dict[str, dict[str, Scene]] = defaultdict(dict)
    for scene in sorted(scenes, key=lambda scene: (scene.time, scene.id)):
        by_tile[scene.tile].setdefault(scene.id, scene)
    if not by_tile:
        raise NoScenes(
            f"There is no scene to plan {area.name} from: widen the seasons or raise the cloud "
            "limit."
        )
    used = {scene.provider for found in by_tile.values() for scene in found.values()}
    missing = sorted(used - signers.keys())
    if missing:
        raise BadInput(
            f"Scenes of {', '.join(missing)} were given without a signer for them: make one with "
            "make_signer."
        )
    sensor = sensor_of(scene for found in by_tile.values() for scene in found.values())
    known = {name: find_provider(name) for name in used & set(known_providers())} | dict(providers)
    options = PlanOptions(
        **{
            **{name: getattr(options, name) for name in PlanOptions.__slots__},
            "excluded": parse_excluded(options.excluded, sensor.mask),
        }
    )
    archive = OverviewSource(signers, known, options.retry)
    of = seasons if callable(seasons) else lambda _lon, _lat: seasons
    ordered = {tile: list(found.values()) for tile, found in by_tile.items()}
    return _Planner(area, of, ordered, archive, sensor, options, on_step, pool)


def _plan(
    part: TilePart,
    season: Season,
    scenes: Sequence[Scene],
    chosen: Sequence[Scene],
    checked: Mapping[str, Radiometry],
    choice: Choice,
    planner: _Planner,
) -> TilePlan:
    radiometry = tuple(checked[scene.id] for scene in chosen)
    shares = _shares(choice.depth[part.inside], planner.options.target)
    notes = _notes(part, season, scenes, chosen, shares, planner.broken)
    notes += [
        f"Scene {scene.id}: {how.why}."
        for scene, how in zip(chosen, radiometry, strict=True)
        if "contradict" in how.doubt
    ]
    return TilePlan(
        part.tile,
        season,
        part.grid,
        part.roi,
        tuple(chosen),
        radiometry,
        tuple(scenes),
        choice.depth,
        tuple(notes),
        shares,
    )


def _balanced(
    scenes: Sequence[Scene], decided: Mapping[str, Radiometry], glances: Sequence[Glance]
) -> dict[str, Radiometry]:
    """Divide each scene by how much brighter its orbit is."""
    gains, balanced = orbit_gains(glances), dict(decided)
    for scene in scenes:
        gain = gains.get(scene.orbit, 1.0) if scene.orbit is not None else 1.0
        if gain != 1:
            how = decided[scene.id]
            balanced[scene.id] = replace(
                how,
                scale=how.scale / gain,
                why=(
                    f"{how.why}; divided by {gain:.4f}, by which orbit {scene.orbit} is brighter "
                    "here"
                ),
            )
    return balanced


def _shares(depth: np.ndarray, target: int) -> tuple[float, ...]:
    counts = np.bincount(np.minimum(depth, target), minlength=target + 1)
    return tuple((counts / max(depth.size, 1)).tolist())


def _notes(
    part: TilePart,
    season: Season,
    scenes: Sequence[Scene],
    chosen: Sequence[Scene],
    shares: Sequence[float],
    broken: Mapping[str, str],
) -> list[str]:
    span = f"{season.name} ({season.start} to {season.end})"
    notes = [
        f"Scene {scene.id} was left out: {broken[scene.id]}"
        for scene in scenes
        if scene.id in broken
    ]
    if not scenes:
        notes.append(
            f"Tile {part.tile} has no scene in {span}: widen the season or raise the cloud limit."
        )
    elif not chosen:
        notes.append(
            f"None of the {len(scenes)} scenes of tile {part.tile} shows the area clearly in "
            f"{span}: widen the season."
        )
    elif shares[0] > 0:
        notes.append(
            f"{max(shares[0], 0.0001):.2%} of the area in tile {part.tile} is not seen clearly in "
            f"{span}."
        )
    return notes


def _checked(plans: list[TilePlan], planner: _Planner) -> list[TilePlan]:
    """Return the plans, if there is anything in them."""
    if any(plan.scenes for plan in plans):
        return plans
    count = sum(len(scenes) for scenes in planner.scenes.values())
    if len(planner.broken) == count:
        last = next(reversed(planner.broken.values()))
        raise UnreadableFile(
            f"None of the {count} scenes found for {planner.area.name} can be read; the last one "
            f"said: {last}"
        )
    if not plans:
        raise NoScenes(
            f"None of the {count} scenes found for {planner.area.name} lies on it: check the area "
            "and the catalogue's footprints."
        )
    reasons = " ".join(dict.fromkeys(note for plan in plans for note in plan.notes))
    raise NoScenes(f"Nothing of {planner.area.name} is seen clearly in any season. {reasons}")
