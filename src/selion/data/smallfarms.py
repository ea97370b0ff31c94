"""AI4SmallFarms: Sentinel-2 tiles of Cambodia and Vietnam with hand-drawn fields.

Persello et al. 2023, doi:10.1109/LGRS.2023.3323095.

::

    sentinel-2-asia/{train,validate,test}/images/<tile>.tif       blue, green, red, near infrared
    sentinel-2-asia/{train,validate,test}/masks/<tile>.tif        two classes (may be absent)
    sentinel-2-asia/reference/<tile>_areas.gpkg                   fields
    sentinel-2-asia/reference/<tile>_lines.gpkg                   their outlines

Objects come from the polygons, burnt onto the image's grid; labels from the objects, so that they
have a boundary where one is asked for.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from odc.geo.geobox import GeoBox

from selion.classes import FTW2, FTW3, ClassScheme
from selion.data.burning import Burning, burn_fields, read_outlines
from selion.data.dataset import Dataset, Entry, Truth
from selion.data.declare import Declaration
from selion.data.files import FileLayout, open_image, read_truth
from selion.data.splits import split_name
from selion.data.values import UNKNOWN
from selion.errors import UnknownName, UnreadableFile

BANDS = ("blue", "green", "red", "nir")
COUNTRIES = ("cambodia", "vietnam")
VALUES = {"0": "background", "1": "field", "255": UNKNOWN}


def burnt_truth(path: Path, classes: ClassScheme, burning: Burning, grid: GeoBox) -> Truth:
    """Burn a tile's polygons onto its grid."""
    return burn_fields(read_outlines(path, grid), grid, burning, classes)


def load_smallfarms(
    made: Declaration, root: Path, wanted: ClassScheme | None, boundary: int
) -> Dataset:
    """List the tiles.

    Raises
    ------
    UnreadableFile
        If there are none.
    UnknownName
        If other classes than those of fields are asked for.
    """
    classes = wanted or FTW3
    if classes.names not in (FTW2.names, FTW3.names):
        raise UnknownName.among(
            "class scheme of AI4SmallFarms",
            ", ".join(classes.names),
            [", ".join(FTW2.names), ", ".join(FTW3.names)],
        )
    home = root / "sentinel-2-asia" if (root / "sentinel-2-asia").is_dir() else root
    images = sorted(
        (p for p in home.glob("*/images/*") if p.suffix.lower() in (".tif", ".tiff")),
        key=lambda p: p.name,
    )
    if not images:
        raise UnreadableFile(
            f"No tile of AI4SmallFarms lies under {root}: wanted is "
            "sentinel-2-asia/train/images/<tile>.tif beside sentinel-2-asia/reference."
        )
    entries = [_entry(home, image, classes, Burning(width=boundary)) for image in images]
    lost = [image.name for image, entry in zip(images, entries, strict=True) if entry is None]
    problems = (
        [f"{len(lost)} tiles have neither polygons nor a mask: {', '.join(lost[:5])}"]
        if lost
        else []
    )
    return made.dataset(classes, [e for e in entries if e], root, problems)


def _entry(home: Path, image: Path, classes: ClassScheme, burning: Burning) -> Entry | None:
    stem, split = image.stem, split_name(image.parents[1].name)
    group = next((name for name in COUNTRIES if name in stem.lower()), "")
    polygons = _polygons(home / "reference", stem)
    masks = [image.parents[1] / "masks" / image.name]
    masks = [path for path in masks if path.is_file()]
    opened = partial(open_image, image, BANDS)
    if polygons is not None:
        return Entry(
            stem,
            opened,
            partial(burnt_truth, polygons, classes, burning),
            split,
            group,
            (image, polygons),
        )
    if masks and classes.names == FTW2.names:
        recipe = FileLayout(FTW2, FTW2, VALUES, "", 0)
        return Entry(
            stem,
            opened,
            partial(read_truth, masks[0], None, recipe),
            split,
            group,
            (image, masks[0]),
        )
    return None


def _polygons(reference: Path, stem: str) -> Path | None:
    """Return the polygons of a tile.

    Names of image and polygons share the tile's number and country.
    """
    exact = [reference / f"{stem}_{what}.gpkg" for what in ("areas", "fields")] + [
        reference / f"{stem}.gpkg"
    ]
    found = next((path for path in exact if path.is_file()), None)
    number, country = (
        re.search(r"\d+", stem),
        next((name for name in COUNTRIES if name in stem.lower()), None),
    )
    if found is None and number and country:
        wanted = re.compile(rf"0*{int(number[0])}_{country}_(areas|fields)\.gpkg")
        found = next(
            (path for path in sorted(reference.glob("*.gpkg")) if wanted.fullmatch(path.name)), None
        )
    return found
