"""The page of two maps of a country compared by their tables: counts, districts, a map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import selion
from selion import store
from selion.change.run import REPORT
from selion.country import scan
from selion.country.change_maps import NOT_SEEN
from selion.reports import page, picture
from selion.reports.change import FIELD_TEXT, SEEN_TEXT, TEXTS
from selion.reports.change_imagery import ORDER, PALETTE
from selion.reports.change_places import imagery_section

if TYPE_CHECKING:
    from selion.country import MapChange
    from selion.store.address import Place

LONGEST = 1000
"""Edge of the map on the page, in pixels."""
SHOWN = 60
"""Rows of districts on the page at most; all are in the file."""


def write_map_report(
    change: MapChange, *, images: Sequence[Place | str] = (), force: bool = False
) -> Path:
    """Write ``report.html`` into the folder of a comparison of two maps.

    Parameters
    ----------
    change : MapChange
        From :func:`selion.country.compare_maps`; boxes and outcomes are read again.
    images : sequence of path or address, optional
        Imagery of both years, see :func:`selion.reports.change_imagery.find_images`: it is shown
        under the fields, with a line to pull from year to year.
    force : bool
        Whether an existing page is replaced.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    BadInput, UnreadableFile
        If the imagery cannot be shown.
    """
    path = change.folder / REPORT
    store.write_text(path, to_html(change, images), force=force)
    return path


def to_html(change: MapChange, images: Sequence[Place | str] = ()) -> str:
    """Lay a comparison of two maps out as a self-contained page."""
    one, other = change.years
    header = ("what became of them", f"fields {one}", f"fields {other}", f"ha {one}", f"ha {other}")
    rows = [
        [
            *(row[name] for name in ("outcome", "fields_before", "fields_after")),
            *(f"{row[name]:,.1f}" for name in ("ha_before", "ha_after")),
        ]
        for row in change.summary.to_dict("records")
        if row["fields_before"] or row["fields_after"]
    ]
    parts = [page.section(f"{one} to {other}", page.table(header, rows))]
    if change.maps.rows:
        parts.append(_map_section(change))
        if images:
            parts.append(imagery_section(change, images))
    if change.districts is not None:
        parts.append(_district_section(change))
    if change.pixels is not None:
        parts.append(_pixel_section(change.pixels))
    told = [page.paragraph(told_fields([change]))]
    if change.rule is not None:
        text = TEXTS[change.rule["name"]].format(threshold=change.rule["threshold"])
        told.insert(0, page.paragraph(text))
    parts.append(page.section("How it was told", *told))
    notes = [note for note in change.notes if note != NOT_SEEN]  # it is said above
    if notes:
        parts.append(page.section("Notes", *(page.paragraph(note) for note in notes)))
    files = [
        ["maps/", "fields under the ids that follow them, and those that are gone (GeoParquet)"],
        ["lineage.parquet", "who came from whom"],
        ["summary.csv", "counts and hectares by outcome"],
    ]
    if change.districts is not None:
        files.append(["districts.csv", "the same by district"])
    if change.pixels is not None:
        files.append(["pixels/", "changed pixels, a raster for each job (COG)"])
    files.append(["change.json", "all of this for machines"])
    parts.append(page.section("Files", page.table(("file", "what"), files)))
    source = "tables of two maps" if change.rule is None else "tables and scores of two plans"
    lead = f"What became of the fields from {one} to {other}, told from the {source}."
    return page.page(f"Change {one} to {other}", lead, parts, f"selion {selion.__version__}")


def told_fields(changes: Sequence[MapChange]) -> str:
    """Say how what became of a field was told; of unknown ones only where maps say what they saw.

    Parameters
    ----------
    changes : sequence of MapChange
        All that the sentences are about.
    """
    seen = [change.rule is not None for change in changes]
    if not any(seen):
        return f"{FIELD_TEXT} {NOT_SEEN}"
    some = "" if all(seen) else " in the steps that were told from scores"
    return f"{FIELD_TEXT} {SEEN_TEXT[:-1]}{some}."


def _district_section(change: MapChange) -> str:
    """Return how many fields of each district became what, those with most change first."""
    table = change.districts
    assert table is not None
    wide = table.assign(
        fields=np.where(table["outcome"] == "gone", table["fields_before"], table["fields_after"]),
        number=table.groupby(["district", "outcome"]).cumcount(),  # two may have one name
    ).pivot_table(index=["district", "number"], columns="outcome", values="fields", sort=False)
    changed = wide.drop(columns=["kept", "unknown"]).sum(axis=1)
    wide = wide.loc[changed.sort_values(ascending=False, kind="stable").index]
    rows = [
        [str(name), *map(int, row)] for (name, _), row in zip(wide.index, wide.values, strict=True)
    ]
    caption = "Fields of the later map by outcome; of those that are gone, the earlier ones."
    if len(rows) > SHOWN:
        caption += f" The {SHOWN} districts with most change of {len(rows)}; all in districts.csv."
    return page.section(
        "By district", page.table(("district", *wide.columns), rows[:SHOWN], caption)
    )


def _pixel_section(pixels: Mapping[str, float]) -> str:
    """Return the hectares of the country by what its pixels say."""
    rows = [[name, f"{size:,.1f}"] for name, size in pixels.items()]
    caption = "Land of the country by the rule below; unknown is what one of the years did not see."
    return page.section("Changed pixels", page.table(("pixels", "ha"), rows, caption))


def _map_section(change: MapChange) -> str:
    alternative = f"Map of the outcomes of fields from {change.years[0]} to {change.years[1]}"
    figure = page.Figure(
        picture.data_uri(draw_outcomes(change, PALETTE)),
        "Each field where its box has its middle.",
        alternative,
    )
    shown = {name: PALETTE[name] for name in ORDER}
    return page.section("Where", page.figures([figure]), f"<p>{page.legend(shown)}</p>")


def draw_outcomes(change: MapChange, colours: Mapping[str, str]) -> np.ndarray:
    """Draw all fields as dots, read row group by row group.

    Parameters
    ----------
    change : MapChange
        With a field at least.
    colours : mapping
        Hexadecimal, by outcome.

    Returns
    -------
    (y, x, 3) uint8 ndarray
        North up; a degree of longitude is as long as it is in the middle of the map.
    """
    box = change.maps.box
    assert box is not None
    west, south, east, north = box
    size = np.array([(east - west) * np.cos(np.deg2rad((south + north) / 2)), north - south])
    size = np.maximum(size, 1e-9)
    longest = int(np.clip(2 * change.maps.rows**0.5, 40, LONGEST))
    width, height = np.maximum((size / size.max() * longest).astype(int), 1).tolist()
    ranks = np.zeros((height, width), np.uint8)
    number = {name: rank for rank, name in enumerate(ORDER, 1)}
    for table in scan(change.maps, None, ("change:outcome",)):
        bounds = np.array([list(row.values()) for row in table["bbox"].to_pylist()])
        x = ((bounds[:, 0] + bounds[:, 2]) / 2 - west) / max(east - west, 1e-9) * width
        y = (north - (bounds[:, 1] + bounds[:, 3]) / 2) / max(north - south, 1e-9) * height
        found = np.array([number[name] for name in table["change:outcome"].to_pylist()], np.uint8)
        at = (
            np.clip(y.astype(int), 0, height - 1),
            np.clip(x.astype(int), 0, width - 1),
        )
        np.maximum.at(ranks, at, found)
    palette = np.array(
        [[255, 255, 255], *(tuple(bytes.fromhex(colours[name][1:])) for name in ORDER)], np.uint8
    )
    return picture.enlarge(palette[ranks], max(1, LONGEST // (2 * max(height, width))))
