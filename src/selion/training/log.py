"""What a run leaves behind while it goes.

Lines of JSON, and event files that TensorBoard shows live.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from selion import store
from selion.extras import require

LOG = "log.jsonl"


class TrainingLog:
    """Curves of a run in its folder.

    Parameters
    ----------
    folder : path
    history : sequence of dict
        What was logged up to the checkpoint from which the run goes on; later lines of the run that
        was killed are dropped.
    step : int
        Step of that checkpoint.
    """

    def __init__(
        self, folder: Path, history: Sequence[Mapping[str, Any]] = (), step: int = 0
    ) -> None:
        self._path = folder / LOG
        with store.atomic_write(self._path, force=True) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in history), "utf-8")
        writer = require("torch.utils.tensorboard", "train") if _has_tensorboard() else None
        self._events = (
            writer.SummaryWriter(str(folder), purge_step=step or None, filename_suffix=".selion")
            if writer
            else None
        )

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append one entry: ``step`` and numbers."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")
        if self._events is not None:
            for name, value in entry.items():
                if name not in ("step", "epoch") and isinstance(value, int | float):
                    self._events.add_scalar(name, value, entry["step"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()


def _has_tensorboard() -> bool:
    from selion.extras import available

    return available("tensorboard")
