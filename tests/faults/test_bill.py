"""The wheel's bill of materials names each part by version and SHA-256; the wheel stays whole."""

import base64
import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / ".ci" / "bill_of_materials.py"
RECORD = "selion-0.1.0.dist-info/RECORD"
PLACE = "selion-0.1.0.dist-info/sboms/selion.cdx.json"


def part(name, version, digest):
    about = {"name": name, "version": version, "license_expression": "MIT"}
    archive = {"hashes": {"sha256": digest}}
    return {"metadata": about, "download_info": {"archive_info": archive}}


def test_the_bill_lies_in_the_wheel_and_in_its_list(tmp_path):
    report = tmp_path / "report.json"
    parts = [part("selion", "0.1.0", "0" * 64), part("odc_geo", "0.5", "a" * 64)]
    report.write_text(json.dumps({"install": parts}))
    wheel = tmp_path / "selion-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("selion/x.py", "1\n")
        file.writestr(RECORD, f"selion/x.py,sha256=x,2\n{RECORD},,\n")
    for _ in range(2):  # a second time changes nothing
        subprocess.run([sys.executable, str(SCRIPT), str(report), str(wheel)], check=True)
        with zipfile.ZipFile(wheel) as file:
            assert sorted(file.namelist()) == [RECORD, PLACE, "selion/x.py"]
            text, lines = file.read(PLACE), file.read(RECORD).decode().splitlines()
        digest = base64.urlsafe_b64encode(hashlib.sha256(text).digest()).rstrip(b"=").decode()
        own = f"{PLACE},sha256={digest},{len(text)}"
        assert lines == ["selion/x.py,sha256=x,2", own, f"{RECORD},,"]
        bill = json.loads(text)
        assert bill["metadata"]["component"]["name"] == "selion"
        assert [(one["purl"], one["hashes"]) for one in bill["components"]] == [
            ("pkg:pypi/odc-geo@0.5", [{"alg": "SHA-256", "content": "a" * 64}])
        ]
