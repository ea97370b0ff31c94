"""Addresses that can be read now.

Tokens at reading time, kept while they last, renewed before and after they run out.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from selion.errors import BadInput, FetchFailed
from selion.store.retry import RetryPolicy

if TYPE_CHECKING:
    from selion.imagery.providers import Provider

AHEAD = 300.0
"""Seconds before its end at which a token is renewed; half its life if it lives less than twice
that."""
SAS_KEYS = frozenset(
    {
        "sig",
        "se",
        "st",
        "sp",
        "sv",
        "sr",
        "spr",
        "skoid",
        "sktid",
        "skt",
        "ske",
        "sks",
        "skv",
        "sip",
        "sdd",
        "ss",
        "srt",
    }
)
"""Query parameters of an Azure shared access signature."""
KEY_VARIABLE = "PC_SDK_SUBSCRIPTION_KEY"
"""The environment variable of the Planetary Computer's own package; a key lifts its limits."""


class Signer(Protocol):
    """What a reader needs.

    ``open(signer(href))``, and after a 401 or 403 once more ``open(signer.renew(href))``.
    """

    def __call__(self, href: str) -> str:
        """Return an address that can be read now.

        An address that is signed and still valid comes back as it is.
        """

    def renew(self, href: str) -> str:
        """Return an address with a fresh signature, after the old one was refused."""


@dataclass(frozen=True)
class Anonymous:
    """For archives that are open."""

    def __call__(self, href: str) -> str:
        """Return the address as it is."""
        return href

    def renew(self, href: str) -> str:
        """Return the address as it is: there is nothing to renew."""
        return href


@dataclass(frozen=True, slots=True)
class Token:
    """A query string and when it ends."""

    query: str
    renew_at: float
    """``time.monotonic()`` from which on another one is fetched."""


@dataclass(frozen=True)
class SasSigner:
    """Azure shared access signatures, one token per account and container.

    They come from an endpoint like the Planetary Computer's.

    Threads share the tokens, and wait for each other while one is fetched, so that a hundred
    readers ask once.  It can be pickled; a process begins without tokens.

    Parameters
    ----------
    endpoint : str
        ``<endpoint>/<account>/<container>`` answers ``{"token": "...", "msft:expiry":
        "2024-05-01T12:00:00Z"}``.
    hosts : tuple of str
        Ends of the host names that want a token; addresses elsewhere are left as they are.
    retry : RetryPolicy, optional
    """

    endpoint: str
    hosts: tuple[str, ...]
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    _tokens: dict[tuple[str, str], Token] = field(default_factory=dict, repr=False, compare=False)
    _lock: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def __call__(self, href: str) -> str:
        """Return the address with a token that lasts.

        One that is signed by somebody and not over comes back as it is.
        """
        key = self._key(href)
        if key is None or (is_signed(href) and not _is_over(href)):
            return href
        with self._lock:
            token = self._tokens.get(key)
            if token is None or time.monotonic() >= token.renew_at:
                token = self._fetch(key)
        return with_token(href, token.query)

    def renew(self, href: str) -> str:
        """Return the address with another token than the one that it carries.

        If it carries none, it is another than the one that is kept.
        """
        key = self._key(href)
        if key is None:
            return href
        with self._lock:
            kept = self._tokens.get(key)
            used = _signature(href)
            # A hundred readers are refused at once: the first fetches, the others find a token that
            # is not the refused one.
            fresh = (
                kept is not None
                and used is not None
                and used != dict(parse_qsl(kept.query)).get("sig")
                and time.monotonic() < kept.renew_at
            )
            token = kept if fresh and kept is not None else self._fetch(key)
        return with_token(href, token.query)

    def _key(self, href: str) -> tuple[str, str] | None:
        parts = urlsplit(href)
        if parts.scheme not in ("http", "https") or not parts.netloc.lower().endswith(self.hosts):
            return None
        return parts.netloc.partition(".")[0], parts.path.strip("/").partition("/")[0]

    def _fetch(self, key: tuple[str, str]) -> Token:
        url = f"{self.endpoint.rstrip('/')}/{key[0]}/{key[1]}"
        subscription = os.environ.get(KEY_VARIABLE)
        headers = {"Ocp-Apim-Subscription-Key": subscription} if subscription else {}
        token = _ask(url, headers, self.retry)
        self._tokens[key] = token
        return token

    def __getstate__(self) -> dict[str, Any]:
        return {"endpoint": self.endpoint, "hosts": self.hosts, "retry": self.retry}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _tokens={}, _lock=threading.Lock())


