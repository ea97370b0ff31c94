"""When the last image was taken in which a field was seen.

By the composites that it touches, not one time for a whole country.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.errors import BadInput, GridMismatch
from selion.imagery.mosaic import MOSAIC_TAG
from selion.store.former import value_of

if TYPE_CHECKING:
    import pandas as pd
    from geopandas import GeoDataFrame
    from odc.geo.crs import CRS

    from selion.imagery.mosaic import Mosaic


@dataclass(frozen=True, eq=False, slots=True)
class ImageTimes:
    """Outlines of composites and the time of the last image of each.

    Called with fields it says when each was last seen.
    """

    frame: GeoDataFrame
    """``tile``, ``season``, ``datetime`` (UTC) and the outline as geometry, in the mosaic's CRS."""

    def __call__(self, fields: GeoDataFrame) -> pd.Series:
        """Return when each field was last seen.

        Parameters
        ----------
        fields : GeoDataFrame
            In any CRS.

        Returns
        -------
        Series of datetime64[ns, UTC]
            With the index of ``fields``: the latest of all composites that a field touches; NaT
            where none says so.

        Raises
        ------
        GridMismatch
            If the fields have no CRS.
        """
        import pandas as pd

        if fields.crs is None:
            raise GridMismatch(
                "The fields have no CRS, so their images cannot be found: give them the mosaic's."
            )
        moved = fields.geometry.to_crs(self.frame.crs).to_numpy()
        pairs = self.frame.sindex.query(_turned(moved, self.frame), predicate="intersects")
        times = self.frame["datetime"].dt.tz_localize(None).to_numpy("datetime64[ns]")
        latest = np.full(3 * len(fields), np.iinfo(np.int64).min)  # which is what NaT is
        np.maximum.at(latest, pairs[0], times.view(np.int64)[pairs[1]])
        latest = latest.reshape(3, len(fields)).max(0)
        return pd.Series(
            pd.DatetimeIndex(latest.view("datetime64[ns]")).tz_localize("UTC"),
            index=fields.index,
            name="determination:datetime",
        )


def _turned(geometries: np.ndarray, frame: GeoDataFrame) -> np.ndarray:
    """Return geometries as they are, and once around the globe in both directions.

    A mosaic over the antimeridian goes on beyond 180 degrees.
    """
    import shapely
    from odc.geo.crs import CRS

    from selion.imagery.target import period

    around = period(CRS(frame.crs.to_wkt())) or 0.0
    if not around:
        return np.concatenate([geometries, np.full(2 * len(geometries), None)])
    return np.concatenate(
        [shapely.transform(geometries, partial(np.add, [turn * around, 0])) for turn in (0, 1, -1)]
    )


def last_image_times(given: Mosaic | Mapping[str, str], crs: CRS | str | None = None) -> ImageTimes:
    """Return when each part of a mosaic was last seen.

    Parameters
    ----------
    given : Mosaic or mapping of str to str
        A mosaic, or the tags of one that was written (``store.open_raster(path).tags``).
    crs : optional
        With tags: the CRS of the raster that they belong to.

    Raises
    ------
    BadInput
        If the tags are no mosaic's, or come without a CRS.
    """
    import pandas as pd
    import shapely
    from geopandas import GeoDataFrame

    if isinstance(given, Mapping):
        tags = given
    else:
        tags, crs = given.tags, given.grid.crs
    layers = _layers(tags)
    if crs is None:
        raise BadInput(
            "The tags of a mosaic were given without the CRS of its grid: give that too."
        )
    times = pd.to_datetime([layer["last"] for layer in layers], utc=True, format="ISO8601").as_unit(
        "ns"
    )
    columns = {
        "tile": [layer["tile"] for layer in layers],
        "season": [layer["season"] for layer in layers],
        "datetime": times,
    }
    return ImageTimes(
        GeoDataFrame(
            columns, geometry=[shapely.Polygon(layer["outline"]) for layer in layers], crs=str(crs)
        )
    )


def _layers(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    try:
        return list(json.loads(value_of(tags, MOSAIC_TAG, "The mosaic"))["sheets"])
    except (KeyError, ValueError, TypeError, RecursionError) as error:
        raise BadInput(
            f"The tags given are not those of a mosaic of selion: {MOSAIC_TAG} is missing or no "
            "JSON."
        ) from error
