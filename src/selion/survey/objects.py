"""A sample of a map's fields themselves: how many of them are right, by number and by area.

Units are fields; strata are their confidence, their size and their district.  What the map misses
is not among its fields: the sample of squares (:mod:`selion.survey.drawing`) says that.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from selion import country, store
from selion.errors import BadInput, GridMismatch, OutputExists, UnreadableFile, counted
from selion.fields import Origin, measure, read_fields, write_fields
from selion.fields.schema import check_shares, confidences_of
from selion.fields.tidy import remeasured
from selion.grid import LONLAT
from selion.metrics.area_estimation import (
    SampleEstimate,
    StratifiedSample,
    allocate,
    mean_over,
    ratio_over,
    too_few,
)
from selion.review.verdicts import SAMPLE
from selion.store.apart import check_apart
from selion.store.row_names import row_name
from selion.survey.answers import (
    OBJECT_CLASSES,
    OBJECTS,
    Answers,
    has_answers,
    not_counted,
    read_answers,
)
from selion.survey.design import DESIGN, KEY, POINTS, QUEUE, SAMPLED, SampleOptions
from selion.survey.drawing import mixed
from selion.survey.estimates import ESTIMATED, FACTS, TABLE, row_of
from selion.survey.population import check_districts

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.imagery import Area
    from selion.store.address import Place

KIND = "selion object sample 1"


@dataclass(frozen=True, slots=True)
class ObjectStratum:
    """One stratum of fields."""

    name: str
    district: str
    """Empty where there are none."""
    fields: int
    """On the map."""
    hectares: float
    drawn: int


@dataclass(frozen=True)
class ObjectDesign:
    """How a sample of fields was drawn."""

    map: str
    """Address of the map, without its keys."""
    strata: tuple[ObjectStratum, ...]
    options: Mapping[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def drawn(self) -> int:
        """Fields of the sample."""
        return sum(stratum.drawn for stratum in self.strata)

    @property
    def fields(self) -> int:
        """Fields of the map."""
        return sum(stratum.fields for stratum in self.strata)


def is_object_sample(folder: Path) -> bool:
    """Tell whether a folder holds a sample of fields."""
    try:
        table = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
        return bool(table["kind"] == KIND)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def draw_objects(
    path: Place,
    area: Area,
    out: Path,
    options: SampleOptions,
    sizes: tuple[float, ...] = (),
    *,
    force: bool = False,
) -> ObjectDesign:
    """Draw a stratified random sample of the fields of a map.

    A field's random number depends on its id and the seed alone, so a larger sample of the same
    seed holds the smaller one as far as the shares of the strata grow.

    Parameters
    ----------
    path : Place
        A merged map, or a table of fields.
    area : Area
        Fields with a point of theirs inside are the population.
    out : path
        Folder to write: ``design.json``, ``points.csv`` (what people fill in), ``queue.parquet``
        (the outlines, for ``selion review``), ``key.csv`` (not for the eyes of those who judge).
    options : SampleOptions
        ``size``, ``least``, ``breaks``, ``districts`` and ``seed`` of it.
    sizes : tuple of float
        Hectares that part fields into strata, ascending.
    force : bool
        Whether an existing sample is replaced; never one that has answers.

    Raises
    ------
    OutputExists, BadInput, UnreadableFile, GridMismatch
        If it may not be written, or cannot be drawn.
    """
    if list(sizes) != sorted(set(sizes)) or any(not value > 0 for value in sizes):
        raise BadInput(
            f"Sizes {list(sizes)} were given to part fields by; wanted are hectares above 0, "
            "ascending."
        )
    check_apart(out, path, options.districts)
    store.check_output(out, force)
    if has_answers(out, OBJECTS):
        raise OutputExists(f"{out} holds answers, which would be lost: write to another folder.")
    store.check_output(out, force, SAMPLED)
    frame = _population(path, area)
    if frame.empty:
        raise BadInput(f"{path} has no field in {area.name}: give a larger area.")
    names, districts = _strata(frame, options, sizes)
    order = np.unique(names)
    stratum = np.searchsorted(order, names)
    hectares = frame["metrics:area"].to_numpy(float) / 1e4
    counts = np.bincount(stratum)
    share = allocate(counts, options.size, options.least)
    number = mixed(numbers_of(frame["id"].to_numpy()), options.seed)
    rank = np.empty(len(frame), np.int64)
    for k in range(len(order)):
        here = np.flatnonzero(stratum == k)
        rank[here[np.argsort(number[here])]] = np.arange(len(here))
    rows = np.flatnonzero(rank < share[stratum])
    rows = rows[np.argsort(mixed(number[rows], 1))]  # tells nothing of the stratum
    totals = np.bincount(stratum, hectares)
    first = [int(np.flatnonzero(stratum == k)[0]) for k in range(len(order))]
    design = ObjectDesign(
        store.shown(str(path)),
        tuple(
            ObjectStratum(
                str(order[k]),
                str(districts[first[k]]),
                int(counts[k]),
                round(float(totals[k]), 4),
                int(share[k]),
            )
            for k in range(len(order))
        ),
        options.to_dict() | {"sizes": list(sizes)},
    )
    _write(design, frame.iloc[rows], names[rows], out, force=force)
    return design


def _population(path: Place, area: Area) -> GeoDataFrame:
    """Read the fields of a map that lie in an area, in longitude and latitude."""
    import shapely

    if path.suffix.lower() in ("", ".parquet"):
        frame = _measured(country.query(path, area).frame)
    else:
        frame = read_fields(path)
    if frame.crs is None:
        raise GridMismatch(f"{path} has no CRS, so that it covers no area: give one that has.")
    if "id" not in frame:
        raise BadInput(
            f"{path} has no column 'id': write it with 'selion map', or give its polygons unique "
            "ids."
        )
    names = frame["id"].map(row_name, na_action="ignore")  # numbers are ids too
    frame = frame.assign(id=names.astype(str))
    if path.suffix.lower() not in ("", ".parquet"):
        frame = remeasured(frame)
    frame = frame.to_crs(LONLAT)
    points = shapely.point_on_surface(frame.geometry.to_numpy())
    frame = frame[shapely.intersects(area.geometry, points)].reset_index(drop=True)
    if frame["id"].duplicated().any():
        raise BadInput(f"Some fields of {path} share an id: merge the map first.")
    return frame


def _measured(frame: GeoDataFrame) -> GeoDataFrame:
    """Return the fields of a map, those that nobody measured with their area."""
    if "metrics:area" not in frame:
        return remeasured(frame)
    said = frame["metrics:area"].to_numpy(np.float64, na_value=np.nan)
    if np.isfinite(said).all():
        return frame
    found, _ = measure(frame.geometry.to_numpy(), LONLAT)
    return frame.assign(**{"metrics:area": np.where(np.isfinite(said), said, found)})


def _strata(
    frame: GeoDataFrame, options: SampleOptions, sizes: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) names of strata and (n,) names of districts."""
    import shapely

    sure = confidences_of(frame)
    parts = []
    districts = np.full(len(frame), "", object)
    if options.districts is not None:
        units = country.read_units(options.districts, options.district_column)
        check_districts(units, options.districts)
        points = shapely.point_on_surface(frame.geometry.to_numpy())
        row, unit = shapely.STRtree(units.shapes).query(points, predicate="intersects")
        districts[:] = "outside all districts"
        districts[row[::-1]] = np.array(units.names, object)[unit[::-1]]  # on a border: the first
        parts.append(districts)
    if options.breaks and sure is not None:
        check_shares(sure)
        named = np.array(_ranges("confidence", options.breaks), object)
        known = np.isfinite(sure)
        kind = named[np.digitize(np.where(known, sure, 0), options.breaks)]
        parts.append(np.where(known, kind, "confidence unknown"))
    if sizes:
        hectares = frame["metrics:area"].to_numpy(float) / 1e4
        parts.append(np.array(_ranges("ha", sizes), object)[np.digitize(hectares, sizes)])
    if not parts:
        return np.full(len(frame), "field"), districts
    return np.array(["; ".join(words) for words in zip(*parts, strict=True)]), districts


