"""Probabilities of places that a network has not seen, with the fields drawn there: what
``cut_score.py`` learns from and measures on.

    python runs/cut_samples.py samples --networks fold0.safetensors ... fold4.safetensors \\
        --chips ../shared/data/satellite/vhr_naip_usa --looks ../shared/data/satellite/s2_unlabelled

A network is a packaged model, a model's folder, or a checkpoint of the family "dates" with
``architecture.json`` beside it, which is shown images at ``--finer`` times finer pixels, of
``--gsd`` metres.  One answers for all places; of five the k-th answers for the k-th fold by place,
which it has not seen.  Aerial chips are shown as they are, at 2.5 and 4 m, as Sentinel-2 true
colour and as two of its dates, several times in other colours; chips whose large fields are cut
into painted strips (``--painted``, how often; ``strips.py``) likewise; simulated scenes
(``scenes.py``) as they are, each date alone for a model of one date, and those of 1 m in its
colours.  The network answers as it does in `selion map`, so samples lie on the grid that objects
are found on.  Each is kept in the folder under the network's hash, and asked for once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from affine import Affine
from odc.geo.geobox import GeoBox

from fields_rgb_vhr import folds, pyramid, read_chip, split
from satellite import DISPLAY, Chip, Looks, add_infrared, read_looks, recolour, repaint
from selion.classes import FTW3
from selion.evaluation.answers import onto
from selion.grid import ground_sampling_distance, whole
from selion.models import ModelCard, load_model
from selion.models.dates.network import ABSENT
from selion.models.network import build_network
from selion.models.pixel import TorchSegmenter
from selion.prediction import plan, predict
from selion.raster import Raster
from selion.segmenter import InputSpec, LoadedModel, as_model
from strips import NARROWEST, paint_strips

COARSE = (1.0, 2.5, 4.0)
"""Metres at which an aerial chip is shown."""
SATELLITE = 10.0
STRIPS = {"1 m": 1.0, "2.5 m": 2.5, "colour": SATELLITE, "dates": SATELLITE}
"""How a painted chip is shown -> metres."""
PAINTED = "simulated strips"
FINE = 2.0
"""Metres up to which a simulated scene is shown stretched, as an aerial image is."""
SCORES = 254
"""Steps of a stored probability."""
DATE = ("red", "green", "blue", "nir")
BYTES, NUMBERS, MOST = 255.0, 3000.0, 3.0
"""What colours in bytes and digital numbers are divided by, and what these are cut at."""


@dataclass(frozen=True)
class Pixels:
    """At which pixels a checkpoint is shown an image; a packaged model knows by itself."""

    gsd: tuple[float, float] = (1.65, 4.5)
    """Metres, finest and coarsest."""
    finer: float = 1.0
    """How many times finer than the image's own within these."""


USUAL = Pixels()


@dataclass(frozen=True)
class View:
    """A place as it is shown to a network; what it shows is drawn when it is asked for."""

    name: str
    kind: str
    fold: int
    path: Path
    gsd: float
    unseen: bool
    """Whether the models of the first releases have not been trained on it."""
    turn: int = 0
    """Which of several views of the kind, or which date of a scene."""

    @property
    def dates(self) -> int:
        """How many dates it has: one of 8-bit colour, or more of digital numbers."""
        return 2 if "dates" in self.kind else 1


def views(chips: Path | None, count: int, scenes: list[Path], painted: int = 0) -> Iterator[View]:
    """All views of all places."""
    fresh = set(split(chips)[1]) if chips else set()
    for fold, paths in enumerate(folds(chips) if chips else []):
        for path in paths:
            for gsd in COARSE:
                kind = f"aerial {gsd:g} m"
                yield View(f"{path.stem}_{gsd:g}m", kind, fold, path, gsd, path in fresh)
            for kind in ("true colour", "two dates"):
                for turn in range(count):
                    name = f"{path.stem}_{kind.replace(' ', '_')}_{turn}"
                    yield View(name, kind, fold, path, SATELLITE, path in fresh, turn)
            for turn in range(painted):
                for shown, gsd in STRIPS.items():
                    name = f"{path.stem}_strips_{shown.replace(' ', '')}_{turn}"
                    yield View(name, f"{PAINTED} {shown}", fold, path, gsd, path in fresh, turn)
    for k, path in enumerate(scenes):
        with np.load(path) as scene:
            gsd = float(scene["gsd"]) if "gsd" in scene.files else SATELLITE
        fine = ("simulated 1 m",) * 2
        coarse = ("simulated colour", "simulated colour", "simulated dates")
        for turn, kind in enumerate(coarse if gsd > FINE else fine):
            name = f"{path.parent.name}_{path.stem}_{turn}"
            yield View(name, kind, k % 5, path, gsd, True, turn)


