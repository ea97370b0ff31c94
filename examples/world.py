"""The published world: a district and nine years of it, compared with planted truth.

python examples/world.py [AREA EDITION] [-o FOLDER]

Without an area a small copy of the published editions is made and served on this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely

from selion.pipeline.maps import MapOptions, published_options
from selion.simulation.published import SCENES, PublishedCopy, simulate_published
from selion.world import (
    Attributes,
    WorldHistoryOptions,
    map_published,
    map_years,
    write_history,
)

YEARS = tuple(range(2017, 2026))
SAME = 0.5
"""Intersection over union from which on two outlines are one field."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Map a district from the published probabilities, and follow its fields through the years."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("area", nargs="?", help="Polygons, or west,south,east,north.")
    parser.add_argument("edition", nargs="?", default="ftw-2e")
    parser.add_argument("-o", "--out", type=Path, default=Path("example-world"))
    parser.add_argument("--tile", type=int, default=256, help="Of the copy, in pixels of 2.5 m.")
    parser.add_argument("--scenes", nargs="+", default=SCENES[1:], help="Copies that are made.")
    parser.add_argument("--first", type=int, default=YEARS[0], help="Year of the history.")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    years = tuple(year for year in YEARS if year >= given.first)
    if given.area is not None:
        follow(given.edition, given.area, given.out, years)
        return
    size = {"tile": given.tile, "overlap_m": 20.0 * max(given.tile // 256, 1)}
    seams, followed = [], pd.DataFrame()
    for scene in given.scenes:
        made = years if scene == "seam" else years[-1:]
        folder = given.out / f"world-{scene}"
        copy = simulate_published(folder, scene, years=made, mosaics=(), **size, force=True)
        with served(folder) as address:
            found = given.out / f"fields-{scene}.parquet"
            edition = f"ftw-2e@{address}/ftw-2e"
            mapped = map_published(edition, copy.area, YEARS[-1], found, force=True)
            seams.append(seam_row(scene, copy, mapped.frame))
            if scene == "seam":
                for note in mapped.notes:
                    print(note)
                follow(edition, copy.area, given.out, years, copy)
                followed = lineage_scores(given.out / "history", copy, years)
    show("Wide fields across what parts tiles, 2025: fields found for each", pd.DataFrame(seams))
    span = f"{years[0]} to {years[-1]}"
    show(f"What became of fields, {span}: lineage beside the planted one", followed)
    show("Confidence of being a field", calibration(given.out))


def follow(
    edition: str,
    area: str | Sequence[float],
    out: Path,
    years: Sequence[int],
    copy: PublishedCopy | None = None,
) -> None:
    """Map every year, and join them."""
    folders = map_years(edition, area, years, out / "years", force=True)
    # A user gives own or reviewed fields; here the planted ones of the last year are known.
    known = () if copy is None else (copy.truth[YEARS[-1]],)
    options = WorldHistoryOptions(
        mapping=published_options(MapOptions()), attributes=Attributes(reference=known)
    )
    history = write_history(folders, out / "history", options, force=True)
    for note in history.notes:
        print(note)
    print(history.summary.to_string(index=False))


# ---- comparing with what was planted


def flat(frame: gpd.GeoDataFrame, copy: PublishedCopy) -> gpd.GeoDataFrame:
    """Return a table in metres round the copy's area."""
    west, south, east, north = copy.area
    return frame.to_crs(
        f"+proj=laea +lat_0={(south + north) / 2} +lon_0={(west + east) / 2} +datum=WGS84"
    )


def planted(copy: PublishedCopy, year: int) -> gpd.GeoDataFrame:
    """Return the planted fields of a year; ``whole`` are those that tiles and area hold whole."""
    frame = gpd.read_parquet(copy.truth[year])
    inside = frame.geometry.within(shapely.box(*copy.area))
    return flat(frame.assign(whole=inside & frame.looked), copy)


def partners(found: gpd.GeoDataFrame, truth: gpd.GeoDataFrame) -> np.ndarray:
    """Return the row of the truth that each found field is, or -1."""
    rows = np.full(len(found), -1)
    one, two = truth.sindex.query(found.geometry, predicate="intersects")
    mine, theirs = found.geometry.values[one], truth.geometry.values[two]
    common = shapely.area(shapely.intersection(mine, theirs))
    same = common > SAME * (shapely.area(mine) + shapely.area(theirs) - common)
    rows[one[same]] = two[same]
    return rows


def seam_row(scene: str, copy: PublishedCopy, frame: gpd.GeoDataFrame) -> dict[str, object]:
    """Count how many of the published and of our polygons each wide field has become."""
    truth = planted(copy, YEARS[-1])
    wide = truth[truth.seam != ""]
    zones = sorted((copy.address / "vector" / str(YEARS[-1])).rglob("*.parquet"))
    published = pd.concat([gpd.read_parquet(path) for path in zones], ignore_index=True)
    row: dict[str, object] = {"across": scene, "wide": len(wide)}
    rest = truth[truth.whole & (truth.seam == "")]
    for name, table in (("published", flat(published, copy)), ("here", flat(frame, copy))):
        counts = []
        for one in wide.geometry:
            part = table.intersection(one).area
            counts.append(int((part > 0.1 * one.area).sum()))
        matched = partners(table, rest)
        row[name] = " ".join(map(str, counts))
        row[f"others found, {name}"] = f"{len(set(matched) - {-1})} of {len(rest)}"
        boxes = table.sindex.query(table.geometry, predicate="intersects")
        first, second = boxes[:, boxes[0] < boxes[1]]
        both = shapely.intersection(table.geometry.values[first], table.geometry.values[second])
        row[f"overlap m2, {name}"] = round(float(shapely.area(both).sum()))
    return row


def lineage_scores(folder: Path, copy: PublishedCopy, years: Sequence[int]) -> pd.DataFrame:
    """Return precision and recall of each outcome against the planted lineage.

    A pair counts if both its fields lie whole on tiles and area; what only looks like a field, and
    is published as one, is no part of the lineage.
    """
    long = gpd.read_parquet(folder / "history.long.parquet")
    names: dict[tuple[int, str], int] = {}
    whole: dict[int, set[int]] = {}
    missed: set[tuple[int, int]] = set()
    strays: set[tuple[int, str]] = set()
    for year in years:
        truth = planted(copy, year)
        mine = flat(long[long.year == year], copy)
        rows = partners(mine, truth)
        known = truth[truth.whole]
        on_field = mine.representative_point().within(known.union_all())
        ids = mine.id.astype(str).tolist()
        for name, row, inside in zip(ids, rows.tolist(), on_field.tolist(), strict=True):
            if row >= 0:
                names[year, name] = int(truth.field.iloc[row])
            elif inside:
                strays.add((year, name))
        whole[year] = set(known.field)
        missed |= {(year, number) for number in known.field[known.missed]}
    read = dict(
        zip(zip(long.year.tolist(), long.id.tolist(), strict=True), long.outcome, strict=True)
    )
    told, skipped = found_pairs(folder, (names, strays, whole), read)
    wanted = planted_pairs(copy, whole, missed)
    scores: list[dict[str, object]] = []
    for outcome in ("kept", "split", "merged", "appeared", "gone", "not seen", "moved", "redrawn"):
        said = {pair for pair in told if pair[1] == outcome}
        meant = {pair for pair in wanted if pair[1] == outcome}
        hits = len(said & meant)
        scores.append(
            {
                "outcome": outcome,
                "planted": len(meant),
                "told": len(said),
                "precision": round(hits / len(said), 3) if said else np.nan,
                "recall": round(hits / len(meant), 3) if meant else np.nan,
            }
        )
    print(f"{skipped} rows of the lineage are of land that was not planted, or cut by the area.")
    return pd.DataFrame(scores)


Pair = tuple[int, str, object, object]
"""Year in which it is told, outcome, field before and after; None where there is none."""


Known = tuple[dict[tuple[int, str], int], set[tuple[int, str]], dict[int, set[int]]]
"""(year, id) -> planted number, (year, id) of what only partly is one, numbers that are whole."""


def found_pairs(
    folder: Path, known: Known, read: dict[tuple[int, str], str]
) -> tuple[set[Pair], int]:
    """Return the rows of a history's lineage with planted numbers for ids.

    The lineage says how outlines of two years lie; ``read`` is what the history makes of it, for
    example that a division was a passing one.
    """
    names, strays, whole = known
    pairs: set[Pair] = set()
    skipped = 0
    for row in pd.read_csv(folder / "lineage.csv").to_dict("records"):
        ends: list[object] = []
        counted = True
        outcome = str(row["outcome"])
        both = ((row["from_year"], row["from_id"]), (row["to_year"], row["to_id"]))
        fates = [read.get((int(year), name)) for year, name in both if isinstance(name, str)]
        if "passing" in fates:
            continue
        if outcome in ("split", "merged") and fates[-1] == "kept":
            outcome = "kept"
        for year, name in both:
            if not isinstance(name, str):
                ends.append(None)
                continue
            key = int(year), name
            number = names.get(key)
            counted &= key in strays if number is None else number in whole[key[0]]
            ends.append(f"stray {name}" if number is None else number)
        if counted:
            pairs.add((int(row["to_year"]), outcome, ends[0], ends[1]))
        skipped += not counted
    return pairs, skipped


def planted_pairs(
    copy: PublishedCopy, whole: dict[int, set[int]], missed: set[tuple[int, int]]
) -> set[Pair]:
    """Return the planted lineage; what a year misses is "not seen" in it, and goes on after it."""
    pairs: set[Pair] = set()
    for row in pd.read_csv(copy.lineage).to_dict("records"):
        before, after = (None if pd.isna(end) else int(end) for end in (row["from"], row["to"]))
        earlier, later = int(row["year_from"]), int(row["year_to"])
        ends = ((earlier, before), (later, after))
        if any(number is not None and number not in whole[year] for year, number in ends):
            continue
        if after is not None and (later, after) in missed:
            pairs.add((later, "not seen", before, None))
        else:
            pairs.add((later, str(row["outcome"]), before, after))
    return pairs


def calibration(out: Path) -> pd.DataFrame:
    """Return how far scores are from the share of right fields, before and after the curve."""
    facts = json.loads((out / "history" / "history.json").read_text("utf-8"))["calibration"]
    rows = []
    for name in ("score", "confidence"):
        told = facts[name]
        rows.append({"": name} | {key: told[key] for key in told if np.isscalar(told[key])})
    return pd.DataFrame(rows)


def show(title: str, table: pd.DataFrame) -> None:
    """Print a table."""
    print(f"\n{title}\n{table.to_string(index=False)}")


# ---- a server of files with ranges, as the published editions have one


class Ranges(SimpleHTTPRequestHandler):
    """Answer with the part of a file that was asked for."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Send a file, or a part of it."""
        self._send(body=True)

    def do_HEAD(self) -> None:
        """Say how long a file is."""
        self._send(body=False)

    def _send(self, *, body: bool) -> None:
        path = Path(self.translate_path(self.path))
        content = path.read_bytes() if path.is_file() else b""
        size, status = len(content), 200 if path.is_file() else 404
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked and content:
            first = int(asked[1]) if asked[1] else size - int(asked[2])
            last = int(asked[2]) if asked[1] and asked[2] else size - 1
            content, status = content[first : last + 1], 206
        self.send_response(status)
        if status == 206:
            self.send_header("Content-Range", f"bytes {first}-{first + len(content) - 1}/{size}")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
