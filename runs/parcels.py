"""Real parcels as two dates of Sentinel-2 would show them: official and hand-drawn polygons,
painted with the seasons of simulated fields.

    python runs/parcels.py checkpoints/scenes ../shared/data/satellite/polygons checkpoints/parcels

What is real: the shapes and the neighbours of the parcels.  What is made: every parcel gets the
eight means of one simulated field, so both dates belong to one crop, and the texture of the
simulated scene; between the parcels lies the nearest ground of that scene that is no field.  What
is more than 15 m from every parcel counts in no loss: nobody has declared it, which does not say
that it is no field.  Places come from a file's own polygons: windows with many of them that cover
at least a third.  The files written have the form of ``fields_s2_2season.py --render-only``: image
at 10 m, ids at 5 m.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

SIDE, FINE = 256, 5.0
"""Pixels at 10 m of a window, and metres of the truth."""
GAP = 15.0
"""Metres from a parcel that are surely no other: tracks, hedges, ditches."""
LEAST_COVER, LEAST_COUNT = 1 / 3, 8
FREE = ("brazil_lem", "france_lpis_4km", "australia_wa_paddocks", "senegal_debi_tiguet")
"""Sources that lie dense enough for a window, and their licences: CC BY 4.0, Licence Ouverte 2.0,
MIT, MIT.  They take turns, so that Bahia's 215 places do not drown the small plots of others."""

PACKED = {
    "senegal_debi_tiguet": 36,
    "france_lpis_4km": 8,
    "brazil_lem": 8,
    "australia_wa_paddocks": 2,
    "azerbaijan_crops": 4,
}
"""Most windows of a source at either distance in :func:`pack`; Azerbaijan's plots: MIT."""


@dataclass(frozen=True, eq=False)
class Palette:
    """What a simulated scene lends."""

    means: np.ndarray
    """(field, 8) digital numbers."""
    texture: np.ndarray
    """(8, 2y, 2x) what is left of the scene's fields without their means, at 5 m; outside fields
    that of the nearest."""
    depth: np.ndarray
    """(2y, 2x) pixels to the rim of a field, 0 outside fields."""
    ground: np.ndarray
    """(8, 2y, 2x) the nearest ground that is no field, at 5 m."""


def read_palette(path: Path) -> Palette:
    """Read a simulated scene; of one whose truth is as coarse as its image, every second pixel."""
    with np.load(path) as scene:
        image, ids = scene["image"].astype(np.float32), scene["ids"].astype(np.int64)
    if image.shape[1:] == ids.shape:
        ids = ids[::2, ::2]
        fine = image.reshape(len(image), len(ids), 2, -1, 2).mean((2, 4))
    else:
        fine = image.repeat(2, 1).repeat(2, 2)
    sizes = np.bincount(ids.ravel()).clip(1)
    means = np.stack([np.bincount(ids.ravel(), band.ravel()) / sizes for band in fine], 1).astype(
        np.float32
    )
    inner = ndimage.minimum_filter(ids, 5) == ndimage.maximum_filter(ids, 5)
    farmed = (ids > 0) & inner
    near = ndimage.distance_transform_edt(~farmed, return_distances=False, return_indices=True)
    texture = (fine - means[ids].transpose(2, 0, 1))[:, near[0], near[1]]
    depth = ndimage.distance_transform_edt(farmed).astype(np.float32)
    nearest = ndimage.distance_transform_edt(
        (ids > 0) | ~inner, return_distances=False, return_indices=True
    )
    keep = np.bincount(ids[inner], minlength=len(means)) > 40
    keep[0] = False
    return Palette(means[keep], texture, depth, fine[:, nearest[0], nearest[1]])


