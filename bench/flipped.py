"""Flip bits in every file of a result of every verb, and see whether each one is found.

    PYTHONPATH=tests python bench/flipped.py [VERB ...] [--places 40]
    PYTHONPATH=tests python bench/flipped.py --results RUN/ country/ ...

The commands are those of the test of options, so the next verb comes for free, and real ones where
that has answers ready (``real_modes.py``).  With ``--results`` copies of what is there are changed,
such as a map of a country.  Printed are, a verb or a result: results, files, flips, and how many of
these were not found.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import option_modes
from option_walk import Inputs, Walk
from real_modes import modes
from selion.errors import UnreadableFile
from selion.store.manifest import ENDING, manifest_of, read_manifest
from selion.verification import verify
from selion.verification.sums import check_sums


def offsets(size: int, places: int) -> list[int]:
    """First, last, what formats have at their ends, and places between."""
    ends = [0, 1, 3, 4, 8, size // 2, size - 12, size - 8, size - 4, size - 1]
    draw = np.random.default_rng(size).integers(0, size, places).tolist()
    return sorted({one for one in [*ends, *draw] if 0 <= one < size})


def flip_all(place: Path, places: int) -> tuple[int, int, int]:
    """Return files, flips and what was missed of one result, the manifest itself included."""
    manifest = read_manifest(place)
    missed = flips = 0
    for path in [place, *(place.parent / name for name in manifest.files)]:
        whole = path.read_bytes()
        for offset in offsets(len(whole), places):
            changed = bytearray(whole)
            changed[offset] ^= 1 << (offset % 8)
            path.write_bytes(changed)
            flips += 1
            try:
                found = check_sums(read_manifest(place), place.parent).status == "differs"
            except UnreadableFile:
                found = True
            missed += not found
        path.write_bytes(whole)
    return len(manifest.files) + 1, flips, missed


def flip_copy(result: Path, places: int) -> tuple[int, int, int]:
    """As :func:`flip_all`, of a copy of a result and its files."""
    manifest = read_manifest(manifest_of(result))
    with tempfile.TemporaryDirectory() as name:
        for part in (manifest_of(result).name, *manifest.files):
            copy = Path(name, part)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(result.parent / part, copy)
        return flip_all(Path(name, manifest_of(result).name), places)


def main() -> None:
    """Print a line a verb."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verbs", nargs="*")
    parser.add_argument("--places", type=int, default=40)
    parser.add_argument("--results", type=Path, nargs="+", help="Results that are there already.")
    given = parser.parse_args()
    if given.results:
        for result in given.results:
            files, flips, missed = flip_copy(result, given.places)
            print(f"{result.name:<18} {files} files, {flips:,} flips, {missed} not found")
        return
    with tempfile.TemporaryDirectory() as home, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SELION_CACHE", str(Path(home, "cache")))
        inputs = Inputs(Path(home, "inputs"), option_modes.INPUTS)
        for verb in given.verbs or option_modes.MODES:
            results = files = flips = missed = 0
            differing: list[str] = []
            for number, mode in enumerate(modes(verb)):
                walk = Walk(Path(home, verb.replace(" ", "-"), str(number)), inputs, patch)
                walk.run(mode, mode.words)
                for place in sorted(walk.folder.rglob(f"*{ENDING}")):
                    results += 1
                    differing += verify(place).differences
                    counts = flip_all(place, given.places)
                    files, flips, missed = (
                        files + counts[0],
                        flips + counts[1],
                        missed + counts[2],
                    )
            said = f"{results} results, {files} files, {flips:,} flips, {missed} not found"
            print(f"{verb:<18} {said}{''.join(f'; before: {text}' for text in differing)}")


if __name__ == "__main__":
    main()
