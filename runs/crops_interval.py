"""Fit the interval of cover of ``auto`` on sources of photographs with masks.

    python bench/sources.py --models auto --data "ews 22=EWS" --data cwfid=CWFID \\
        --data carrot=CARROT_WEED --count 10 --covers one.npz
    python bench/sources.py --models auto --first SISTER --data "ews 28=EWS" --data "ews 31=EWS" \\
        --skip style simulate camera --covers two.npz
    python runs/crops_interval.py one.npz two.npz

SISTER is a network like ``crops-rgb`` that knows trial 22 of the wheat alone
(``runs/crops_rgb.py EWS checkpoints/sister --by date --epochs 16 --times 3``).  Each source is left
out once: the interval is fitted on the others and asked whether it holds the truth there, which is
what the table says; then with all sources that look alike (the first word of their names) left out
as well.  The last line, of which ``INTERVAL`` of ``closerange/gate.py`` is a copy, is fitted on
all.  Every source weighs the same, however many photographs it has.  Those that ``crops-wide``
measured by itself have its interval, on which nothing is fitted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from selion.closerange.calibration import Calibration, fit_over_sources, read_calibration
from selion.closerange.cover import Cover
from selion.models import find_card

FEWEST = 3
"""Photographs of a source below which nothing is fitted on it."""
Asked = tuple[Cover, float, bool]
"""What the model said of a photograph, the truth, and whether the first network measured it."""
Sources = dict[str, list[Asked]]


def read_sources(paths: list[Path], model: str, skip: list[str]) -> Sources:
    """Read what ``bench/sources.py --covers`` wrote."""
    found: Sources = {}
    for path in paths:
        with np.load(path) as data:
            for key in data.files:
                name, _, source = key.partition("/")
                if name == model and not (skip and source.startswith(tuple(skip))):
                    found[source] = [
                        (Cover(c, c, low, high, 0.0), t, bool(by))
                        for t, c, low, high, by in data[key]
                    ]
    return found


def fitted(sources: Sources) -> Calibration:
    """Fit on the photographs of some sources that the first network measured."""
    own = {name: [(c, t) for c, t, by in source if by] for name, source in sources.items()}
    pairs = [(name, c, t) for name, some in own.items() if len(some) >= FEWEST for c, t in some]
    names, covers, truths = zip(*pairs, strict=True)
    return fit_over_sources(covers, truths, names)


def held(calibration: Calibration | None, wide: Calibration, source: list[Asked]) -> list[float]:
    """Return whether the truth lies within, and the width, both as means; None: the model's own."""
    found = []
    for cover, truth, by in source:
        one = cover if calibration is None else (calibration if by else wide).interval(cover)
        found.append((one.low <= truth <= one.high, one.width))
    return np.mean(found, axis=0).tolist()


def family(source: str) -> str:
    """Return what a source shares with those that look like it."""
    return source.split(maxsplit=1)[0].replace("simulate_photo", "style")


def main() -> None:
    """Fit, and print what holds where."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("covers", type=Path, nargs="+")
    parser.add_argument("--asked", default="auto", help="whose answers count")
    parser.add_argument("--skip", nargs="*", default=[], help="sources that are left out")
    args = parser.parse_args()
    sources = read_sources(args.covers, args.asked, args.skip)
    if len({family(name) for name in sources}) < 2:
        parser.error(f"{len(sources)} sources that look alike are too few: give other ones too.")
    wide = read_calibration(find_card("crops-wide").folder)
    print("| source left out | photographs | holds | width | with all like it left out | width |")
    print("|---|---:|---:|---:|---:|---:|")
    rows = []
    for name, source in sources.items():
        alone = {other: own for other, own in sources.items() if other != name}
        apart = {o: own for o, own in sources.items() if family(o) != family(name)}
        numbers = [*held(fitted(alone), wide, source), *held(fitted(apart), wide, source)]
        rows.append([len(source), *numbers, *held(None, wide, source)])
        print(
            f"| {name} | {len(source)} | {{:.2f}} | {{:.3f}} | {{:.2f}} | {{:.3f}} |".format(
                *numbers
            )
        )
    table = np.array(rows)
    for what, weights in (("sources", np.ones(len(table))), ("photographs", table[:, 0])):
        alone, width, apart, far, own, plain = weights @ table[:, 1:] / weights.sum()
        print(
            f"| mean over {what} | {table[:, 0].sum():.0f} | {alone:.3f} | {width:.3f} | "
            f"{apart:.3f} | {far:.3f} |"
        )
    print(f"The model's own: {own:.3f} of the photographs, {plain:.3f} wide.")
    print(fitted(sources))


if __name__ == "__main__":
    main()
