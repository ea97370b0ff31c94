"""Data: what models learn from and are measured on.

``load_dataset`` opens any dataset by name or folder; ``check_dataset`` looks for what spoils one;
``make_dataset`` makes one from images and polygons.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "catalogue": ["find_dataset", "is_bare", "list_datasets", "load_dataset"],
        "dataset": ["Dataset", "Entry"],
        "declare": ["Declaration"],
        "fetch": ["fetch_dataset"],
        "check": ["CheckOptions", "CheckReport", "check_dataset"],
        "make": ["make_dataset"],
        "place": ["Land"],
        "strips": ["Strips"],
        "polygons": ["Chips", "Labelled", "load_polygons"],
        "burning": ["Burning", "burn_fields", "read_outlines"],
    },
)
