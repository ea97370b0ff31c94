"""Editions of the published world: what each holds, from when, at which address, by whose leave."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any, Literal

from selion.errors import BadInput, UnknownName
from selion.store.address import RemotePath, locate
from selion.store.urls import shown

Product = Literal["probabilities", "fields", "imagery"]
"""What an edition is made of."""
SECOND = "https://data.source.coop/ftw/global-data-2e"
FIRST = "https://data.source.coop/tge-labs/ftw-global-data"
FIRST_LISTED = "s3://us-west-2.opendata.source.coop/ftw/global-data"
"""Where its files can be listed; the web address cannot."""


@dataclass(frozen=True, slots=True)
class Edition:
    """A map of the world that somebody published."""

    name: str
    """What it is called here and on the command line."""
    product: Product
    title: str
    years: tuple[int, ...]
    resolution: float | None
    """Edge of a pixel in metres; None: outlines."""
    licence: str
    """SPDX identifier."""
    citation: str
    address: str
    """Folder, or http(s), s3, gs or az address, below which its layout lies; no slash at the
    end."""
    size: str
    """How much it is."""
    notes: tuple[str, ...] = ()
    """What its publishers say is lacking."""

    def place(self, *parts: str) -> str:
        """Return the address of something in the edition, with the signature of its own.

        Examples
        --------
        >>> find_edition("ftw-2e@copy").place("index", "raster-lite.parquet")
        'copy/index/raster-lite.parquet'
        """
        place = locate(self.address)
        if not isinstance(place, RemotePath):
            return "/".join((self.address, *parts))
        for part in parts:
            place = place / part
        return os.fspath(place)

    def weak(self, year: int) -> str | None:
        """Return what its publishers say against a year; None: nothing."""
        return next((note for note in self.notes if str(year) in note), None)

    def about(self) -> dict[str, Any]:
        """Return what has to be said wherever the edition is used: name, licence, citation.

        It is written down, so the address comes without password and signature.
        """
        return {
            "edition": self.name,
            "title": self.title,
            "licence": self.licence,
            "citation": self.citation,
            "address": shown(self.address),
        }

    def check_year(self, year: int) -> None:
        """Refuse a year that it does not have.

        Raises
        ------
        BadInput
            With the years that it has.
        """
        if year not in self.years:
            raise BadInput(
                f"{self.name} has no {year}: it has {self.years[0]} to {self.years[-1]}."
            )


_CITED = "Taylor Geospatial, Fields of The World, global data, {} edition, source.coop, {}."
_UNSURE = (
    "Only tiles with 1 % cropland or more were looked at.",
    "2017 and 2024 are under-detected in some regions, their publishers say.",
    "Inside a tile nothing is filtered by land cover.",
)
_NINE = tuple(range(2017, 2026))
EDITIONS = {
    edition.name: edition
    for edition in (
        Edition(
            "ftw-2e",
            "probabilities",
            "Fields of The World, second edition: field and boundary probabilities",
            _NINE,
            2.5,
            "CC-BY-4.0",
            _CITED.format("2nd", "2026"),
            SECOND,
            "67,197 tiles, 26 TB",
            _UNSURE,
        ),
        Edition(
            "ftw-2e:fields",
            "fields",
            "Fields of The World, second edition: polygons",
            _NINE,
            None,
            "CC-BY-4.0",
            _CITED.format("2nd", "2026"),
            SECOND,
            "1,139,401,371 polygons",
            (*_UNSURE, "Scores are mean probabilities x 100, not calibrated."),
        ),
        Edition(
            "ftw-1e",
            "probabilities",
            "Fields of The World, first edition: class probabilities (PRUE)",
            (2024, 2025),
            10.0,
            "CC-BY-4.0",
            f"{_CITED.format('1st', '2026')} arXiv 2605.11055.",
            FIRST,
            "one Zarr of the world at 8.983e-5 degrees",
        ),
        Edition(
            "ftw-1e:fields",
            "fields",
            "Fields of The World, first edition: polygons with confidence (PRUE)",
            (2024, 2025),
            None,
            "CC-BY-4.0",
            f"{_CITED.format('1st', '2026')} arXiv 2605.11055.",
            FIRST_LISTED,
            "3.17 billion polygons",
            ("Confidence 69 or more is advised by its publishers.",),
        ),
        Edition(
            "ftw-mosaics",
            "imagery",
            "Quarterly cloudless mosaics of Sentinel-2 (TGE Labs' open mirror)",
            _NINE,
            10.0,
            "CC-BY-4.0",
            "Contains modified Copernicus Sentinel data; mirrored by TGE Labs, source.coop.",
            "https://data.source.coop/tge-labs/sentinel-2-quarterly-cloudless-mosaics",
            "4 quarters x 4 bands a tile and year",
        ),
        Edition(
            "cdse-mosaics",
            "imagery",
            "Quarterly cloudless mosaics of Sentinel-2 (Copernicus Data Space; S3 keys needed)",
            _NINE,
            10.0,
            "CC-BY-4.0",
            "Contains modified Copernicus Sentinel data.",
            "https://stac.dataspace.copernicus.eu/v1/collections/sentinel-2-global-mosaics",
            "4 quarters x 4 bands a tile and year",
        ),
    )
}
"""By name, probabilities before fields, the newest first."""


def find_edition(text: str) -> Edition:
    """Return an edition by its name, or a copy of one at another address.

    Parameters
    ----------
    text : str
        ``NAME``, or ``NAME@ADDRESS`` for a copy of its layout: a folder, or an address that begins
        with ``http://``, ``https://``, ``s3://``, ``gs://`` or ``az://``.

    Raises
    ------
    UnknownName
        If there is none; the sentence offers the nearest.
    BadInput
        If ``@`` is followed by nothing.

    Examples
    --------
    >>> find_edition("ftw-2e:fields@s3://mirror/ftw-2e/").address
    's3://mirror/ftw-2e'
    """
    name, at, address = text.strip().partition("@")
    if name not in EDITIONS:
        raise UnknownName.among("edition", name, EDITIONS)
    if not at:
        return EDITIONS[name]
    if not address.strip("/ "):
        raise BadInput(
            f"{text} names no copy: wanted is for example {name}@FOLDER or "
            f"{name}@https://mirror.org/{name}."
        )
    return replace(EDITIONS[name], address=address.strip().rstrip("/"))


def wanted_edition(given: Edition | str, product: Product) -> Edition:
    """Return an edition that is of some product.

    Raises
    ------
    UnknownName, BadInput
        If there is none of that name, or it is of another product.
    """
    edition = given if isinstance(given, Edition) else find_edition(given)
    if edition.product != product:
        fitting = ", ".join(one.name for one in EDITIONS.values() if one.product == product)
        raise BadInput(f"{edition.name} holds {edition.product}; wanted is one of {fitting}.")
    return edition
