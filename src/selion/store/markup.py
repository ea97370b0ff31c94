"""Texts in XML, which may come from anybody: no entities, and not endlessly long."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree as ET

from selion.errors import UnreadableFile


def parsed_xml(text: bytes, name: str) -> ET.Element:
    """Parse a text.

    Raises
    ------
    UnreadableFile
        If it is no XML, or defines entities.
    """
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise UnreadableFile(f"{name} defines XML entities, which are not read.")
    try:
        return ET.fromstring(text)  # noqa: S314 - no entities are in it
    except (ET.ParseError, RecursionError, ValueError) as error:
        raise UnreadableFile(
            f"{name} is no XML ({error}): it is truncated; copy it again."
        ) from error


def plain_tag(element: ET.Element) -> str:
    """Return the name of an element without its namespace."""
    return element.tag.rpartition("}")[2]


def named(root: ET.Element, name: str) -> Iterator[ET.Element]:
    """Yield all elements of a name, whatever their namespace."""
    return (element for element in root.iter() if plain_tag(element) == name)


def text_of(root: ET.Element, *names: str) -> str:
    """Return the text of the first element of one of some names; empty if there is none."""
    for name in names:
        for element in named(root, name):
            if element.text and element.text.strip():
                return element.text.strip()
    return ""
