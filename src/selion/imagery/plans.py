"""Plans as JSON and back.

A run that is resumed composes what was planned, and does not choose again.
"""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import Any

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox

from selion.cores import check_memory
from selion.errors import UnreadableFile
from selion.imagery.items import scene_from_dict, scene_to_dict
from selion.imagery.reflectance import Radiometry
from selion.imagery.scene import Season, TilePlan
from selion.store.former import value_of

VERSION = 1


def plans_to_json(plans: Sequence[TilePlan]) -> str:
    """Write plans as text; equal plans give equal text.

    Scenes stand once, however many plans name them.

    Examples
    --------
    >>> plans_from_json(plans_to_json([]))
    []
    """
    scenes = {
        _key(scene): scene_to_dict(scene)
        for plan in plans
        for scene in (*plan.scenes, *plan.candidates)
    }
    return json.dumps(
        {
            "selion:plans": VERSION,
            "scenes": scenes,
            "plans": [_plan_to_dict(plan) for plan in plans],
        },
        sort_keys=True,
        default=_plain,
    )


def plans_from_json(text: str) -> list[TilePlan]:
    """Read what :func:`plans_to_json` wrote.

    Raises
    ------
    UnreadableFile
        If it is something else, or of another version.
    """
    try:
        given = json.loads(text)
        version = value_of(given, "selion:plans", "The plan")
        if version != VERSION:
            raise UnreadableFile(
                f"The plan is of version {version}, and this selion reads version {VERSION}: plan "
                "again."
            )
        scenes = {key: scene_from_dict(scene) for key, scene in given["scenes"].items()}
        return [_plan_from_dict(plan, scenes) for plan in given["plans"]]
    except (ValueError, KeyError, TypeError, AttributeError, zlib.error, RecursionError) as error:
        raise UnreadableFile(
            f"The plan cannot be read ({type(error).__name__}: {error}): it is truncated or no "
            "plan of selion; plan again."
        ) from error


def _key(scene: Any) -> str:
    return f"{scene.provider}/{scene.id}"


def _plain(value: Any) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _plan_to_dict(plan: TilePlan) -> dict[str, Any]:
    return {
        "tile": plan.tile,
        "season": plan.season.facts(),
        "grid": {
            "shape": list(plan.grid.shape),
            "transform": list(plan.grid.transform[:6]),
            "crs": str(plan.grid.crs),
        },
        "roi": [plan.roi[0].start, plan.roi[0].stop, plan.roi[1].start, plan.roi[1].stop],
        "scenes": [_key(scene) for scene in plan.scenes],
        "radiometry": [asdict(how) for how in plan.radiometry],
        "candidates": [_key(scene) for scene in plan.candidates],
        "depth": None
        if plan.depth is None
        else {
            "shape": list(plan.depth.shape),
            "zlib": base64.b64encode(zlib.compress(plan.depth.tobytes())).decode(),
        },
        "shares": list(plan.shares),
        "notes": list(plan.notes),
    }


def _plan_from_dict(given: Mapping[str, Any], scenes: Mapping[str, Any]) -> TilePlan:
    grid, season, roi = given["grid"], given["season"], given["roi"]
    return TilePlan(
        tile=given["tile"],
        season=Season(
            season["name"],
            date.fromisoformat(season["start"]),
            date.fromisoformat(season["end"]),
            season["why"],
        ),
        grid=GeoBox(tuple(grid["shape"]), Affine(*grid["transform"]), grid["crs"]),
        roi=(slice(roi[0], roi[1]), slice(roi[2], roi[3])),
        scenes=tuple(scenes[key] for key in given["scenes"]),
        radiometry=tuple(Radiometry(**how) for how in given["radiometry"]),
        candidates=tuple(scenes[key] for key in given["candidates"]),
        depth=_depth(given["depth"]),
        notes=tuple(given["notes"]),
        shares=tuple(given["shares"]),
    )


def _depth(given: Mapping[str, Any] | None) -> np.ndarray | None:
    if given is None:
        return None
    shape = tuple(int(edge) for edge in given["shape"])
    many = math.prod(shape)
    check_memory(many, f"The plan tells of {many:,} pixels, and reading it", "plan again")
    unpacked = zlib.decompressobj().decompress(base64.b64decode(given["zlib"]), many + 1)
    return np.frombuffer(unpacked, np.uint8).reshape(shape).copy()
