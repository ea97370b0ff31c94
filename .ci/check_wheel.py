"""Check that a wheel is whole and maps, from the environment that it was installed into.

python .ci/check_wheel.py dist/selion-VERSION-py3-none-any.whl
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WANTED = {
    "type information": "selion/py.typed",
    "weights": "selion/weights/fields-s2-2season/card.toml",
    "recipes": "selion/recipes/own-polygons.toml",
    "pages": "selion/web/static/",
    "QGIS plugin": "selion/qgis/selion_provider/metadata.txt",
    "public names": "selion/__init__.pyi",
}


def main() -> None:
    """Look into the wheel, then run the demo in a folder that knows no checkout."""
    inside = zipfile.ZipFile(sys.argv[1]).namelist()
    absent = [
        what for what, start in WANTED.items() if not any(n.startswith(start) for n in inside)
    ]
    if not any(name.endswith(".dist-info/sboms/selion.cdx.json") for name in inside):
        absent.append("bill of materials")
    if absent:
        sys.exit(f"{sys.argv[1]} lacks: {', '.join(absent)}.")
    command = Path(sys.executable).with_name("selion")
    with tempfile.TemporaryDirectory() as folder:
        where = [sys.executable, "-c", "import selion; print(selion.__file__)"]
        found = subprocess.run(where, cwd=folder, capture_output=True, text=True, check=True)
        if not Path(found.stdout.strip()).is_relative_to(sys.prefix):
            sys.exit(f"selion comes from {found.stdout.strip()}, not from {sys.prefix}.")
        subprocess.run([command, "demo"], cwd=folder, check=True)
        report = Path(folder) / "demo" / "report.html"
        if not report.is_file():
            sys.exit(f"selion demo ended well without {report.name}.")
    print(f"{Path(sys.argv[1]).name}: {len(inside)} files, and the demo runs from it.")


if __name__ == "__main__":
    main()
