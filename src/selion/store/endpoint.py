"""A server that answers questions in the form of OpenAI's chat completions."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from selion.errors import BadInput, FetchFailed, ServerLost
from selion.store.retry import RetryPolicy

SCHEME = "openai:"
KEY, OWN_KEY = "SELION_ENDPOINT_KEY", "OPENAI_API_KEY"
"""Variables of the environment that hold a key: any server's, and that of OpenAI's own alone."""
OWN_HOST = "api.openai.com"
PATIENCE = RetryPolicy(connect=10.0, answer=600.0, tries=4, backoff=1.0)
"""An answer of thousands of tokens may take minutes."""
LARGEST = 8 * 2**20
"""Bytes of an answer; masks have thousands."""
LONGEST = 3600.0
"""Seconds of an answer that goes on and on."""
CLOSED = frozenset({401, 403, 404, 410, 429, 503})
"""HTTP statuses that the next question will meet too."""


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """Where a model is asked: ``openai:http://HOST/v1#NAME``."""

    url: str
    """Of the server's first version, without a slash at its end."""
    name: str
    """Of the model, as the server has it."""

    def __str__(self) -> str:
        return f"{SCHEME}{self.url}#{self.name}"

    @classmethod
    def parse(cls, text: str) -> ModelAddress:
        """Read an address.

        Raises
        ------
        BadInput
            If it is none, or holds a name and a password.
        """
        url, _, name = text.removeprefix(SCHEME).partition("#")
        try:
            parts = urlsplit(url)
        except ValueError:  # half an address of version 6
            parts = urlsplit("")
        if "@" in url or "?" in url:
            raise BadInput(
                f"The address of the model at {parts.hostname or 'a server'} holds a password or a "
                f"query; a key is taken from the environment's {KEY} alone."
            )
        if parts.scheme not in ("http", "https") or not parts.hostname or not name:
            raise BadInput(
                f"{text!r} was given as the model of a server; wanted is "
                f"{SCHEME}http://HOST:PORT/v1#NAME, the name as the server has it."
            )
        return cls(url.rstrip("/"), name)


@dataclass(eq=False)
class ChatServer:
    """Questions to a server; from several threads at once."""

    address: ModelAddress
    policy: RetryPolicy = PATIENCE
    _local: threading.local = field(default_factory=threading.local)

    def _session(self) -> Any:
        if not hasattr(self._local, "session"):
            self._local.session = self.policy.session()
        return self._local.session

    def complete(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask one question, and return the server's answer; again, where half of it comes.

        Parameters
        ----------
        question : mapping
            What is posted, but the model's name.

        Raises
        ------
        ServerLost
            If there is no server, no model of that name, or nobody is let in (any more).
        FetchFailed
            If there is no answer in time, or none that can be read.
        BadInput
            If the server does not take the question; nothing is asked again.
        """
        for failed in range(1, self.policy.tries):
            try:
                return self._complete(question)
            except _HalfAnswer:
                time.sleep(self.policy.pause(failed))
        return self._complete(question)

    def _complete(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        import requests

        where, key = f"{self.address.url}/chat/completions", secret(self.address)
        try:
            with self._session().post(
                where,
                json={"model": self.address.name, **question},
                auth=_signed_with(key),
                timeout=self.policy.timeouts,
                allow_redirects=False,  # pictures and key are for the host that was named
                stream=True,
            ) as answer:
                body = _body(answer, self.address.url)
        except requests.RequestException as error:
            raise _kind(error)(
                f"{self.address.url} gives no answer ({type(error).__name__}): check that the "
                "server runs and that the address is right; the same command goes on from here."
            ) from None
        words = body.decode("utf-8", "replace")
        said = (words.replace(key, "...") if key else words)[:300]  # first, so that no part stays
        if answer.status_code in (400, 422):
            raise BadInput(f"{self.address.url} does not take the question: {said}")
        if answer.is_redirect:
            raise FetchFailed(
                f"{self.address.url} sends on to another address, which nobody named: it is not "
                "followed. If it is meant, give that address."
            )
        if not answer.ok:
            cure = f"; its key is read from {KEY}" if answer.status_code in (401, 403) else ""
            raise (ServerLost if answer.status_code in CLOSED else FetchFailed)(
                f"{self.address.url} answers {answer.status_code} to {self.address.name}{cure}: "
                f"{said or 'no words'}"
            )
        return self._read(body, said)

    def _read(self, body: bytes, said: str) -> Mapping[str, Any]:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise _HalfAnswer(f"{self.address.url} answers no JSON: {said}") from None
        if not isinstance(found, dict):
            raise FetchFailed(
                f"{self.address.url} answers {said[:60]!r}: wanted is a chat completion."
            )
        return found


class _HalfAnswer(FetchFailed):
    """An answer that was cut off on its way, as far as can be told."""


def _kind(error: Exception) -> type[FetchFailed]:
    """Say whether half an answer came, none in time, or nobody is there."""
    import requests

    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return _HalfAnswer
    late = isinstance(error, requests.Timeout) or "Read timed out" in str(error)
    return FetchFailed if late and not isinstance(error, requests.ConnectTimeout) else ServerLost


def _body(answer: Any, url: str) -> bytes:
    """Read an answer within bounds.

    Raises
    ------
    FetchFailed
        If it is larger than any mask, or does not end.
    """
    body, began = bytearray(), time.monotonic()
    for piece in answer.iter_content(2**10):
        body += piece
        if len(body) > LARGEST or time.monotonic() - began > LONGEST:
            raise FetchFailed(
                f"{url} gives an answer without an end: {len(body):,} bytes in "
                f"{time.monotonic() - began:.0f} s, and a mask has thousands. Check the address."
            )
    return bytes(body)


def _signed_with(key: str) -> Callable[[Any], Any]:
    """Return what puts a key, or none, into a request, and no password of ``.netrc``."""

    def sign(request: Any) -> Any:
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
        return request

    return sign


def secret(address: ModelAddress) -> str:
    """Return the key for a server; empty: none is sent.

    It stands in the environment alone: nothing writes it down.

    Raises
    ------
    BadInput
        If it holds what no key does; it is not quoted.
    """
    own = os.environ.get(OWN_KEY, "") if urlsplit(address.url).hostname == OWN_HOST else ""
    key = os.environ.get(KEY, "").strip() or own.strip()
    if not (key.isascii() and key.isprintable()):
        raise BadInput(f"The key in {KEY} holds signs that no key has: copy it again.")
    return key
