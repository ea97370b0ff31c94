"""Addresses as text: which scheme, what GDAL calls them, and what of them may be printed."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from selion.errors import BadInput, without_secrets

SCHEMES: Mapping[str, str] = {
    "http": "/vsicurl/http://",
    "https": "/vsicurl/https://",
    "s3": "/vsis3/",
    "gs": "/vsigs/",
    "az": "/vsiaz/",
}
"""Schemes that are read, and how GDAL names what lies there."""


def remote_scheme(path: str | os.PathLike[str]) -> str | None:
    """Return ``https``, ``s3`` ...

    If the path is a URL that GDAL can read, else None (``C:/x.tif`` is a file).
    """
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", os.fspath(path))
    return found.group(1).lower() if found else None


def plain_name(path: str) -> str:
    """Return the address that GDAL's name of one stands for; anything else as it is.

    Examples
    --------
    >>> plain_name("/vsicurl/https://example.org/a.tif"), plain_name("/vsis3/bucket/key")
    ('https://example.org/a.tif', 's3://bucket/key')
    """
    for scheme, prefix in SCHEMES.items():
        if path.startswith(prefix):
            return f"{scheme}://{path.removeprefix(prefix)}"
    return path


def gdal_name(path: str) -> str:
    """Return GDAL's name of a path or URL: ``s3://bucket/key`` becomes ``/vsis3/bucket/key``."""
    scheme = remote_scheme(path)
    return SCHEMES[scheme] + path.partition("://")[2] if scheme and scheme in SCHEMES else path


def shown(path: str) -> str:
    """Return a path or URL as it may be printed.

    What follows ``?`` in a URL may be a signature, and that is a key; what stands before ``@`` is
    a name and a password.

    Examples
    --------
    >>> shown("https://me:secret@example.org/a.tif?sig=key"), shown("a?b@c.tif")
    ('https://example.org/a.tif', 'a?b@c.tif')
    """
    if path.startswith("/vsi"):
        return without_secrets(path)
    if not remote_scheme(path):
        return path
    return re.sub(r"^([^:/]+://)[^/]*@", r"\1", re.sub(r"[?#].*", "", path, flags=re.DOTALL))


def unsigned(text: str) -> str:
    """Return what somebody said about addresses, without their signatures and passwords.

    Examples
    --------
    >>> unsigned("GET http://a:b@c/d?sig=key, and '/x?y=z' failed")
    "GET http://c/d, and '/x' failed"
    """
    return re.sub(r"(://)[^/\s@'\"]*@", r"\1", re.sub(r"[?#][^\s'\"`,)]*", "", text))


def check_utf8(path: str | os.PathLike[str]) -> None:
    """Refuse the place of a result that a table cannot name, before any work is done.

    Raises
    ------
    BadInput
        If its name, or that of a folder above it, is no UTF-8: Arrow, JSON and TOML write no other.
    """
    name = os.fspath(Path(path).expanduser().absolute())
    try:
        name.encode()
    except UnicodeEncodeError as error:
        printable = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise BadInput(
            f"'{printable}' is no name in UTF-8, and results, which name each other, are not "
            "written under another: give a name without what stands there after \\x."
        ) from error
