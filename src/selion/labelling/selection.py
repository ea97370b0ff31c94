"""Which pseudo-labels are trained on: what people kept, or what is good enough by its own score."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from odc.geo.geobox import GeoBox

from selion import store
from selion.classes import CROP, ClassScheme
from selion.data.dataset import Entry, Truth
from selion.data.stacked import stack
from selion.errors import BadInput, UnreadableFile
from selion.grid import same_grid
from selion.labelling.decisions import FULL as SAID_FULL
from selion.labelling.decisions import KEEP, Decision, mask_file, mask_folder, read_decisions
from selion.labelling.manifest import (
    BANDS,
    FULL,
    OPTIONAL,
    QUALITY,
    SETTINGS,
    ManifestRow,
    read_rows,
    read_settings,
)
from selion.labelling.masks import read_labels
from selion.labelling.queue import list_items
from selion.labelling.screen import screened_photos
from selion.labels import LabelMap
from selion.prediction.bands import choose_bands
from selion.prediction.bands_of_dates import MISSING, choose_dates
from selion.raster import Source
from selion.segmenter import InputSpec

PREFIX = "pseudo/"
"""What the keys of pseudo-labelled samples begin with."""


@dataclass(frozen=True, eq=False, slots=True)
class Selection:
    """The pseudo-labels that are trained on."""

    entries: tuple[Entry, ...]
    full: frozenset[str]
    """Keys of the entries whose labels are all crop, because somebody or something said so."""
    classes: ClassScheme
    notes: tuple[str, ...]
    """Sentences on how they were chosen."""
    drawn: frozenset[str] = frozenset()
    """Keys of the entries whose masks people corrected: as good as labels of people."""


def keep_pseudo(
    pseudo: Path, decisions: Path | None = None, least: float = 0.5, photos: Path | None = None
) -> Selection:
    """Choose pseudo-labels of a folder.

    Parameters
    ----------
    pseudo : path
        As ``selion label depth`` or ``selion label pseudo`` leaves it, or any folder of masks that
        ``selion label screen`` was given.
    decisions : path, optional
        Log of a screening: "keep" keeps a mask, "full" makes it all crop, everything else drops it.
    least : float
        Least quality without a log.
    photos : path, optional
        Folder of the photographs; by default where the table says, or where they were when the
        masks were screened.

    Raises
    ------
    UnreadableFile
        If there is no log, or nothing says where the photographs are.
    BadInput
        If nothing is left.
    """
    if decisions is not None and not decisions.exists():
        raise UnreadableFile(
            f"There is no log of decisions {decisions}: check the name, or omit it "
            "to select by quality."
        )
    rows = [row for row in _rows(pseudo, photos) if row.has_mask]
    settings = read_settings(pseudo / SETTINGS)
    classes = ClassScheme.from_dict(settings["classes"]) if "classes" in settings else CROP
    said: Mapping[str, Decision] = {}
    chosen, how = (
        _by_quality(rows, least)
        if decisions is None
        else _by_decisions(rows, said := read_decisions(decisions, mask_folder(pseudo)))
    )
    drawn = {row.key for row, _ in chosen if row.key in said and said[row.key].before}
    if not chosen:
        cure = "lower --least-quality, or screen them" if decisions is None else "screen them"
        raise BadInput(
            f"None of the {len(rows)} pseudo-labels of {pseudo} is left ({how}): {cure} with "
            "'selion label screen'."
        )
    read = partial(
        open_image,
        names=tuple(settings.get(BANDS, ())),
        asked=settings.get("predict", {}).get("bands"),
        optional=None if OPTIONAL not in settings else tuple(settings[OPTIONAL]),
    )
    entries = tuple(_entry(row, pseudo, classes, read, fill=fill) for row, fill in chosen)
    full = frozenset(
        PREFIX + row.key
        for row, fill in chosen
        if fill or (row.routed == FULL and row.key not in drawn)
    )
    return Selection(
        entries,
        full,
        classes,
        (
            (
                f"{len(chosen):,} of {len(rows):,} pseudo-labels are used, {len(full):,} of them "
                f"all crop{f', {len(drawn):,} of them corrected by people' * bool(drawn)}: {how}."
            ),
        ),
        frozenset(PREFIX + key for key in drawn),
    )


def _rows(pseudo: Path, photos: Path | None) -> list[ManifestRow]:
    """Return masks with their photographs: from the table, or by the names of both."""
    table = pseudo / QUALITY
    if photos is None and table.is_file():
        return read_rows(table)
    found = photos or screened_photos(pseudo)
    if found is None:
        if not mask_folder(pseudo).is_dir():
            raise UnreadableFile(f"There is no folder {pseudo}: check the name of --pseudo.")
        raise UnreadableFile(
            f"There is no {QUALITY} in {pseudo}, and nobody screened it, so that nothing says "
            "where its photographs are: give --photos FOLDER, or make the masks with 'selion "
            "label depth'."
        )
    masks = mask_folder(pseudo)
    listing = list_items(found, masks, table if table.is_file() else None)
    return [
        ManifestRow(
            item.key,
            str(Path(item.photo).resolve()),
            quality=0.0 if item.quality is None else item.quality,
            routed=item.routed,
        )
        for item in listing.items
    ]


def _by_quality(
    rows: Sequence[ManifestRow], least: float
) -> tuple[list[tuple[ManifestRow, bool]], str]:
    return [
        (row, False) for row in rows if row.quality >= least
    ], f"quality of {least:g} or more, as no decisions were given"


def _by_decisions(
    rows: Sequence[ManifestRow], decisions: Mapping[str, Decision]
) -> tuple[list[tuple[ManifestRow, bool]], str]:
    said = {row.key: decisions[row.key].decision for row in rows if row.key in decisions}
    kept = [
        (row, said[row.key] == SAID_FULL) for row in rows if said.get(row.key) in (KEEP, SAID_FULL)
    ]
    return kept, f"{len(said):,} were decided by people"


def _entry(
    row: ManifestRow,
    pseudo: Path,
    classes: ClassScheme,
    read: Callable[[Path], Source],
    *,
    fill: bool,
) -> Entry:
    image = Path(row.image) if Path(row.image).is_absolute() else pseudo / row.image
    mask = mask_file(mask_folder(pseudo), row.key)
    if not mask.is_file() and (placed := mask.with_suffix(".tif")).is_file():
        mask = placed
    return Entry(
        PREFIX + row.key,
        partial(read, image),
        partial(read_truth, mask, classes, fill),
        "train",
        "pseudo",
        (image, mask),
    )


def open_image(
    path: Path,
    names: tuple[str, ...],
    asked: Sequence[int | str] | None,
    optional: tuple[str, ...] | None = None,
) -> Source:
    """Open an image whose bands are called as the model that labelled it calls them.

    That holds whatever the file says; bands that the model did not look at stay.  If it looked at
    any number of dates, ``optional`` names what each of them may lack, and the bands are called
    ``1:red`` ...

    Raises
    ------
    BandMismatch
        If the file no longer has these bands.
    """
    source = store.open_raster(path)
    if not names:
        return source
    chosen = None if asked is None else tuple(asked)
    if optional is None:
        seen, _ = choose_bands(source.bands, names, chosen, any_order=True)
        renamed = [f"{name} of the file" if name in names else name for name in source.bands]
    else:
        inputs = InputSpec(names, dates="any", optional=optional)
        dates = choose_dates(source.bands, inputs, chosen).dates
        seen = tuple(index for date in dates for index in date)
        names = tuple(f"{k}:{name}" for k in range(1, len(dates) + 1) for name in names)
        renamed = [f"{name} of the file" for name in source.bands]
    for index, name in zip(seen, names, strict=True):
        if index != MISSING:
            renamed[index] = name
    return stack([source], renamed, path.name)


def read_truth(mask: Path, classes: ClassScheme, fill: bool, grid: GeoBox) -> Truth:  # a partial's
    """Read the mask of an image whose grid is given; all ones where it is fully covered.

    It may have a whole number of pixels in each of the image's.

    Raises
    ------
    GridMismatch
        If mask and image differ.
    BadInput
        If the mask holds values that are no class.
    """
    if fill:
        return LabelMap(np.ones(tuple(grid.shape), np.uint8), grid, classes), None
    labels = read_labels(mask, classes)
    fold = labels.grid.shape[0] // grid.shape[0]
    wanted = grid if grid.crs is None or fold < 2 else grid.zoom_out(1 / fold)
    same_grid(wanted, labels.grid, ("the image", f"its mask {mask.name}"))
    return labels, None
