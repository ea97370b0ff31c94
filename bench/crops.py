"""``selion crops``: photographs a minute at 2 and 20 megapixels on the cores there are, and where
the time goes.

    python bench/crops.py                       2 MP x 24 and 20 MP x 6, default model
    python bench/crops.py --model colour --count 8 --large 2
    python bench/crops.py --real FOLDER         CPU seconds of one photograph of 20 MP, made of real
                                                ones side by side, and of its network alone
                                                [--rounds 3]

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
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from selion.closerange import (
    ComputeOptions,
    CropOptions,
    measure_folder,
    measure_photo,
    open_model,
)
from selion.closerange.measure import MASKS, OVERLAYS, THUMBS
from selion.closerange.model import default_model
from selion.cores import usable_cores
from selion.data.photos import find_photos, read_photo
from selion.grid import whole
from selion.prediction import PredictOptions, plan
from selion.reports.photographs import write_gallery
from selion.segmenter import View
from selion.simulation.landscape import simulate_photo
from table import Row, markdown, ratio, save, seconds

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


def real_photograph(folder: Path, target: Path) -> Path:
    """Write 20 MP of real photographs side by side, each enlarged or cut to 700 px."""
    height, width = LARGE
    found = find_photos(folder)
    canvas = Image.new("RGB", (width, height))
    for k, (y, x) in enumerate(product(range(0, height, 700), range(0, width, 700))):
        with Image.open(found[7 * k % len(found)].path) as photo:
            canvas.paste(photo.convert("RGB").resize((700, 700), Image.Resampling.BICUBIC), (x, y))
    target.mkdir()
    canvas.save(target / "real.jpg", quality=92)
    return target


def processor(work: Path, folder: Path, model: str | None, rounds: int) -> list[Row]:
    """Count the CPU seconds of one photograph in this process, all its threads, by what they do."""
    photo = find_photos(real_photograph(folder, work / "real"))[0]
    opened = open_model(model or default_model()[0], threads=1)
    image = read_photo(photo.path).image
    segmenter = opened.fit(image)
    edge = segmenter.inputs.window
    decided = plan(image, segmenter, PredictOptions())
    starts = [
        decided.lattice_roi(*position) for position in decided.lattice.touching(whole(image.grid))
    ]
    views = [View(image.read(roi).values.astype(np.float32), roi) for roi in starts]
    views = [view for view in views if view.pixels.shape[1:] == (edge, edge)]
    out = work / "real out"
    for name in (MASKS, OVERLAYS, THUMBS):
        (out / name).mkdir(parents=True)
    spent: dict[str, list[float]] = {"whole": [], "network": []}
    for _ in range(rounds):
        for what, do in (
            ("whole", lambda: measure_photo(photo, opened, out=out)),
            ("network", lambda: [segmenter(views[k : k + 2]) for k in range(0, len(views), 2)]),
        ):
            begin = time.process_time()
            do()
            spent[what].append(time.process_time() - begin)
    rows = [seconds(NAME, f"20 MP, real, CPU, {what}", walls) for what, walls in spent.items()]
    return [*rows, ratio(NAME, "20 MP, real, CPU, whole over network", *spent.values())]


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
    parser.add_argument("--real", type=Path, help="Folder of real photographs: CPU seconds alone.")
    parser.add_argument("--rounds", type=int, default=3, help="With --real: times it is measured.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="selion-bench-") as folder:
        if given.real:
            rows = processor(Path(folder), given.real, given.model, given.rounds)
        else:
            rows = measure(Path(folder), "2 MP", SMALL, given.count, given)
            rows += measure(Path(folder), "20 MP", LARGE, given.large, given) if given.large else []
    if given.json:
        save(rows, given.json)
    print(markdown(rows))


if __name__ == "__main__":
    main()
