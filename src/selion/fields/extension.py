"""The schema of the columns that a table has beside those of fiboa, as Vecorel describes columns.

Each table carries it in its own metadata (``schemas:custom``), so that validators know all of its
columns without asking a server; as a file it lies in ``docs/fiboa``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

LANGUAGE = "https://vecorel.org/sdl/v0.2.0/schema.json"
"""Vecorel's language of schemas."""
VERSION = "v0.1.0"
"""Of :data:`EXTENSION`; a column whose meaning changes gets another version."""
EXTENSION: dict[str, dict[str, Any]] = {
    "class": {
        "type": "string",
        "minLength": 1,
        "description": "What the field is: a name of the class scheme of the model.",
    },
    "confidence": {
        "type": "float",
        "minimum": 0,
        "maximum": 1,
        "description": (
            "How sure the map is that this is one field: where a learnt score chose it, the "
            "estimated probability that it matches a field drawn by hand (intersection over union "
            "above 0.5); else the mean probability of its pixels, which is not calibrated."
        ),
    },
    "consistency": {
        "type": "float",
        "minimum": 0,
        "maximum": 1,
        "description": (
            "Mean over the field's pixels of the share of pairs of four passes (windows shifted "
            "by half their distance, each in a mirrored pose) that answer with the same class."
        ),
    },
    "land_cover:crop_share": {
        "type": "float",
        "minimum": 0,
        "maximum": 1,
        "description": "Share of crop among the pixels of a land cover map under the field.",
    },
}
"""Our columns, each as Vecorel describes a property; none is required."""
DESCRIBED = frozenset(
    (
        *("schemas", "id", "collection", "geometry", "bbox", "category"),
        *("metrics:area", "metrics:perimeter"),
        *("determination:datetime", "determination:method", "determination:details"),
    )
)
"""Columns that the schemas of Vecorel and fiboa describe."""


def extension_schema(names: Iterable[str] = tuple(EXTENSION)) -> dict[str, Any]:
    """Return the schema of some of our columns, plain values.

    Examples
    --------
    >>> extension_schema(["confidence"])["properties"]["confidence"]["maximum"]
    1
    """
    properties = {name: EXTENSION[name] for name in names}
    return {
        "$schema": LANGUAGE,
        "required": [],
        "collection": dict.fromkeys(properties, False),
        "properties": properties,
    }


def custom_schema(fields: Iterable[pa.Field]) -> dict[str, Any]:
    """Return the schema of the columns of a table that no schema of fiboa describes.

    Parameters
    ----------
    fields : iterable of Field
        All of its columns.  Those that are not ours are described by their type alone; types that
        Vecorel has no word for are left out.

    Returns
    -------
    dict
        What stands in the metadata of a collection as ``schemas:custom``; empty if there is none.
    """
    found: dict[str, Any] = {}
    for field in fields:
        if field.name in DESCRIBED:
            continue
        word = _word(field.type)
        described = EXTENSION.get(field.name)
        if described is not None and described["type"] == word:
            found[field.name] = described
        elif word:
            found[field.name] = {"type": word}
    if not found:
        return {}
    return extension_schema(()) | {
        "collection": dict.fromkeys(found, False),
        "properties": found,
    }


def _word(kind: pa.DataType) -> str:
    """Return Vecorel's word for an Arrow type; empty: it has none."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    words = {"bool": "boolean", "large_string": "string", "string_view": "string"}
    name = words.get(str(kind), str(kind))
    if kind == pa.timestamp("ms", tz="UTC"):
        return "date-time"
    whole = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
    return name if name in whole | {"boolean", "string", "float", "double"} else ""
