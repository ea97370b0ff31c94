"""``selion change``: how right it is on simulated countrysides in two years, and what it costs on a
large map.

    python bench/change.py FOLDER --json rows.json
        ten countrysides, both rules; time and memory at 4096 x 4096 px
    python bench/change.py FOLDER --json rows.json --pixels 10980

Countrysides of 640 x 640 px of 10 m are simulated in two years and mapped with the packaged model
(about twenty seconds a map on one core; FOLDER keeps them).  The fixed rule's threshold is set on
the first half and everything is measured on the second.  The large map is the small ones side by
side.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from affine import Affine
from odc.geo.geobox import GeoBox

import command
from selion import change, fields, metrics, store
from selion.change.pixels import EMPTY, RULES, PixelRule, Scale, classify, compare_pixels
from selion.change.sides import open_scores
from selion.grid import tiles, whole
from selion.pipeline import demo, maps
from selion.simulation.landscape import simulate
from table import Row, markdown, save

NAME = "Change between years"
SEEDS = tuple(range(201, 211))
STYLES = (
    "europe",
    "mixed",
    "smallholder",
    "prairie",
    "bocage",
    "mixed",
    "europe",
    "smallholder",
    "mixed",
    "prairie",
)
YEARS = ("2022", "2023")
WINDOW = 128
TOLD = {
    "same": "kept",
    "moved": "moved",
    "merged": "merged",
    "split": "split",
    "gone": "gone",
    "new": "appeared",
}
"""The truth's words, and ours."""


def make(folder: Path, seeds: tuple[int, ...], size: int) -> None:
    """Simulate and map what is not there yet."""
    for seed, style in zip(seeds, STYLES, strict=False):
        if (folder / str(seed) / "changes.csv").is_file():
            continue
        scene = simulate(seed, (size, size), 10.0, style, years=2)
        assert scene.next_year is not None
        assert scene.changes is not None
        for year, one in zip(YEARS, (scene, scene.next_year), strict=True):
            out = folder / str(seed) / year
            options = maps.MapOptions(scores=out / "fields.scores.tif")
            demo.write_landscape(one, out / "scene", force=True)
            job = maps.prepare(out / "scene" / "image.tif", None, options)
            maps.map_image(job, out / "fields.parquet", options, force=True)
        scene.changes.to_csv(folder / str(seed) / "changes.csv", index=False)
        print(f"  mapped {seed} ({style})", file=sys.stderr)


