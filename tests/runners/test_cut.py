"""The link between two Ray nodes is cut in the middle of a map: network namespaces of the kernel
stand in for two machines.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed (extra 'cluster')")
pytest.importorskip("moto.server", reason="moto[server] stands in for an object store")
pytestmark = pytest.mark.slow

TESTS = Path(__file__).resolve().parents[1]
ALONE = [
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--mount",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
]
TRIED = (
    "mount -t tmpfs none /run && ip netns add far && ip link add here type veth peer name there "
    "netns far"
)


def _why_not():
    """Say why there can be no namespaces here, if so."""
    missing = [tool for tool in ("unshare", "ip", "mount") if shutil.which(tool) is None]
    if missing:
        return (
            f"network namespaces need {', '.join(missing)} (util-linux, iproute2), which is not "
            "installed"
        )
    tried = subprocess.run(
        [*ALONE, "sh", "-c", TRIED], check=False, capture_output=True, text=True, timeout=30
    )
    return (
        ""
        if tried.returncode == 0
        else (
            "this machine does not allow network namespaces "
            f"({tried.stderr.strip().splitlines()[0]})"
        )
    )


def test_a_link_that_is_cut_in_the_middle_changes_no_byte(tmp_path):
    why = _why_not()
    if why:
        pytest.skip(why)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
    }
    command = [*ALONE, sys.executable, str(TESTS / "two_nets.py"), str(tmp_path)]
    ended = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=400
    )
    log = (tmp_path / "ray.log").read_text() if (tmp_path / "ray.log").exists() else ""
    if "timed out" in log:
        pytest.skip("Ray did not start within its own 30 seconds: the machine is too busy")
    assert ended.returncode == 0, ended.stderr[-3000:] + log[-1000:]
    seen = json.loads(ended.stdout.strip().splitlines()[-1])
    assert seen.pop("before") < 9, "the link was cut in the middle"
    assert seen == {"workers": 2, "aside": 0, "same": True, "blocks": 9}
