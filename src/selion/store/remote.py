"""What a server says about an address when a raster behind it could not be read.

GDAL keeps that to itself.
"""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit

REFUSED = frozenset({401, 403})
"""The address is not, or no longer, signed by somebody who may read it."""


def http_request(url: str, **headers: str) -> urllib.request.Request:
    """Return the request of an http or https address; a name and password in it become a header.

    Parameters
    ----------
    url : str
        Perhaps with ``user:password@``, which urllib would take for a part of the host's name.
    headers : str
        More of them.
    """
    parts = urlsplit(url.partition("#")[0])
    account, _, host = parts.netloc.rpartition("@")
    if account:
        told = base64.b64encode(unquote(account).encode()).decode()
        headers["Authorization"] = f"Basic {told}"
    return urllib.request.Request(parts._replace(netloc=host).geturl(), headers=headers)  # noqa: S310 - the caller knows that it is http(s)


def ask_status(url: str, seconds: float = 15.0) -> int | None:
    """Ask for one byte of a file and return the HTTP status.

    Parameters
    ----------
    url : str
        An http or https address, signed if need be (a HEAD would be refused where only GET was
        signed for).
    seconds : float
        How long the server is waited for.

    Returns
    -------
    int or None
        200 or 206 if the file can be read; None if no server answers, or it stops in the middle.
    """
    request = http_request(url, Range="bytes=0-0")
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None
