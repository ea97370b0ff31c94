"""The page of a comparison: what became of the fields, where, and how it was told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer

import selion
from selion import fields, store
from selion.change.pixels import CHANGES
from selion.change.run import REPORT
from selion.change.step import FATES
from selion.classes import ClassScheme
from selion.errors import SelionError
from selion.grid import LONLAT
from selion.reports import page, picture
from selion.reports.change_imagery import (
    UNKNOWN_COLOUR,
    YearImages,
    find_images,
    named_images,
    swipe,
)
from selion.reports.place import place_facts, scale_bar

if TYPE_CHECKING:
    from selion.change.run import ChangeResult, StepFiles
    from selion.change.years import Year
    from selion.store.address import Place

LONGEST = 1100
"""Edge of a map on the page, in pixels."""
YEAR_COLOURS = ("#e0b13c", "#4a86b8")
"""Of the fields of the earlier and of the later year, apart for those who see no red or green."""
TEXTS = {
    "fixed": (
        "A pixel has changed if its probability of cropland (field, or boundary within it) changed "
        "by more than {threshold:g}: the same for every map."
    ),
    "paper": (
        "A pixel has changed if the difference of the field's logits, scaled from the least to the "
        "largest difference in the map, is above {threshold:g} (PRUE's rule). One map's largest "
        "difference decides what counts as change in it, so maps of different places or extents "
        "cannot be compared."
    ),
}
FIELD_TEXT = (
    "Two fields are related if they share more than half of the smaller one. One that stays one "
    "is kept, or moved where its outline lies more than a pixel of the image elsewhere on the "
    "mean; one that became several is split, several that became one are merged, several that "
    "became several others redrawn."
)
SEEN_TEXT = "What one of the years did not see is unknown, never gone."
"""Where the maps say what they saw."""


def write_report(
    result: ChangeResult, *, images: Sequence[Place | str] = (), force: bool = False
) -> Path:
    """Write ``report.html`` into the folder of a comparison.

    Parameters
    ----------
    result : ChangeResult
        From :func:`selion.compare_years`; its maps are read again.
    images : sequence of path or address, optional
        Imagery of each year, see :func:`selion.reports.change_imagery.find_images`: it is shown
        under the fields, with a line to pull from year to year.  Without it, the images that the
        tables name, where all of them are here.
    force : bool
        Whether an existing page is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    BadInput, UnreadableFile
        If the imagery cannot be shown.
    """
    path = result.folder / REPORT
    text = to_html(result, images)
    store.write_text(path, text, force=force)
    return path


def to_html(result: ChangeResult, images: Sequence[Place | str] = ()) -> str:
    """Lay a comparison out as a self-contained page."""
    rule = result.rule
    labels = [result.steps[0].years[0], *(step.years[1] for step in result.steps)]
    lead = (
        f"What became of the fields from {labels[0]} to {labels[-1]}, told from {len(labels)} maps."
    )
    images = images or named_images([year.table for year in result.years])
    shown = {one.label: one for one in find_images(images, labels)} if images else {}
    parts = [
        _step_section(step, dict(zip(labels, result.years, strict=False)), shown)
        for step in result.steps
    ]
    parts.append(
        page.section(
            "How it was told",
            page.paragraph(TEXTS[rule.name].format(threshold=rule.threshold)),
            page.paragraph(f"{FIELD_TEXT} {SEEN_TEXT}"),
        )
    )
    grid = store.open_raster(result.steps[0].change).grid
    parts.append(page.section("Where it is", page.table(["", ""], place_facts(grid))))
    if result.notes:
        parts.append(page.section("Notes", *(page.paragraph(note) for note in result.notes)))
    parts.append(_files_section(result))
    return page.page(
        f"Change {labels[0]} to {labels[-1]}",
        lead,
        parts,
        f"selion {selion.__version__}, rule {rule.name}",
    )


def _both_years(step: StepFiles, years: Mapping[str, Year]) -> str:
    """Lay the fields of both years over each other; nothing where a table cannot be read again."""
    grid = store.open_raster(step.change).grid
    height, width = (int(size) for size in grid.shape)
    thin = max(1, -(-max(height, width) // LONGEST))
    factor = max(1, LONGEST // (2 * max(height, width))) if thin == 1 else 1
    shape = (-(-height // thin) * factor, -(-width // thin) * factor)
    area = grid.extent.boundingbox
    box = None
    if grid.crs is not None:
        turn = Transformer.from_crs(str(grid.crs), LONLAT, always_xy=True)
        box = turn.transform_bounds(area.left, area.bottom, area.right, area.top)
    sides = []
    for label, other, colour in zip(step.years, step.years[::-1], YEAR_COLOURS, strict=True):
        if label not in years:
            return ""
        try:
            frame = fields.read_fields(years[label].table, box)
        except SelionError:
            return ""
        image = picture.fill_fields(
            np.full((*shape, 3), 238, np.uint8),
            frame,
            picture.zoomed(grid, factor),
            [colour] * len(frame),
            thin,
        )
        sides.append(
            page.Figure(
                picture.data_uri(image),
                f"Fields of {label}.",
                f"Fields of {label}, to be compared with {other}",
            )
        )
    key = page.legend(
        {
            f"field of {label}": colour
            for label, colour in zip(step.years, YEAR_COLOURS, strict=True)
        }
    )
    return page.slider(sides[0], sides[1], key, scale_bar(grid))


def _imagery(step: StepFiles, shown: Mapping[str, YearImages]) -> str:
    """Lay the imagery of both years over each other, under the outcomes of the step's fields."""
    if not shown:
        return ""
    grid = store.open_raster(step.change).grid
    area, longest = grid.extent.boundingbox, max(int(size) for size in grid.shape)
    thin = -(-longest // LONGEST)
    small = GeoBox(
        (-(-int(grid.shape[0]) // thin), -(-int(grid.shape[1]) // thin)),
        grid.transform * Affine.scale(thin),
        grid.crs,
    )
    turn = Transformer.from_crs(str(grid.crs), LONLAT, always_xy=True)
    box = turn.transform_bounds(area.left, area.bottom, area.right, area.top)
    frame = fields.read_fields(step.fields, box)
    factor = max(1, LONGEST // (2 * longest)) if thin == 1 else 1
    about = "Fields of both years, coloured by what became of them."
    return swipe([shown[label] for label in step.years], frame, small, about, factor)


def _step_section(
    step: StepFiles, years: Mapping[str, Year], shown: Mapping[str, YearImages]
) -> str:
    one, other = step.years
    rows = [
        list(row.values())
        for row in step.summary.to_dict("records")
        if row["fields_before"] or row["fields_after"]
    ]
    header = ("what became of them", f"fields {one}", f"fields {other}", f"ha {one}", f"ha {other}")
    listed = [[row[0], row[1], row[2], f"{row[3]:,.1f}", f"{row[4]:,.1f}"] for row in rows]
    areas = page.table(
        ("pixels", "ha"),
        [[name, f"{size:,.1f}"] for name, size in step.pixels.items()],
        "Changed pixels, by the rule below.",
    )
    shown_maps = [
        page.Figure(picture.data_uri(small_map(path, scheme)), caption, alternative)
        for path, scheme, caption, alternative in (
            (
                step.outcomes,
                FATES,
                "What became of each field.",
                f"Map of the outcomes of fields from {one} to {other}",
            ),
            (
                step.change,
                CHANGES,
                "Changed pixels.",
                f"Map of pixels that changed from {one} to {other}",
            ),
        )
    ]
    maps = [
        f"<div>{page.figures([figure])}{legend(scheme)}</div>"
        for figure, scheme in zip(shown_maps, (FATES, CHANGES), strict=True)
    ]
    return page.section(
        f"{one} to {other}",
        page.table(header, listed),
        _imagery(step, shown),
        _both_years(step, years),
        page.row(maps),
        areas,
    )


def legend(classes: ClassScheme) -> str:
    """Explain the colours of a map of classes."""
    colours = dict(zip(classes.names, classes.colours, strict=True))
    return f"<p>{page.legend({**colours, 'not known': UNKNOWN_COLOUR})}</p>"


def small_map(path: Path, classes: ClassScheme, longest: int = LONGEST) -> np.ndarray:
    """Colour a map of classes, read from the overview that is just large enough.

    (y, x, 3) uint8.
    """
    full = store.open_raster(path)
    unit = abs(full.grid.transform.a) * max(full.grid.shape) / longest
    source = store.open_raster(path, coarse=max(unit, abs(full.grid.transform.a)))
    step = max(1, -(-max(source.grid.shape) // longest))
    height, width = (int(size) for size in source.grid.shape)
    ids = source.read((slice(0, height), slice(0, width))).values[0, ::step, ::step]
    return picture.enlarge(
        picture.class_picture(ids, classes), max(1, longest // (2 * max(ids.shape)))
    )


def _files_section(result: ChangeResult) -> str:
    meaning = {
        "change": "changed pixels (COG)",
        "outcomes": "what became of the fields (COG)",
        "fields": "fields, ids, outcomes (fiboa GeoParquet)",
    }
    rows = [
        [getattr(step, name).name, f"{' to '.join(step.years)}: {text}"]
        for step in result.steps
        for name, text in meaning.items()
    ]
    rows += [
        ["lineage.csv", "who came from whom"],
        ["summary.csv", "counts and hectares by outcome"],
        ["change.json", "all of this for machines"],
    ]
    return page.section("Files", page.table(("file", "what"), rows))
