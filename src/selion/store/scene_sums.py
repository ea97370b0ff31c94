"""What the scenes of an archive are that a composite was made of, for its manifest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from selion.store.manifest import AT_ONCE, WHOLE, InputSum, place_from, sum_input
from selion.store.urls import remote_scheme, shown, unsigned
from selion.store.witness import UsedScene

MOST = 2**30
"""Bytes of all files of all scenes up to which each is read whole; of more, only samples."""


def sum_scenes(scenes: Mapping[str, UsedScene], beside: Path | None) -> Iterator[InputSum]:
    """Yield what scenes are: each file of this machine, and each scene whose files servers have.

    No server is asked: a scene there is known by what its catalogue said of it.

    Parameters
    ----------
    scenes : mapping
        By name.
    beside : path or None
        The manifest's folder; None if it lies on a server.
    """
    near = {
        f"{name}: {band}": path
        for name, one in sorted(scenes.items())
        for band, path in one.near.items()
    }
    size = sum(path.stat().st_size for path in near.values() if path.is_file())
    whole = WHOLE if size <= MOST else 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda name: _sum_near(near[name], name, beside, whole), near)
    for name, one in sorted(scenes.items()):
        if len(one.near) < len(one.bands):
            yield InputSum(name, "scene", sha256=_sum_said(one))


def _sum_near(path: Path, name: str, beside: Path | None, whole: int) -> InputSum:
    """Return what a file is; only where it lies if it cannot be read now that all is done."""
    try:
        return sum_input(path, name, beside, whole=whole)
    except OSError:
        return InputSum(name, "file", path=place_from(path, beside))


def _sum_said(scene: UsedScene) -> str:
    far = {
        band: unsigned(shown(place)) for band, place in scene.bands.items() if remote_scheme(place)
    }
    text = json.dumps([far, dict(scene.said)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
