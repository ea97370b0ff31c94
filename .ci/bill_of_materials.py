"""Put a bill of materials into a wheel: which parts it was tried with, by version and SHA-256.

python .ci/bill_of_materials.py REPORT.json dist/selion-VERSION-py3-none-any.whl

REPORT.json is what ``pip install --report`` says of the installation that was tried.  The bill is
CycloneDX 1.6, and lies where PEP 770 puts it: ``*.dist-info/sboms/``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any


def bill(report: dict[str, Any]) -> dict[str, Any]:
    """Return the bill of an installation."""
    parts: list[dict[str, Any]] = []
    whole: dict[str, Any] = {}
    for one in report["install"]:
        said, sums = one["metadata"], one["download_info"]["archive_info"]["hashes"]
        name, version = said["name"].lower().replace("_", "-"), said["version"]
        part = {
            "type": "library",
            "name": said["name"],
            "version": version,
            "bom-ref": f"{name}@{version}",
            "purl": f"pkg:pypi/{name}@{version}",
        }
        licence = said.get("license_expression")
        if licence:
            part["licenses"] = [{"expression": licence}]
        if name == "selion":
            whole = part
        else:
            parts.append(part | {"hashes": [{"alg": "SHA-256", "content": sums["sha256"]}]})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": whole},
        "components": sorted(parts, key=lambda part: part["bom-ref"]),
    }


def put_in(wheel: Path, text: bytes) -> str:
    """Write the bill into a wheel, and into its list of files; return where it lies."""
    aside = wheel.with_suffix(".part")
    with (
        zipfile.ZipFile(wheel) as old,
        zipfile.ZipFile(aside, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        record = next(n for n in old.namelist() if n.endswith(".dist-info/RECORD"))
        place = f"{record.rpartition('/')[0]}/sboms/selion.cdx.json"
        for info in old.infolist():
            if info.filename not in (record, place):
                new.writestr(info, old.read(info))
        new.writestr(place, text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
        lines = [n for n in old.read(record).decode().splitlines() if not n.startswith(place)]
        new.writestr(
            record, "\n".join([*lines[:-1], f"{place},sha256={digest},{len(text)}", lines[-1], ""])
        )
    shutil.move(aside, wheel)
    return place


def main() -> None:
    """Write the bill beside the wheel, and into it."""
    report, wheel = Path(sys.argv[1]), Path(sys.argv[2])
    made = bill(json.loads(report.read_text("utf-8")))
    text = (json.dumps(made, indent=1) + "\n").encode()
    wheel.with_suffix(".cdx.json").write_bytes(text)
    print(f"{put_in(wheel, text)}: {len(made['components'])} parts")


if __name__ == "__main__":
    main()