def _ask(url: str, headers: dict[str, str], retry: RetryPolicy) -> Token:
    import requests

    try:
        with retry.session() as session:
            answer = session.get(url, headers=headers, timeout=retry.timeouts)
            answer.raise_for_status()
            said = answer.json()
            query, expiry = (
                str(said["token"]).lstrip("?"),
                datetime.fromisoformat(said["msft:expiry"]),
            )
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise FetchFailed(
            f"{url} gave no token for reading ({error}): try again later, or take another provider "
            "(--provider earth-search needs none)."
        ) from error
    # The two moments are of the server's clock, so ours may be wrong.
    sent = answer.headers.get("Date")
    now = parsedate_to_datetime(sent) if sent else datetime.now(UTC)
    life = max((_aware(expiry) - _aware(now)).total_seconds(), 0.0)
    return Token(query, time.monotonic() + life - min(AHEAD, life / 2))


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_signed(href: str) -> bool:
    """Say whether an address carries a signature.

    Examples
    --------
    >>> is_signed("https://a.blob.core.windows.net/c/x.tif?se=2024&sig=ab%3D")
    True
    """
    return _signature(href) is not None


def _signature(href: str) -> str | None:
    return dict(parse_qsl(urlsplit(href).query)).get("sig")


def _is_over(href: str) -> bool:
    """Say whether the signature tells its end (``se``) and that is past."""
    try:
        end = datetime.fromisoformat(dict(parse_qsl(urlsplit(href).query)).get("se", ""))
    except ValueError:
        return False
    return _aware(end) <= datetime.now(UTC)


def with_token(href: str, query: str) -> str:
    """Put a token in place of the signature that an address carries, if any; other parameters stay.

    Examples
    --------
    >>> with_token("https://a.blob.core.windows.net/c/x.tif?v=1&se=1&sig=old", "se=2&sig=new")
    'https://a.blob.core.windows.net/c/x.tif?v=1&se=2&sig=new'
    """
    parts = urlsplit(href)
    others = [
        (key, value)
        for key, value in parse_qsl(parts.query, keep_blank_values=True)
        if key not in SAS_KEYS
    ]
    return urlunsplit(parts._replace(query="&".join(filter(None, [urlencode(others), query]))))


def make_signer(provider: Provider, retry: RetryPolicy | None = None) -> Signer:
    """Make the signer that a provider's addresses need.

    Raises
    ------
    BadInput
        If reading needs keys of the user that are not there; searching does not.
    """
    return SIGNERS[provider.signing](provider, retry or RetryPolicy())


def _anonymous(_provider: Provider, _patience: RetryPolicy) -> Signer:
    return Anonymous()


def _sas(provider: Provider, retry: RetryPolicy) -> Signer:
    return SasSigner(provider.sas, provider.signed_hosts, retry)


def _s3(provider: Provider, _patience: RetryPolicy) -> Signer:
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    missing = sorted(name for name in keys if not os.environ.get(name))
    if missing and (
        os.environ.get("AWS_PROFILE") or Path("~/.aws/credentials").expanduser().is_file()
    ):
        missing = []
    if not os.environ.get("AWS_S3_ENDPOINT"):
        missing.append("AWS_S3_ENDPOINT")
    if missing:
        raise BadInput(
            f"The images of {provider.name} lie at s3:// and want your own keys, but "
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: make keys in "
            "your account, export AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, "
            f"AWS_S3_ENDPOINT={provider.s3_endpoint} and AWS_VIRTUAL_HOSTING=FALSE, or take "
            "--provider earth-search, which needs none."
        )
    return Anonymous()  # GDAL signs by itself, with the keys of the environment


SIGNERS: dict[str, Callable[[Provider, RetryPolicy], Signer]] = {
    "none": _anonymous,
    "sas": _sas,
    "s3": _s3,
}
