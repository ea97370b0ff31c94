"""Pictures with outlines as COCO's JSON ("instances"), as CVAT, FiftyOne and others take it.

One category.  Outlines are polygons; one with a hole, which COCO's polygons cannot say, is a mask.
``attributes.field`` is the id of the field.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from selion import store
from selion.data.mask_runs import coco_runs, coco_text, read_coco
from selion.errors import BadInput
from selion.review.annotations import (
    LABEL,
    AnnotatedPicture,
    Outline,
    outline_of,
    picture_at,
    sound_outline,
)


def to_coco(pictures: Sequence[AnnotatedPicture], *, masks: bool = False) -> dict[str, Any]:
    """Write pictures as a table for JSON.

    Parameters
    ----------
    pictures : sequence of AnnotatedPicture
    masks : bool
        Whether all outlines are written as masks (RLE), which rounds them to pixels.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures, 1):
        images.append(
            {
                "id": number,
                "file_name": picture.name,
                "width": picture.width,
                "height": picture.height,
            }
        )
        for outline in picture.outlines:
            made = _annotation(outline, picture, masks=masks)
            if made is not None:
                annotations.append({"id": len(annotations) + 1, "image_id": number, **made})
    return {
        "info": {"description": "Fields of a map, by selion", "version": "1.0"},
        "licenses": [],
        "images": images,
        "categories": [{"id": 1, "name": LABEL, "supercategory": ""}],
        "annotations": annotations,
    }


def _annotation(
    outline: Outline, picture: AnnotatedPicture, *, masks: bool
) -> dict[str, Any] | None:
    import shapely

    shape = outline.shape
    parts = shapely.get_parts(shape).tolist()
    left, top, right, bottom = shape.bounds
    area, box = shape.area, [left, top, right - left, bottom - top]
    segmentation: Any = [_flat(part.exterior) for part in parts]
    if masks or any(len(part.interiors) for part in parts):
        mask = burnt(shape, (picture.height, picture.width))
        if not mask.any():
            return None
        segmentation = {"size": list(mask.shape), "counts": coco_text(coco_runs(mask))}
        area, box = float(mask.sum()), _box(mask)
    return {
        "category_id": 1,
        "segmentation": segmentation,
        "area": area,
        "bbox": box,
        "iscrowd": 0,
        "attributes": {"field": outline.field, "status": outline.status},
    }


def _flat(ring: Any) -> list[float]:
    import shapely

    points: list[float] = shapely.get_coordinates(ring)[:-1].ravel().tolist()
    return points


def _box(mask: np.ndarray) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    ends = columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1
    return [float(value) for value in ends]


def burnt(shape: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the (y, x) pixels whose middles an outline holds."""
    from affine import Affine
    from odc.geo.geobox import GeoBox

    return store.burn([shape], [1], GeoBox(size, Affine.identity(), None)) > 0


def from_coco(table: Mapping[str, Any], image: tuple[int, int]) -> list[AnnotatedPicture]:
    """Read pictures with what was drawn on them.

    Parameters
    ----------
    table : mapping
        Of the JSON: ``images`` and ``annotations``; crowds (``iscrowd``) are masks as well.
    image : (int, int)
        Width and height of the map's image.

    Raises
    ------
    BadInput
        If it is no such table, or does not belong to the image.
    """
    try:
        images = {one["id"]: one for one in table["images"]}
        if len(images) < len(table["images"]):
            raise BadInput("An id of 'images' is there twice: each picture has its own.")
        labels = {one["id"]: str(one["name"]) for one in table.get("categories") or []}
        drawn: dict[Any, list[Outline]] = {number: [] for number in images}
        for annotation in table["annotations"]:
            number = annotation["image_id"]
            if number not in images:
                raise BadInput(f"An annotation names picture {number}, which is not in 'images'.")
            found = _outline(annotation, images[number], labels)
            if found is not None:
                drawn[number].append(found)
        pictures = [_picture(one, tuple(drawn[number]), image) for number, one in images.items()]
        return [replace(one, labels=tuple(labels.values())) for one in pictures]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"The file is no COCO table that can be read ({type(error).__name__}: {error}): wanted "
            "are 'images' with id, file_name, width and height, and 'annotations' with image_id "
            "and segmentation."
        ) from error


def _picture(one: Mapping[str, Any], outlines: tuple[Outline, ...], image: Any) -> AnnotatedPicture:
    place = picture_at(str(one["file_name"]), (int(one["width"]), int(one["height"])), image)
    return replace(place, outlines=outlines)


def _outline(
    annotation: Mapping[str, Any], picture: Mapping[str, Any], labels: Mapping[Any, str]
) -> Outline | None:
    segmentation = annotation["segmentation"]
    masked = isinstance(segmentation, Mapping)
    if masked:
        mask = read_coco(segmentation)
        if mask.shape != (picture["height"], picture["width"]):
            raise BadInput(
                f"A mask of {mask.shape[0]} x {mask.shape[1]} pixels lies on "
                f"{picture['file_name']}, which has {picture['height']} x {picture['width']}."
            )
        shape = outline_of(mask)
    elif segmentation:
        shape = sound_outline(segmentation)
    else:  # boxes without an outline say nothing of land
        return None
    known = annotation.get("attributes") or {}
    name = str(known.get("field") or "")
    label = labels.get(annotation.get("category_id"), "")
    return Outline(shape, name, masked=masked, label=label) if shape.area > 0 else None
