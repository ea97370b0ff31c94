"""How long to wait for a server and how often to ask again.

One HTTP session for catalogues and tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

if TYPE_CHECKING:
    import requests

WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of waiting.

    With the defaults a dead server is given up after some 40 s, one that asks to wait after 4
    minutes.
    """

    connect: float = 10.0
    """Seconds until a connection must stand."""
    answer: float = 60.0
    """Seconds without a byte after which a request counts as lost."""
    tries: int = 5
    """Requests for one page, the first one included."""
    backoff: float = 0.5
    """Seconds before the second repetition; they double each time."""
    longest: float = 60.0
    """Seconds that are slept at most between two tries, whatever ``Retry-After`` says."""

    @property
    def timeouts(self) -> tuple[float, float]:
        """For ``requests``."""
        return self.connect, self.answer


class _BoundedRetry(Retry):
    """Honours ``Retry-After``, but not for an hour."""

    LONGEST = 60.0

    def get_retry_after(self, response: Any) -> float | None:
        """Return the seconds that the server asks for, bounded."""
        try:
            asked = super().get_retry_after(response)
        except InvalidHeader:  # "soon" is no reason to give up
            return None
        return None if asked is None else min(asked, self.LONGEST)


def retries(patience: RetryPolicy) -> Retry:
    """Return urllib3's rule for repetitions.

    Connections, timeouts, 429 (with ``Retry-After``) and 5xx; POST too, for a search changes
    nothing.
    """
    bounded = type("_Retry", (_BoundedRetry,), {"LONGEST": patience.longest})
    return bounded(
        total=patience.tries - 1,
        backoff_factor=patience.backoff,
        backoff_max=patience.longest,
        status_forcelist=WORTH_ANOTHER_TRY,
        allowed_methods=None,
        raise_on_status=False,
    )


def session_of(patience: RetryPolicy) -> requests.Session:
    """Return a session that repeats what is worth it."""
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries(patience)))
    return session
