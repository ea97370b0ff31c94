"""The validators of others over tables that selion wrote: fiboa's own, and gpio of geoparquet-io.

    python bench/validators.py FOLDER [FOLDER ...]

Every GeoParquet file below the folders is judged: of version 1.1 by both, of 2.0 by gpio alone,
because fiboa wants 1.1.  SELION_BENCH_FIBOA names a program that says "VALID [] [] []" of a sound
file (errors, warnings, remarks), SELION_BENCH_GPIO the program gpio, in an environment of its own:

    uv venv gpio && echo duckdb==1.5.5 > versions.txt && uv pip install --python gpio \\
        --override versions.txt geoparquet-io==1.7.* duckdb-extension-spatial==1.5.5

(1.7.0 asks for DuckDB 1.5.6, for which the package of the extension was not to be had.)

gpio's check of the specification wants DuckDB's extension "spatial", which it would fetch from a
server; the package has it: copy its file to ~/.duckdb/extensions/v1.5.5/linux_amd64/.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq

SHARED = Path(__file__).resolve().parents[2] / "shared" / "tools" / "fiboa" / "fiboa-validate"
FIBOA = os.environ.get("SELION_BENCH_FIBOA", str(SHARED))
GPIO = os.environ.get("SELION_BENCH_GPIO", "gpio")
CLEAN = "VALID [] [] []"


def version_of(path: Path) -> str | None:
    """Return the version of GeoParquet of a file; None: it has no geometry."""
    told = (pq.read_schema(path).metadata or {}).get(b"geo")
    return None if told is None else str(json.loads(told)["version"])


def said_by(*words: str) -> tuple[int, str]:
    """Run a program; return its exit code and all that it says."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=False, timeout=600,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )  # fmt: skip
    except OSError as error:
        return -1, f"not here: {error.strerror}"
    return done.returncode, done.stdout + done.stderr


def judged(path: Path, version: str) -> dict[str, str]:
    """Return what each validator says; empty where it finds nothing."""
    verdicts = {}
    if version.startswith("1."):
        code, said = said_by(FIBOA, str(path))
        last = said.strip().rpartition("\n")[2]
        verdicts["fiboa"] = "" if code == 0 and said.startswith(CLEAN) else last or str(code)
    code, said = said_by(GPIO, "check", "all", str(path), "--spec-details", "--strict")
    counts = re.findall(r"(\d+) passed, (\d+) warnings, (\d+) failed", said)
    clean = code == 0 and len(counts) == 1 and counts[0][1:] == ("0", "0")
    verdicts["gpio"] = "" if clean else said.strip()[-300:]
    return verdicts


def main(folders: list[Path]) -> None:
    """Judge all files."""
    bad = judged_files = 0
    for path in sorted(one for folder in folders for one in folder.rglob("*.parquet")):
        version = version_of(path)
        if version is None:
            continue
        judged_files += 1
        verdicts = judged(path, version)
        bad += any(verdicts.values())
        told = ", ".join(f"{name}: {said or 'nothing'}" for name, said in verdicts.items())
        print(f"{path} (GeoParquet {version}): {told}")
    print(f"{judged_files} files, {bad} with remarks")
    sys.exit(bool(bad) or not judged_files)


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]])
