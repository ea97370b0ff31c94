"""What fields on a grid cannot have, said before there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selion.fields.table import check_outlines
from selion.pipeline.land_cover import check_placed

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

    from selion.fields import FieldOptions
    from selion.pipeline.land_cover import LandCover


def check_fields(outlines: FieldOptions, cover: LandCover | None, grid: GeoBox) -> None:
    """Refuse lengths that do not fit the pixels, and a land cover where there is no place.

    Raises
    ------
    BadInput, GridMismatch
        As :func:`selion.fields.table.check_outlines`,
        :func:`selion.pipeline.land_cover.check_placed`.
    """
    check_outlines(outlines, grid)
    if cover is not None:
        check_placed(grid)
