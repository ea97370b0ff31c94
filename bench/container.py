"""The container of the cluster kit, built and run without a daemon: by buildah, in a chroot.

    make wheel && python bench/container.py                       # selion demo in it
    make wheel && python bench/container.py --extras cluster      # and a Ray head

Containerfile is built as it is, on a base that stands in for python:3.11-slim (no registry of
images is asked): Debian by debootstrap with its Python 3.11, and this machine's certificates.
Then 'selion demo' runs in it as nobody, who may write to /tmp alone; with the extra also a head of
Ray.  Wanted: root, buildah, debootstrap (apt-get install buildah debootstrap), two gigabytes of
disk, and the package indices.  Not run: Docker, Kubernetes, limits of processor and memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE, BUILT = "localhost/python-3.11-stand-in", "localhost/selion-bench"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
RELEASE = "bookworm"
"""Of Debian, whose Python is 3.11; from where debootstrap has it by itself."""
PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
NOBODY = "65534:65534"
HEAD = (
    "ray start --head --port 6390 --num-cpus 1 --object-store-memory 83886080"
    " --dashboard-port 8290 && ray status --address 127.0.0.1:6390 && ray job list"
    " --address http://127.0.0.1:8290; code=$?; ray stop --force; exit $code"
)


def why_not() -> str:
    """Say why nothing can be built here, if so."""
    if os.geteuid():
        return "debootstrap and a chroot need root"
    for tool in ("buildah", "debootstrap"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed: apt-get install buildah debootstrap"
    return "" if list((ROOT / "dist").glob("selion-*.whl")) else "there is no wheel: make wheel"


class Store:
    """A store of images of its own: nothing that was here before is touched."""

    def __init__(self, folder: Path) -> None:
        """Take a folder."""
        self.folder = folder
        self.options = ["--root", str(folder / "images"), "--runroot", str(folder / "run")]
        self.options += ["--storage-driver", "vfs"]

    def buildah(self, *words: str, quiet: bool = False) -> str:
        """Run buildah; return what it prints."""
        done = subprocess.run(
            ["buildah", *self.options, *words], cwd=ROOT, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"buildah {' '.join(words)}\n{done.stdout[-4000:]}")
        if not quiet:
            print(done.stdout.strip()[-1500:], flush=True)
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        """Say whether an image is there."""
        return image in self.buildah("images", "--format", "{{.Name}}", quiet=True).split()

    def make_base(self) -> None:
        """Make the image that stands in for python:3.11-slim."""
        tree = self.folder / "base"
        if not (tree / "usr/bin/python3").exists():
            words = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", RELEASE]
            subprocess.run([*words, str(tree)], check=True, stdout=subprocess.DEVNULL)
        (tree / "usr/bin/python").unlink(missing_ok=True)
        (tree / "usr/bin/python").symlink_to("python3")
        # the image of Python is no system of others: pip may install into it
        for mark in tree.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            mark.unlink()
        shutil.copy(CERTIFICATES, tree / CERTIFICATES.lstrip("/"))
        made = self.buildah("from", "scratch", quiet=True)
        self.buildah("add", "-q", made, str(tree), "/", quiet=True)
        self.buildah("config", "--env", f"PIP_CERT={CERTIFICATES}", made, quiet=True)
        self.buildah("commit", "-q", "--rm", made, BASE, quiet=True)

    def build(self, extras: str) -> float:
        """Build Containerfile; return the seconds that it took."""
        begun = time.monotonic()
        self.buildah(
            "build", "--isolation", "chroot", "--from", BASE, "--build-arg", f"EXTRAS={extras}",
            "--tag", BUILT, "--file", "Containerfile", ".",
        )  # fmt: skip
        return time.monotonic() - begun

    def run(self, *words: str) -> str:
        """Run a command in a new container as nobody."""
        box = self.buildah("from", BUILT, quiet=True)
        try:
            return self.buildah(
                "run", "--isolation", "chroot", "--user", NOBODY, "--workingdir", "/tmp", box, "--",
                *words,
            )  # fmt: skip
        finally:
            self.buildah("rm", box, quiet=True)


def main() -> None:
    """Build and run."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--extras", default="", help="Of the wheel: cluster.")
    parser.add_argument("--keep", type=Path, help="Folder of base and images, kept for next time.")
    given = parser.parse_args()
    if reason := why_not():
        print(f"skipped: {reason}")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="container-", ignore_cleanup_errors=True) as passing:
        folder = (given.keep or Path(passing)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        store = Store(folder)
        if not store.has(BASE):
            store.make_base()
        print(f"built in {store.build(given.extras):.0f} s")
        store.run("sh", "-c", "id -u && selion demo && ls -ln demo/report.html")
        if given.extras:
            store.run("sh", "-c", HEAD)
    print("whole")


if __name__ == "__main__":
    main()