def windows(path: Path, fine: float = FINE, shift: float = 0.0) -> list[np.ndarray]:
    """(2 SIDE, 2 SIDE) ids at ``fine`` metres of every window that polygons cover well enough.

    ``shift``, a share of a window, moves the grid of windows.
    """
    import geopandas as gpd
    from affine import Affine
    from rasterio.features import rasterize

    frame = gpd.read_parquet(path)
    frame = frame[~frame.geometry.is_empty & frame.geometry.notna()]
    frame = frame.to_crs(frame.estimate_utm_crs())
    found, step = [], 2 * SIDE * fine
    centres = frame.geometry.representative_point()
    cells = {
        (int(x // step) + shift, int(y // step) + shift)
        for x, y in zip(centres.x, centres.y, strict=True)
    }
    for column, row in sorted(cells):
        west, north = column * step, (row + 1) * step
        near = frame.cx[west : west + step, north - step : north]
        shapes = [(shape, k) for k, shape in enumerate(near.geometry, 1)]
        ids = rasterize(
            shapes,
            (2 * SIDE, 2 * SIDE),
            transform=Affine(fine, 0, west, 0, -fine, north),
            dtype="int32",
        )
        if (ids > 0).mean() >= LEAST_COVER and len(np.unique(ids)) > LEAST_COUNT:
            found.append(ids)
    return found


def lay_texture(ids: np.ndarray, palette: Palette, rng: np.random.Generator) -> np.ndarray:
    """(8, y, x) texture, each parcel's from the inside of one field where one is wide enough.

    A window cut out of the scene would show the rims of its fields within the parcels.
    """
    laid = np.zeros((len(palette.texture), *ids.shape), np.float32)
    order = np.argsort(palette.depth, axis=None)
    depths = palette.depth.ravel()[order]
    for field, box in enumerate(ndimage.find_objects(ids), 1):
        if box is None:
            continue
        size = np.array([side.stop - side.start for side in box])
        first = np.searchsorted(depths, min(0.5 * np.hypot(*size), 0.9 * depths[-1]))
        centre = np.unravel_index(order[rng.integers(first, len(order))], palette.depth.shape)
        top, left = np.clip(np.array(centre) - size // 2, 0, np.array(palette.depth.shape) - size)
        mine = ids[box] == field
        source = palette.texture[:, top : top + size[0], left : left + size[1]]
        laid[:, *box][:, mine] = source[:, mine]
    return laid


def paint(ids: np.ndarray, palette: Palette, rng: np.random.Generator, fold: int = 2) -> np.ndarray:
    """(8, y / fold, x / fold) uint16 digital numbers."""
    height, width = ids.shape
    top, left = (
        rng.integers(0, palette.ground.shape[1] - height + 1),
        rng.integers(0, palette.ground.shape[2] - width + 1),
    )
    cut = np.s_[:, top : top + height, left : left + width]
    colours = palette.means[rng.integers(0, len(palette.means), int(ids.max()) + 1)]
    strength = np.exp(rng.normal(0, 0.4, len(colours))).astype(np.float32)
    fields = colours[ids].transpose(2, 0, 1) + lay_texture(ids, palette, rng) * strength[ids]
    fine = np.where(ids > 0, fields, palette.ground[cut])
    blurred = ndimage.gaussian_filter(fine, (0, 0.45 * fold, 0.45 * fold))
    coarse = blurred.reshape(len(fine), height // fold, fold, width // fold, fold).mean((2, 4))
    return (coarse + rng.normal(0, 12, coarse.shape)).clip(1, 65535).astype(np.uint16)


def known(ids: np.ndarray, fine: float = FINE) -> np.ndarray:
    """Ids with -1 where nobody says what lies there."""
    far = ndimage.distance_transform_edt(ids == 0) > GAP / fine
    return np.where(far, -1, ids).astype(np.int32)


def pack(polygons: Path, out: Path) -> None:
    """Write ids of windows at 5 and at 2 m, so that painting needs no geospatial library."""
    stacks: dict[str, list[np.ndarray]] = {"5": [], "2": []}
    for name, most in PACKED.items():
        path = polygons / name / "fields.parquet"
        for key, fine in (("5", 5.0), ("2", 2.0)):
            found = windows(path, fine) + (windows(path, fine, 0.5) if key == "5" else [])
            # At 2 m only small plots: the scenes that lend their texture have no large ones.
            found = [ids for ids in found if fine > 2 or ids.max() > 60]
            chosen = found[:: max(1, len(found) // most)][:most]
            stacks[key] += [ids.astype(np.uint16) for ids in chosen]
            print(name, fine, "m:", len(chosen), "of", len(found), "windows", flush=True)
    np.savez_compressed(out, ids_5m=np.stack(stacks["5"]), ids_2m=np.stack(stacks["2"]))


def read_packed(path: Path) -> dict[float, np.ndarray]:
    """Read what :func:`pack` wrote: (window, 2 SIDE, 2 SIDE) uint16 ids by metres per pixel."""
    with np.load(path) as file:
        return {fine: file[f"ids_{fine:.0f}m"] for fine in (5.0, 2.0)}


def main() -> None:
    """Paint every window several times."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scenes", type=Path, help="simulated scenes (fields_s2_2season.py --render-only)"
    )
    parser.add_argument("polygons", type=Path, help="folder of sources, each with fields.parquet")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=72)
    parser.add_argument(
        "--pack", action="store_true", help="only write the windows' ids into the file OUT"
    )
    args = parser.parse_args()
    if args.pack:
        pack(args.polygons, args.out)
        return
    args.out.mkdir(parents=True, exist_ok=True)
    sources = [windows(args.polygons / name / "fields.parquet") for name in FREE]
    scenes = sorted(args.scenes.glob("*.npz"))
    print(dict(zip(FREE, map(len, sources), strict=True)), "places", flush=True)
    rng = np.random.default_rng(5)
    sources = [places for places in sources if places]
    for places in sources:
        rng.shuffle(places)
    for k in range(args.count):
        places = sources[k % len(sources)]
        ids = places[k // len(sources) % len(places)]
        image = paint(ids, read_palette(scenes[int(rng.integers(len(scenes)))]), rng)
        np.savez(args.out / f"parcels_{k:03d}.npz", image=image, ids=known(ids))
    print(args.count, "scenes", flush=True)


if __name__ == "__main__":
    main()
