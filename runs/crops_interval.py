"""Fit the interval of cover of a model on sources of photographs that it has not learnt from.

    python bench/sources.py --models auto --data ews=../shared/data/closerange/ews_wheat \
        --data cwfid=CWFID --data carrot=CARROT_WEED --covers covers.npz
    python runs/crops_interval.py covers.npz src/selion/weights/crops-rgb --gsd 0.44 1.1

Each source is left out once: the interval is fitted on the others and asked whether it holds the
truth there, which is what the table says; what is written, ``photographs.json`` beside the card,
is fitted on all.  Sources count as they have photographs: were the hardest to decide, as for
`crops-wide`, the interval would hold too often and be twice as wide.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from selion.closerange.calibration import FILE, Calibration, fit_interval, write_calibration
from selion.closerange.cover import Cover
from selion.models.card import CARD, read_card, sha256_of, write_card

FEWEST = 3
"""Photographs of a source below which it is not asked."""
Source = list[tuple[Cover, float]]
"""What the model said of each photograph, and the truth."""


def read_sources(path: Path, model: str, skip: list[str]) -> dict[str, Source]:
    """Read what ``bench/sources.py --covers`` wrote, of photographs that no other measured."""
    found = {}
    with np.load(path) as data:
        for key in data.files:
            name, _, source = key.partition("/")
            if name == model and not source.startswith(tuple(skip)):
                own = [(Cover(c, c, low, high, 0.0), t) for t, c, low, high, by in data[key] if by]
                found |= {source: own} if len(own) >= FEWEST else {}
    return found


def fitted(sources: list[Source]) -> Calibration:
    """Fit on all photographs of some sources together."""
    pairs = [pair for source in sources for pair in source]
    return fit_interval([cover for cover, _ in pairs], [truth for _, truth in pairs])


def held(calibration: Calibration | None, source: Source) -> tuple[float, float]:
    """Share of photographs whose truth lies within, and mean width; None: the model's own."""
    asked = [c if calibration is None else calibration.interval(c) for c, _ in source]
    inside = [one.low <= truth <= one.high for one, (_, truth) in zip(asked, source, strict=True)]
    return float(np.mean(inside)), float(np.mean([one.width for one in asked]))


def main() -> None:
    """Fit, print what holds where, and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("covers", type=Path)
    parser.add_argument("model", type=Path, help="folder of the model, whose card then names it")
    parser.add_argument("--asked", default="auto", help="whose answers count")
    parser.add_argument("--gsd", type=float, nargs=2, metavar=("FINEST", "COARSEST"))
    parser.add_argument("--skip", nargs="*", default=["simulate"], help="what it has learnt from")
    args = parser.parse_args()
    sources = read_sources(args.covers, args.asked, args.skip)
    print("| source left out | photographs | holds | width | the model's own holds | width |")
    print("|---|---:|---:|---:|---:|---:|")
    total, count = 0.0, 0
    for name, source in sources.items():
        others = fitted([own for other, own in sources.items() if other != name])
        (share, width), (plain, wide) = held(others, source), held(None, source)
        print(f"| {name} | {len(source)} | {share:.2f} | {width:.3f} | {plain:.2f} | {wide:.3f} |")
        total, count = total + share * len(source), count + len(source)
    print(f"| all | {count} | {total / count:.3f} | | | |")
    gsd = None if args.gsd is None else (args.gsd[0], args.gsd[1])
    whole = replace(fitted(list(sources.values())), gsd=gsd)
    print(whole)
    write_calibration(whole, args.model / FILE)
    card = read_card(args.model)
    files = {**card.files, FILE: sha256_of(args.model / FILE)}
    write_card(replace(card, files=files), args.model / CARD)


if __name__ == "__main__":
    main()
