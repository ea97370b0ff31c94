"""Command lines of selion, and what it says while it runs.

Nothing of QGIS here, so that it can be tested anywhere.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOUND = "selion.json"
"""Beside this file, written by ``selion qgis install``: the command of the environment that it was
called from."""
FOREIGN = (
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONEXECUTABLE",
    "GDAL_DATA",
    "GDAL_DRIVER_PATH",
    "PROJ_LIB",
    "PROJ_DATA",
)
"""What QGIS sets for itself; with it another environment would read the wrong libraries and the
wrong PROJ database."""
FINDING = (
    ("search", 0, 4),
    ("second pass", 4, 6),
    ("choose", 6, 8),
    ("compose", 8, 46),
    ("mosaic", 46, 50),
)
MAPPING = (("predict", 0, 80), ("scores", 80, 84), ("objects", 84, 92), ("outlines", 92, 99))
"""Stage, and from where to where it moves the bar; of an area, mapping has the second half."""


READ = "fields"
"""The layer that selion reads of a file with several; the first, where none is called so."""


class NoFile(Exception):
    """What a layer shows is not what selion would read of its file."""


class NoSelion(Exception):
    """There is no command to call."""


def file_of(
    source: str, what: str, layers_of: Callable[[str], Sequence[str]], filtered: str = ""
) -> str:
    """Return the file of a vector layer.

    Parameters
    ----------
    source : str
        As QGIS writes it: ``a.gpkg|layername=b``.
    what : str
        The layer, for messages.
    layers_of : callable
        From a file to the names of its layers.
    filtered : str
        The layer's filter.

    Raises
    ------
    NoFile
        If it is none, or selion would read another layer of it, or more than the filter shows.
    """
    path, *parts = source.split("|")
    if not Path(path).is_file():
        raise NoFile(f"{what} is not a file: save the layer first.")
    given = dict(part.split("=", 1) for part in parts if "=" in part)
    if filtered or "subset" in given:
        raise NoFile(
            f"{what} is filtered, and selion reads all of {Path(path).name}: save what it shows as "
            "a file of its own."
        )
    layers = list(layers_of(path))
    if len(layers) < 2:
        return path
    read = READ if READ in layers else layers[0]
    shown = given.get("layername") or layers[int(given.get("layerid", 0))]
    if shown != read:
        raise NoFile(
            f"{what} is the layer {shown} of {Path(path).name}, of which selion reads {read}: save "
            "it as a file of its own."
        )
    return path


def read_command(setting: str = "", folder: Path | None = None) -> list[str]:
    """Return the command of selion.

    The setting's, that which the installation left, or the one on the path.

    Raises
    ------
    NoSelion
        If there is none.
    """
    if setting.strip():
        return [setting.strip()]
    noted = (folder or Path(__file__).parent) / FOUND
    if noted.is_file():
        command = [str(part) for part in json.loads(noted.read_text("utf-8"))["command"]]
        if command and Path(command[0]).exists():
            return command
        raise NoSelion(
            f"selion was installed with {command[0] if command else 'nothing'}, which is gone: "
            "run 'selion qgis install' in its new environment."
        )
    found = shutil.which("selion")
    if found is None:
        raise NoSelion(
            "There is no command 'selion': give its path in Settings > Options > Processing > "
            "Providers > selion, or run 'selion qgis install'."
        )
    return [found]


def environment(given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of the process: that of QGIS without what is QGIS' own."""
    kept = {
        name: value
        for name, value in (os.environ if given is None else given).items()
        if name not in FOREIGN
    }
    return {**kept, "PYTHONIOENCODING": "utf-8"}


def options_of(given: Mapping[str, Any]) -> list[str]:
    """Write options.

    A text or a number comes after its name, a flag alone, nothing for what was not given.
    """
    words: list[str] = []
    for name, value in given.items():
        if value is None or value is False or value == "":
            continue
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return words


def map_image(image: str, out: str, **options: Any) -> list[str]:
    """``selion map IMAGE``."""
    return ["map", image, "--out", out, "--force", "--json", "--no-preview", *options_of(options)]


