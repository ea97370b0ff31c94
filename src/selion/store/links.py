"""Links within a folder that is one file to its reader."""

from __future__ import annotations

import os
from pathlib import Path

from selion.errors import UnreadableFile


def check_links(folder: Path) -> None:
    """Refuse a folder in which a link leads out of it: its chunks would be those of other files.

    The folder itself may be a link.

    Raises
    ------
    UnreadableFile
        If one does.
    """
    home = os.path.realpath(folder)
    for where, folders, names in os.walk(home):
        for name in (*folders, *names):
            place = os.path.join(where, name)  # noqa: PTH118 - a cube may have a million chunks
            if os.path.islink(place) and not Path(os.path.realpath(place)).is_relative_to(home):  # noqa: PTH114
                raise UnreadableFile(
                    f"{folder} holds a link to another place ({name}), which is not followed: copy "
                    "what it stands for into the folder."
                )
