"""How long a server is waited for, and how often it is asked again.

One policy for all who ask: catalogues (requests), rasters (GDAL), object stores and downloads.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests
    from urllib3.util import Retry

BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses that say: ask again later."""


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
    """Times that a request is made, the first one included."""
    backoff: float = 0.5
    """Seconds before the first repetition; they double each time."""
    longest: float = 60.0
    """Seconds that are slept at most between two tries, whatever ``Retry-After`` says."""
    patience: float = 240.0
    """Seconds after which a request to an object store that failed twice is not made again."""

    @property
    def timeouts(self) -> tuple[float, float]:
        """For ``requests``."""
        return self.connect, self.answer

    def pause(self, failed: int, asked: str | None = None) -> float:
        """Return the seconds to wait after so many failed tries.

        ``asked`` is what a server said in ``Retry-After``: seconds or a date; other words of it do
        not count.

        Examples
        --------
        >>> [RetryPolicy().pause(failed) for failed in (1, 2, 3, 9)]
        [0.5, 1.0, 2.0, 60.0]
        """
        least = 0.0
        if asked is not None:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                least = (
                    float(asked)
                    if asked.strip().isdecimal()
                    else parsedate_to_datetime(asked).timestamp() - time.time()
                )
        return min(max(self.backoff * 2 ** (failed - 1), least), self.longest)

    def gdal(self) -> dict[str, str]:
        """Return GDAL's settings for this."""
        return {
            "GDAL_HTTP_MAX_RETRY": str(max(self.tries - 1, 0)),
            "GDAL_HTTP_RETRY_DELAY": str(self.backoff),
            "GDAL_HTTP_CONNECTTIMEOUT": str(max(round(self.connect), 1)),
            "GDAL_HTTP_LOW_SPEED_TIME": str(max(round(self.answer), 1)),
            "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
        }

    def urllib3(self) -> Retry:
        """Return urllib3's rule for repetitions.

        Connections, timeouts, 429 (with ``Retry-After``, but not for an hour) and 5xx; POST too,
        for a search changes nothing.
        """
        from urllib3.exceptions import InvalidHeader
        from urllib3.util import Retry

        longest = self.longest

        class BoundedRetry(Retry):
            def get_retry_after(self, response: Any) -> float | None:
                try:
                    asked = super().get_retry_after(response)
                except InvalidHeader:  # "soon" is no reason to give up
                    return None
                return None if asked is None else min(asked, longest)

        return BoundedRetry(
            total=self.tries - 1,
            backoff_factor=self.backoff,
            backoff_max=longest,
            status_forcelist=BUSY,
            allowed_methods=None,
            raise_on_status=False,
        )

    def session(self) -> requests.Session:
        """Return a session of requests that repeats what is worth it, and stays in the world."""
        import requests
        from requests.adapters import HTTPAdapter

        from selion.store.redirects import watch_redirects

        session = watch_redirects(requests.Session())
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=self.urllib3()))
        return session
