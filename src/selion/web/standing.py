"""The page of ``selion watch``: how a plan stands, on a map of its squares."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from selion.country import PlanStanding, plan_squares, plan_standing
from selion.web.server import PageModule

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

NAME = "watch"
STATIC = ("watch.html", "watch.css", "watch.js")
FRESH = 2.0
"""Seconds for which a look at the folder is kept, however many tabs ask."""
TOLD = 200
"""Jobs of which a page is told the last lines, those that failed first."""
ORDER = ("failed", "stopped", "running", "incomplete")


@dataclass
class WatchedPlan:
    """A plan that is looked at again and again; safe to be used by several threads."""

    folder: Path
    _lock: Lock = field(default_factory=Lock)
    _last: PlanStanding | None = None
    _when: float = -1e9

    def standing(self) -> PlanStanding:
        """Return how it stands now, or a moment ago."""
        with self._lock:
            if self._last is None or time.monotonic() - self._when > FRESH:
                self._last = plan_standing(self.folder)
                self._when = time.monotonic()
            return self._last

    def state(self) -> dict[str, Any]:
        """Return what the page shows: figures, the state of each job, and some jobs at length."""
        standing = self.standing()
        jobs = sorted(
            (job for job in standing.jobs if job.state in ORDER),
            key=lambda job: (ORDER.index(job.state), job.name),
        )
        return {
            **standing.facts(),
            "states": {job.name: job.state for job in standing.jobs if job.state != "waiting"},
            "told": [
                {
                    "name": job.name,
                    "state": job.state,
                    "seconds": job.spans[-1][1] - job.spans[-1][0] if job.spans else None,
                    "tries": len(job.spans),
                    "code": job.code,
                    "host": job.host,
                    "silent": job.silent,
                    "last": list(job.last),
                }
                for job in jobs[:TOLD]
            ],
            "untold": max(len(jobs) - TOLD, 0),
        }

    def squares(self) -> dict[str, Any]:
        """Return the outlines of all jobs."""
        return plan_squares(self.folder, [job.name for job in self.standing().jobs])


def watch_page(folder: Path) -> PageModule:
    """Return the page of a plan; nothing that it is asked changes anything.

    Raises UnreadableFile if the folder holds no plan.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    plan = WatchedPlan(folder)
    plan.standing()
    fresh = {"cache-control": "no-store"}

    async def state(request: Request) -> Response:  # noqa: ARG001  # Starlette's signature
        return JSONResponse(await run_in_threadpool(plan.state), headers=fresh)

    async def squares(request: Request) -> Response:  # noqa: ARG001
        return JSONResponse(await run_in_threadpool(plan.squares), headers=fresh)

    routes = [Route("/state", state), Route("/squares", squares)]
    return PageModule(NAME, routes, STATIC)
