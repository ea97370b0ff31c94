"""``selion crops``: photographs a minute at 2 and 20 megapixels on the cores there are, and where
the time goes.

    python bench/crops.py                       2 MP x 24 and 20 MP x 6, default model
    python bench/crops.py --model colour --count 8 --large 2

The photographs are simulated plants on soil (those of 20 MP are nine different ones side by side,
because enlarging one would leave nothing fine to measure), saved as JPEG of quality 92.  Stages are
seconds of one process a photograph, summed over what the processes did side by side and divided by
the photographs; photographs a minute are on the clock, without the start of the processes and the
loading of the model, which are given apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from selion.closerange import ComputeOptions, CropOptions, measure_folder
from selion.cores import usable_cores
from selion.reports.photographs import write_gallery
from selion.simulation.landscape import simulate_photo
from table import Row, markdown, save

NAME = "Close range: selion crops"
SMALL, LARGE = (1224, 1632), (3648, 5472)
STAGES = ("decode", "predict", "traits", "write")


def photographs(folder: Path, shape: tuple[int, int], count: int) -> Path:
    """Write simulated photographs of a size."""
    folder.mkdir()
    tiles = 1 if shape == SMALL else 3
    height, width = shape[0] // tiles, shape[1] // tiles
    parts = [
        simulate_photo(seed, (height, width)).image.values.transpose(1, 2, 0)
        for seed in range(max(tiles * tiles, 4))
    ]
    for number in range(count):
        order = np.random.default_rng(number).permutation(len(parts))
        rows = [
            np.hstack([parts[order[row * tiles + column]] for column in range(tiles)])
            for row in range(tiles)
        ]
        Image.fromarray(np.vstack(rows)).save(folder / f"{number:03d}.jpg", quality=92)
    return folder


def measure(
    work: Path, label: str, shape: tuple[int, int], count: int, given: argparse.Namespace
) -> list[Row]:
    """Measure one size."""
    source = photographs(work / label, shape, count)
    marks: list[float] = []
    options = CropOptions(marker=given.marker)
    begun = time.perf_counter()
    run = measure_folder(
        source,
        work / f"{label} out",
        given.model,
        options,
        ComputeOptions(given.workers),
        use=write_gallery,
        on_step=lambda *_: marks.append(time.perf_counter()),
    )
    workers = given.workers or min(usable_cores(), count)
    # marks[k] is when k photographs were done; the pace is steady once every process has delivered
    # its first
    pace = (
        60 * (count - workers) / (marks[-1] - marks[workers])
        if count > workers
        else 60 * count / (marks[-1] - begun)
    )
    scene = (
        f"{shape[1]} x {shape[0]} px, {count} photographs, {workers} processes, model {run.model}, "
        f"{len(run.components) / count:.0f} components each"
    )
    rows = [Row(NAME, f"{label}, photographs a minute", pace, "/min", note=scene)]
    rows += [
        Row(
            NAME,
            f"{label}, {stage}",
            run.seconds.get(stage, 0.0) / count,
            "s",
            note="a photograph, one process",
        )
        for stage in STAGES
    ]
    return [
        *rows,
        Row(
            NAME,
            f"{label}, until the first is done",
            marks[1] - begun,
            "s",
            note="start of the processes, model, first photograph",
        ),
    ]


def main() -> None:
    """Measure, print and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default=None, help="As for selion crops.")
    parser.add_argument("--marker", type=float, default=None, help="Look for markers too.")
    parser.add_argument("--workers", type=int, default=None)
    parser.add_argument("--count", type=int, default=24, help="Photographs of 2 MP.")
    parser.add_argument("--large", type=int, default=6, help="Photographs of 20 MP.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as folder:
        rows = measure(Path(folder), "2 MP", SMALL, given.count, given)
        rows += measure(Path(folder), "20 MP", LARGE, given.large, given) if given.large else []
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
