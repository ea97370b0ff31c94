"""Where a composite comes from, as text in its own tags.

Scenes, season, radiometry, what was left out and how deep the view is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import selion
from selion.errors import UnreadableFile
from selion.imagery.scene import Scene, TilePlan
from selion.imagery.sensors import SENTINEL_2
from selion.imagery.views import ClearRule
from selion.store.former import value_of

TAG = "SELION_COMPOSITE"
"""Tag of the file that holds the provenance as JSON."""


def composite_tags(
    plan: TilePlan,
    rule: ClearRule,
    lost: Mapping[str, str],
    clear: Mapping[str, int],
    depth: Sequence[int],
) -> dict[str, str]:
    """Return the tags of a composite.

    Parameters
    ----------
    plan : TilePlan
    rule : ClearRule
    lost : mapping of str to str
        Scenes that were left out, and why.
    clear : mapping of str to int
        Clear pixels of each scene on the composite's grid.
    depth : sequence of int
        Number of pixels that were seen 0, 1, 2 ... times.

    Returns
    -------
    dict of str to str
        The same for the same input: no time of day, no name of a machine.
    """
    pixels = max(sum(depth), 1)
    told: dict[str, Any] = {
        "software": f"selion {selion.__version__}",
        "method": (
            "median of the clear views of each band; the mean of the two middle ones rounded half "
            "up; reflectance x 10000, 0 = never seen"
        ),
        "tile": plan.tile,
        "season": plan.season.facts(),
        "excluded_classes": sorted(rule.excluded),
        "margin_m": rule.margin,
        "scenes": [
            {
                **_about(scene),
                "radiometry": asdict(how),
                "clear_share": round(clear.get(scene.id, 0) / pixels, 6),
            }
            for scene, how in zip(plan.scenes, plan.radiometry, strict=True)
            if scene.id not in lost
        ],
        "set_aside": [
            {**_about(scene), "why": lost[scene.id]} for scene in plan.scenes if scene.id in lost
        ],
        "candidates": len(plan.candidates),
        "views": {str(views): number for views, number in enumerate(depth) if number},
        "never_seen_share": round(depth[0] / pixels if depth else 0.0, 6),
        "notes": list(plan.notes),
    }
    if plan.sensor.name != SENTINEL_2:
        told["sensor"] = plan.sensor.name
    return {TAG: json.dumps(told, ensure_ascii=False, sort_keys=True)}


def read_provenance(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a composite says about itself (keys as in :func:`composite_tags`).

    Raises
    ------
    UnreadableFile
        If the file cannot be read, or is no composite.
    """
    from selion.store import open_raster

    try:
        told: dict[str, Any] = json.loads(value_of(open_raster(path).tags, TAG, path))
    except (TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} is not a composite of selion: it has no readable tag {TAG}."
        ) from error
    return told


def _about(scene: Scene) -> dict[str, Any]:
    return {
        "id": scene.id,
        "time": scene.time.isoformat(),
        "provider": scene.provider,
        "platform": scene.platform,
        "baseline": scene.baseline,
        "orbit": scene.orbit,
        "cloud": scene.cloud,
    }
