"""What there is to look at.

Masks with their photographs, in order of quality, some of them twice.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selion.data.photos import ENDINGS
from selion.errors import BadInput, UnreadableFile

QUALITY = "quality.csv"
GAP = 240
"""Entries between the two times that an image is shown: more than three of the largest contact
sheets."""


@dataclass(frozen=True, slots=True)
class Item:
    """A mask and its photograph."""

    id: str
    """Short and stable name for addresses, made from the key."""
    key: str
    """Path of the mask below its folder, without ``.png``."""
    photo: str
    mask: str
    quality: float | None = None
    """0 to 1, higher is better; None where nobody said."""
    routed: str = ""
    """``full`` or ``none`` where the depth gave no edge and the mask is all of one kind."""
    why: str = ""
    stat: tuple[int, int] = (0, 0)
    """Size and time of change in ns of the mask when it was listed."""


@dataclass(frozen=True)
class Listing:
    """What was found in two folders."""

    items: tuple[Item, ...]
    """By key."""
    lonely: int
    """Masks without a photograph."""
    outside: int
    """Files that are links to somewhere else, and so were left out."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Return one sentence for each kind of file that was left out."""
        found = []
        if self.lonely:
            found.append(
                f"{self.lonely:,} masks have no photograph of the same name and are left out."
            )
        if self.outside:
            found.append(
                f"{self.outside:,} files are links that lead out of the given folders and are "
                "left out."
            )
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Showing:
    """One image in the order of the coarse pass.

    ``turn`` is 1 when it is shown for the second time.
    """

    item: Item
    turn: int = 0


def list_items(photos: Path, masks: Path, table: Path | None = None) -> Listing:
    """Pair masks with photographs by name.

    Parameters
    ----------
    photos, masks : path
        Folders.  ``a/b.png`` in ``masks`` belongs to ``a/b.jpg`` (or another ending, or ``a/b``
        itself where the ending is part of the key) in ``photos``.
    table : path, optional
        ``quality.csv``: ``key, image, quality, routed, why``; other columns do not matter, and it
        may be missing.

    Raises
    ------
    BadInput
        If no mask has a photograph.
    UnreadableFile
        If a folder or the table cannot be read.
    """
    rows = read_quality(table) if table is not None else {}
    named, links = _photos(photos)
    found, lonely = [], 0
    for name, entry in _files(masks):
        if not name.lower().endswith(".png"):
            continue
        key, row = name[:-4], rows.get(name[:-4], {})
        photo = _photo(key, row, named, photos, table)
        if entry is None:
            links += 1
        elif photo is None:
            lonely += 1
        else:
            stat = entry.stat()
            quality = _number(row.get("quality"))
            item = Item(
                item_id(key),
                key,
                photo,
                entry.path,
                quality,
                row.get("routed", ""),
                row.get("why", ""),
                (stat.st_size, stat.st_mtime_ns),
            )
            found.append(item)
    if not found:
        left = "links that lead out of their folder are left alone: copy the files, or name theirs"
        raise BadInput(
            f"No mask in {masks} has a photograph of the same name in {photos}: wanted are PNG "
            f"masks named like the photographs{f' ({links} {left})' if links else ''}."
        )
    return Listing(tuple(sorted(found, key=lambda item: item.key)), lonely, links)


def item_id(key: str) -> str:
    """Return a short name for addresses."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=9).hexdigest()


def _files(folder: Path) -> Iterator[tuple[str, os.DirEntry[str] | None]]:
    """Yield every file below a folder by its path in it; None instead of a link that leads out.

    Hidden files and linked folders are passed over.
    """
    root = os.path.realpath(folder)
    waiting = [("", os.fspath(folder))]
    while waiting:
        prefix, path = waiting.pop()
        try:
            entries = list(os.scandir(path))
        except OSError as error:
            raise UnreadableFile(
                f"{path} cannot be read as a folder ({error.strerror}): check its name and "
                "permissions."
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append((f"{prefix}{entry.name}/", entry.path))
            elif entry.is_symlink() and not is_inside(entry.path, root):
                yield prefix + entry.name, None
            elif entry.is_file():
                yield prefix + entry.name, entry


def is_inside(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> bool:
    """Say whether a file lies in a folder once all links are followed."""
    real, top = os.path.realpath(path), os.path.realpath(root)
    return real.startswith(top.rstrip(os.sep) + os.sep)


def _photos(folder: Path) -> tuple[dict[str, list[str]], int]:
    """Return paths by name with and without ending, and the number of links that lead out."""
    named: dict[str, list[str]] = {}
    links = 0
    for name, entry in _files(folder):
        stem, dot, ending = name.rpartition(".")
        if not stem or (dot + ending).lower() not in ENDINGS:
            continue
        if entry is None:
            links += 1
            continue
        for alias in (name, stem):
            named.setdefault(alias, []).append(entry.path)
    return named, links


def _photo(
    key: str,
    row: Mapping[str, str],
    named: Mapping[str, list[str]],
    folder: Path,
    table: Path | None,
) -> str | None:
    found = named.get(key, [])
    # x.jpg itself before x.jpg.png without its ending
    found = [path for path in found if Path(path).name == Path(key).name] or found
    if len(found) == 1 or table is None or not row.get("image"):
        return found[0] if len(found) == 1 else None
    told = Path(os.path.normpath(table.parent / row["image"]))
    same = [path for path in found if Path(path).name == told.name]
    if len(same) == 1:
        return same[0]
    return str(told) if told.is_file() and is_inside(told, folder) else None


def read_quality(path: Path) -> dict[str, dict[str, str]]:
    """Read ``quality.csv`` as text, by key; nothing where there is no such file.

    Raises
    ------
    UnreadableFile
        If it is no table with a column ``key``.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if "key" not in (rows.fieldnames or ()):
                raise UnreadableFile(
                    f"{path} has no column 'key': wanted is the table that `selion label depth` "
                    "writes; move it away to continue without it."
                )
            return {
                row["key"]: {k: v for k, v in row.items() if k and isinstance(v, str)}
                for row in rows
                if row["key"]
            }
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableFile(
            f"{path} cannot be read as a table ({error}): write it again with `selion label "
            "depth`, or move it away to continue without it."
        ) from error


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def arrange(
    items: Sequence[Item], best_first: bool = True, repeats: float = 0.02
) -> tuple[Showing, ...]:
    """Put items in order of quality, and show a share of them a second time.

    Those without a quality come last.

    Parameters
    ----------
    repeats : float
        Share that is shown twice, 0 to 1.  Which ones is decided by their names, so that every
        person and every start has the same.
    """
    sign = -1.0 if best_first else 1.0
    ordered = sorted(
        items, key=lambda item: (item.quality is None, sign * (item.quality or 0.0), item.key)
    )
    twice = [k for k, item in enumerate(ordered) if int(item.id[:8], 16) < repeats * 2**32]
    showings = [(float(k), Showing(item)) for k, item in enumerate(ordered)]
    showings += [(k + GAP + 0.5, Showing(ordered[k], 1)) for k in twice]
    return tuple(showing for _, showing in sorted(showings, key=lambda pair: pair[0]))
