"""Fit the interval of cover of `crops-wide` on what its sisters answered to sources they never saw.

    D=../shared/data/closerange
    python runs/crops_calibrate.py checkpoints/crops_fit/crops.npz src/selion/weights/crops-wide \
        $D/ews_wheat/images $D/chilli_unlabelled/images

``crops.npz`` is what `crops_fit.py` writes.  For each source the interval is first fitted on the
others and asked whether it holds the truth there, which is what the table says; what is written,
``photographs.json`` beside the card, is fitted on all.  The folders are real photographs that the
network was trained on: what they look like is what is not called unlike.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from selion.closerange.calibration import FILE, Calibration, fit_interval, write_calibration
from selion.closerange.cover import Cover
from selion.closerange.quality import appearance
from selion.data.photos import find_photos, read_photo
from selion.models.card import CARD, read_card, sha256_of, write_card

TRUTH, MEAN, UNSURE, HIGH, COVER, LOW = 0, 1, 2, 4, 8, 12
"""Columns of the tables of covers: the truth, and shares of pixels above 0.05, 0.5 and 0.95."""
GSD = (0.14, 1.1)
"""Millimetres a pixel: wheat at 0.55 mm shown four times as large to half as large; at a quarter
(2.2 mm) mIoU is 0.06 lower."""
MARGIN = 0.1
"""Of its span, by which a range of looks is wider than what was seen."""


def covers_of(data: np.lib.npyio.NpzFile, least: int) -> dict[str, tuple[list[Cover], np.ndarray]]:
    """Covers and truths by source that was left out, of runs that had time to learn."""
    found = {}
    for name in sorted(data.files):
        source = name.removeprefix("covers/")
        if name == source or not source.startswith(("trial", "style ")) or "seen" in source:
            continue
        table = data[name].astype(np.float64)
        if len(table) >= least and np.abs(table[:, COVER] - table[:, TRUTH]).mean() < 0.15:
            rows = [
                Cover(r[COVER], r[MEAN], min(r[LOW], r[COVER]), max(r[HIGH], r[COVER]), r[UNSURE])
                for r in table
            ]
            found[source] = rows, table[:, TRUTH]
    return found


def fitted(sources: dict[str, tuple[list[Cover], np.ndarray]], names: list[str]) -> Calibration:
    """Fit on the named sources, of which the hardest decides."""
    covers = [cover for name in names for cover in sources[name][0]]
    truths = np.concatenate([sources[name][1] for name in names])
    which = [name for name in names for _ in sources[name][0]]
    return fit_interval(covers, truths.tolist(), which)


def held(calibration: Calibration | None, covers: list[Cover], truths: np.ndarray) -> list[float]:
    """Share of photographs whose truth lies within, and mean width; None: the model's own."""
    asked = covers if calibration is None else [calibration.interval(cover) for cover in covers]
    inside = [cover.low <= truth <= cover.high for cover, truth in zip(asked, truths, strict=True)]
    return [float(np.mean(inside)), float(np.mean([cover.width for cover in asked]))]


def looks_of(folders: list[Path]) -> dict[str, tuple[float, float]]:
    """Lowest and highest of what photographs look like, with a margin."""
    rows = [
        appearance(read_photo(photo.path).image.values)
        for folder in folders
        for photo in find_photos(folder)
    ]
    ranges = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        margin = MARGIN * float(np.ptp(values))
        low, high = float(values.min()) - margin, float(values.max()) + margin
        ranges[name] = (round(max(low, 0.0) if values.min() >= 0 else low, 3), round(high, 3))
    return ranges


def main() -> None:
    """Fit, print what holds where, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("answers", type=Path, help="crops.npz of crops_fit.py")
    parser.add_argument("model", type=Path, help="folder of the model, whose card then names it")
    parser.add_argument("photographs", type=Path, nargs="+")
    args = parser.parse_args()
    with np.load(args.answers) as data:
        sources = covers_of(data, 19)
    print("| source left out | photographs | holds | width | the model's own holds | width |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, (covers, truths) in sources.items():
        others = fitted(sources, [other for other in sources if other != name])
        (share, width), (plain, thin) = held(others, covers, truths), held(None, covers, truths)
        print(f"| {name} | {len(covers)} | {share:.2f} | {width:.3f} | {plain:.2f} | {thin:.3f} |")
    whole = replace(fitted(sources, list(sources)), ranges=looks_of(args.photographs), gsd=GSD)
    print(whole)
    write_calibration(whole, args.model / FILE)
    card = read_card(args.model)
    files = {**card.files, FILE: sha256_of(args.model / FILE)}
    write_card(replace(card, files=files), args.model / CARD)


if __name__ == "__main__":
    main()
