"""Train ``fields-s2-2season``: two Sentinel-2 dates, eight bands, upsampled to 5 m -> background,
field, boundary.

Sources: the simulated countryside, images at 10 m and truth at 5 m from the same seeds, rendered
once into the data folder, or by ``scenes.py`` (``--more-scenes``); real fields of aerial chips
drawn as two dates of Sentinel-2 (``satellite.py``); real pairs of dates that the releases before
have labelled (``pseudo_labels.py``), and their places of one date, drawn as two; EuroSAT's patches
without fields, and those with, as the model of colour labels them.  A killed run goes on where it
was.  docs/weights.md names the runs that make what ships; the first, on simulation alone, was

    python runs/fields_s2_2season.py checkpoints/scenes checkpoints/s2 --scenes 48 \
        --start-from checkpoints/vhr/last.pt

``--start-from`` takes over the weights of another run where shapes fit; of a model of colour the
first convolution is shared out to the dates (``fit.fitted``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from fields_rgb_vhr import read_chip, split
from fit import (
    IGNORE,
    Batch,
    boundary_labels,
    fit,
    network,
    options,
    random_grid,
    read_state,
    sample,
)
from satellite import (
    BARE,
    DISPLAY,
    LEARNT,
    Looks,
    add_infrared,
    boundary_width,
    draw_bare,
    draw_gsd,
    draw_pair,
    draw_pseudo,
    read_looks,
    read_patches,
    read_pseudo,
    recolour,
    repaint,
)
from selion.simulation.landscape import simulate

DECODERS = {"narrow": (64, 48, 32, 24, 16), "wide": (128, 64, 32, 24, 16)}
"""The first is what a run of its own has, the second that of the RGB model."""
WATER = "SeaLake"
FIELDS = ("AnnualCrop", "PermanentCrop", "Pasture", "HerbaceousVegetation", "River", "Highway")
"""EuroSAT's classes with fields."""
SURE = 0.6
"""Probability from which a teacher's class of a pixel counts."""
WANTED = (
    ("known", "pseudo"),
    ("once", "pseudo", "looks"),
    ("bare", "patches", "looks"),
    ("satellite", "chips", "looks"),
    ("taught", "patches", "teacher", "looks"),
)
"""A share of windows, and what it cannot be drawn without."""
GSD, SIDE = 10.0, 512
STYLES = (
    "europe",
    "europe",
    "europe",
    "mixed",
    "mixed",
    "bocage",
    "prairie",
    "mixed",
    "smallholder",
    "europe",
    "pivots",
    "mixed",
)
"""Drawn in turn: the fields that 10 m can show more often than those it cannot."""
FIRST_SEED = 50_000
"""Seeds of the training scenes; the demo and the tests stay below."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """A real scene of one date that a teacher has labelled."""

    image: torch.Tensor
    """(3, y, x) digital numbers at 10 m."""
    classes: torch.Tensor
    """(2y, 2x) classes, 255 where the teacher was not sure."""
    parts: torch.Tensor
    """(2y, 2x) numbers of the fields, 0 between them."""


def read_labelled(image: torch.Tensor, classes: torch.Tensor) -> Labelled:
    """Number the fields of a scene: their insides, grown by the pixel that bounds them."""
    parts, _ = ndimage.label(classes.numpy() == 1)
    grown = ndimage.grey_dilation(parts, 3)
    return Labelled(image[:3], classes, torch.from_numpy(np.where(parts, parts, grown)))


@torch.no_grad()
def label_patches(folder: Path, teacher: Path) -> list[Labelled]:
    """Read EuroSAT's patches with fields, and label them by a model of colour at 5 m.

    Without them a network tells by the look of EuroSAT that there are none.
    """
    model = network(3, DECODERS["wide"]).eval()
    model.load_state_dict(read_state(teacher, "mean"))
    found = []
    for patch in read_patches(folder, FIELDS, slice(LEARNT)):
        fine = F.interpolate(patch[None], scale_factor=2, mode="bilinear", align_corners=False)
        sure, classes = model(fine)[0].softmax(0).max(0)
        classes[sure < SURE] = IGNORE
        found.append(read_labelled(patch * (255 * DISPLAY), classes.to(torch.int32)))
    return found


def render(folder: Path, count: int, first: int = FIRST_SEED) -> list[Path]:
    """Simulate the scenes that are not in the folder yet, from seed ``first`` on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"scene_{k:03d}.npz" for k in range(count)]
    for k, path in enumerate(paths):
        if path.exists():
            continue
        style = STYLES[k % len(STYLES)]
        image = simulate(first + k, (SIDE, SIDE), GSD, style).image.values
        fine = simulate(first + k, (2 * SIDE, 2 * SIDE), GSD / 2, style).instances.ids
        part = path.with_suffix(".part.npz")
        np.savez(part, image=image, ids=fine.astype(np.int32))
        part.replace(path)
        print(path.name, style, flush=True)
    return paths


