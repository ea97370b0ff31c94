"""Catalogues of satellite images.

The known ones are data (``providers.toml``), any other is given by its address.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selion.errors import BadInput, UnknownName
from selion.imagery.sensors import SENTINEL_2

Names = Mapping[str, tuple[str, ...]]
DEFAULT = "earth-search"
INDEXES = ("catalog.json", "collection.json")
"""What the root of a static catalogue is called, in the order in which it is looked for."""


@dataclass(frozen=True, slots=True)
class Provider:
    """A catalogue and how it speaks."""

    name: str
    """``earth-search``, ``planetary-computer``, ``cdse``, or the address of any other."""
    title: str
    url: str
    """Root of the STAC API; address or path of a static catalogue, a FeatureCollection of items, or
    a folder of items."""
    collections: tuple[str, ...]
    """Searched together; of one acquisition in two of them, the earlier collection's is taken.
    Empty: all that the catalogue has."""
    assets: Names
    """Bands of the sensor and its mask (``red, green, blue, nir, scl``) -> names of assets, tried
    in their order."""
    properties: Names
    """``tile, baseline, cloud, orbit, offset_applied`` -> names of properties, tried in their
    order."""
    offset: Mapping[str, str] = field(default_factory=dict)
    """Collection -> ``kept`` (numbers as ESA delivers them) or ``flag`` (``offset_applied`` says
    it, not reliably); others are not known."""
    signing: str = "none"
    """``none``, ``sas`` (Azure tokens) or ``s3`` (the user's keys)."""
    sas: str = ""
    """Where tokens are given out: ``<sas>/<account>/<container>``."""
    signed_hosts: tuple[str, ...] = ()
    """Ends of the host names whose addresses want a token."""
    s3_endpoint: str = ""
    sensor: str = SENTINEL_2
    """Name of the sensor whose products it has (:mod:`selion.imagery.sensors`)."""

    @property
    def known(self) -> bool:
        """Whether it stands in ``providers.toml``.

        Only then are its names facts and not guesses.
        """
        return self.name in known_providers()


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(
        files("selion.imagery").joinpath("providers.toml").read_text(encoding="utf-8")
    )


@cache
def _template(name: str) -> Provider:
    row = {key: value for key, value in _table()[name].items() if key != "aliases"}
    for key in ("collections", "signed_hosts"):
        row[key] = tuple(row.get(key, ()))
    for key in ("assets", "properties"):
        row[key] = {what: tuple(names) for what, names in row[key].items()}
    return Provider(name=name, **row)


@cache
def known_providers() -> tuple[str, ...]:
    """Return the names of the providers that need no address."""
    return tuple(name for name in _table() if name != "any")


def find_provider(
    given: str | os.PathLike[str] = DEFAULT,
    collections: Sequence[str] = (),
    *,
    perhaps_gone: bool = False,
) -> Provider:
    """Find a provider by name, or make one of an address.

    Parameters
    ----------
    given : str or path
        A known name or alias (``earth-search``, ``mspc``, ``cdse``), the address of a STAC API or
        of a static catalogue (``.../catalog.json``), or the path of a static catalogue, of a
        FeatureCollection of items, or of a folder with items.
    collections : sequence of str, optional
        Other collections than the provider's own.
    perhaps_gone : bool
        Whether a path may name what was moved away, of which all is known already.

    Returns
    -------
    Provider

    Raises
    ------
    UnknownName
        If it is neither a known name nor an address nor a path.
    BadInput
        If the folder holds no catalogue.

    Examples
    --------
    >>> find_provider("mspc").name
    'planetary-computer'
    >>> find_provider("https://stac.example.org/v1/").url
    'https://stac.example.org/v1'
    """
    text = os.fspath(given).strip()
    provider = _by_name(text) or _by_address(text) or _by_path(text, perhaps_gone)
    return replace(provider, collections=tuple(collections)) if collections else provider


def _by_name(text: str) -> Provider | None:
    for name in known_providers():
        if text.lower() in (name, *_table()[name].get("aliases", ())):
            return _template(name)
    return None


def _by_address(text: str) -> Provider | None:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        return None
    if not parts.netloc:
        raise BadInput(
            f"{text!r} is not an address: wanted is https://, a host and the root of a STAC API "
            "or a catalog.json."
        )
    address = text.rstrip("/")
    same = next(
        (name for name in known_providers() if _template(name).url.rstrip("/") == address), None
    )
    return _template(same) if same else replace(_template("any"), name=address, url=address)


def _by_path(text: str, perhaps_gone: bool) -> Provider:
    path = Path(text).expanduser()
    if text and path.is_dir():
        path = _index_of(path)
    elif not path.is_file():
        named = path.suffix == ".json" or len(path.parts) > 1
        if named and perhaps_gone:
            return replace(_template("any"), name=str(path), url=str(path.resolve()))
        if named:
            raise BadInput(
                f"{text} does not exist: give the path of a catalog.json, the address of a STAC "
                f"API, or one of {', '.join(known_providers())}."
            )
        raise UnknownName.among("provider", text, known_providers())
    return replace(_template("any"), name=str(path), url=str(path.resolve()))


def _index_of(folder: Path) -> Path:
    for name in INDEXES:
        if (folder / name).is_file():
            return folder / name
    for place in (folder / "items", folder):
        if any(place.glob("*.json")):
            return place
    raise BadInput(
        f"{folder} holds no {' or '.join(INDEXES)} and no items (*.json): give the folder of a "
        "static STAC catalogue."
    )
