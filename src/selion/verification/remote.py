"""A result on an object store: it is brought here, and verified as one that lies here."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selion.errors import UnreadableFile
from selion.store.manifest import ENDING, manifest_of, read_manifest
from selion.store.object_store import ObjectFolder
from selion.store.urls import shown

AWAY = ("", ".", "..")
"""Parts of a name that would lead out of the folder where the result is put."""


@contextmanager
def brought_here(address: str) -> Iterator[Path]:
    """Bring a result and its manifest into a temporary folder, and say where it is.

    Parameters
    ----------
    address : str
        ``s3://BUCKET/PREFIX/NAME``, or its manifest's.

    Raises
    ------
    UnreadableFile
        If neither is there, or there is no manifest, which alone says what belongs to it.
    FetchFailed
        If the store does not answer.
    """
    prefix, _, name = address.rstrip("/").rpartition("/")
    store = ObjectFolder(prefix)
    target = name if name.endswith(ENDING) else manifest_of(Path(name)).name
    content = store.get(target)
    if content is None:
        raise UnreadableFile(
            f"There is no {target} beside {shown(address)}: an older selion wrote this, or nothing "
            "is there; bring it here and verify the file."
        )
    with tempfile.TemporaryDirectory(prefix="selion-verify-") as place:
        (Path(place) / target).write_bytes(content)
        manifest = read_manifest(Path(place) / target)
        for part in manifest.files:
            if set(part.split("/")) & set(AWAY):
                raise UnreadableFile(f"{target} names {part}, which lies outside of the result.")
            found = store.get(part)
            if found is not None:  # else it is said to be missing
                _put(Path(place) / part, found, target)
        yield Path(place) / manifest.result


def _put(here: Path, content: bytes, target: str) -> None:
    try:
        here.parent.mkdir(parents=True, exist_ok=True)
        here.write_bytes(content)
    except OSError as error:  # on a store a name may be that of a file and of a folder
        raise UnreadableFile(
            f"{target} names {here.name}, which cannot be put beside its other files here "
            f"({error.strerror}): bring the result here and verify it there."
        ) from error
