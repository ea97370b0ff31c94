"""Which checkpoints of the libraries' trainers are whole.

A trainer writes a checkpoint's files one after the other under their final names, each process its
own; what a killed run leaves of one would be gone on from without its optimiser, or not read at
all.  So the last to be written is a mark, and what has none is passed over.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selion import store
from selion.errors import BadInput
from selion.sample import Sample
from selion.training.processes import Team

MARK, COUNT, LEARNT = "whole.json", "processes.json", "samples.txt"
"""In a checkpoint: the sizes of all of its files, written last.  Beside the first of them: how many
processes began the run, and what it learns from."""
_NAME = re.compile(r"checkpoint-(\d+)")


def write_mark(checkpoint: Path) -> None:
    """Say that all of a checkpoint's files are there, once they are on the disk."""
    sizes = {}
    for path in sorted(path for path in checkpoint.rglob("*") if path.is_file()):
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
        sizes[path.relative_to(checkpoint).as_posix()] = path.stat().st_size
    store.write_text(checkpoint / MARK, json.dumps(sizes, indent=1) + "\n", force=True)


def is_whole(checkpoint: Path) -> bool:
    """Say whether a checkpoint has its mark, and all files that the mark names in their sizes."""
    try:
        sizes = json.loads((checkpoint / MARK).read_text("utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, whole or not, the last first."""
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _NAME.fullmatch(path.name)) and path.is_dir()
    }
    return [found[step] for step in sorted(found, reverse=True)]


def last_whole(folder: Path) -> Path | None:
    """Return the last whole checkpoint in a folder; what is not whole is removed."""
    found = checkpoints(folder)
    for path in found:
        if not is_whole(path):
            _remove(path)
    return next((path for path in found if path.is_dir()), None)


def _remove(checkpoint: Path) -> None:
    (checkpoint / MARK).unlink(missing_ok=True)  # first: half of it is none from then on
    shutil.rmtree(checkpoint)


def keeper(team: Team, keep: int) -> Any:
    """Return a callback that marks each checkpoint when all processes have written their part.

    Only then older ones go, so that there always is a whole one.

    Parameters
    ----------
    team : Team
    keep : int
        Checkpoints that stay.
    """
    from transformers import TrainerCallback

    class CheckpointKeeper(TrainerCallback):
        def on_save(
            self,
            args: Any,
            state: Any,
            control: Any,  # noqa: ARG002  # the library's signature
            **_: Any,
        ) -> None:
            team.meet()
            folder = Path(args.output_dir)
            if team.leads:
                write_mark(folder / f"checkpoint-{state.global_step}")
                for old in checkpoints(folder)[keep:]:
                    _remove(old)

    return CheckpointKeeper()


def note_count(folder: Path, count: int) -> None:
    """Write how many processes begin a run."""
    folder.mkdir(parents=True, exist_ok=True)
    store.write_text(folder / COUNT, json.dumps({"processes": count}) + "\n", force=True)


def check_count(folder: Path, now: int) -> None:
    """Refuse to go on with another number of processes than a run began with.

    Nothing is said of a run that was begun before this was written down.

    Raises
    ------
    BadInput
    """
    try:
        was = json.loads((folder / COUNT).read_text("utf-8"))["processes"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if was != now:
        raise BadInput(
            f"{folder.parent} was begun by {was} {'process' if was == 1 else 'processes'}, and "
            f"this is a run of {now}: which conversations make a step, and the last digits of "
            f"their sum, depend on that; resume with --num_processes {was}, or start in another "
            "folder."
        )


def keep_samples(
    folder: Path, samples: Sequence[Sample], validation: Sequence[Sample] = (), *, resume: bool
) -> None:
    """Note what a run learns from and is judged by, or refuse to go on with other data.

    Raises
    ------
    BadInput
    """
    from selion.training.checkpoint import is_same_data
    from selion.training.datasets import fingerprint

    path, now = folder / LEARNT, fingerprint(samples, validation)
    # a former version noted nothing
    was = path.read_text("utf-8") if resume and path.is_file() else now
    if not is_same_data(was, now):
        raise BadInput(
            f"{folder.parent} was begun with other samples or labels ({was}, now {now}): resume "
            "with the same data, or start in another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    store.write_text(path, now, force=True)
