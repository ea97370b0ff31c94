"""The manifest of a folder of masks: what each was made from, how good it may be, what is finished.

``quality.csv`` is for people and for screening; ``done.jsonl`` and ``settings.json`` let the same
command go on after a break, and refuse to mix two ways of work.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from selion import store
from selion.errors import BadInput, OutputExists, OutputFailed, UnreadableFile, counted
from selion.labelling.decisions import LOG, read_history
from selion.store.atomic import explained

QUALITY, MASKS, DONE, SETTINGS = "quality.csv", "masks", "done.jsonl", "settings.json"
BANDS = "bands"
"""In the settings: what the model calls its bands."""
OPTIONAL = "optional_bands"
"""In the settings: which of them an image may lack; only of a model of any number of dates."""
FULL, NONE, BAD = "full", "none", "bad"
"""How an image was routed: all crop, no mask because there is no step, no mask because it cannot be
read."""


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """What is known of one mask: a row of ``quality.csv``."""

    key: str
    image: str
    """Path of the photograph, relative to the folder of the table where that is possible."""
    cover: float = math.nan
    threshold: float = math.nan
    """In normalised depth."""
    k: float = math.nan
    """Slope of the fitted sigmoid."""
    residual: float = math.nan
    quality: float = 0.0
    """0 to 1, higher is better."""
    routed: str = ""
    """"" from depth, "full", "none" or "bad"; the last two have no mask."""
    why: str = ""

    @property
    def has_mask(self) -> bool:
        """Whether there is a mask."""
        return self.routed not in (NONE, BAD)


def beside(path: Path, folder: Path) -> str:
    """Return a path as it is written down in a folder.

    Relative to it where that is possible, so that both can be moved together.
    """
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return str(path.resolve())


def begin(out: Path, settings: Mapping[str, Any], *, force: bool = False) -> None:
    """Make the folder of a run, or see that it holds the same one.

    Raises
    ------
    OutputExists
        If it holds masks of another origin; a run with other settings, and ``force`` is not given.
    OutputFailed
        If it cannot be written.
    """
    store.check_output(out / SETTINGS, force=True)
    before = out / SETTINGS
    if before.is_file() and not force and (was := read_settings(before)) != dict(settings):
        changed = ", ".join(
            sorted(key for key in {*was, *settings} if was.get(key) != settings.get(key))
        )
        raise OutputExists(
            f"{out} holds masks that were made with other settings ({changed}): choose another "
            "folder, or make them again with --force."
        )
    if not before.is_file() and any(store.files_below(out / MASKS)):
        raise OutputExists(
            f"{out} holds masks of another origin, which would be lost, so --force does not "
            "replace them: choose another folder, or move them away."
        )
    if not before.is_file() or read_settings(before) != dict(settings):
        (out / DONE).unlink(missing_ok=True)
        store.write_text(before, json.dumps(dict(settings), indent=1) + "\n", force=True)


def check_there(out: Path, settings: Mapping[str, Any], rows: Sequence[ManifestRow] = ()) -> None:
    """Refuse to end well where somebody has removed what a run wrote into its folder.

    Parameters
    ----------
    out : path
    settings : mapping
        As :func:`begin` got them; they are written again, so that the same command goes on from
        what is left.
    rows : sequence of ManifestRow
        Those whose masks have to be there.

    Raises
    ------
    OutputFailed
        If something is gone.
    """
    masks = [out / MASKS / f"{row.key}.png" for row in rows if row.has_mask]
    gone = [path for path in (out / SETTINGS, *masks) if not path.is_file()]
    if not gone:
        return
    if out.is_dir():
        store.write_text(out / SETTINGS, json.dumps(dict(settings), indent=1) + "\n", force=True)
    raise OutputFailed(
        f"{counted(len(gone), 'file')} of this run are gone ({gone[0]} first): something else "
        "removed them meanwhile. Give the same command again."
    )


def read_settings(path: Path) -> dict[str, Any]:
    """Read how a folder's masks were made; nothing where nothing is said.

    Raises
    ------
    UnreadableFile
        If the file is broken.
    """
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadableFile(
            f"{path} cannot be read ({error}): start over with --force."
        ) from error
    return found if isinstance(found, dict) else {}


def finished(path: Path) -> dict[str, dict[str, Any]]:
    """Read what is finished, key -> entry; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return {}
    found = {}
    for line in path.read_text("utf-8").splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        found[entry["row"]["key"]] = entry
    return found


