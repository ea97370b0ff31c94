"""Where a server may send on to, and how much it may answer.

Not into the network that only this machine sees, and not more than memory holds.
"""

from __future__ import annotations

import ipaddress
import socket
import urllib.request
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from selion.errors import FetchFailed
from selion.store.urls import shown

if TYPE_CHECKING:
    import requests


LARGEST = 64 * 2**20
"""Bytes of an answer that is taken whole, unpacked: a page of a catalogue has some megabytes."""
PIECE = 1 << 16


def watch_redirects(session: requests.Session) -> requests.Session:
    """Let a session refuse redirects that lead from the world into a private network.

    A server that is asked for a scene could otherwise make this machine ask its own services, or
    those of the cloud that it runs in.  A private address that a user named may send on to others.
    An answer that is taken whole ends at :data:`LARGEST`: a few bytes of gzip may come to many.

    Returns
    -------
    requests.Session
        The same.  Its requests raise FetchFailed for such a redirect, before it is followed, and
        for such an answer.
    """
    session.hooks["response"] += [_check, _bound]
    return session


def _bound(answer: requests.Response, *, stream: bool = False, **_: Any) -> None:
    """Take an answer that would be taken whole, a redirect's too, and stop where it is too long."""
    if stream and not answer.is_redirect:
        return
    body = bytearray()
    for piece in answer.iter_content(PIECE):
        body += piece
        if len(body) > LARGEST:
            answer.close()
            raise FetchFailed(
                f"{shown(answer.url)} answers with more than {LARGEST // 2**20} MB where some "
                "megabytes are usual: it is no catalogue, or made to fill the memory. Check the "
                "address."
            )
    answer._content = bytes(body)  # noqa: SLF001 - requests has no other place for it


def _check(answer: requests.Response, **_: Any) -> None:
    if not answer.is_redirect:
        return
    try:
        check_redirect(answer.url, urljoin(answer.url, answer.headers["location"]))
    except FetchFailed:
        answer.close()
        raise


class WatchedRedirects(urllib.request.HTTPRedirectHandler):
    """The same for an opener of urllib."""

    def redirect_request(self, req: Any, *answer: Any) -> Any:
        """Refuse or follow; the last argument is the address."""
        check_redirect(req.full_url, answer[-1])
        return super().redirect_request(req, *answer)


def open_watched(request: urllib.request.Request, seconds: float) -> Any:
    """Do as ``urllib.request.urlopen``, and refuse such a redirect."""
    return urllib.request.build_opener(WatchedRedirects).open(request, timeout=seconds)


def check_redirect(asked: str, target: str) -> None:
    """Refuse a redirect from the world into a private network.

    Parameters
    ----------
    asked, target : str
        The whole address that was asked, and the one that it sends on to.

    Raises
    ------
    FetchFailed
        If it is one.
    """
    host = urlsplit(target).hostname or ""
    if is_private(host) and not is_private(urlsplit(asked).hostname or ""):
        raise FetchFailed(
            f"{shown(asked)} sends on to {host}, an address of this machine or of its own "
            "network, which nobody named: it is not followed. If it is meant, give that address."
        )


def is_private(host: str) -> bool:
    """Say whether a host is this machine, or one that only its own network sees.

    A name counts if any of its addresses does; one that has no address does not.
    """
    return any(not address.is_global for address in addresses(host))


def addresses(host: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Return the addresses of a host name; those of a literal address are itself."""
    try:
        return [_plain(host.strip("[]"))]
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
    except (OSError, UnicodeError):
        return []
    return [_plain(str(one[4][0]).partition("%")[0]) for one in found]


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address; one of version 4 within version 6 is that of version 4."""
    address = ipaddress.ip_address(text)
    within = getattr(address, "ipv4_mapped", None)
    return within or address
