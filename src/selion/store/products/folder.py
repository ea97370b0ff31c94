"""The files of a product, in a folder or still in its archive: nothing is unpacked."""

from __future__ import annotations

import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from selion.errors import UnreadableFile

MOST_FILES = 20_000
"""Of a product."""
LONGEST = 32 * 2**20
"""Bytes of a text."""
LARGEST = 8 * 2**30
"""Bytes of a raster."""
DENSEST = 200
"""Times that a packed text or raster may grow."""
SMALL = 2**20
"""Bytes up to which it may grow more."""
PACKED = (".gz", ".tgz", ".bz2", ".xz")


@dataclass(frozen=True, eq=False)
class ProductFolder:
    """A folder, a .zip or a .tar, and the names of what is in it."""

    path: Path

    @property
    def kind(self) -> str:
        """``folder``, ``zip`` or ``tar``."""
        if self.path.is_dir():
            return "folder"
        return "zip" if zipfile.is_zipfile(self.path) else "tar"

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Name, with ``/``, of each file -> its bytes, and those that it takes in the archive.

        Raises
        ------
        UnreadableFile
            If the archive is broken, or a name in it leads out of it.
        """
        if self.kind == "folder":
            found = {}
            for place, folders, names in os.walk(self.path):
                folders.sort()
                for name in names:
                    inner = Path(place, name).relative_to(self.path).as_posix()
                    found[inner] = (0, 0)
                self._count(len(found))
            return dict(sorted(found.items()))
        try:
            found = self._of_zip() if self.kind == "zip" else self._of_tar()
        except (
            zipfile.BadZipFile,
            NotImplementedError,  # a zip of a version that is not known
            tarfile.TarError,
            EOFError,
            OSError,
        ) as error:
            raise UnreadableFile(
                f"{self.path} cannot be read as an archive ({error}): copy it again."
            ) from error
        for name in found:
            parts = PurePosixPath(name.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts:
                raise UnreadableFile(
                    f"{self.path} holds {name!r}, which leads out of it: do not trust where it "
                    "came from."
                )
        return found

    def _of_zip(self) -> dict[str, tuple[int, int]]:
        with zipfile.ZipFile(self.path) as file:
            self._count(len(file.filelist))
            return {
                one.filename: (one.file_size, one.compress_size)
                for one in file.filelist
                if not one.is_dir()
            }

    def _of_tar(self) -> dict[str, tuple[int, int]]:
        found = {}
        with tarfile.open(self.path, "r:") as file:
            for one in file:
                if one.isfile():
                    found[one.name] = (one.size, one.size)
                self._count(len(found))
        return found

    def _count(self, files: int) -> None:
        if files > MOST_FILES:
            raise UnreadableFile(
                f"{self.path} holds more than {MOST_FILES:,} files, as no product does: give the "
                "folder of one product."
            )

    def text(self, name: str) -> bytes:
        """Read a text.

        Raises
        ------
        UnreadableFile
            If it cannot be read, or is too long.
        """
        try:
            if self.kind == "folder":
                with (self.path / name).open("rb") as plain:
                    found = plain.read(LONGEST + 1)
            elif self.kind == "zip":
                self._checked(name)
                with zipfile.ZipFile(self.path) as file, file.open(name) as member:
                    found = member.read(LONGEST + 1)
            else:
                with tarfile.open(self.path, "r:") as tar:
                    opened = tar.extractfile(name)
                    found = b"" if opened is None else opened.read(LONGEST + 1)
        except (
            OSError,
            KeyError,
            RuntimeError,
            EOFError,
            zlib.error,
            lzma.LZMAError,
            zipfile.BadZipFile,
            tarfile.TarError,
        ) as error:
            raise UnreadableFile(f"{name} of {self.path} cannot be read ({error}).") from error
        if len(found) > LONGEST:
            raise UnreadableFile(
                f"{name} of {self.path} has more than {LONGEST:,} bytes, as no such text has."
            )
        return found

    def texts(self, *names: str) -> tuple[str, ...]:
        """Return the paths of some of a folder's texts; of an archive none, for it is one file."""
        return tuple(str(self.path / name) for name in names) if self.kind == "folder" else ()

    def raster(self, name: str) -> str:
        """Return GDAL's name of a raster in it.

        Raises
        ------
        UnreadableFile
            If it would grow beyond what a raster is.
        """
        if self.kind == "folder":
            return str(self.path / name)
        self._checked(name)
        return f"/vsi{self.kind}/{{{self.path.absolute()}}}/{name}"

    def _checked(self, name: str) -> None:
        size, packed = self.sizes[name]
        if size > LARGEST or size > max(SMALL, DENSEST * packed):
            raise UnreadableFile(
                f"{name} of {self.path} says that its {packed:,} bytes become {size:,}, as those "
                "of no product do: it is not read."
            )


def find_root(folder: ProductFolder, ends: Sequence[str]) -> str:
    """Return the folder within, with its ``/``, that has a file whose name ends so.

    Empty is the product's own folder.

    Raises
    ------
    UnreadableFile
        If several have: the sentence names them.
    """
    roots = sorted(
        {
            name[: len(name) - len(name.rpartition("/")[2])]
            for name in folder.sizes
            if name.endswith(tuple(ends)) and "__MACOSX" not in name
        }
    )
    if len(roots) > 1:
        shown = ", ".join(root.rstrip("/") or "." for root in roots[:4])
        raise UnreadableFile(
            f"{folder.path} holds {len(roots)} products ({shown}): give one of them; two of one "
            "place are given one after the other, as two dates."
        )
    return roots[0] if roots else ""
