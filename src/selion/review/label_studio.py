"""Pictures with outlines as Label Studio's JSON: tasks with predictions, and what comes back.

Points are percent of the picture.  One region is one ring (``polygonlabels``); a shape with a hole
is a brush (``brushlabels``).  A region's id is that of its field, with ``~2`` and so on for more
parts.  Of what comes back the last annotation counts that was not cancelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from selion.data.mask_runs import brush_stream, read_brush
from selion.errors import BadInput
from selion.review.annotations import (
    LABEL,
    PARTED,
    AnnotatedPicture,
    Outline,
    outline_of,
    picture_at,
    sound_outline,
)
from selion.review.coco import burnt

CONFIG = f"""<View>
  <Image name="image" value="$image" zoom="true"/>
  <PolygonLabels name="label" toName="image"><Label value="{LABEL}"/></PolygonLabels>
  <BrushLabels name="brush" toName="image"><Label value="{LABEL}"/></BrushLabels>
</View>
"""
"""The labelling interface that the tasks are made for."""


def to_label_studio(
    pictures: Sequence[AnnotatedPicture], *, masks: bool = False, prefix: str = ""
) -> list[dict[str, Any]]:
    """Write pictures as tasks for JSON.

    Parameters
    ----------
    pictures : sequence of AnnotatedPicture
    masks : bool
        Whether all outlines are written as brushes, which rounds them to pixels.
    prefix : str
        What stands before a picture's name in the address under which Label Studio finds it, as
        ``/data/local-files/?d=fields/images/``.
    """
    return [
        {
            "data": {
                "image": f"{prefix}{picture.name}",
                "width": picture.width,
                "height": picture.height,
            },
            "predictions": [
                {"model_version": "selion", "result": _regions(picture, masks=masks)},
            ],
        }
        for picture in pictures
    ]


def _regions(picture: AnnotatedPicture, *, masks: bool) -> list[dict[str, Any]]:
    import shapely

    found = []
    for outline in picture.outlines:
        for number, part in enumerate(shapely.get_parts(outline.shape).tolist(), 1):
            name = outline.field if number == 1 else f"{outline.field}{PARTED}{number}"
            if masks or len(part.interiors):
                kind, of = "brushlabels", "brush"
                mask = burnt(part, (picture.height, picture.width))
                value: dict[str, Any] = {"format": "rle", "rle": brush_stream(mask)}
            else:
                kind, of = "polygonlabels", "label"
                points = shapely.get_coordinates(part.exterior)[:-1]
                share = 100 * points / (picture.width, picture.height)
                value = {"points": share.tolist(), "closed": True}
            found.append(
                {
                    "id": name,
                    "type": kind,
                    "from_name": of,
                    "to_name": "image",
                    "original_width": picture.width,
                    "original_height": picture.height,
                    "image_rotation": 0,
                    "value": {**value, kind: [LABEL]},
                    "meta": {"text": [name]},
                }
            )
    return found


def from_label_studio(
    tasks: Sequence[Mapping[str, Any]], image: tuple[int, int]
) -> list[AnnotatedPicture]:
    """Read tasks with what was drawn on them; those that nobody has answered are left out.

    Parameters
    ----------
    tasks : sequence of mapping
        Of the JSON that Label Studio exports ("JSON"), with ``data.image`` and ``annotations``.
    image : (int, int)
        Width and height of the map's image.

    Raises
    ------
    BadInput
        If they are no such tasks, or do not belong to the image.
    """
    try:
        return [made for task in tasks if (made := _answered(task, image)) is not None]
    except (
        KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError
    ) as error:  # fmt: skip
        raise BadInput(
            f"The file is no export of Label Studio that can be read ({type(error).__name__}: "
            f"{error}): export it as 'JSON' (not 'JSON-MIN'), with 'data.image' and 'annotations'."
        ) from error


def _answered(task: Mapping[str, Any], image: tuple[int, int]) -> AnnotatedPicture | None:
    answers = [one for one in task["annotations"] if not one.get("was_cancelled")]
    if not answers:
        return None
    regions = [one for one in answers[-1]["result"] if "original_width" in one]
    data = task["data"]
    size = int(data.get("width", image[0])), int(data.get("height", image[1]))
    if regions:
        size = int(regions[0]["original_width"]), int(regions[0]["original_height"])
    place = picture_at(str(data["image"]), size, image)
    parts: dict[tuple[str, str], list[Any]] = {}
    masked: set[tuple[str, str]] = set()
    for number, region in enumerate(regions):
        shape = _shape(region, size)
        if shape is not None and shape.area > 0:
            key = _named(region) or f"\0{number}", _label(region)
            parts.setdefault(key, []).append(shape)
            masked |= {key} if "rle" in region["value"] else set()
    outlines = [
        Outline(
            _joined(shapes),
            "" if name.startswith("\0") else name,
            masked=(name, label) in masked,
            label=label,
        )
        for (name, label), shapes in parts.items()
    ]
    return replace(place, outlines=tuple(outlines))


def _label(region: Mapping[str, Any]) -> str:
    """Return what a region is called; empty where nothing was chosen."""
    kinds = ("polygonlabels", "brushlabels", "labels")
    value = region["value"]
    return next((str(value[kind][0]) for kind in kinds if value.get(kind)), "")


def _named(region: Mapping[str, Any]) -> str:
    """Return the field of a region: its id, or what its note says, where a tool gave a new id."""
    texts = (region.get("meta") or {}).get("text") or [region.get("id") or ""]
    said = texts if isinstance(texts, str) else str(texts[0])
    return said.partition(PARTED)[0]


def _joined(shapes: Sequence[Any]) -> Any:
    import shapely

    return shapes[0] if len(shapes) == 1 else shapely.union_all(list(shapes))


def _shape(region: Mapping[str, Any], size: tuple[int, int]) -> Any:
    value = region["value"]
    if float(region.get("image_rotation") or 0) % 360:
        raise BadInput("A picture was turned in Label Studio: turn it back, and export it again.")
    if "points" in value:
        return sound_outline([np.asarray(value["points"], np.float64) / 100 * size])
    if "rle" in value:
        return outline_of(read_brush(value["rle"], (size[1], size[0])))
    return None
