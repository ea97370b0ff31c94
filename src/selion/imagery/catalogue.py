"""Asking catalogues: a STAC API with pystac-client, or files that link to each other.

Items as they come, unchecked.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import requests
from pystac.errors import STACError
from pystac.utils import make_absolute_href
from pystac_client import Client
from pystac_client.conformance import ConformanceClasses
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning

from selion.errors import SearchFailed, UnreadableFile
from selion.store.redirects import watch_redirects
from selion.store.retry import RetryPolicy
from selion.store.urls import plain_name, remote_scheme, shown

if TYPE_CHECKING:
    from selion.imagery.providers import Provider

Item = Mapping[str, Any]
PAGE = 100
"""Items that are asked for at once."""
LARGEST = 200_000
"""Documents of a static catalogue after which we give up."""
LONGEST = 16 * 2**20
"""Bytes of an item."""
FAILURES = (
    APIError,
    ClientTypeError,
    requests.RequestException,
    STACError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
)
"""What pystac-client raises when a server does not answer, or with something that is no catalogue:
it takes the answer apart without looking."""


@dataclass(frozen=True, slots=True)
class Query:
    """What a catalogue is asked."""

    outlines: tuple[dict[str, Any], ...]
    """GeoJSON geometries, asked one after the other."""
    start: date
    end: date
    """Included."""
    collections: tuple[str, ...]
    cloud: float | None = None
    """Percent below which the cover must be; None does not ask."""

    def without_cloud(self) -> Query:
        """Return the same without a cloud limit."""
        return replace(self, cloud=None)

    @property
    def interval(self) -> str:
        """For ``datetime``."""
        return f"{self.start}T00:00:00Z/{self.end}T23:59:59Z"


def ask(provider: Provider, query: Query, retry: RetryPolicy) -> Iterator[Item]:
    """Yield the items of a catalogue that answer a query, page by page, as the server sent them.

    It may repeat items, and send broken ones.

    Raises
    ------
    SearchFailed
        If it does not answer in the time and number of tries that ``retry`` allows, or is no
        catalogue.
    """
    io = _SteadyIO(retry)
    try:
        if _is_url(provider.url):
            root = io.read_json(provider.url)
            found = (
                _search(provider, query, io)
                if "conformsTo" in root
                else _walk(provider.url, root, query, io)
            )
            yield from (_elsewhere(item, provider.url) for item in found)
        else:
            yield from _files(Path(provider.url), query, io)
    except FAILURES as error:
        raise SearchFailed(_why(provider, error, retry)) from error
    finally:
        io.session.close()


def read_item(address: str, retry: RetryPolicy | None = None) -> dict[str, Any]:
    """Read one item, from a file or an address, with absolute addresses of its assets.

    A server's item names nothing of this machine.

    Raises
    ------
    UnreadableFile
        If it is no item, or too long for one.
    SearchFailed
        If a server does not answer.
    """
    retry = retry or RetryPolicy()
    try:
        if _is_url(address):
            io = _SteadyIO(retry)
            try:
                found = io.read_json(address)
            finally:
                io.session.close()
        else:
            with Path(address).expanduser().open("rb") as file:
                text = file.read(LONGEST + 1)
            if len(text) > LONGEST:
                raise ValueError(f"it has more than {LONGEST:,} bytes")
            found = json.loads(text)
    except FileNotFoundError as error:
        raise UnreadableFile(f"{address} does not exist: check the name.") from error
    except FAILURES as error:
        if _is_url(address):
            raise SearchFailed(
                f"{shown(address)} does not answer with a STAC item ({_short(error)}): check the "
                "address and the network."
            ) from error
        raise UnreadableFile(f"{address} is no STAC item ({_short(error)}).") from error
    if not isinstance(found, dict) or found.get("type") != "Feature" or "stac_version" not in found:
        kind = found.get("type") if isinstance(found, dict) else type(found).__name__
        raise UnreadableFile(
            f"{shown(address)} is no STAC item (it is of type {kind!r}): give one item or an image."
        )
    if not isinstance(found.get("properties"), dict) or not isinstance(found.get("id"), str):
        raise UnreadableFile(f"{shown(address)} is a STAC item without an id or properties.")
    place = address if _is_url(address) else str(Path(address).expanduser().absolute())
    item = _elsewhere(found, place) if _is_url(address) else found
    assets = _absolute(item.get("assets"), place)
    return {**item, "assets": assets if isinstance(assets, dict) else {}}


class _SteadyIO(StacApiIO):
    """pystac-client's reader, which also asks again when an answer breaks off in the middle.

    That is beyond urllib3's repetitions; so is one that its server says is whole.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        super().__init__(timeout=retry.timeouts, max_retries=retry.urllib3())
        watch_redirects(self.session)
        self.tries = retry.tries

    def request(self, *args: Any, **named: Any) -> str:
        """Send a request and read the answer to its end."""
        left = self.tries
        while True:
            left -= 1
            try:
                text: str = super().request(*args, **named)
                if left < 1 or _is_whole(text):
                    return text
            except APIError as error:
                if left < 1 or not isinstance(
                    error.__context__, requests.exceptions.ChunkedEncodingError
                ):
                    raise