def _ranges(what: str, breaks: tuple[float, ...]) -> list[str]:
    between = [f"{what} {a:g} to {b:g}" for a, b in pairwise(breaks)]
    return [f"{what} below {breaks[0]:g}", *between, f"{what} {breaks[-1]:g} and above"]


def numbers_of(ids: np.ndarray) -> np.ndarray:
    """Return a (n,) uint64 number of each id."""
    digests = (hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in ids)
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _write(
    design: ObjectDesign, frame: GeoDataFrame, names: np.ndarray, out: Path, *, force: bool
) -> None:
    import shapely

    points = shapely.point_on_surface(frame.geometry.to_numpy())
    areas = (frame["metrics:area"].to_numpy(float) / 1e4).round(4).tolist()
    ids = frame["id"].astype(str).tolist()
    places = zip(shapely.get_x(points).round(7), shapely.get_y(points).round(7), strict=True)
    with store.atomic_folder(out, force, SAMPLED) as part:
        facts = {"kind": KIND, **asdict(design)}
        store.write_text(part / DESIGN, json.dumps(facts, indent=1) + "\n")
        store.write_csv(
            part / POINTS,
            ("id", "longitude", "latitude", "reference", "comment"),
            [(name, float(x), float(y), "", "") for name, (x, y) in zip(ids, places, strict=True)],
        )
        store.write_csv(
            part / KEY,
            ("id", "stratum", "hectares"),
            list(zip(ids, names.tolist(), areas, strict=True)),
        )
        origin = Origin(provenance={SAMPLE: "objects"})
        write_fields(frame[["id", "geometry"]], part / QUEUE, origin)