def corrections_folder(pseudo: Path) -> Path:
    """Return where the strokes that correct masks of a folder lie, and the masks as they were.

    Hidden where masks lie in the folder itself, so that nothing takes the originals for masks.
    """
    return pseudo / ("corrections" if (pseudo / MASKS).is_dir() else ".corrections")


def original_of(pseudo: Path, key: str) -> Path:
    """Return where the mask lies that was there before anybody corrected it."""
    return corrections_folder(pseudo) / "originals" / f"{key}.png"


def is_as_made(out: Path, key: str, entry: Mapping[str, Any]) -> bool:
    """Say whether a mask is the one that was finished, or a correction of it by a person."""
    found = digest(out / MASKS / f"{key}.png")
    if found == entry["mask"]:
        return True
    corrected = read_history(out / LOG).corrected.get(key, ()) if found else ()
    return found in corrected and digest(original_of(out, key)) == entry["mask"]


def is_corrected(out: Path, key: str) -> bool:
    """Say whether the mask of a photograph is the correction of a person, and its original kept."""
    if not original_of(out, key).is_file():  # of most; the log is read for the others alone
        return False
    found = digest(out / MASKS / f"{key}.png")
    return bool(found) and found in read_history(out / LOG).corrected.get(key, ())


def digest_made(out: Path, key: str) -> str:
    """Return a hash of a mask as it was made: of what a person has corrected, the original's."""
    kept = original_of(out, key) if is_corrected(out, key) else out / MASKS / f"{key}.png"
    return digest(kept)


@contextmanager
def made_again(out: Path, key: str) -> Iterator[Path]:
    """Give the path at which the mask of a photograph is made again.

    What a person made of that very mask stays: a photograph that has another date, and gives the
    same mask as before, costs nobody's work.  Only another mask takes its place, or none.
    """
    target = out / MASKS / f"{key}.png"
    if not is_corrected(out, key):
        yield target
        return
    aside = target.with_name(f".{target.name}")
    try:
        yield aside
        if digest(aside) == digest(original_of(out, key)):
            return
        if aside.is_file():
            aside.replace(target)
        else:
            target.unlink()
    finally:
        aside.unlink(missing_ok=True)


def digest(path: Path) -> str:
    """Return a hash of a mask; empty if there is none."""
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest() if path.is_file() else ""


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line to what is finished."""
    with explained(path), path.open("a", encoding="utf-8") as stream:
        # the break comes first, so that a line that a kill has cut off spoils none after it
        stream.write("\n" + json.dumps(dict(entry)))


def row_from(values: Mapping[str, Any]) -> ManifestRow:
    """Read a row from plain values, as in ``done.jsonl`` or the table: empty numbers are NaN."""
    made: dict[str, Any] = {}
    for item in fields(ManifestRow):
        value = values.get(item.name, "")
        numeric = item.type in ("float", float)
        made[item.name] = (
            (math.nan if value in ("", None) else float(value)) if numeric else str(value)
        )
    return ManifestRow(**made)


def write_rows(rows: Sequence[ManifestRow], path: Path) -> None:
    """Write the table; numbers that are not known stay empty."""
    columns = [item.name for item in fields(ManifestRow)]
    store.write_csv(path, columns, ([_cell(v) for v in asdict(row).values()] for row in rows))


def _cell(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else ""
    return value


def read_rows(path: Path) -> list[ManifestRow]:
    """Read ``quality.csv``.

    Raises
    ------
    UnreadableFile, BadInput
        If it is not there, or has other columns.
    """
    if not path.is_file():
        raise UnreadableFile(
            f"There is no {path.name} in {path.parent}: make the masks with 'selion label depth' "
            "first."
        )
    with path.open(newline="", encoding="utf-8") as stream:
        table = csv.DictReader(stream)
        wanted = ("key", "image")
        missing = [name for name in wanted if name not in (table.fieldnames or ())]
        if missing:
            raise BadInput(f"{path} has no column {missing[0]}; wanted are {', '.join(wanted)}.")
        return [row_from(row) for row in table]