def _is_whole(text: str) -> bool:
    """Say whether an answer that begins as JSON ends as such: a proxy may have cut it off."""
    if text.lstrip()[:1] not in ("{", "["):
        return True
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _is_url(text: str) -> bool:
    return urlsplit(text).scheme in ("http", "https")


def _search(provider: Provider, query: Query, io: StacApiIO) -> Iterator[Item]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PystacClientWarning)
        # it would set the timeout of io to None
        client = Client.open(provider.url, stac_io=io, timeout=io.timeout)
        if not client.conforms_to(ConformanceClasses.ITEM_SEARCH):
            message = (
                "says that it cannot be searched (no item-search among its conformance classes)"
            )
            raise SearchFailed(
                f"{provider.url} {message}: give the address of a STAC API with search, or of a "
                "static catalog.json."
            )
        can_query = client.conforms_to(ConformanceClasses.QUERY)
    asked: dict[str, Any] = (
        {"query": {"eo:cloud_cover": {"lt": query.cloud}}}
        if query.cloud is not None and can_query
        else {}
    )
    if query.collections:
        asked["collections"] = list(query.collections)
    for outline in query.outlines:
        search = client.search(intersects=outline, datetime=query.interval, limit=PAGE, **asked)
        yield from _pages(search.pages_as_dicts(), provider)


def _pages(pages: Iterator[dict[str, Any]], provider: Provider) -> Iterator[Item]:
    seen: set[tuple[object, object]] = set()
    for page in pages:
        fresh = [
            item
            for item in page.get("features") or ()
            if (item.get("collection"), item.get("id")) not in seen
        ]
        if not fresh:  # its next link leads back: without end, and nobody knows what is missing
            raise SearchFailed(
                f"{provider.url} sends the same page again and again: its paging is broken; take "
                "another provider."
            )
        seen.update((item.get("collection"), item.get("id")) for item in fresh)
        yield from fresh


# catalogues of files


def _files(path: Path, query: Query, io: StacApiIO) -> Iterator[Item]:
    if path.is_dir():
        for item in sorted(path.glob("*.json")):
            yield from _walk(str(item), json.loads(item.read_text(encoding="utf-8")), query, io)
    else:
        yield from _walk(str(path), io.read_json(str(path)), query, io)


def _walk(href: str, root: Mapping[str, Any], query: Query, io: StacApiIO) -> Iterator[Item]:
    """Yield the items below a document.

    An item, a FeatureCollection of them, or a catalogue whose links are followed.
    """
    waiting: list[tuple[str, Mapping[str, Any] | None]] = [(href, root)]
    seen = {href}
    while waiting:
        place, found = waiting.pop()
        document = io.read_json(place) if found is None else found
        kind = document.get("type")
        if kind == "Feature":
            yield from _fitting([document], place, query)
        elif kind == "FeatureCollection":
            yield from _fitting(document.get("features") or [], place, query)
        elif kind in ("Catalog", "Collection") or "links" in document:
            waiting += [
                (link, None)
                for link in _below(document, place, query)
                if not (link in seen or seen.add(link))  # type: ignore[func-returns-value]
            ]
        else:
            raise ValueError(f"{place} is not a STAC document (type {kind!r})")
        if len(seen) > LARGEST:
            raise ValueError(
                f"it has more than {LARGEST:,} documents: give a STAC API, or a smaller part of it"
            )


