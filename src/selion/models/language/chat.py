"""What is said to a language model: the whole image, then a patch of it and where it lies.

And what it is to answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.classes import ClassScheme
from selion.errors import BadInput, UnknownName
from selion.grid import Roi, pad_roi
from selion.models.language.rrle import Codec, encode, find_codec
from selion.segmenter import Scaling

if TYPE_CHECKING:
    from PIL.Image import Image

Message = dict[str, Any]
"""``role`` and ``content``; the content is a text, or a list of parts of ``type`` "text" or
"image"."""


SHOWN = ("colour", "grey", "blank")
"""How a patch is shown.  "grey": sharp, but as brightness alone, the way a panchromatic band sees
it; its colours are in the coarser whole image only.
"blank": not at all; where it lies in the whole image is said in words."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """How a model is asked.

    Part of its card, because an answer is only as good as the question is the one it learnt.
    """

    codec: str = "rrle"
    patch: int = 64
    """Edge in pixels of the square that one answer speaks of."""
    grid: int = 64
    """Rows and columns of the answer; fewer than the patch has pixels make it shorter and
    coarser."""
    margin: int = 0
    """Pixels around the patch that its picture shows too."""
    shown: str = "colour"
    """How the patch is shown: one of :data:`SHOWN`."""
    zoom: int = 0
    """Pixels to which the patch's edge is brought before it is shown, its margin in proportion; 0:
    it is shown in its own."""
    sight: float = 0.0625
    """Visual tokens that a cell of the answer has at least: a model that would see less is not
    trained.  The default is the paper's own, the 256 tokens that Gemma 3 has for 64 x 64 cells."""
    coordinates: bool = True
    """Whether the question says where in the image the patch lies."""
    instruction: str = (
        "This is the whole image. Please segment a patch of it based on the category: {classes}."
    )
    """Said after the image: the same for all patches of an image, so that it is computed once.
    ``{classes}``, ``{grid}``."""
    place: str = (
        "This is the patch: rows {top}-{bottom}, columns {left}-{right} of {height} x {width}."
    )
    """Said after the patch, if ``coordinates``; else the next one is."""
    placeless: str = "This is the patch."

    def __post_init__(self) -> None:
        find_codec(self.codec)
        if not 1 <= self.grid <= self.patch or self.patch % self.grid:
            raise BadInput(
                f"A patch of {self.patch} px and an answer of {self.grid} rows were given; wanted "
                "is a patch that is a multiple of the grid."
            )
        if self.margin < 0:
            raise BadInput(f"A margin of {self.margin} px was given; wanted is 0 or more.")
        if self.zoom and self.zoom < self.patch:
            raise BadInput(
                f"A zoom of {self.zoom} px was given for a patch of {self.patch}; wanted are at "
                "least as many pixels as the patch has, or 0 to show it in its own."
            )
        if not 0 <= self.sight <= 1024:
            raise BadInput(
                f"{self.sight:g} visual tokens a cell were asked for; wanted is 0 (whatever there "
                "is) to 1024."
            )
        if self.shown not in SHOWN:
            raise UnknownName.among("way of showing the patch", self.shown, SHOWN)
        if self.shown == "blank" and not self.coordinates:
            raise BadInput(
                "The prompt neither shows the patch nor gives its position: set coordinates = "
                "true, or shown = 'colour'."
            )
        try:
            self.instruct(("others", "field"))
            self.locate(PatchPlace((0, 0, 1, 1), (1, 1)))
        except (KeyError, IndexError, ValueError) as error:
            raise BadInput(
                f"The question {self.instruction!r} / {self.place!r} has a placeholder that is not "
                f"known ({error}): use classes, grid, top, bottom ..."
            ) from error

    @property
    def edge_shown(self) -> int:
        """Edge in pixels of the picture of a patch, its margin included."""
        edge = self.patch + 2 * self.margin
        return round(edge * self.zoom / self.patch) if self.zoom else edge

    @property
    def spelling(self) -> Codec:
        """The codec."""
        return find_codec(self.codec)

    def instruct(self, names: tuple[str, ...]) -> str:
        """Return what is said after the whole image."""
        labels = self.spelling.labels(names)
        said = [
            f"{label} {name}" if self.spelling.letters else name
            for label, name in zip(labels, names, strict=True)
        ]
        return self.instruction.format(classes="|".join(said), grid=self.grid)

    def locate(self, place: PatchPlace) -> str:
        """Return what is said after the patch."""
        if not self.coordinates:
            return self.placeless
        top, left, bottom, right = place.box
        return self.place.format(
            top=top,
            left=left,
            bottom=bottom,
            right=right,
            height=place.frame[0],
            width=place.frame[1],
        )

    def answer(self, mask: np.ndarray, names: tuple[str, ...]) -> str:
        """Return the right answer for a (grid, grid) mask of class ids."""
        return encode(mask, names, self.spelling)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a card."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Prompt:
        """Inverse of :meth:`to_dict`.

        Raises
        ------
        UnknownName
            If a key is not known.
        BadInput
            If a value is of another type.
        """
        types = {f.name: type(f.default) for f in fields(cls)}
        for key, value in table.items():
            if key not in types:
                raise UnknownName.among("key of a prompt", key, list(types))
            if type(value) is not types[key] and (types[key], type(value)) != (float, int):
                raise BadInput(
                    f"The prompt says {key} = {value!r}; wanted is a value of type "
                    f"{types[key].__name__}."
                )
        return cls(**table)


