"""What a server says about an address when a raster behind it could not be read.

GDAL keeps that to itself.
"""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request

REFUSED = frozenset({401, 403})
"""The address is not, or no longer, signed by somebody who may read it."""


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
    request = urllib.request.Request(url.partition("#")[0], headers={"Range": "bytes=0-0"})  # noqa: S310 - GDAL opened it as http(s) before
    try:
        with urllib.request.urlopen(request, timeout=seconds) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None