def _below(document: Mapping[str, Any], place: str, query: Query) -> list[str]:
    """Return where the children and items of a catalogue are.

    Of a collection that ends before the season, nothing.
    """
    if document.get("type") == "Collection" and not _may_hold(document, query):
        return []
    links = [link for link in document.get("links") or () if link.get("rel") in ("child", "item")]
    return [make_absolute_href(link["href"], place, start_is_dir=False) for link in reversed(links)]


def _may_hold(collection: Mapping[str, Any], query: Query) -> bool:
    if query.collections and collection.get("id") not in query.collections:
        return False
    intervals = ((collection.get("extent") or {}).get("temporal") or {}).get("interval") or [
        [None, None]
    ]
    start, end = (str(moment)[:10] if moment else None for moment in intervals[0][:2])
    return (start is None or start <= query.end.isoformat()) and (
        end is None or end >= query.start.isoformat()
    )


def _fitting(items: list[Item], place: str, query: Query) -> Iterator[Item]:
    """Yield items of the season, with absolute addresses.

    Where something is missing the item goes on, so that it is refused with a reason.
    """
    for item in items:
        if query.collections and item.get("collection") not in (None, *query.collections):
            continue
        day = _day(item)
        if day is None or query.start <= day <= query.end:
            yield {**item, "assets": _absolute(item.get("assets"), place)}


def _day(item: Item) -> date | None:
    said = item.get("properties") or {}
    try:
        moment = datetime.fromisoformat(str(said.get("datetime") or said.get("start_datetime")))
    except ValueError:
        return None
    return (moment.astimezone(UTC) if moment.tzinfo else moment).date()


def _absolute(assets: object, place: str) -> object:
    if not isinstance(assets, Mapping):
        return assets
    return {
        name: {**asset, "href": make_absolute_href(asset["href"], place, start_is_dir=False)}
        if isinstance(asset, Mapping) and asset.get("href")
        else asset
        for name, asset in assets.items()
    }


def _elsewhere(item: Item, place: str) -> Item:
    """Leave out the assets of a server's item that lie on no server.

    A path, or one of GDAL's own places, would be read on this machine.
    """
    assets = _absolute(item.get("assets"), place)
    if not isinstance(assets, Mapping):
        return item
    kept = {
        name: asset
        for name, asset in assets.items()
        if not isinstance(asset, Mapping)
        or remote_scheme(plain_name(str(asset.get("href") or ""))) not in (None, "file")
    }
    return {**item, "assets": kept}


def _why(provider: Provider, error: BaseException, retry: RetryPolicy) -> str:
    status = getattr(error, "status_code", None)
    if status is not None:
        cure = {
            429: "it asks for fewer requests; wait a while",
            401: "it wants an account",
            403: "it wants an account",
            404: "check the address",
        }
        what = (
            f"answers {status} after {retry.tries} tries"
            if status == 429 or status >= 500
            else f"answers {status}"
        )
        return (
            f"{provider.url} {what}: {cure.get(status, 'try again later')}, or take another "
            "provider."
        )
    if isinstance(error, (APIError, requests.RequestException, OSError)):
        return (
            f"{provider.url} does not answer ({_short(error)}): check the address and the network, "
            "or take another provider."
        )
    return (
        f"{provider.url} answers with something that is no STAC catalogue ({_short(error)}): check "
        "the address."
    )


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "NameResolutionError" in text or "getaddrinfo" in text or "Name or service" in text:
        return "its name is not found, as without a network"
    if "timed out" in text.lower():
        return "it timed out"
    if "Connection refused" in text or "Network is unreachable" in text:
        return "no connection can be made"
    return text if len(text) <= 200 else text[:197] + "..."
