"""A whole file from an address, kept here until it changes there."""

from __future__ import annotations

import hashlib
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from selion.errors import FetchFailed, UnreadableFile
from selion.store.atomic import replace_bytes
from selion.store.clouds import object_settings
from selion.store.download import cache_folder
from selion.store.retry import RetryPolicy
from selion.store.urls import SCHEMES, remote_scheme, shown

RETRY = RetryPolicy(backoff=0.2)
FOLDER = "current"
"""Below the cache folder."""


def current_copy(address: str | os.PathLike[str]) -> Path:
    """Return a file on this disk that holds what an address holds.

    Made for small files that say what a server has: each call asks the server once whether the file
    is still the same (its ETag, else size and time), and gets it only where it is not.

    Parameters
    ----------
    address : str or path
        An http(s), s3, gs or az address.  A path is returned as it is.

    Raises
    ------
    UnreadableFile
        If there is no such file, or no such scheme.
    FetchFailed
        If the server does not answer, five times.
    """
    address = os.fspath(address)
    scheme = remote_scheme(address)
    if scheme is None:
        if not Path(address).is_file():
            raise UnreadableFile(f"There is no file {address}: check the name.")
        return Path(address)
    if scheme not in SCHEMES:
        raise UnreadableFile(
            f"{shown(address)} has the unknown scheme {scheme}://; known: "
            f"{', '.join(f'{known}://' for known in SCHEMES)}."
        )
    return _kept(address)


def open_store(address: str) -> tuple[Any, str]:
    """Return obstore's store of the folder of an address, and the name in it.

    One policy of retries for all who ask.
    """
    import obstore

    folder, _, name = address.rpartition("/")
    settings = object_settings(address)
    plain: Any = {"allow_http": True} if address.startswith("http://") else {}
    client = (
        {"timeout": timedelta(seconds=RETRY.answer)} | plain | settings.pop("client_options", {})
    )
    retry: Any = {
        "max_retries": RETRY.tries - 1,
        "backoff": {
            "init_backoff": timedelta(seconds=RETRY.backoff),
            "max_backoff": timedelta(seconds=4),
            "base": 2,
        },
        "retry_timeout": timedelta(minutes=2),
    }
    store = obstore.store.from_url(folder, client_options=client, retry_config=retry, **settings)
    return store, name


def _kept(address: str) -> Path:
    import obstore

    store, name = open_store(address)
    stem = hashlib.sha256(address.encode()).hexdigest()[:24]
    folder = cache_folder() / FOLDER
    try:
        about = obstore.head(store, name)
        tag = about["e_tag"] or f"{about['size']} {about['last_modified']}"
        version = hashlib.sha256(tag.encode()).hexdigest()[:16]
        path = folder / f"{stem}-{version}{Path(name).suffix}"
        if path.is_file() and path.stat().st_size == about["size"]:
            return path
        content = bytes(obstore.get(store, name).bytes())
    except FileNotFoundError as error:
        raise UnreadableFile(f"There is nothing at {shown(address)}: check the address.") from error
    except (obstore.exceptions.BaseError, OSError) as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise FetchFailed(
            f"{shown(address)} cannot be read ({said}): check address, network and credentials, "
            "then run the same command again."
        ) from error
    _keep(path, stem, content)
    return path


def _keep(path: Path, stem: str, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_bytes(path, content)
        for older in path.parent.glob(f"{stem}-*"):
            if older != path:
                older.unlink(missing_ok=True)
    except OSError as error:
        raise FetchFailed(
            f"{path} cannot be written ({error.strerror}): set SELION_CACHE to another folder."
        ) from error
