"""A small Sentinel-2 archive of a countryside that does not exist.

Tiles in their UTM zones, orbits, clouds, provider's items, and the truth.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "nouns": ["BANDS", "CLEAR", "Archive", "ArchiveOptions", "ArchiveSeason", "Truth"],
        "files": ["read_archive"],
        "layouts": ["LAYOUTS"],
        "faults": ["FAULTS"],
        "simulate": ["simulate_archive"],
        "tiling": ["Tile", "tiles_of"],
    },
)