def map_area(area: str, year: int, out: str, **options: Any) -> list[str]:
    """``selion map AREA --year``."""
    return [
        "map",
        "--year",
        str(year),
        "--out",
        out,
        "--force",
        "--json",
        "--no-preview",
        *options_of(options),
        "--",
        area,
    ]


def fields(scores: str, out: str, **options: Any) -> list[str]:
    """``selion fields``."""
    return [
        "fields",
        scores,
        "--out",
        out,
        "--force",
        "--json",
        "--no-preview",
        *options_of(options),
    ]


def evaluate(found: str, truth: str, out: str, **options: Any) -> list[str]:
    """``selion evaluate --pred --truth``."""
    return [
        "evaluate",
        "--pred",
        found,
        "--truth",
        truth,
        "--out",
        out,
        "--force",
        "--json",
        *options_of(options),
    ]


def change(before: tuple[str, str], after: tuple[str, str], out: str, **options: Any) -> list[str]:
    """Return the words of ``selion change``; a year is a table of fields and its probabilities.

    Probabilities may be "" where they lie beside the table under the same name.
    """
    years = [f"{scores},{table}" if scores else table for table, scores in (before, after)]
    return ["change", *years, "--out", out, "--force", "--json", *options_of(options)]


@dataclass(frozen=True)
class Said:
    """What a line of standard output means."""

    percent: float | None = None
    text: str = ""
    note: str = ""
    done: Mapping[str, Any] | None = None


@dataclass
class Listener:
    """Turns JSON lines into a bar that only moves forward."""

    area: bool = False
    """Whether scenes are searched and composed first."""
    percent: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)

    def hear(self, line: str) -> Said:
        """Read one line; what is no JSON object of ours is a note."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            return Said(note=line.rstrip())
        kind = event.get("event") if isinstance(event, dict) else None
        if kind == "progress":
            return self._progress(event)
        if kind == "done":
            self.result, self.percent = event, 100.0
            return Said(100.0, "Done", done=event)
        if kind == "note":
            return Said(note=str(event.get("text", "")))
        return Said(note=_scenes(event) if kind == "scenes" else "")

    def _progress(self, event: Mapping[str, Any]) -> Said:
        share = min(
            max(float(event.get("done") or 0) / max(float(event.get("total") or 1), 1e-9), 0.0), 1.0
        )
        for name, low, high in self._stages():
            if name == event.get("stage"):
                self.percent = max(self.percent, low + share * (high - low))
        text = f"{event.get('stage')}: {share:.0%} {event.get('detail') or ''}".rstrip()
        return Said(self.percent, text)

    def _stages(self) -> tuple[tuple[str, float, float], ...]:
        if not self.area:
            return MAPPING
        return (*FINDING, *((name, 50 + low / 2, 50 + high / 2) for name, low, high in MAPPING))


def _scenes(event: Mapping[str, Any]) -> str:
    rows = event.get("rows") or []
    return "\n".join(
        (
            f"{row['tile']} {row['season']}: {row['taken']} of {row['candidates']} scenes, "
            f"{row['seen']:.0%} seen"
        )
        for row in rows
    )


def summary(result: Mapping[str, Any]) -> list[str]:
    """Return the facts of a finished run as lines; tables within them are indented."""
    lines = []
    for name, value in result.items():
        if name in ("event", "path", "steps") or value is None:
            continue
        words = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines += [f"{words}:", *(f"    {line}" for line in summary(value))]
        else:
            lines.append(
                f"{words}: {value:.4g}" if isinstance(value, float) else f"{words}: {value}"
            )
    return lines


def leftovers(out: str | Path) -> list[Path]:
    """Return what a stopped run leaves beside its output.

    Finished parts for the next run, and half-written files if it was killed.
    """
    path = Path(out)
    return sorted(
        left
        for left in path.parent.glob(".*")
        if left.name == f".{path.name}.selion" or _is_temporary(left.name, path.name)
    )


def _is_temporary(name: str, final: str) -> bool:
    """Tell selion's temporary names from other people's files.

    They are a dot and eight hexadecimal digits before the final name.
    """
    return (
        name[10:].startswith(final)
        and name[9:10] == "."
        and all(letter in "0123456789abcdef" for letter in name[1:9])
    )


def remove(paths: Sequence[Path]) -> None:
    """Delete files and folders."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
