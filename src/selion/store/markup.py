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
    try:
        return ET.fromstring(text, ET.XMLParser(target=_Plain(name)))  # noqa: S314 - no entities
    except (ET.ParseError, RecursionError, ValueError, LookupError) as error:
        raise UnreadableFile(
            f"{name} is no XML ({error}): it is truncated; copy it again."
        ) from error


class _Plain(ET.TreeBuilder):
    """Builds a tree of a text that declares no type, and so no entities, in whatever encoding."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise UnreadableFile(f"{self._name} defines XML entities, which are not read.")


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
