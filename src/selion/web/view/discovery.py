"""What there is to see in some files and folders; nothing else is ever opened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from selion.country import open_maps
from selion.errors import BadInput, MissingExtra, SelionError, UnreadableFile, counted
from selion.store import open_raster
from selion.store.address import Place, RemotePath, place_state
from selion.store.pmtiles import PMTilesFile, open_archive
from selion.web.view.cells import Overview, detail_zoom
from selion.web.view.chunks import Fields, ParquetFields, open_parquet
from selion.web.view.memory import TABLES, open_table
from selion.web.view.photos import ENDINGS, TABLE, Album, open_album, open_photos, within
from selion.web.view.rasters import RasterFile, open_geotiff
from selion.web.view.truths import find_truths

TIFFS = (".tif", ".tiff")
MOST_FILES = 500
"""Files of a folder that are shown."""
DEEPEST = 4
"""Folders in folders that are looked into."""
REMOTE = 2_000_000
"""Rows on a server up to which all are gathered for the view from afar."""
MOST_PARTS = 5000
"""Parts of a partitioned map that are opened."""
UNSEEN = ("preview.png", "overlays", "masks", "thumbs", "__pycache__")


@dataclass(frozen=True, eq=False)
class FieldsLayer:
    """Fields, and how they are seen from afar."""

    fields: Fields
    zoom: int
    overview: Overview | None
    path: Place


@dataclass
class Discovery:
    """Layers by their names in addresses, and what could not be opened."""

    rasters: dict[str, RasterFile] = field(default_factory=dict)
    fields: dict[str, FieldsLayer] = field(default_factory=dict)
    archives: dict[str, PMTilesFile] = field(default_factory=dict)
    albums: dict[str, Album] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """What each layer is called on the page."""
    places: int = 0
    """Places that are known by name, from a person's own file."""
    ending: list[Callable[[], object]] = field(default_factory=list)
    """Called when the page is closed."""

    def summary(self) -> str:
        """Return how much there is, in one sentence."""
        rows = sum(place.rows for layer in self.fields.values() for place in layer.fields.places)
        photos = sum(len(album.photos) for album in self.albums.values())
        tables = len(self.fields) + len(self.archives)
        return (
            f"{counted(len(self.rasters), 'raster')}, {counted(tables, 'table')} with "
            f"{counted(rows, 'field')}, {counted(photos, 'photograph')}."
        ) + (f" {self.places:,} places by name." if self.places else "")

    def compare(self, labels: Path) -> None:
        """Compare the photographs that were measured with the masks of a folder.

        Raises
        ------
        UnreadableFile
            If there is no such folder.
        BadInput
            If nothing was measured, or no mask belongs to a photograph.
        """
        measured = {
            key: album
            for key, album in self.albums.items()
            if any(photo.mask for photo in album.photos)
        }
        if not measured:
            raise BadInput(
                "--truth is the truth of photographs that were measured: give the folder of "
                "selion crops too."
            )
        for key, album in measured.items():
            truths = find_truths(labels, album.photos)
            self.albums[key] = replace(album, truths=truths)
            self.problems += truths.notes
            self.ending.append(truths.stop)
            truths.start()

    def close(self) -> None:
        """Stop what works in the background."""
        for end in self.ending:
            end()
        for layer in self.fields.values():
            if layer.overview is not None:
                layer.overview.stop()


def find(paths: Sequence[Place]) -> Discovery:
    """Open what was given, by headers and footers only.

    Raises
    ------
    BadInput
        If nothing of it can be shown.
    """
    given = [(path, real_root(path)) for path in paths if isinstance(path, Path)]
    roots = [root for _, root in given]
    found = Discovery()
    for path in paths:
        if isinstance(path, RemotePath):
            add_remote(found, path)
    photos: list[Path] = []
    # photographs of which nobody doubts that they are meant: single files, and folders that hold
    # nothing else
    albums: list[Path] = []
    for path, root in given:
        files = [root] if root.is_file() else listed(root)
        albums += files if all(each.suffix.lower() in ENDINGS for each in files) else []
        for each in files:
            name = (
                each.name
                if root.is_file()
                else str(Path(path.name or root.name) / each.relative_to(root))
            )
            # 2023/fields.parquet and 2024/fields.parquet
            name = f"{root.parent.name}/{name}" if root.is_file() and len(paths) > 1 else name
            add(found, each, name, roots, photos)
    alone = not (found.rasters or found.fields or found.archives)
    known = {
        photo.picture for album in found.albums.values() for photo in album.photos if photo.bare
    }
    photos = [each for each in (photos if alone else albums) if each not in known]
    if photos:
        add_photos(found, photos)
    if not (
        found.rasters
        or found.fields
        or found.archives
        or any(album.photos for album in found.albums.values())
    ):
        if len(found.problems) == len(paths) == 1:
            raise UnreadableFile(found.problems[0])
        why = (
            found.problems[0]
            if found.problems
            else (
                "wanted are GeoTIFF, GeoParquet, PMTiles, GeoPackage, or the folder of selion map, "
                "demo or crops."
            )
        )
        raise BadInput(f"There is nothing to see in {', '.join(map(str, paths))}: {why}")
    for layer in found.fields.values():
        if layer.overview is not None:
            layer.overview.start(most_gathered(layer.path))
    return found


def most_gathered(path: Place) -> float:
    """Return the rows up to which a file is gathered for the view from afar."""
    return REMOTE if isinstance(path, RemotePath) else np.inf