@dataclass(frozen=True, eq=False)
class ObjectEstimates:
    """What a judged sample says of a map's fields."""

    design: ObjectDesign
    answers: Answers
    answered: tuple[int, ...]
    """Fields with an answer, by stratum."""
    by_number: Mapping[str, Mapping[str, SampleEstimate]]
    """Place ("all", and districts) -> class of answer -> share of the fields."""
    by_area: Mapping[str, Mapping[str, SampleEstimate]]
    """The same, as shares of their area."""
    notes: tuple[str, ...]


def estimate_objects(folder: Path, files: tuple[Path, ...] = ()) -> ObjectEstimates:
    """Estimate how many of a map's fields are right, by number and by area.

    The share by area is a ratio of two stratified means (Cochran, Sampling Techniques, 6.11).

    Parameters
    ----------
    folder : path
        Of :func:`draw_objects`.
    files : tuple of path, optional
        Answers; see :func:`selion.survey.read_answers`.

    Raises
    ------
    UnreadableFile, BadInput
        If sample or answers cannot be read, or a stratum has fewer than two answers, and more
        fields than one.
    """
    design = _read_design(folder)
    answers = read_answers(folder, files, OBJECTS)
    names = [stratum.name for stratum in design.strata]
    try:
        with (folder / KEY).open(encoding="utf-8", newline="") as file:
            rows = {
                row["id"]: (names.index(row["stratum"]), float(row["hectares"]))
                for row in csv.DictReader(file)
            }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{folder / KEY} does not fit the design ({error}): draw the sample again."
        ) from error
    known = [name for name in answers.labels if name in rows]
    stratum = np.array([rows[name][0] for name in known], np.int64)
    hectares = np.array([rows[name][1] for name in known], np.float64)
    said = np.array([OBJECT_CLASSES.index(answers.labels[name]) for name in known], np.int64)
    answered = np.bincount(stratum, minlength=len(names))
    lacking = too_few(answered, np.array([s.fields for s in design.strata]))
    if few := [name for name, bad in zip(names, lacking, strict=True) if bad]:
        raise BadInput(
            f"{folder} has fewer than two answers in {counted(len(few), 'stratum')} "
            f"({'; '.join(few[:3])}): answer more fields; any number in the order of the list "
            "will do."
        )
    places = {"all": np.arange(len(names))} | {
        name: np.flatnonzero([s.district == name for s in design.strata])
        for name in dict.fromkeys(s.district for s in design.strata if s.district)
    }
    number: dict[str, dict[str, SampleEstimate]] = {}
    area: dict[str, dict[str, SampleEstimate]] = {}
    for place, within in places.items():
        here = np.isin(stratum, within)
        drawn = np.array([design.strata[k].fields for k in within])
        sample = StratifiedSample(np.searchsorted(within, stratum[here]), drawn)
        is_class = {name: said[here] == k for k, name in enumerate(OBJECT_CLASSES)}
        number[place] = {name: mean_over(one, sample) for name, one in is_class.items()}
        area[place] = {
            name: ratio_over(one * hectares[here], hectares[here], sample)
            for name, one in is_class.items()
        }
    notes = (*design.notes, *not_counted(answers, rows, "field"))
    return ObjectEstimates(design, answers, tuple(answered.tolist()), number, area, notes)


def _read_design(folder: Path) -> ObjectDesign:
    try:
        table = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
        strata = tuple(ObjectStratum(**row) for row in table["strata"])
        return ObjectDesign(table["map"], strata, table["options"], tuple(table["notes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableFile(
            f"{folder} cannot be read as a sample ({error}): give the folder that 'selion sample' "
            "wrote."
        ) from error


def write_object_estimates(
    estimates: ObjectEstimates, out: Path, pages: Mapping[str, str], *, force: bool = False
) -> None:
    """Write the figures as tables, and pages (name -> text) beside them."""
    rows = [
        row_of(place, f"share of fields by {how}", name, one)
        for how, found in (("number", estimates.by_number), ("area", estimates.by_area))
        for place, shares in found.items()
        for name, one in shares.items()
    ]
    strata = [
        asdict(s) | {"answered": n}
        for s, n in zip(estimates.design.strata, estimates.answered, strict=True)
    ]
    facts = {
        "rows": rows,
        "strata": strata,
        "agreement": estimates.answers.agreement,
        "people": estimates.answers.people,
        "notes": list(estimates.notes),
    }
    with store.atomic_folder(out, force, ESTIMATED) as part:
        store.write_csv(part / TABLE, list(rows[0]), [list(row.values()) for row in rows])
        store.write_text(part / FACTS, json.dumps(facts, indent=1) + "\n")
        for name, text in pages.items():
            store.write_text(part / name, text)