class Place:
    """One countryside in two years."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.years = change.find_years([folder / str(seed) / year for year in YEARS])
        opened = [open_scores(year)[:2] for year in self.years]
        self.grid = opened[0][0].grid
        self.scores = [(source.read(whole(self.grid)), classes) for source, classes in opened]
        self.truth = [
            self._ids(folder / str(seed) / year / "scene" / "instances.tif") for year in YEARS
        ]
        self.changes = pd.read_csv(folder / str(seed) / "changes.csv")

    def _ids(self, path: Path) -> np.ndarray:
        source = store.open_raster(path)
        ids = source.read(whole(source.grid)).values[0]
        return ids.repeat(self.grid.shape[0] // ids.shape[0], 0).repeat(
            self.grid.shape[1] // ids.shape[1], 1
        )

    @property
    def changed(self) -> np.ndarray:
        """Where field became none or none field."""
        return (self.truth[0] > 0) != (self.truth[1] > 0)

    def told(self, rule: PixelRule, roi: tuple[slice, slice] | None = None) -> np.ndarray:
        """Where a rule says that something changed, in a map that is no larger than ``roi``."""
        parts = [
            (part if roi is None else part.read(roi), classes) for part, classes in self.scores
        ]
        found = compare_pixels(parts[0], parts[1], rule)
        return classify(found, rule, EMPTY.wider(found) if rule.scaled else Scale()) > 1


def f1(pairs: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """F1 of changed area over (told, true) masks."""
    both = sum(int((told & true).sum()) for told, true in pairs)
    return 2 * both / max(sum(int(told.sum()) + int(true.sum()) for told, true in pairs), 1)


def pixel_rows(places: list[Place]) -> list[Row]:
    """Calibrate on the first half, measure on the second."""
    first, rest = places[: len(places) // 2], places[len(places) // 2 :]
    tried = {
        t: f1([(place.told(RULES["fixed"].at(t)), place.changed) for place in first])
        for t in np.arange(0.3, 0.96, 0.05).round(2)
    }
    best = max(tried, key=lambda t: tried[t])
    near = ", ".join(f"{t:g}: {tried[t]:.3f}" for t in (0.5, 0.6, 0.7, 0.75, 0.8, 0.9))
    rows = [
        Row(
            NAME,
            "fixed rule: threshold that is best on the first half",
            100 * float(best),
            "%",
            note=f"F1 there by threshold: {near}",
        )
    ]
    for name, rule in RULES.items():
        each = [f1([(place.told(rule), place.changed)]) for place in rest]
        pooled = f1([(place.told(rule), place.changed) for place in rest])
        rows.append(
            Row(
                NAME,
                f"{name} rule: F1 of changed area, second half",
                100 * pooled,
                "%",
                note=f"{min(each):.2f} to {max(each):.2f} over {len(each)} places",
            )
        )
        small = [
            f1(
                [
                    (
                        np.concatenate([place.told(rule, roi).ravel() for roi in rois]),
                        flat(place, rois),
                    )
                ]
            )
            for place in rest
            for rois in [windows(place)]
        ]
        rows.append(
            Row(
                NAME,
                f"{name} rule: the same, each map cut into windows of 640 m",
                100 * float(np.mean(small)),
                "%",
                note="mean over the places",
            )
        )
        calm = [
            place.told(rule, roi).mean()
            for place in rest
            for roi in windows(place)
            if not place.changed[roi].any()
        ]
        note = f"{len(calm)} windows of 640 m without any change, each a map of its own"
        rows.append(
            Row(
                NAME,
                f"{name} rule: area said to have changed where nothing has",
                100 * float(np.mean(calm)),
                "%",
                note=note,
            )
        )
    return rows


def windows(place: Place) -> list[tuple[slice, slice]]:
    """Cut a place."""
    return tiles((int(place.grid.shape[0]), int(place.grid.shape[1])), WINDOW)


def flat(place: Place, rois: list[tuple[slice, slice]]) -> np.ndarray:
    """Return the truth in the order of the windows."""
    return np.concatenate([place.changed[roi].ravel() for roi in rois])


def outcome_rows(folder: Path, places: list[Place]) -> list[Row]:
    """Compare what is told of fields with the truth, for the fields whose outline was found (IoU
    above a half).
    """
    pairs = []
    for place in places:
        out = folder / "out" / place.years[0].table.parent.parent.name
        result = change.compare_years(
            [(year.scores, year.table) for year in place.years], out, force=True
        )
        pairs += _outcomes(place, result)
    found = pd.DataFrame(pairs, columns=["true", "told"])
    rows = []
    for true, ours in TOLD.items():
        those, said = found[found["true"] == true], found[found["told"] == ours]
        right = 100 * float((those["told"] == ours).mean())
        note = (
            f"of {len(those):,}; {100 * float((said['true'] == true).mean()):.0f} % of "
            f"{len(said):,} that were called so are"
        )
        rows.append(Row(NAME, f"fields that are {ours}, called so", right, "%", note=note))
    rows.append(
        Row(
            NAME,
            "fields whose outcome is right",
            100 * float((found["true"].map(TOLD) == found["told"]).mean()),
            "%",
            note=f"of {len(found):,}",
        )
    )
    return rows


def _outcomes(place: Place, result: change.ChangeResult) -> list[tuple[str, str]]:
    """Return (true, told) for the fields of both years."""
    frame = fields.read_fields(result.steps[0].fields)
    told = dict(zip(frame["change:map_id"], frame["change:outcome"], strict=True))
    line = result.lineage[result.lineage["to_year"] == result.steps[0].years[1]]
    before = dict(zip(line["from_id"], line["outcome"], strict=True))
    pairs = []
    for k, (year, names, side) in enumerate(
        zip(place.years, (before, told), ("before", "after"), strict=True)
    ):
        table = fields.read_fields(year.table).to_crs(str(place.grid.crs))
        ids = store.burn(table.geometry.to_numpy(), range(1, len(table) + 1), place.grid)
        overlap = metrics.overlap_table(place.truth[k], ids)
        true = (
            place.changes[place.changes[side] > 0].drop_duplicates(side).set_index(side)["change"]
        )
        matched = overlap.iou > 0.5
        found = zip(
            overlap.truth_ids[overlap.truth_index[matched]],
            overlap.prediction_ids[overlap.prediction_index[matched]],
            strict=True,
        )
        pairs += [(str(true[one]), str(names[table["id"].iloc[other - 1]])) for one, other in found]
    return pairs


def cost_rows(folder: Path, places: list[Place], pixels: int) -> list[Row]:
    """Measure time and memory on a map of many countrysides side by side."""
    given = [
        large(folder / f"large_{pixels}" / year, places, k, pixels) for k, year in enumerate(YEARS)
    ]
    done = command.checked(
        [
            sys.executable,
            "-m",
            "selion.cli.main",
            "change",
            *map(str, given),
            "-o",
            str(folder / f"large_{pixels}" / "out"),
            "--force",
        ]
    )
    count = sum(len(fields.read_fields(year / "fields.parquet")) for year in given)
    note = f"{pixels} x {pixels} px, {count:,} fields in both years"
    return [
        Row(NAME, f"time, {pixels} x {pixels} px", done.wall, "s", note=note),
        Row(NAME, f"peak memory, {pixels} x {pixels} px", done.peak_mb, "MB", note=note),
    ]


def large(folder: Path, places: list[Place], year: int, pixels: int) -> Path:
    """Lay the countrysides of a year side by side, and map them."""
    if (folder / "fields.parquet").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    sources = [store.open_raster(place.years[year].scores) for place in places]
    values = [source.read(whole(source.grid)).values for source in sources]
    grid = GeoBox((pixels, pixels), Affine(5, 0, 300_000, 0, -5, 5_400_000), "EPSG:32633")
    tags = {"classes": sources[0].tags["classes"], "image_gsd": json.dumps(10.0)}
    with store.create_cog(
        folder / "fields.scores.tif",
        grid,
        sources[0].bands,
        np.uint8,
        nodata=255,
        tags=tags,
        force=True,
    ) as sink:
        for k, roi in enumerate(tiles((pixels, pixels), values[0].shape[1])):
            part = np.rot90(values[k % len(values)], k // len(values) % 4, (1, 2))
            sink.write(
                roi,
                np.ascontiguousarray(
                    part[:, : roi[0].stop - roi[0].start, : roi[1].stop - roi[1].start]
                ),
            )
    maps.fields_from_scores(
        folder / "fields.scores.tif", folder / "fields.parquet", maps.MapOptions(), force=True
    )
    return folder


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pixels", type=int, default=4096)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="Two small countrysides and a small map: it shows that the bench works.",
    )
    parser.add_argument("--no-accuracy", action="store_true", help="Only time and memory.")
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    seeds, pixels = (SEEDS[:2], 1024) if given.quick else (SEEDS, given.pixels)
    make(given.folder, seeds, 256 if given.quick else 640)
    places = [Place(given.folder, seed) for seed in seeds]
    rows = (
        []
        if given.no_accuracy
        else [*pixel_rows(places), *outcome_rows(given.folder, places[len(places) // 2 :])]
    )
    rows += cost_rows(given.folder, places, pixels)
    save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