def add_remote(found: Discovery, path: RemotePath) -> None:
    """Open what an address leads to, by headers and footers only."""
    ending = path.suffix.lower()
    try:
        if path.is_dir():
            parts = [part.path for part in open_maps(path).parts][:MOST_PARTS]
            if not parts:
                raise BadInput(f"{path} holds no fields.")
            key = add_fields(found, open_parquet(parts), path, parts)
        elif ending in OPENERS:
            key = OPENERS[ending](found, path)
        else:
            raise BadInput(
                f"{path} is shown by none of our pages: of an address GeoTIFF, GeoParquet, "
                "PMTiles, GeoPackage, FlatGeobuf, GeoJSON and hive folders are."
            )
        found.names[key] = f"{path.parent.name}/{path.name}"
    except SelionError as error:
        found.problems.append(str(error))


def real_root(path: Path) -> Path:
    """Return the real path of a file or folder.

    Raises
    ------
    UnreadableFile
        If there is none.
    """
    try:
        return path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise UnreadableFile(f"{path} does not exist: give a file or a folder.") from error


def listed(root: Path) -> list[Path]:
    """List the files below a folder that may be shown, folders of parts as one.

    What a link leads to out of the folder is never among them.
    """
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        if TABLE in files:
            found.append(here)
            folders[:] = []
            continue
        if any("=" in name for name in folders) and parts_of(here):
            found.append(here)
            folders[:] = []
            continue
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "_")) and name not in UNSEEN and not name.endswith(".zarr")
        )
        if len(here.relative_to(root).parts) >= DEEPEST:
            folders[:] = []
        kept = sorted(
            name
            for name in files
            if not name.startswith((".", "_"))
            and name not in UNSEEN
            and Path(name).suffix.lower() in (*OPENERS, *ENDINGS)
        )
        found += [real for name in kept if (real := within(here / name, (root,))) is not None]
        if len(found) > MOST_FILES:
            break
    return found[:MOST_FILES]


def parts_of(folder: Path) -> list[Path]:
    """List the parts of a map that ``selion merge`` has partitioned: ``name=value/*.parquet``."""
    return [
        real
        for part in sorted(folder.glob("*=*/*.parquet"))[:MOST_PARTS]
        if (real := within(part, (folder,))) is not None
    ]


def add(found: Discovery, path: Path, name: str, roots: Sequence[Path], photos: list[Path]) -> None:
    """Open one file; what cannot be opened is listed as a problem on the page."""
    ending = path.suffix.lower()
    if ending in ENDINGS:
        photos.append(path)
        return
    try:
        if path.is_dir() and not (path / TABLE).is_file():
            key = add_fields(found, open_parquet(parts_of(path)), parts_of(path)[0])
        elif path.is_dir():
            key = f"p{len(found.albums)}"
            found.albums[key] = open_album(path, roots)
        else:
            key = OPENERS[ending](found, path) if ending in OPENERS else ""
        if key:
            found.names[key] = name
    except SelionError as error:
        found.problems.append(str(error))


def add_photos(found: Discovery, paths: Sequence[Path]) -> None:
    """Take up photographs without a table; those that cannot be read are listed as problems."""
    key = f"p{len(found.albums)}"
    found.albums[key] = open_photos(paths, paths[0].parent)
    found.names[key] = paths[0].parent.name
    read = {photo.picture for photo in found.albums[key].photos}
    if lost := [path for path in paths if path not in read]:
        more = f" and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        found.problems.append(
            f"{lost[0].name}{more} cannot be read as a photograph: {_cure(lost[0])}"
        )


def _cure(path: Path) -> str:
    try:
        open_raster(path)
    except MissingExtra as error:
        return str(error)
    except SelionError:
        pass
    return "copy it again."


def add_raster(found: Discovery, path: Place) -> str:
    """Open a GeoTIFF."""
    key = f"r{len(found.rasters)}"
    found.rasters[key] = open_geotiff(path)
    return key


def add_archive(found: Discovery, path: Place) -> str:
    """Open a PMTiles file."""
    key = f"t{len(found.archives)}"
    found.archives[key] = open_archive(path)
    return key


def add_parquet(found: Discovery, path: Place) -> str:
    """Open a GeoParquet file."""
    return add_fields(found, open_parquet([path]), path)


def add_table(found: Discovery, path: Place) -> str:
    """Open a GeoPackage, FlatGeobuf or GeoJSON file."""
    return add_fields(found, open_table(path), path)


def add_fields(
    found: Discovery, fields: Fields, path: Place, parts: Sequence[Place] | None = None
) -> str:
    """Take fields up; many of them get an overview."""
    files = parts or (path,)
    key, zoom = f"f{len(found.fields)}", detail_zoom(fields)
    found.fields[key] = FieldsLayer(
        fields, zoom, Overview(fields, zoom, identity(fields, files)) if zoom else None, path
    )
    return key


def identity(fields: Fields, files: Sequence[Place]) -> str:
    """Return what changes when the files do."""
    states = [
        "{}:{}:{}".format(each.name, *place_state(each))
        for each in (*(fields.paths if isinstance(fields, ParquetFields) else ()), files[0])
    ]
    return hashlib.blake2b(
        "\n".join([str(files[0]), *states]).encode("utf-8", "surrogatepass"), digest_size=12
    ).hexdigest()


OPENERS: dict[str, Any] = (
    dict.fromkeys(TIFFS, add_raster)
    | {".parquet": add_parquet, ".pmtiles": add_archive}
    | dict.fromkeys(TABLES, add_table)
)
"""By file ending."""
