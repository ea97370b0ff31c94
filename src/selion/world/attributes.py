"""What is added to each field of a history: ground, district, calibrated confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selion import fields, store
from selion.change.history import HistoryParts
from selion.change.reference import judge_by_reference
from selion.errors import BadInput, GridMismatch, UnknownName
from selion.metrics.isotonic import cross_fit
from selion.pipeline.cover_tiles import check_cover
from selion.pipeline.land_cover import LandCover, crop_shares
from selion.pipeline.terrain import terrain_of
from selion.progress import OnStep, silent
from selion.store.row_names import row_name

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

CROPS, WATER = "frac_crops", "frac_water"
STATUS = "review:status"
"""The column of a reviewed table (:func:`selion.review.export_review`)."""
JUDGED = {
    **dict.fromkeys(("accepted", "corrected", "added", "right"), True),
    **dict.fromkeys(("rejected", "false", "merged", "split", "shifted"), False),
}
"""What it says of outlines: of a map that was reviewed, or of a sample of its fields."""
WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
"""What a column of truth may say."""
SHOWN = 5
"""Names that a sentence tells."""


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """Where attributes of fields come from; all the user's own files."""

    land_cover: tuple[Path | str, ...] = ()
    """Rasters of land cover codes."""
    crops: frozenset[int] = frozenset()
    """Codes that are crops: the column ``frac_crops``."""
    water: frozenset[int] = frozenset()
    """Codes that are water: the column ``frac_water``."""
    elevation: tuple[Path | str, ...] = ()
    """Rasters of elevations in metres: ``elev_mean``, ``slope_mean``, ``frac_slope_gt30``."""
    districts: Path | None = None
    """Polygons: the column ``district``, and counts by it."""
    district_column: str | None = None
    """Of their names; None: the row's number."""
    reference: tuple[Path, ...] = ()
    """Own or reviewed fields: ``confidence`` is fitted to them."""
    reference_column: str | None = None
    """Column that says whether a row is a field in truth; None: ``review:status`` if there is one,
    else all are."""
    reference_year: int | None = None
    """Year that the reference is of; None: the last."""

    def __post_init__(self) -> None:
        if bool(self.land_cover) != bool(self.crops or self.water):
            raise BadInput(
                f"{len(self.land_cover)} rasters of land cover and the codes {sorted(self.crops)} "
                f"of crops and {sorted(self.water)} of water were given; wanted are rasters and "
                "codes (--land-cover R --land-cover-crops 40 --land-cover-water 80), or neither."
            )
        if (self.district_column and self.districts is None) or (
            not self.reference and (self.reference_column or self.reference_year is not None)
        ):
            raise BadInput(
                "A column of districts, or a column or a year of a reference, was given without "
                "its file: add --districts or --reference."
            )


def check_attributes(
    sources: Attributes, years: Sequence[int] = (), *, placed: bool = True
) -> None:
    """Refuse now what would be refused after hours: files, columns and years that are not there.

    Parameters
    ----------
    sources : Attributes
    years : sequence of int
        Of the history, where they are known.
    placed : bool
        Whether its fields have a CRS.

    Raises
    ------
    UnreadableFile, UnknownName, GridMismatch, BadInput
        As :func:`add_attributes` and :func:`calibrate` would.
    """
    for given in sources.land_cover:
        check_cover(given)
    for path in sources.elevation:
        if store.open_raster(path).grid.crs is None:
            raise GridMismatch(
                f"{path} has no CRS, so that fields cannot be laid over it: give one that has."
            )
    if sources.districts is not None:
        given = store.read_polygons(sources.districts)
        districts_of(given.iloc[:0], sources.districts, sources.district_column)
    if sources.reference:
        _check_year(sources, years)
        read_reference(sources, placed=placed)


def _check_year(sources: Attributes, years: Sequence[int]) -> None:
    year = sources.reference_year
    if year is not None and years and year not in years:
        raise BadInput(
            f"The reference is said to be of {year}, and the history is of "
            f"{', '.join(map(str, years))}: give one of these as --reference-year."
        )


def add_attributes(
    frame: GeoDataFrame, sources: Attributes, on_step: OnStep = silent
) -> GeoDataFrame:
    """Add the columns that rasters and districts give; NaN where they have no data."""
    columns: dict[str, Any] = {}
    for name, codes in ((CROPS, sources.crops), (WATER, sources.water)):
        if codes:
            cover = LandCover(sources.land_cover, codes)
            columns[name] = crop_shares(frame, cover, on_step).astype(np.float32)
    if sources.elevation:
        found = terrain_of(frame, sources.elevation, on_step)
        columns |= {name: values.astype(np.float32) for name, values in found.items()}
    if sources.districts is not None:
        names = districts_of(frame, sources.districts, sources.district_column)
        columns["district"] = pd.array(names, dtype="string")
    return frame.assign(**columns)


def districts_of(frame: GeoDataFrame, path: Path, column: str | None) -> np.ndarray:
    """Return the district that a point inside each field lies in: (n,) object.

    "elsewhere" for none; of two that overlap, the first.

    Raises
    ------
    UnknownName
        If there is no such column.
    GridMismatch
        If one of the tables has no CRS.
    """
    given = store.read_polygons(path)
    if column is not None and column not in given:
        raise UnknownName.among(f"column in {path.name}", column, [str(n) for n in given.columns])
    if given.crs is None or frame.crs is None:
        raise GridMismatch(
            f"{path if given.crs is None else 'The table of fields'} has no CRS: fields and "
            "districts cannot be laid over each other."
        )
    rows = np.flatnonzero(given.geometry.notna()) + 1
    given = given.iloc[rows - 1].to_crs(frame.crs)
    names = map(row_name, rows.tolist() if column is None else given[column].tolist())
    points = frame.geometry.representative_point()
    field, district = given.sindex.query(points, predicate="intersects")
    found = np.full(len(frame), len(given), np.int64)
    np.minimum.at(found, field, district)
    return np.array([*names, "elsewhere"], object)[found]


