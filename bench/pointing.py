"""Files that point elsewhere: how many requests each form makes each reader send.

    python bench/pointing.py --json rows.json

A host counts what it is asked while images and tables of ``tests/pointing_forms.py`` are read that
name it; the kernel tells whether a file of another folder, which they name too, is opened (Linux),
and its pixels have one value that must not come out.  Wanted is 0.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

from table import Row, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pointing_forms as forms
from counting_host import counting_host
from opened_files import opened_in

SECTION = "Files that point elsewhere"


def main() -> None:
    """Make, read and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    rows = []
    for kind, makers, readers in (
        ("image", forms.RASTERS, forms.RASTER_READERS),
        ("table", forms.TABLES, forms.TABLE_READERS),
    ):
        print(f"| {kind} | " + " | ".join(readers) + " |\n|---" + "|---" * len(readers) + "|")
        for form, (name, make) in makers.items():
            counts = [count(name, make, read) for read in readers.values()]
            print(
                f"| {form} | " + " | ".join(f"{n} ({how})" for n, how in counts) + " |", flush=True
            )
            asked = sum(n for n, _ in counts)
            rows.append(Row(SECTION, f"{kind}: {form}", asked, "requests", 0, at_most=True))
    reached = sum(int(row.value or 0) for row in rows)
    print(f"\n{reached} requests and files elsewhere, {len(rows)} forms")
    if given.json:
        save(rows, given.json)
    sys.exit(any(row.value for row in rows))


def count(name: str, make: forms.Make, read: object) -> tuple[int, str]:
    """Return how often the host was asked, and whether the file was read or refused."""
    with tempfile.TemporaryDirectory() as work:
        served, here, far = (Path(work, part) for part in ("served", "here", "far"))
        for folder in (served, here, far):
            folder.mkdir()
        forms.image(served / "a.tif", forms.SECRET)
        forms.image(far / "secret.tif", forms.SECRET)
        with counting_host(served) as host:
            make(here / name, host.url, far / "secret.tif")
            host.asked.clear()
            with opened_in(far) as opened:
                how, answer = forms.outcome(read, here / name)  # type: ignore[arg-type]
                reached = bool(opened()) or forms.shows(answer)
            return len(host.asked) + 1000 * reached, "another file!" if reached else how


if __name__ == "__main__":
    main()
