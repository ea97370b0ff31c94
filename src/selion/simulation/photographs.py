"""A sample of photographs of crops: :func:`write_photographs`; no real plant is shown.

With masks, depth maps, and the subsets that DepthCropSeg++ is scored on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from selion import store
from selion.errors import BadInput
from selion.progress import OnStep, silent
from selion.simulation.chips import OPTIONS
from selion.simulation.landscape.photo import Photo, PhotoOptions, simulate_photo
from selion.store.replaced import FolderKind

UNLABELLED = "unlabelled"
"""Folder of photographs without masks, and ``depth`` beside its ``photos``."""
PHOTOGRAPHS = FolderKind(
    "simulated photographs",
    (OPTIONS,),
    ("dataset.toml", "images/", "masks/", f"{UNLABELLED}/"),
)
WHEAT, SOYBEAN, RICE, FULL = "wheat", "soybean", "rice", "full"
"""Groups that stand for data of the paper: wheat for GWFSS, and the subsets of Table VII."""
NIGHT = 0.22
"""Share of daylight in the photographs that stand for those at night."""
KINDS = {
    WHEAT: PhotoOptions("blade"),
    "beet": PhotoOptions("oval"),
    "rape": PhotoOptions("lobed"),
    RICE: PhotoOptions("blade", light=NIGHT),
    SOYBEAN: PhotoOptions("heart", light=NIGHT),
    FULL: PhotoOptions("oval", canopy=True),
}
"""Group -> what its photographs show.  Soybean is tested on and never learnt, as in the paper."""
LEARNT = (WHEAT, "beet", "rape", RICE)
DECLARATION = """# Simulated photographs: no real plant is shown.
title = "Simulated photographs of crops"
layout = "files"
classes = "crop"
licence = "CC0-1.0"
citation = "simulated by selion"

[files]
image = "images/{split}/{group}/{key}.png"
labels = "masks/{split}/{group}/{key}.png"
values = { 0 = "soil", 1 = "crop" }
"""


@dataclass(frozen=True, slots=True)
class PhotographOptions:
    """How large a sample of photographs is."""

    labelled: int = 5
    """Photographs with masks of each group that is learnt; a third as many, one at least, to
    validate on."""
    unlabelled: int = 6
    """Photographs without masks of each group that is learnt, and canopies."""
    test: int = 4
    """Photographs to score on, of each group."""
    shape: tuple[int, int] = (192, 256)
    """(y, x) in pixels."""
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.labelled, self.unlabelled, self.test) < 1 or self.seed < 0:
            raise BadInput(
                f"{self.labelled} labelled, {self.unlabelled} unlabelled and {self.test} test "
                f"photographs of each group, seed {self.seed}, were asked for; wanted is one of "
                "each at least, and a seed from 0 on."
            )

    def to_json(self) -> str:
        """Write them as they lie beside the photographs."""
        return json.dumps(asdict(self), indent=1) + "\n"


def write_photographs(
    folder: str | os.PathLike[str],
    options: PhotographOptions | None = None,
    *,
    force: bool = False,
    on_step: OnStep = silent,
) -> Path:
    """Write photographs with masks, and others with depth maps alone.

    ::

        dataset.toml                             opens as a dataset: 'selion data check FOLDER'
        images/<split>/<group>/<key>.png         red, green, blue
        masks/<split>/<group>/<key>.png          0 soil, 1 crop
        unlabelled/photos/<group>_<key>.png
        unlabelled/depth/<group>_<key>.png       16 bits, larger is nearer

    Parameters
    ----------
    folder : path
    options : PhotographOptions, optional
    force : bool
        Whether an existing folder is replaced.
    on_step : callable, optional
        Told of progress: (stage, done, total, detail).

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputExists, OutputFailed
        If it may not, or cannot, be written.

    Notes
    -----
    The groups stand for the subsets of DepthCropSeg++ (section III.B): soybean at night, which is
    not learnt; rice at night; full coverage.  Depth maps are the true heights, blurred as networks
    blur them.
    """
    options = options or PhotographOptions()
    wanted = list(_wanted(options))
    with store.atomic_folder(folder, force, PHOTOGRAPHS) as temporary:
        for done, (place, group, seed) in enumerate(wanted):
            on_step("photographs", done, len(wanted))
            photo = simulate_photo(seed, options.shape, KINDS[group])
            _write(temporary, place, f"{group}_{seed:04d}", photo)
        (temporary / "dataset.toml").write_text(DECLARATION, "utf-8")
        (temporary / OPTIONS).write_text(options.to_json(), "utf-8")
    on_step("photographs", len(wanted), len(wanted))
    return Path(folder)


def _wanted(options: PhotographOptions) -> Iterator[tuple[str, str, int]]:
    """Yield where each photograph goes, its group, and its seed; no seed comes twice."""
    counts = {
        **{f"train/{group}": (group, options.labelled) for group in LEARNT},
        **{f"val/{group}": (group, max(1, options.labelled // 3)) for group in LEARNT},
        **{f"{UNLABELLED}/{group}": (group, options.unlabelled) for group in (*LEARNT, FULL)},
        **{f"test/{group}": (group, options.test) for group in KINDS},
    }
    seed = 10_000 * options.seed
    for place, (group, count) in counts.items():
        for _ in range(count):
            yield place, group, seed
            seed += 1


def _write(folder: Path, place: str, key: str, photo: Photo) -> None:
    if place.startswith(UNLABELLED):
        heights = ndimage.gaussian_filter(photo.depth, 1.0)
        deep = (np.clip(heights, 0, 1) * 65535).round().astype(np.uint16)
        _picture(folder / UNLABELLED / "photos" / f"{key}.png", photo.image.values)
        _picture(folder / UNLABELLED / "depth" / f"{key}.png", deep)
        return
    _picture(folder / "images" / place / f"{key}.png", photo.image.values)
    _picture(folder / "masks" / place / f"{key}.png", photo.labels.ids)


def _picture(path: Path, values: np.ndarray) -> None:
    """Write (3, y, x) uint8, (y, x) uint8 or (y, x) uint16 as PNG."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values if values.ndim == 2 else values.transpose(1, 2, 0))
    store.write_picture(path, picture, "PNG")
