"""The hub of published weights.

What is in the cache is taken from there, and a dead network is asked once.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

ANSWER = 10
"""Seconds that the hub has for its first answer."""


@contextmanager
def cache_only() -> Iterator[None]:
    """Let the hub's client, whoever calls it, look into its cache and nowhere else.

    It raises OSError for what is not there.

    Left alone it asks a dead network for most of a minute, also for what is in the cache.
    """
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def ask_hub() -> None:
    """See whether the hub answers, whatever it says; OSError if it does not."""
    from huggingface_hub import constants

    try:
        urllib.request.urlopen(constants.ENDPOINT, timeout=ANSWER).close()  # noqa: S310  # the hub's own address
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        # its certificates may be known to the hub's client, which has its own
        if not isinstance(error.reason, ssl.SSLError):
            raise OSError(f"no answer: {error.reason}") from error
