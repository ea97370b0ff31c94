"""ClassScheme: what the numbers in a label map mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from selion.errors import BadInput, UnknownName

IGNORE = 255
"""Not known, not counted: presence-only background, trimap uncertainty, unreadable text.  Never a
class."""
OUTLINE = "outline"
"""The class of a boundary outside of all objects; that a scheme has it says that a refiner made the
probabilities."""


@dataclass(frozen=True, slots=True)
class ClassScheme:
    """Names of the classes; the index is the class id."""

    names: tuple[str, ...]
    """Class names; index 0 is what is nothing else (background, soil)."""
    things: tuple[str, ...] = ()
    """The classes that come as countable objects ("field", "pond")."""
    boundary: str | None = None
    """The class that parts objects, if there is one."""
    colours: tuple[str, ...] = ()
    """One ``#rrggbb`` per class, or empty."""
    least_area: tuple[float, ...] = ()
    """Least area in m2 of an object of each class, below which it is not counted, or empty: the
    general one (:func:`selion.labels.least_areas`).  A well is smaller than any field."""

    def __post_init__(self) -> None:
        if not 2 <= len(self.names) <= IGNORE or len(set(self.names)) != len(self.names):
            raise BadInput(
                f"Classes {self.names} were given; wanted are 2 to {IGNORE} different names."
            )
        for name in (*self.things, *([self.boundary] if self.boundary else [])):
            if name not in self.names:
                raise UnknownName.among("class", name, self.names)
        if self.colours and len(self.colours) != len(self.names):
            raise BadInput(
                f"{len(self.colours)} colours were given for {len(self.names)} classes: give one "
                "each, or none."
            )
        if self.least_area and (
            len(self.least_area) != len(self.names) or not all(a >= 0 for a in self.least_area)
        ):
            raise BadInput(
                f"Least areas {self.least_area} were given for {len(self.names)} classes: give one "
                "of 0 m2 or more each, or none."
            )

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Return the id of a class.

        Raises
        ------
        UnknownName
            If the scheme has no such class.
        """
        if name not in self.names:
            raise UnknownName.among("class", name, self.names)
        return self.names.index(name)

    def palette(self, others: int | np.ndarray) -> np.ndarray:
        """Return (256, 3) uint8 colours by class id; ``others`` is what has none."""
        colours = np.empty((256, 3), np.uint8)
        colours[:] = others
        for k, colour in enumerate(self.colours):
            colours[k] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        return colours

    def to_dict(self) -> dict[str, object]:
        """Plain values for TOML, JSON and raster tags."""
        least = {"least_area": list(self.least_area)} if self.least_area else {}
        return {
            "names": list(self.names),
            "things": list(self.things),
            "boundary": self.boundary,
            "colours": list(self.colours),
            **least,
        }

    @classmethod
    def from_dict(cls, table: dict[str, object]) -> ClassScheme:
        """Inverse of :meth:`to_dict`; keys that are missing take their defaults."""

        def names(key: str) -> tuple[str, ...]:
            return tuple(str(v) for v in table.get(key) or ())  # type: ignore[attr-defined]

        boundary = table.get("boundary")
        try:
            least = tuple(float(area) for area in table.get("least_area") or ())  # type: ignore[attr-defined]
        except (TypeError, ValueError) as error:
            raise BadInput(
                f"Least areas {table['least_area']!r} were given; wanted is a number of m2 for "
                "each class."
            ) from error
        return cls(
            names("names"),
            names("things"),
            str(boundary) if boundary else None,
            names("colours"),
            least,
        )


FTW2 = ClassScheme(("background", "field"), ("field",), None, ("#000000", "#5ac85a"))
"""Fields of The World, two classes."""
FTW3 = ClassScheme(
    ("background", "field", "boundary"), ("field",), "boundary", ("#000000", "#5ac85a", "#ffd500")
)
"""Fields of The World, three classes: boundary is the line that parts fields."""
ALU = ClassScheme(
    ("others", "field", "tree", "cloud", "pond", "well"),
    ("field", "tree", "pond", "well"),
    None,
    ("#000000", "#5ac85a", "#1b6e2c", "#e6e6e6", "#2e86de", "#b33fb5"),
    (0.0, 500.0, 4.0, 0.0, 25.0, 4.0),
)
"""Agricultural landscape understanding (MAgSeg); the least areas are ours, the paper gives none."""
CROP = ClassScheme(("soil", "crop"), ("crop",), None, ("#8a6642", "#3cb44b"))
"""Close-range photographs (DepthCropSeg)."""
CROP_WEED = ClassScheme(
    ("soil", "crop", "weed"), ("crop", "weed"), None, ("#8a6642", "#3cb44b", "#e6194b")
)
"""Close-range photographs in which weeds are told from the crop."""
ORGANS = ClassScheme(
    ("background", "head", "stem", "leaf"),
    ("head",),
    None,
    ("#000000", "#32ff84", "#3284ff", "#d6ff32"),
)
"""Organs of cereals from close range: the classes of the Global Wheat Full Semantic Segmentation
dataset, with its ids and colours; heads are what is counted."""
