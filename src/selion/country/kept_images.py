"""The imagery that the jobs of a plan kept: the mosaic that they share, or a composite each."""

from __future__ import annotations

import json
from pathlib import Path

from selion.country.job_tables import JOBS
from selion.errors import UnreadableFile
from selion.store.address import Place, RemotePath, locate

MOSAIC = "mosaic"
"""In ``plan.json``: the edition of the mosaic that the jobs share (``selion plan --mosaic``)."""
COMPOSITE = "composite.tif"
"""In the folder of a job: its composite, where it was kept (``selion composite -o``)."""


def plan_images(folder: Path) -> tuple[Place, ...]:
    """Return where the composites of a plan lie.

    Parameters
    ----------
    folder : Path
        Of ``selion plan``.

    Returns
    -------
    tuple of Place
        The folder of the shared mosaic's edition, its composites if they are on an object store,
        or one raster of each job that kept its own; empty where nothing was kept, or it is no plan.

    Raises
    ------
    UnreadableFile
        If ``plan.json`` is broken.
    """
    if not (folder / JOBS).is_file():
        return ()
    named = _edition(folder / "plan.json")
    if isinstance(named, RemotePath):
        return tuple(
            one for one in named.files() if one.suffix == ".tif" and one.parent.name == named.name
        )
    if named is not None and any(named.glob("*.tif")):
        return (named,)
    return tuple(sorted(folder.glob(f"jobs/*/{COMPOSITE}")))


def _edition(path: Path) -> Place | None:
    if not path.is_file():
        return None
    try:
        named = json.loads(path.read_text("utf-8")).get(MOSAIC)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise UnreadableFile(f"{path} cannot be read ({error}): write the plan again.") from error
    return None if named is None else locate(str(named))