def draw(view: View, looks: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(band, y, x) image and (y, x) ids."""
    if view.path.suffix == ".npz":
        return scene_view(view)
    chip = _chip(view.path)
    if view.kind.startswith(PAINTED):
        chip = _painted(chip, view)
    if view.gsd < SATELLITE:
        return aerial(chip, view.gsd)
    assert looks is not None, "satellite views need --looks"
    rng = np.random.default_rng([view.turn, view.dates, *view.path.stem.encode()])
    return as_satellite(chip, _looks(looks), rng, view.dates)


@lru_cache(2)
def _chip(path: Path) -> Chip:
    return read_chip(path)


def _painted(chip: Chip, view: View) -> Chip:
    """Cut its large fields into strips, others in each turn."""
    levels, ids = chip
    narrowest = NARROWEST["satellite" if view.gsd == SATELLITE else "aerial"]
    rng = np.random.default_rng([11, view.turn, *view.path.stem.encode()])
    image = (levels[0].numpy() * 255).round().astype(np.uint8)
    made, named = paint_strips(image, ids.numpy(), narrowest, rng)
    return pyramid(torch.from_numpy(made).float() / 255), torch.from_numpy(named)


@lru_cache(1)
def _looks(folder: Path) -> Looks:
    return read_looks(folder)


def aerial(chip: Chip, gsd: float) -> tuple[np.ndarray, np.ndarray]:
    """(3, y, x) uint8 image and (y, x) ids of a chip at some distance."""
    levels, ids = chip
    image, shape = levels[0], tuple(round(side / gsd) for side in ids.shape)
    if gsd > 1:
        image = F.interpolate(image[None], shape, mode="area")[0]
    fine = F.interpolate(ids[None, None].float(), shape, mode="nearest-exact")[0, 0]
    return (image.numpy() * 255).round().astype(np.uint8), fine.numpy().astype(np.int32)


def as_satellite(
    chip: Chip, looks: Looks, rng: np.random.Generator, dates: int
) -> tuple[np.ndarray, np.ndarray]:
    """A chip through Sentinel-2's eyes at 10 m: one date of 8-bit colour, or two of four bands."""
    levels, ids = chip
    side = tuple(round(n / SATELLITE) for n in ids.shape)
    half_side = tuple(2 * n for n in side)
    half = F.interpolate(levels[2][None], half_side, mode="area")[0]
    parts = F.interpolate(ids[None, None].float(), half_side, mode="nearest-exact")[0, 0].int()
    seen = []
    for _ in range(dates):
        date = recolour(half, looks.colours[rng.integers(len(looks.colours))])
        if dates > 1:
            date = add_infrared(date, looks, rng)
        if dates > 1 or rng.random() < 0.5:
            date = repaint(date, parts, looks.spectra, float(rng.uniform(0.1, 0.7)), rng)
        blurred = F.avg_pool2d(date[None], 3, 1, 1, count_include_pad=False)
        seen.append(F.avg_pool2d(blurred, 2)[0].numpy() * 10_000)
    found = F.interpolate(ids[None, None].float(), side, mode="nearest-exact")[0, 0]
    image = np.concatenate(seen)
    if dates == 1:
        image = (image / DISPLAY).round().clip(0, 255).astype(np.uint8)
    return image, found.numpy().astype(np.int32)


def scene_view(view: View) -> tuple[np.ndarray, np.ndarray]:
    """A simulated scene: the pair, or one date in 8-bit colour, that of metres stretched."""
    with np.load(view.path) as scene:
        image, ids = scene["image"], scene["ids"].astype(np.int32)
    if len(ids) > image.shape[1]:
        ids = ids[1::2, 1::2]
    if view.dates == 1:
        image = image[4 * view.turn : 4 * view.turn + 3]
        step = DISPLAY if view.gsd > FINE else float(image.mean() + 2 * image.std()) / 242
        image = (image / step).round().clip(0, 255).astype(np.uint8)
    return image, np.maximum(ids, 0)


def bands_of(dates: int) -> tuple[str, ...]:
    """Names of the bands of one date, or of several."""
    if dates == 1:
        return DATE
    return tuple(f"window_{'abcdefgh'[k]}:{band}" for k in range(dates) for band in DATE)


def described(checkpoint: Path) -> dict[str, Any]:
    """What lies beside a checkpoint: ``architecture``."""
    about: dict[str, Any] = json.loads((checkpoint.parent / "architecture.json").read_text())
    return about


@lru_cache(2)
def open_network(name: str, dates: int, pixels: Pixels) -> LoadedModel[np.ndarray]:
    """A packaged model, or a checkpoint for so many dates."""
    torch.set_num_threads(1)
    path = Path(name)
    if path.suffix != ".safetensors":
        return load_model(name)
    from safetensors.torch import load_file

    about = described(path)
    bands = bands_of(dates)
    card = ModelCard(
        path.stem,
        InputSpec(bands, gsd=pixels.gsd, window=512, any_order=True, finer=pixels.finer),
        FTW3,
        architecture=about["architecture"],
        files={"model.safetensors": key_of(name, pixels)},
    )
    network = build_network(about["architecture"], len(DATE), len(FTW3))
    state = {key: value.float() for key, value in load_file(path).items()}
    network.load_state_dict(state, strict=True)
    return as_model(TorchSegmenter(card, network, "cpu"))


def takes(name: str, view: View) -> bool:
    """Whether a network can be shown a view."""
    if Path(name).suffix == ".safetensors":
        return True
    return len(load_model(name).inputs.bands) == {1: 3, 2: 8}[view.dates]


def prepared(name: str, view: View, image: np.ndarray) -> np.ndarray:
    """Numbers as the network wants them: a checkpoint gets them scaled, and told what is absent."""
    if Path(name).suffix != ".safetensors":
        return image
    if view.dates > 1:
        return np.clip(image / NUMBERS, 0, MOST).astype(np.float32)
    scaled = (image / BYTES).astype(np.float32)
    return np.concatenate([scaled, np.full_like(scaled[:1], ABSENT)])


def ask(name: str, view: View, looks: Path | None, pixels: Pixels) -> dict[str, Any]:
    """Ask a network about a view: probabilities, ids, and the image on the grid of both."""
    image, ids = draw(view, looks)
    model = open_network(name, view.dates, pixels)
    grid = GeoBox(image.shape[1:], Affine(view.gsd, 0, 5e5, 0, -view.gsd, 5e6), "EPSG:32631")
    seen = Raster(prepared(name, view, image), grid, model.inputs.bands)
    said = predict(seen, model)
    shown = Raster(image, grid, model.inputs.bands[: len(image)])
    working = plan(seen, model).working(shown)
    about = {"kind": view.kind, "fold": view.fold, "unseen": view.unseen}
    about["gsd"] = ground_sampling_distance(said.grid)
    return {
        "probs": (said.values * SCORES).round().astype(np.uint8),
        "truth": onto(ids, said.grid),
        "image": working.read(whole(working.grid)).values.astype(image.dtype),
        "about": np.array(json.dumps(about)),
    }


@lru_cache(16)
def key_of(name: str, pixels: Pixels) -> str:
    """Stands for a network's weights, and for how a checkpoint is shown images."""
    path = Path(name)
    if path.suffix != ".safetensors":
        return str(load_model(name).card.files["model.safetensors"])
    shown = f"{described(path)['architecture']}{pixels}{BYTES}{NUMBERS}{MOST}"
    return hashlib.sha256(path.read_bytes() + shown.encode()).hexdigest()


def sample(out: Path, name: str, view: View, looks: Path | None, pixels: Pixels = USUAL) -> Path:
    """Ask for a sample, unless it is there."""
    path = out / key_of(name, pixels)[:12] / f"{view.name}.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **ask(name, view, looks, pixels))
        part.replace(path)
    return path


def add_options(parser: argparse.ArgumentParser) -> None:
    """What is asked, and about what."""
    parser.add_argument("--networks", nargs="+", required=True)
    parser.add_argument("--chips", type=Path)
    parser.add_argument("--looks", type=Path, help="real scenes, for the colours of satellites")
    parser.add_argument("--views", type=int, default=3, help="satellite views of each chip")
    parser.add_argument("--scenes", type=Path, nargs="*", default=[])
    parser.add_argument("--painted", type=int, default=0, help="times that each chip is painted")
    parser.add_argument("--kinds", nargs="+", help="only these, such as 'aerial 1 m'")
    parser.add_argument("--gsd", nargs=2, type=float, default=USUAL.gsd, help="of checkpoints")
    parser.add_argument("--finer", type=float, default=USUAL.finer, help="of checkpoints")
    parser.add_argument("--processes", type=int, default=2)


def make(args: argparse.Namespace, out: Path) -> list[Path]:
    """Make the samples that are asked for, those that are there already left as they are."""
    wanted = [
        (args.networks[view.fold % len(args.networks)], view)
        for view in views(args.chips, args.views, args.scenes, args.painted)
        if not args.kinds or view.kind in args.kinds
    ]
    wanted = [(name, view) for name, view in wanted if takes(name, view)]
    pixels = Pixels(tuple(args.gsd), args.finer)
    with ProcessPoolExecutor(args.processes) as pool:
        tasks = [pool.submit(sample, out, name, view, args.looks, pixels) for name, view in wanted]
        return [task.result() for task in tasks]


def main() -> None:
    """Ask and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    add_options(parser)
    args = parser.parse_args()
    print(len(make(args, args.out)), "samples in", args.out)


if __name__ == "__main__":
    main()
