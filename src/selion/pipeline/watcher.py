"""What looks on while a map is made, for example to draw it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from geopandas import GeoDataFrame

    from selion.raster import Source


class MapWatcher(Protocol):
    """Sees the image while it is read, and the fields when they are known; changes nothing.

    :class:`selion.reports.preview.Preview` is one.
    """

    def watch(self, source: Source) -> Source:
        """Return what the image is read through, with the same pixels.

        What is returned is not used where other processes read the image.
        """
        ...

    def finish(self, frame: GeoDataFrame) -> str:
        """Take the finished table, while the image is still there.

        Return a sentence for the user, or nothing.
        """
        ...