def read_scene(path: Path) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Read (8, y, x) float32 digital numbers, ids as fine or twice as fine, metres per pixel."""
    with np.load(path) as scene:
        gsd = float(scene["gsd"]) if "gsd" in scene.files else GSD
        image = torch.from_numpy(scene["image"].astype(np.float32))
        return image, torch.from_numpy(scene["ids"]), gsd


def draw_view(
    scene: tuple[torch.Tensor, torch.Tensor, float], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window at 3.5 to 7 m, any angle; a third is looked at through a wider point-spread
    function.
    """
    image, ids, native = scene
    gsd = draw_gsd(rng, (4.0, 6.0), (1.7, 10.0), 0.7)
    grid = random_grid(size, gsd, native, tuple(image.shape[1:]), rng, margin=2)
    pixels, found = sample(image, ids, grid)
    if rng.random() < 0.3:
        pixels = F.avg_pool2d(pixels[None], 3, 1, 1, count_include_pad=False)[0]
    return pixels, boundary_labels(found, boundary_width(gsd))


def jitter(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Digital numbers -> input.

    PRUE's divisor drawn from 1500 to 4500 (a tenth up to 10000), window order swapped; gain and
    offset per date and per band, the offset of 1000 forgotten or taken twice, a thin haze that is
    thicker on one side, noise.
    """
    if rng.random() < 0.5:
        pixels = torch.cat([pixels[4:], pixels[:4]])
    kind = rng.random()
    divisor = (
        3000.0
        if kind < 0.3
        else rng.uniform(1500, 4500)
        if kind < 0.9
        else rng.uniform(4500, 10000)
    )
    gain = np.exp(np.repeat(rng.normal(0, 0.10, 2), 4) + rng.normal(0, 0.08, 8)).astype(np.float32)[
        :, None, None
    ]
    haze = (np.repeat(rng.normal(0, 60, 2), 4) + rng.normal(0, 40, 8)).astype(np.float32)[
        :, None, None
    ]
    pixels = pixels * torch.from_numpy(gain) + torch.from_numpy(haze)
    if rng.random() < 0.2:
        pixels = pixels + float(rng.choice([-1000.0, 1000.0])) * float(rng.uniform(0.2, 1.0))
    if rng.random() < 0.15:
        side = (
            torch.linspace(0, 1, pixels.shape[2])
            if rng.random() < 0.5
            else torch.linspace(0, 1, pixels.shape[1])[:, None]
        )
        date = slice(0, 4) if rng.random() < 0.5 else slice(4, 8)
        pixels[date] += (
            side * torch.tensor([1.0, 1.1, 1.3, 0.7])[:, None, None] * float(rng.uniform(100, 700))
        )
    noise = torch.from_numpy(rng.standard_normal(tuple(pixels.shape), np.float32)) * float(
        rng.uniform(0, 60)
    )
    return ((pixels + noise) / divisor).clamp(0, 3)


def misread(pixels: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """The dates the other way round, in another light: input -> input."""
    swapped = torch.cat([pixels[4:], pixels[:4]])
    gain = float(np.exp(rng.uniform(np.log(0.6), np.log(1.6))))
    return (swapped * gain + float(rng.normal(0, 0.03))).clamp(0, 3)


def draw_once(
    scene: Labelled, size: int, looks: Looks, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of a real scene of one date that the RGB model has labelled, drawn as two.

    Near infrared comes by regression, the second date in the colours of another scene, and a share
    of the fields in those of other pixels.
    """
    gsd = draw_gsd(rng, (4.2, 5.8), (1.5, 12.0), 0.5)
    grid = random_grid(size, gsd, 10.0, tuple(scene.image.shape[1:]), rng, margin=2)
    pixels, found = sample(scene.image, scene.classes, grid)
    parts = sample(scene.image[:1], scene.parts, grid)[1]
    dates = []
    for again in (False, True):
        visible = pixels / 10000
        if again:
            visible = recolour(visible, looks.colours[rng.integers(len(looks.colours))])
        date = add_infrared(visible, looks, rng)
        dates.append(repaint(date, parts, looks.spectra, rng.uniform(0.1, 0.7), rng))
    if rng.random() < 0.5:
        dates.reverse()
    return torch.cat(dates) * 10000, torch.where(found < 0, IGNORE, found).long()


def draw_no_field(
    water: torch.Tensor, land: torch.Tensor, size: int, looks: Looks, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window without a field, in the light of two days; water is dark in near infrared."""
    wet = rng.random() < 0.4
    image, classes = draw_bare(water if wet else land, size, rng)
    visible = image * (255 * DISPLAY / 10000)
    dates = []
    for _ in range(2):
        seen = visible * float(np.exp(rng.normal(0, 0.2)))
        if rng.random() < 0.4:
            seen = recolour(visible, looks.colours[rng.integers(len(looks.colours))])
        dark = seen.mean(0, keepdim=True) * float(rng.uniform(0.15, 0.8))
        dates.append(torch.cat([seen, dark]) if wet else add_infrared(seen, looks, rng))
    return torch.cat(dates) * 10000, classes


def draw_known(
    scene: tuple[list[torch.Tensor], torch.Tensor], size: int, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random window of two dates of a real scene that the RGB model has labelled."""
    dates, classes = scene
    first, second = rng.choice(len(dates), 2, replace=False)
    return draw_pseudo(torch.cat([dates[first], dates[second]]), classes, size, rng)


def _one_of(
    places: Sequence, draw: Callable[..., Batch], size: int, rng: np.random.Generator
) -> Batch:
    """Draw a window of one of several places."""
    return draw(places[rng.integers(len(places))], size=size, rng=rng)


def main() -> None:
    """Render, then train."""
    parser = options(__doc__)
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--render-only", action="store_true")
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument(
        "--more-scenes",
        type=Path,
        help="a second folder of rendered scenes, of which those of 10 m count",
    )
    parser.add_argument(
        "--chips", type=Path, help="aerial chips with fields, drawn as two dates of Sentinel-2"
    )
    parser.add_argument(
        "--looks",
        type=Path,
        help="folder of real Sentinel-2 scenes without labels, for the chips' colours",
    )
    parser.add_argument(
        "--satellite", type=float, default=0.0, help="share of windows from the chips"
    )
    parser.add_argument(
        "--pseudo",
        type=Path,
        help=(
            "folder of real scenes that the RGB model labelled (pseudo_labels.py): those of two "
            "dates and more"
        ),
    )
    parser.add_argument("--known", type=float, default=0.0, help="share of windows from those")
    parser.add_argument(
        "--once", type=float, default=0.0, help="share of windows from those of one date"
    )
    parser.add_argument(
        "--patches", type=Path, help="folder of EuroSAT, of whose classes without fields it learns"
    )
    parser.add_argument("--bare", type=float, default=0.0, help="share of windows from those")
    parser.add_argument(
        "--teacher", type=Path, help="model of colour that labels EuroSAT's classes with fields"
    )
    parser.add_argument("--taught", type=float, default=0.0, help="share of windows from those")
    parser.add_argument("--decoder", choices=DECODERS, default="narrow")
    args = parser.parse_args()
    for share, *wanted in WANTED:
        lacking = [f"--{name}" for name in wanted if not getattr(args, name)]
        if getattr(args, share) and lacking:
            parser.error(f"--{share} draws nothing without {' and '.join(lacking)}.")
    paths = render(args.data, args.scenes, args.first_seed)
    if args.render_only:
        return
    paths += sorted(args.more_scenes.glob("*.npz")) if args.more_scenes else []
    scenes = [scene for path in paths if (scene := read_scene(path))[2] == GSD]
    looks = read_looks(args.looks) if args.looks else None
    labelled = [read_pseudo(p) for p in (sorted(args.pseudo.glob("*.npz")) if args.pseudo else [])]
    known = [scene for scene in labelled if len(scene[0]) > 1]
    once = [read_labelled(dates[0], classes) for dates, classes in labelled if len(dates) == 1]
    chips = [read_chip(path) for path in split(args.chips)[0]] if args.chips else []
    wet, dry = (
        read_patches(args.patches, names, slice(LEARNT)) if args.bare else torch.zeros(0)
        for names in ((WATER,), tuple(name for name in BARE if name != WATER))
    )
    taught = label_patches(args.patches, args.teacher) if args.taught else []
    # in this order: a window's kind is where one number falls among the shares
    kinds = {
        "known": partial(_one_of, known, draw_known),
        "once": partial(_one_of, once, partial(draw_once, looks=looks)),
        "bare": partial(draw_no_field, wet, dry, looks=looks),
        "satellite": partial(_one_of, chips, partial(draw_pair, looks=looks)),
        "taught": partial(_one_of, taught, partial(draw_once, looks=looks)),
    }
    ends = np.cumsum([getattr(args, kind) for kind in kinds])
    draws = [*kinds.values(), partial(_one_of, scenes, draw_view)]

    def view(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        kind = int(np.searchsorted(ends, rng.random(), side="right"))
        return draws[kind](size=args.size, rng=rng)

    def draw(step: int) -> Batch:
        views = []
        for k in range(args.batch):
            rng = np.random.default_rng((args.seed, step, k))
            pixels, classes = view(rng)
            views.append((jitter(pixels, rng), classes))
        return torch.stack([v[0] for v in views]), torch.stack([v[1] for v in views])

    fit(draw, 8, DECODERS[args.decoder], args, misread)


if __name__ == "__main__":
    main()
