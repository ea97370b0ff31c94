"""What near infrared and more dates are worth: one model, shown more and more of the same place.

    python bench/dates.py --model FOLDER [--data ../shared/data] [--json rows.json]

The road is that of `selion map`: image files with the bands of one date or of several, fields burnt
from the table that it writes, matched one to one at IoU 0.5, pooled.  Simulated places are seen on
five days; with ``--data`` the Sentinel-2 tile of Estonia on its three (never learnt from).  Where a
number of dates can be had in several ways, up to three are pooled.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from table import Row, save

SECTION = "Dates and bands"
SKIPPED = 77
DAYS = (112, 140, 168, 196, 236)
STYLES = ("europe", "smallholder", "prairie", "bocage")
COLOURS = ("red", "green", "blue", "nir")
SHOWN = ((1, 3), (1, 4), (2, 3), (2, 4), (3, 3), (3, 4), (5, 3), (5, 4))
"""(dates, bands of each)."""
WAYS = 3
"""Choices of so many dates that are pooled at most."""


@dataclass(frozen=True, eq=False)
class Place:
    """A place that was seen on several days, and its fields."""

    name: str
    grid: object
    pixels: np.ndarray
    """(date, 4, y, x) uint16."""
    truth: np.ndarray
    """(y, x) int32 ids."""
    ignore: np.ndarray
    """(y, x) bool."""


def simulated(styles: Sequence[str], edge: int) -> Iterator[Place]:
    """Make a place of each style."""
    from selion.simulation.landscape import simulate

    for k, style in enumerate(styles):
        scene = simulate(9100 + k, (edge, edge), 10.0, style, days=DAYS)
        pixels = scene.image.values.reshape(len(DAYS), len(COLOURS), edge, edge)
        ids = scene.instances.ids
        yield Place(style, scene.image.grid, pixels, ids, np.zeros(ids.shape, bool))


def estonia(data: Path) -> Iterator[Place]:
    """Read the one place with labels on three days; its colours are bytes."""
    from selion import store
    from selion.grid import whole
    from weights import estonia as cases_of
    from weights import truth_of

    cases = cases_of(data)
    sources = [store.open_raster(case.image) for case in cases]
    pixels = np.stack([source.read(whole(source.grid)).values for source in sources])
    yield Place("Estonia", sources[0].grid, pixels, *truth_of(cases[0]))


def choices(count: int, dates: int) -> list[tuple[int, ...]]:
    """Choose so many of the days, at most :data:`WAYS` times, spread evenly."""
    ways = list(itertools.combinations(range(count), dates))
    return [ways[round(k)] for k in np.linspace(0, len(ways) - 1, min(WAYS, len(ways)))]


def found(
    place: Place, chosen: tuple[int, ...], bands: int, model: str, method: str, folder: Path
) -> np.ndarray:
    """Map some dates and bands of a place; (y, x) ids of the fields, on the truth's grid."""
    from selion import store
    from selion.grid import whole
    from selion.pipeline import maps

    names = tuple(f"day{k}:{colour}" for k in chosen for colour in COLOURS[:bands])
    image = folder / "image.tif"
    with store.create_cog(image, place.grid, names, np.uint16, force=True) as sink:
        pixels = place.pixels[list(chosen), :bands]
        sink.write(whole(place.grid), pixels.reshape(-1, *pixels.shape[2:]))
    options = maps.MapOptions(method=method)
    job = maps.prepare(image, model, options)
    _, frame = maps.map_image(job, folder / "fields.parquet", options, force=True)
    return store.burn(frame.geometry.to_numpy(), range(1, len(frame) + 1), place.grid)


def measure(places: Sequence[Place], what: str, model: str, method: str) -> list[Row]:
    """Score each number of dates and bands; then what more of them gave."""
    from weights import tally

    most = min(len(place.pixels) for place in places)
    scores: dict[tuple[int, int], dict[str, float]] = {}
    rows = []
    for dates, bands in SHOWN:
        if dates > most:
            continue
        triples = []
        with tempfile.TemporaryDirectory() as scratch:
            for place in places:
                for chosen in choices(len(place.pixels), dates):
                    ids = found(place, chosen, bands, model, method, Path(scratch))
                    triples.append((place.truth, ids, place.ignore))
        one = scores[dates, bands] = tally(triples)
        seen = f"{dates} date{'s' * (dates > 1)} of {'RGBN' if bands > 3 else 'RGB'}"
        note = (
            f"precision {one['precision']:.3f}, recall {one['recall']:.3f}, pixel IoU "
            f"{one['iou']:.3f}; {len(triples)} maps"
        )
        rows.append(Row(SECTION, f"{what}: {seen}, F1", one["f1"], "", note=note))
        print(f"{rows[-1].what:<52} {rows[-1].value:.3f}  {note}", flush=True)
    for more, less in (((1, 4), (1, 3)), ((2, 4), (1, 4)), ((3, 4), (2, 4)), ((5, 4), (2, 4))):
        if more in scores:
            gain, wider = (scores[more][name] - scores[less][name] for name in ("f1", "iou"))
            told = " above ".join(f"{d} x {'RGBN' if b > 3 else 'RGB'}" for d, b in (more, less))
            rows.append(
                Row(SECTION, f"{what}: {told}, F1", gain, "", 0.0, note=f"IoU {wider:+.3f}")
            )
            print(f"{rows[-1].what:<52} {gain:+.3f}  {rows[-1].note}", flush=True)
    return rows


def packaged() -> str:
    """Return the packaged model that takes any number of dates; empty if there is none."""
    from selion.models import packaged_models

    names = [card.name for card in packaged_models() if card.inputs.dates]
    return names[0] if names else ""


def main() -> None:
    """Print one row per number of dates and bands."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="name or folder; by default the packaged one")
    parser.add_argument("--data", type=Path, help="folder with satellite/s2_fields")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--edge", type=int, default=512)
    parser.add_argument("--styles", nargs="+", default=list(STYLES))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = args.model or packaged()
    if not model:
        print("no packaged model takes any number of dates: give one with --model")
        sys.exit(SKIPPED)
    rows = []
    if args.styles != ["none"]:
        rows += measure(list(simulated(args.styles, args.edge)), "simulated", model, args.method)
    if args.data:
        rows += measure(list(estonia(args.data)), "Estonia", model, args.method)
    if args.json:
        save(rows, args.json)


if __name__ == "__main__":
    main()