@dataclass(frozen=True, slots=True)
class PatchPlace:
    """Where a patch lies in the image that is shown whole."""

    box: tuple[int, int, int, int]
    """Top, left, bottom, right, in pixels of the image."""
    frame: tuple[int, int]
    """(y, x) size of the image."""

    @classmethod
    def of(cls, roi: Roi, frame: tuple[int, int]) -> PatchPlace:
        """Return the place of a region that is given in the image's own pixels."""
        return cls((roi[0].start, roi[1].start, roi[0].stop, roi[1].stop), frame)


def messages(prompt: Prompt, classes: ClassScheme, place: PatchPlace) -> list[Message]:
    """Return the question about a patch: two images with slots, and the words between them.

    What all patches of an image share comes first: the image and the instruction; then the patch.
    """
    content = [
        {"type": "image"},
        {"type": "text", "text": prompt.instruct(classes.names)},
        {"type": "image"},
        {"type": "text", "text": prompt.locate(place)},
    ]
    return [{"role": "user", "content": content}]


def picture(values: np.ndarray, scaling: Scaling) -> Image:
    """Return the first three bands of an image as a model sees them.

    Scaled to 0..1 by the card, 8 bits.

    Parameters
    ----------
    values : (band, y, x) ndarray
        In the source's numbers; one band is shown grey.
    scaling : Scaling
    """
    from PIL import Image

    scaled = np.nan_to_num(scaling(values))  # what is missing is black
    shown = np.clip(scaled[:3] if len(values) >= 3 else np.repeat(scaled[:1], 3, 0), 0, 1)
    return Image.fromarray(
        np.ascontiguousarray(np.rint(np.moveaxis(shown, 0, -1) * 255).astype(np.uint8))
    )


def pictures(
    context: np.ndarray, roi: Roi, prompt: Prompt, scaling: Scaling
) -> tuple[Image, Image]:
    """Return the two images of a question.

    Parameters
    ----------
    context : (band, y, x) ndarray
        The whole image.
    roi : Roi
        The patch, in its pixels.
    prompt : Prompt
        Its margin is cut from the image too; beyond the image's edge the picture is repeated to its
        edge.
    scaling : Scaling
    """
    return picture(context, scaling), detail(
        picture(cut(context, roi, prompt.margin), scaling), prompt
    )


def detail(patch: Image, prompt: Prompt) -> Image:
    """Return the picture of a patch as a model is shown it, in training and after.

    In its colours, in grey or as a blank (:data:`SHOWN`), brought to the prompt's zoom.

    Parameters
    ----------
    patch : Image
        With its margin.
    prompt : Prompt
    """
    if prompt.shown == "blank":
        patch = patch.point(lambda _: 128)
    if prompt.shown == "grey":
        patch = patch.convert("L").convert("RGB")
    from PIL.Image import Resampling

    edge = prompt.edge_shown
    return patch if edge == patch.size[0] else patch.resize((edge, edge), Resampling.BICUBIC)


def shrink(image: Image, longest: int) -> Image:
    """Average an image down so that its longer edge is at most ``longest`` pixels; 0: as it is."""
    if not longest or max(image.size) <= longest:
        return image
    width, height = (max(1, round(edge * longest / max(image.size))) for edge in image.size)
    # from 3.0 on, Pillow says, the result looks like that of one step, and comes sooner
    return image.resize((width, height), reducing_gap=3.0)


def cut(values: np.ndarray, roi: Roi, margin: int) -> np.ndarray:
    """Cut a region with a margin; where the margin leaves the image, its edge is repeated."""
    rows, columns = pad_roi(roi, margin, values.shape[1:])
    missing = [
        (rows.start - (roi[0].start - margin), roi[0].stop + margin - rows.stop),
        (columns.start - (roi[1].start - margin), roi[1].stop + margin - columns.stop),
    ]
    part = values[:, rows, columns]
    return np.pad(part, ((0, 0), *missing), mode="edge") if any(map(any, missing)) else part


def coarsen(mask: np.ndarray, grid: int, classes: int, boundary: int | None = None) -> np.ndarray:
    """Bring a square mask to ``grid`` rows.

    Each cell gets its commonest class, and 255 if the most of it is not known.

    Text4Seg takes the nearest pixel, which on a coarse grid is one pixel's luck.

    Parameters
    ----------
    mask : (n * grid, n * grid) uint8 ndarray
    grid : int
    classes : int
    boundary : int, optional
        Class of the lines between objects that touch.  They are thinner than cells: a cell that is
        mostly of objects, and not of the first class, is boundary from one pixel of it on.

    Returns
    -------
    (grid, grid) uint8 ndarray
    """
    step = mask.shape[0] // grid
    if step == 1:
        return mask
    cells = mask.reshape(grid, step, grid, step)
    votes = np.stack([(cells == k).sum((1, 3)) for k in (*range(classes), 255)])
    most = votes.argmax(0)
    if boundary is not None:
        inside = votes[1:classes].sum(0) > votes[0] + votes[-1]
        most = np.where(inside & (votes[boundary] > 0), boundary, most)
    return np.where(most == classes, 255, most).astype(np.uint8)


def refine(mask: np.ndarray, patch: int) -> np.ndarray:
    """Bring a (grid, grid) answer to the (patch, patch) pixels that it speaks of."""
    step = patch // mask.shape[0]
    return np.repeat(np.repeat(mask, step, 0), step, 1)
