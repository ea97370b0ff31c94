"""Everything of PRUE that is asked for: tables, speed and figures, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from selion.data.dataset import Dataset
from selion.errors import BadInput, UnknownName
from selion.papers.countries import compare_census, find_maps, write_countries
from selion.papers.figures import FIGURE_MODELS, compare_consistency, sweep_overlaps
from selion.papers.finding import find_weights
from selion.papers.printed import Paper, PaperModel
from selion.papers.quick import SAMPLE, make_maps, make_sample, make_stand_ins
from selion.papers.results import FoundModel, TableScores
from selion.papers.run import PaperData, ReproduceOptions, open_chips, reproduce_table, with_own
from selion.papers.speed import ModelSpeed, SpeedOptions, measure_table
from selion.papers.writing import table_paths, write_table
from selion.progress import OnStep, silent
from selion.store import check_output

SPEED, FAST, ABLATIONS, LAND = 1, "prue-b7", 2, 3
"""The table that prints throughput, the model whose speed is taken for Table 3, the first table
with agreement, and that of countries."""


@dataclass(frozen=True, slots=True)
class PaperRequest:
    """What of a paper is to be made, of what, and where."""

    tables: tuple[int, ...]
    figures: tuple[int, ...]
    out: Path
    data: Path | None = None
    weights: Path | None = None
    own: tuple[str, ...] = ()
    """Models that get a row of their own."""
    countries: tuple[str, ...] = ()
    quick: bool = False
    """Whether stand-ins and a sample take the place of what is not given."""
    maps: Path | None = None
    """Folder of finished maps of countries, for Table 3."""
    census: Path | None = None
    prices: Path | None = None
    options: ReproduceOptions = field(default_factory=ReproduceOptions)
    force: bool = False

    @property
    def outputs(self) -> list[Path]:
        """The files that it makes."""
        scored = [path for n in self.tables if n != LAND for path in table_paths(self.out, n)]
        land = [self.out / f"table-{LAND}.csv"] if LAND in self.tables else []
        drawn = [self.out / f"figure-{n}.csv" for n in self.figures]
        census = [self.out / "census.csv"] if self.census else []
        return [*scored, *land, *drawn, *census]

    @property
    def needs_chips(self) -> bool:
        """Whether something is asked for that is scored."""
        return bool(self.figures or set(self.tables) - {LAND})


def reproduce(
    paper: Paper,
    request: PaperRequest,
    *,
    on_step: OnStep = silent,
    on_table: Callable[[TableScores], None] | None = None,
) -> list[Path]:
    """Make what is asked for.

    Parameters
    ----------
    paper : Paper
    request : PaperRequest
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).
    on_table : callable, optional
        Told of each table as soon as it is scored.

    Returns
    -------
    list of path
        The tables as CSV, in the order in which they were made.

    Raises
    ------
    OutputExists
        If one of the files is there, unless ``force``; nothing is scored then.
    BadInput, UnreadableFile, UnknownName
        If the data, a country or the weights cannot be used.
    """
    for path in request.outputs:
        check_output(path, request.force)
    if request.census is not None and LAND not in request.tables:
        raise BadInput(
            f"The census {request.census} is laid beside the maps of Table {LAND}, and that is not "
            "asked for: add it, or omit the census."
        )
    if request.census is not None and request.maps is None and not request.quick:
        raise BadInput(
            f"The census {request.census} is laid beside maps, and none were given: add --maps, "
            "their folder, or --quick; or omit the census."
        )
    if request.quick and request.data is None:
        for name in request.countries:
            if name not in SAMPLE.countries:
                raise UnknownName.among("country of the sample", name, SAMPLE.countries)
    request.out.mkdir(parents=True, exist_ok=True)
    work = RequestWork(paper, request, on_step)
    written, scored = [], []
    for number in request.tables:
        if number == LAND:
            written += work.land()
            continue
        scores = work.table(number)
        scored.append(scores)
        written.append(write_table(scores, request.out, force=request.force))
        if on_table is not None:
            on_table(scores)
    return [*written, *(path for n in request.figures for path in work.figure(n, scored))]


class RequestWork:
    """Data and weights of a request, opened when they are first wanted."""

    def __init__(self, paper: Paper, request: PaperRequest, on_step: OnStep) -> None:
        self.paper, self.request, self.on_step = paper, request, on_step
        self._data: PaperData | None = None

    @property
    def folder(self) -> Path:
        """The data, or the sample that stands in for it."""
        given = self.request.data
        return given or make_sample(self.request.out / "sample", on_step=self.on_step)

    @property
    def data(self) -> PaperData:
        """The chips."""
        if self._data is None:
            self._data = open_chips(self.paper, self.folder, self.request.countries)
        return self._data

    def found(self, models: Iterable[PaperModel]) -> dict[str, FoundModel]:
        """Find weights, and with ``quick`` make stand-ins for what has none."""
        wanted = list(models)
        there = find_weights(wanted, self.request.weights)
        bare = [model for model in wanted if model.key not in there]
        if self.request.quick and bare:
            folder = self.request.out / "stand-ins"
            there |= make_stand_ins(bare, self.folder, folder, on_step=self.on_step)
        return there

    def speeds(
        self, models: dict[str, PaperModel], found: dict[str, FoundModel], out: Path
    ) -> dict[str, ModelSpeed]:
        """Measure models on this machine."""
        options = self.request.options
        asked = SpeedOptions(
            seconds=0.5 if self.request.quick else 2.0,
            engine=options.engine,
            threads=options.threads,
        )
        return measure_table(models, found, self.data.chips, out, asked, on_step=self.on_step)

    def table(self, number: int) -> TableScores:
        """Score a table."""
        request = self.request
        printed = self.paper.table(number)
        table, own = with_own(printed, request.own)
        found = self.found(printed.models.values()) | own
        facts = {}
        if number == SPEED:
            speeds = self.speeds(table.models, found, request.out)
            facts = {k: {"throughput_km2_s": one.model_only} for k, one in speeds.items()}
        return reproduce_table(
            table,
            self.data,
            found,
            request.out,
            request.options,
            facts=facts,
            on_step=self.on_step,
        )

    def land(self) -> list[Path]:
        """Write Table 3, and what a census says beside it."""
        request, note = self.request, ""
        folder, speed = request.maps, None
        models = {FAST: self.paper.table(SPEED).models[FAST]}
        chips_are_there = request.data is not None or request.quick
        found = self.found(models.values()) if chips_are_there else {}
        if found:
            scratch = request.out / "scores" / "speed"
            scratch.mkdir(parents=True, exist_ok=True)
            speed = self.speeds(models, found, scratch)[FAST].end_to_end
        if folder is None and request.quick:
            folder = make_maps(found[FAST], self.data.chips, request.out / "maps")
            note = f"one chip: {found[FAST].stand_in or 'mapped here'}"
        maps = [] if folder is None else find_maps(folder)
        written = [
            write_countries(
                maps, request.out, km2_per_second=speed, prices=request.prices, note=note
            )
        ]
        if request.census is not None:
            written.append(compare_census(maps, request.census, request.out))
        return written

    def figure(self, number: int, scored: list[TableScores]) -> list[Path]:
        """Make a figure's table."""
        request = self.request
        table = self.paper.table(ABLATIONS)
        models = {key: table.models[key] for key in FIGURE_MODELS}
        if number == 6:
            options = request.options
            return [
                sweep_overlaps(
                    self.found(models.values()),
                    _all_chips(self.data),
                    request.out,
                    published=options.published,
                    engine=options.engine,
                    threads=options.threads,
                    on_step=self.on_step,
                )
            ]
        if not any("agreement" in one.table.columns for one in scored):
            rows = tuple(row for row in table.rows if row.model.key in FIGURE_MODELS)
            found = self.found(models.values())
            scored = [
                reproduce_table(
                    replace(table, rows=rows),
                    self.data,
                    found,
                    request.out,
                    request.options,
                    on_step=self.on_step,
                )
            ]
        return [compare_consistency(scored, request.out)]


def _all_chips(data: PaperData) -> Dataset:
    entries = (*data.chips.entries, *data.presence_only.entries)
    return replace(data.chips, entries=entries)
