"""Everything works with the network off: ``selion map`` to every format, in a network namespace
that has no interface.

    python bench/offline.py RASTER MODEL_FOLDER CHECKPOINT --json rows.json

Linux only (``unshare``).  The peer's own default output is tried in the same way, where the real
peer is at hand.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import command
import peer
from map import OURS, ours
from table import Row, save

FORMATS = (".parquet", ".gpkg", ".fgb", ".geojson", ".pmtiles")
SECTION = "With the network off (1: the file is there)"
_CUT = ["unshare", "--map-root-user", "--net"]
_PROBE = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"


def can_cut() -> bool:
    """Say whether a command can be run here without a network, and prove that there it has none."""
    if (
        not shutil.which("unshare")
        or subprocess.run([*_CUT, "true"], capture_output=True, check=False).returncode
    ):
        return False
    probe = subprocess.run([*_CUT, sys.executable, "-c", _PROBE], capture_output=True, check=False)
    return b"Network is unreachable" in probe.stderr


def _row(what: str, done: command.Finished, path: Path) -> Row:
    worked = done.code == 0 and path.is_file() and path.stat().st_size > 0
    last = done.output.strip().splitlines()[-1][:140] if done.output.strip() and not worked else ""
    return Row(
        SECTION,
        what,
        float(worked),
        "",
        1.0,
        note=f"{path.stat().st_size / 1e6:.1f} MB" if worked else f"exit {done.code}: {last}",
    )


def measure(raster: Path, model: Path, checkpoint: Path) -> list[Row]:
    """Try every format; 1 is a file that is there, 0 a failure."""
    if not can_cut():
        return [
            Row(
                SECTION,
                "selion map",
                None,
                "",
                1.0,
                note=(
                    "this machine cannot run a command without a network (unshare is missing or "
                    "refused)"
                ),
            )
        ]
    rows = []
    with tempfile.TemporaryDirectory(dir=raster.parents[1]) as name:
        folder = Path(name)
        scores = folder / "scores.tif"
        done = command.run(
            [*_CUT, *ours(raster, model, folder / "fields.parquet", "--scores", str(scores))]
        )
        rows += [
            _row("selion map to .parquet (fiboa)", done, folder / "fields.parquet"),
            _row("its class probabilities as a COG", done, scores),
        ]
        for ending in FORMATS[1:]:
            out = folder / f"{ending[1:]}{ending}"
            rows.append(
                _row(
                    f"selion fields to {ending}",
                    command.run([*_CUT, *OURS[:-1], "fields", str(scores), "--out", str(out)]),
                    out,
                )
            )
        if peer.real():
            rows.append(_peer_row(raster, checkpoint, folder))
    return rows


def _peer_row(raster: Path, checkpoint: Path, folder: Path) -> Row:
    """The peer's default output, from classes that it made with a network."""
    first, second = peer.steps(raster, checkpoint, folder, command=peer.real())
    command.checked(first)
    out = folder / "classes.parquet"
    second[second.index("--out") + 1] = str(out)
    row = _row("ftw-tools to its default .parquet", command.run([*_CUT, *second]), out)
    return Row(SECTION, row.what, row.value, "", None, note=row.note)


def main() -> None:
    """Measure and save the rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("raster", "model", "checkpoint"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    save(measure(given.raster, given.model, given.checkpoint), given.json)


if __name__ == "__main__":
    main()
