"""Work on photographs that worker processes can import, for the tests of ``selion crops``."""

from __future__ import annotations

import os

from selion.closerange.work import PhotoWork


class DeadlyWork(PhotoWork):
    """Ends its process at one photograph."""

    def __call__(self, photo):
        if photo.file == "killer.png":
            os._exit(9)
        return super().__call__(photo)