def doubled_districts(sources: Attributes) -> tuple[str, ...]:
    """Say which names several polygons have: islands of one district, or districts of one name."""
    if sources.districts is None or sources.district_column is None:
        return ()
    given = store.read_polygons(sources.districts)
    names = given[given.geometry.notna()][sources.district_column].map(row_name)
    twice = sorted(set(names[names.duplicated()]))
    if not twice:
        return ()
    shown = f"{', '.join(twice[:SHOWN])}{' ...' if len(twice) > SHOWN else ''}"
    told = (
        f"Several polygons of {sources.districts.name} are called alike ({shown}): their fields "
        "are counted as those of one district; where they are several, name a --district-column "
        "that tells them apart."
    )
    return (told,)


def read_reference(sources: Attributes, *, placed: bool = True) -> tuple[GeoDataFrame, np.ndarray]:
    """Read own or reviewed fields, and which are fields in truth.

    Parameters
    ----------
    sources : Attributes
    placed : bool
        Whether the fields of the history have a CRS: so has the reference then, and else not.

    Returns
    -------
    GeoDataFrame
        Geometry only; what a review has not decided, or was not sure of, is left out.
    (m,) bool ndarray

    Raises
    ------
    UnknownName, BadInput
        If the column is missing, or says neither yes nor no.
    GridMismatch
        If only one of reference and history has a CRS.
    """
    parts: list[GeoDataFrame] = []
    truths: list[np.ndarray] = []
    for path in sources.reference:
        frame = fields.read_fields(path)
        if (frame.crs is not None) != placed:
            raise GridMismatch(
                f"{path} has {'no CRS' if placed else 'a CRS'}, and the maps of the years have "
                f"{'one' if placed else 'none'}: the reference cannot be laid over their fields; "
                f"give it {'with its CRS (a shapefile with its .prj)' if placed else 'in pixels'}."
            )
        frame = frame[frame.geometry.notna() & ~frame.geometry.is_empty]
        column = sources.reference_column
        if column is not None and column not in frame:
            raise UnknownName.among(
                f"column in {path.name}", column, [str(name) for name in frame.columns]
            )
        true = np.ones(len(frame), bool)
        if column is not None:
            true = _truth(frame[column], path, column)
        elif STATUS in frame:
            said = frame[STATUS].map(JUDGED)
            frame, true = frame[said.notna()], said[said.notna()].to_numpy(bool)
        part = frame[[frame.geometry.name]].rename_geometry("outline")
        parts.append(part if not (parts and placed) else part.to_crs(parts[0].crs))
        truths.append(true)
    return pd.concat(parts, ignore_index=True), np.concatenate(truths)


def _truth(values: pd.Series, path: Path, column: str) -> np.ndarray:
    said = [str(value).strip().lower().removesuffix(".0") for value in values]
    strange = sorted({text for text in said if text not in WORDS})
    if strange:
        raise BadInput(
            f"Column {column} of {path} says {strange[0]!r}; wanted is true or false (yes or no, "
            "1 or 0)."
        )
    return np.array([WORDS[text] for text in said], bool)


def calibrate(
    frame: GeoDataFrame, parts: HistoryParts, sources: Attributes, work: Path
) -> tuple[GeoDataFrame, dict[str, Any]]:
    """Add the column ``confidence``: how probable it is that a field is one of the reference.

    Returns
    -------
    GeoDataFrame
    dict
        ``score`` and ``calibration`` for ``history.json``: the curve, and how reliable the score is
        as it is, and by curves that were not fitted on what they are judged on.

    Raises
    ------
    BadInput
        If the year is not one of these, or the reference knows too few fields.
    """
    _check_year(sources, parts.numbers)
    year = parts.numbers[-1] if sources.reference_year is None else sources.reference_year
    reference = read_reference(sources, placed=parts.joined.grid.crs is not None)
    right = judge_by_reference(parts.ground, parts.numbers.index(year), reference, work)
    score = frame["score"].to_numpy(np.float64)
    if not np.isfinite(score).any():
        raise BadInput(
            "A reference was given, but the maps have no column 'confidence' that could be fitted "
            "to it: map the years with this version, or leave --reference away."
        )
    # geohashes: what is alike in its first letters is near, so that folds are places
    order = np.argsort(frame["id"].to_numpy(str), kind="stable")
    try:
        fitted = cross_fit(score[order], right[order])
    except BadInput as error:
        known = np.isfinite(right) & np.isfinite(score)
        raise BadInput(
            f"{int(known.sum())} fields of {year} lie on the reference, {int(np.nansum(right))} of "
            "them right; a calibration wants 20 at least, right and wrong ones: give more reviewed "
            "fields, or leave --reference away."
        ) from error
    facts = {
        "score": "calibrated",
        "calibration": {
            "year": int(year),
            "reference": [str(path) for path in sources.reference],
            "iou": 0.5,
            "fields": fitted.before.n,
            "curve": fitted.curve.to_dict(),
            "score": fitted.before.to_dict(),
            "confidence": fitted.after.to_dict(),
        },
    }
    return frame.assign(confidence=fitted.curve(score).astype(np.float32)), facts
