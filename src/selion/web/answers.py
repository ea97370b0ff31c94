"""Answers of a page in JSON.

What was asked goes to a plain function, what it raises becomes one sentence and a status.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from selion.errors import BadInput, SelionError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

Session = TypeVar("Session")
JSON = Mapping[str, Any]
FRESH = {"cache-control": "no-store"}
"""Nothing that changes may be kept by a browser."""


def status(error: Exception) -> int:
    """Return 400 for what was asked wrongly, 507 for what could not be done."""
    return 400 if isinstance(error, BadInput) else 507


def reading(
    session: Session,
    answer: Callable[[Session, Mapping[str, str]], Any],
    lock: AbstractContextManager[Any] | None = None,
) -> Callable[[Request], Response]:
    """Answer a GET from the words of its address; with a lock, one at a time."""

    def endpoint(request: Request) -> Response:
        return _said(answer, session, {**request.query_params, **request.path_params}, lock)

    return endpoint


def writing(
    session: Session,
    answer: Callable[[Session, JSON], Any],
    lock: AbstractContextManager[Any] | None = None,
) -> Callable[[Request], Any]:
    """Answer a POST from the table in its body.

    A body that is no table is an empty one, which the function then refuses.
    """
    from starlette.concurrency import run_in_threadpool

    async def endpoint(request: Request) -> Response:
        try:
            table = json.loads(await request.body())
        except (ValueError, RecursionError):
            table = None
        return await run_in_threadpool(
            _said, answer, session, table if isinstance(table, dict) else {}, lock
        )

    return endpoint


def _said(
    answer: Callable[[Any, Any], Any],
    session: Any,
    parameters: JSON,
    lock: AbstractContextManager[Any] | None,
) -> Response:
    from starlette.responses import JSONResponse

    try:
        with lock or nullcontext():
            return JSONResponse(answer(session, parameters), headers=FRESH)
    except SelionError as error:
        return JSONResponse({"error": str(error)}, status(error), FRESH)


def whole_number(given: str | None, otherwise: int) -> int:
    """Return what an address says as a whole number from 0 up, or another one where it does not."""
    if given and given.isascii() and given.isdigit() and len(given) < 10:
        return int(given)
    return otherwise
