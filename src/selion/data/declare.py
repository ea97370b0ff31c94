"""Declaration: all that the catalogue, or a ``dataset.toml``, says of one dataset.

A dataset is data, not code: a short table of patterns, values and rules.  ``layout`` names the
reader.  Everything that is a folder of images and masks is the layout ``files``, whose tables are
described at :class:`Files`, or, where the usual names are kept, the layout ``folder``: then
``classes`` and ``values`` are all that needs saying.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from selion.classes import ALU, CROP, CROP_WEED, FTW2, FTW3, ORGANS, ClassScheme
from selion.data.dataset import Dataset, Entry
from selion.errors import BadInput, UnknownName, UnreadableFile
from selion.store.plain import toml_table
from selion.store.replaced import FolderKind

T = TypeVar("T")
SCHEMES: Mapping[str, ClassScheme] = {
    "fields-2": FTW2,
    "fields-3": FTW3,
    "alu": ALU,
    "crop": CROP,
    "crop-weed": CROP_WEED,
    "organs": ORGANS,
}
"""Class schemes that have a name."""
FILE = "dataset.toml"
"""What a dataset's own declaration is called, in its folder."""
MADE = FolderKind(
    "a dataset of 'data make' or a review",
    (FILE,),
    ("images/", "labels/", "instances/", "splits.csv"),
    says="Made by selion",
)
"""What is written with a declaration, which people write too."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where images and masks lie, for the layout ``files``.

    Patterns are paths below the dataset's folder.  ``{name}`` stands for a part of a file or folder
    name and is the same wherever it comes back; ``{name:regex}`` is a part that looks so; ``*`` is
    anything within a name.  ``{split}`` and ``{group}`` mean what they say.
    """

    image: str
    labels: str = ""
    """Pattern of the masks; without it the truth is ``instances``, ``fill``, or nothing."""
    instances: str = ""
    fill: str = ""
    """Class of every pixel, for photographs that show nothing else (full coverage)."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Value ("0"), range ("1-255") or colour ("#00ff00") of the masks -> class name, or "unknown";
    empty: values are class ids and 255 is not known."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Value of the masks -> crop or weed, where ids of objects count for each by itself: the crop 5
    and the weed 5 of an image are two plants."""
    bands: tuple[str, ...] = ()
    """Names of the image's bands, where the files do not tell."""
    split: Mapping[str, Any] = field(default_factory=dict)
    """The rule of :mod:`selion.data.splits`; empty: ``{split}`` of the pattern, or none."""
    group: str = ""
    """The group of all samples, or a pattern such as "{crop}"; empty: ``{group}`` of the pattern,
    or none."""


@dataclass(frozen=True, slots=True)
class Download:
    """How a dataset comes here."""

    url: str
    """May hold ``{group}``: then there is one archive for each."""
    md5: Mapping[str, str] | str = ""
    """What the publisher says, by group or for the one file."""
    sha256: Mapping[str, str] | str = ""
    into: str = ""
    """Folder below the dataset's that it is unpacked into; ``{group}`` is filled in."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """For a table that lists files: columns with addresses -> folders that they go to; ``{group}``
    is what stands before the first ``_`` in a file's name."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """One dataset."""

    name: str
    layout: str
    title: str = ""
    licence: str = "not stated"
    home: str = ""
    """Page of the publisher."""
    citation: str = ""
    classes: ClassScheme = FTW3
    size: str = ""
    """What to expect: images and bytes."""
    notes: str = ""
    """What a user must know: traps, ways to get it."""
    checked: str = ""
    """Where names, ids and colours were compared with what reads the dataset: a public repository;
    or "from the paper"."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """Group -> its licence, where each has its own."""
    presence_only: tuple[str, ...] = ()
    files: tuple[Files, ...] = ()
    """Alternatives: the first whose images are there is taken."""
    values: Mapping[str, str] = field(default_factory=dict)
    """As in :class:`Files`, for the layout ``folder``."""
    download: tuple[Download, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What the layout's reader wants to know besides."""
    signs: tuple[str, ...] = ()
    """Patterns of paths by which a folder is recognised as this dataset."""

    def dataset(
        self,
        classes: ClassScheme,
        entries: Iterable[Entry],
        folder: Path,
        problems: Iterable[str],
    ) -> Dataset:
        """Return the dataset of what a layout's reader listed."""
        return Dataset(
            self.name,
            classes,
            tuple(entries),
            self.licence,
            self.citation,
            folder,
            tuple(problems),
            self.presence_only,
        )


def read_declaration(path: Path) -> Declaration:
    """Read a ``dataset.toml``.

    Raises
    ------
    UnreadableFile
        If it is no TOML.
    BadInput, UnknownName
        If something in it is not understood.
    """
    table = read_toml(path)
    return declaration(str(table.pop("name", "") or path.parent.name), table, str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises
    ------
    UnreadableFile
        If it is missing or no TOML.
    """
    try:
        return toml_table(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableFile(f"{path} cannot be read as TOML ({error}): correct it.") from error


def declaration(name: str, table: Mapping[str, Any], where: str) -> Declaration:
    """Build a declaration from its table.

    Raises
    ------
    UnknownName
        If a key is not known.
    """
    given = dict(table)
    given["classes"] = scheme(given.get("classes", "fields-3"), where)
    files, downloads = given.get("files", ()), given.get("download", ())
    files = files if isinstance(files, list | tuple) else (files,)
    downloads = downloads if isinstance(downloads, list | tuple) else (downloads,)
    given["files"] = tuple(_built(Files, part, f"{where}, files") for part in files)
    given["download"] = tuple(_built(Download, part, f"{where}, download") for part in downloads)
    given.setdefault("layout", "files" if given["files"] else "folder")
    return _built(Declaration, {"name": name, **given}, where)


def _built(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    if not isinstance(table, Mapping):
        raise BadInput(f"{where} holds {table!r} where a table was wanted.")
    for key in table:
        if key not in known:
            raise UnknownName.among(f"key (in {where})", key, known)
    values = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    try:
        return kind(**values)
    except TypeError as error:
        raise BadInput(f"{where} is not whole ({error}): see the layout's description.") from error


def scheme(given: object, where: str) -> ClassScheme:
    """Return the class scheme of a name, or of a table with ``names``, ``things``, ``boundary``."""
    if isinstance(given, ClassScheme):
        return given
    if isinstance(given, str):
        if given not in SCHEMES:
            raise UnknownName.among(f"class scheme (in {where})", given, SCHEMES)
        return SCHEMES[given]
    if isinstance(given, Mapping) and "names" in given:
        return ClassScheme.from_dict(dict(given))
    raise BadInput(
        f"{where} has classes {given!r}; wanted is {', '.join(SCHEMES)} or a table with names."
    )
