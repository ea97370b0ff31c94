"""The columns of a table of fields, in one place: fiboa 0.3 on Vecorel 0.1, and what we add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput
from selion.store.former import value_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

VECOREL = "https://vecorel.org/specification/v0.1.0/schema.yaml"
FIBOA = "https://fiboa.org/specification/v0.3.0/schema.yaml"
METRICS = "https://vecorel.org/geometry-metrics-extension/v0.1.0/schema.yaml"
SCHEMAS = (VECOREL, FIBOA, METRICS)
"""The schemas that a file of ours declares."""
METHODS = ("manual", "driven", "surveyed", "auto-operation", "auto-imagery", "unknown")
"""Values of ``determination:method``."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    name: str
    kind: str
    """Arrow type: "string", "float" or "time" (milliseconds, UTC)."""
    required: bool
    meaning: str
    above: float | None = None
    """Values must be greater."""
    upto: float | None = None
    """Values must not be greater."""


COLUMNS = (
    Column(
        "id",
        "string",
        True,
        (
            "Geohash (12 characters, a few centimetres) of a point inside the field, so that it "
            "says where; in a photograph the pixel."
        ),
    ),
    Column("class", "string", False, "What it is, a name of the model's class scheme."),
    Column(
        "metrics:area", "float", False, "Area on the ellipsoid in m2 (px2 in a photograph).", 0, 1e9
    ),
    Column(
        "metrics:perimeter",
        "float",
        False,
        "Perimeter on the ellipsoid in m, holes included (px in a photograph).",
        0,
        1.25e9,
    ),
    Column(
        "determination:datetime",
        "time",
        False,
        (
            "When the last image was taken that the field was seen in, where that differs from "
            "field to field."
        ),
    ),
    Column(
        "confidence", "float", False, "Mean probability of the field's pixels, 0 to 1.", None, 1
    ),
    Column(
        "consistency",
        "float",
        False,
        (
            "Mean over the field's pixels of the share of pairs of passes that answer with the "
            "same class, 0 to 1."
        ),
        None,
        1,
    ),
)
"""Besides ``geometry`` (polygons) and ``bbox``."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where fields come from; it holds for a whole file and becomes its collection metadata."""

    collection: str = "selion"
    """Name of the collection."""
    determined: datetime | None = None
    """When the last image was taken: not when the fields were drawn.  Without a time zone it counts
    as UTC."""
    details: str = ""
    """How the fields were found: model, method, parameters."""
    method: str = "auto-imagery"
    """One of METHODS."""
    provenance: Mapping[str, object] | None = None
    """What it was made from, plain values: scenes with dates and baselines, versions, the model's
    hash."""

    def __post_init__(self) -> None:
        if not self.collection or self.method not in METHODS:
            raise BadInput(
                f"Collection {self.collection!r} with method {self.method!r} was given; wanted are "
                f"a name and one of {', '.join(METHODS)}."
            )

    def to_dict(self) -> dict[str, object]:
        """Return the collection metadata, all values plain."""
        table: dict[str, object] = {
            "schemas": {self.collection: list(SCHEMAS)},
            "collection": self.collection,
            "determination:method": self.method,
        }
        if self.determined:
            moment = (
                self.determined if self.determined.tzinfo else self.determined.replace(tzinfo=UTC)
            )
            table["determination:datetime"] = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if self.details:
            table["determination:details"] = self.details
        if self.provenance:
            table["selion:provenance"] = dict(self.provenance)
        return table

    @classmethod
    def from_dict(cls, table: dict[str, object]) -> Origin:
        """Inverse of :meth:`to_dict`."""
        moment = table.get("determination:datetime")
        determined = datetime.fromisoformat(str(moment)) if moment else None
        details, method = (
            str(table.get("determination:details", "")),
            str(table.get("determination:method", "unknown")),
        )
        provenance = value_of(table, "selion:provenance", "The table of fields")
        return cls(
            str(table.get("collection", "selion")),
            determined,
            details,
            method,
            provenance if isinstance(provenance, Mapping) else None,
        )


def check_columns(schema: pa.Schema, name: str) -> None:
    """Refuse (BadInput) a table ``name`` whose columns of ours are of types without a meaning."""
    import pyarrow as pa

    numbers = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
    texts = (pa.types.is_string, pa.types.is_large_string, pa.types.is_dictionary)
    times = (pa.types.is_timestamp, pa.types.is_date)
    meant = {"float": numbers, "string": (*texts, *numbers), "time": (*texts, *times, *numbers)}
    for column in COLUMNS:
        at = schema.get_field_index(column.name)
        if at >= 0 and not any(fits(schema.field(at).type) for fits in meant[column.kind]):
            raise BadInput(
                f"Column {column.name} of {name} is {schema.field(at).type}; wanted is "
                f"{column.kind}: write it so first."
            )


def lacking_dtype(dtype: Any) -> Any:
    """Return the type of a column that may lack values: of whole numbers, of yes and no too."""
    import pandas as pd

    plain = isinstance(dtype, np.dtype) and dtype.kind in "iub"
    return pd.array(np.empty(0, dtype)).dtype if plain else dtype


def confidences_of(frame: pd.DataFrame) -> np.ndarray | None:
    """Return how sure a table is of its fields.

    Parameters
    ----------
    frame : DataFrame
        With ``confidence`` (0 to 1), or with ``score``, whole numbers of 0 to 100, as the published
        fields have it; neither is calibrated by this.

    Returns
    -------
    (n,) float64 ndarray or None
        0 to 1, NaN where it is not known; None if the table has neither column.

    Raises
    ------
    BadInput
        If a confidence is no number.
    """
    import pandas as pd

    if "confidence" in frame:
        given = frame["confidence"]
        said = pd.to_numeric(given, errors="coerce")
        words = given[said.isna() & given.notna() & (given.astype(str).str.strip() != "")]
        if len(words):
            raise BadInput(
                f"The column confidence says {words.iloc[0]!r}; wanted are numbers from 0 to 1."
            )
        numbers: np.ndarray = said.to_numpy(np.float64, na_value=np.nan)
        return numbers
    if "score" in frame and pd.api.types.is_integer_dtype(frame["score"]):
        score: np.ndarray = frame["score"].to_numpy(np.float64, na_value=np.nan)
        return score / 100
    return None


def check_shares(sure: np.ndarray) -> None:
    """Refuse (BadInput) confidences beyond 0 to 1, such as percentages, before they are used."""
    known = sure[np.isfinite(sure)]
    if len(known) and not (known.min() >= 0 and known.max() <= 1):
        raise BadInput(
            f"Confidences from {known.min():g} to {known.max():g} were given; wanted are 0 to 1: "
            "divide percentages by 100."
        )
