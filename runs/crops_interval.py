"""Fit the interval of cover of ``auto`` on sources of photographs with masks.

    python bench/sources.py --models auto --data ews=../shared/data/closerange/ews_wheat \
        --data cwfid=CWFID --data carrot=CARROT_WEED --covers covers.npz
    python runs/crops_interval.py covers.npz

Each source is left out once: the interval is fitted on the others and asked whether it holds the
truth there, which is what the table says; the last line, of which ``INTERVAL`` of
``closerange/gate.py`` is a copy, is fitted on all.  Sources count as they have photographs: were
the hardest to decide, as for `crops-wide`, the interval would hold too often and be twice as wide.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from selion.closerange.calibration import Calibration, fit_interval
from selion.closerange.cover import Cover

FEWEST = 3
"""Photographs of a source below which it is not asked."""
Source = list[tuple[Cover, float]]
"""What the model said of each photograph, and the truth."""


def read_sources(path: Path, model: str, skip: list[str]) -> dict[str, Source]:
    """Read what ``bench/sources.py --covers`` wrote, of photographs that no other measured."""
    found: dict[str, Source] = {}
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
    """Fit, and print what holds where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("covers", type=Path)
    parser.add_argument("--asked", default="auto", help="whose answers count")
    parser.add_argument("--skip", nargs="*", default=["simulate"], help="what it has learnt from")
    args = parser.parse_args()
    sources = read_sources(args.covers, args.asked, args.skip)
    if len(sources) < 2:
        parser.error(
            f"{args.covers} holds {len(sources)} sources of {FEWEST} photographs and more that "
            f"{args.asked} measured with both models, where two are wanted: give "
            "bench/sources.py a larger --count."
        )
    print("| source left out | photographs | holds | width | the model's own holds | width |")
    print("|---|---:|---:|---:|---:|---:|")
    total, count = 0.0, 0
    for name, source in sources.items():
        others = fitted([own for other, own in sources.items() if other != name])
        (share, width), (plain, wide) = held(others, source), held(None, source)
        print(f"| {name} | {len(source)} | {share:.2f} | {width:.3f} | {plain:.2f} | {wide:.3f} |")
        total, count = total + share * len(source), count + len(source)
    print(f"| all | {count} | {total / count:.3f} | | | |")
    print(fitted(list(sources.values())))


if __name__ == "__main__":
    main()
