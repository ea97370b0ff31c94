"""The two files of versions say the same, and one of them the hash of every file of others."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PLAIN, HASHED = ROOT / "constraints.txt", ROOT / "constraints-hashed.txt"
PLACES = [
    {"sys_platform": system, "platform_system": name, "platform_machine": machine,
     "os_name": "nt" if system == "win32" else "posix", "python_version": python,
     "python_full_version": f"{python}.1", "platform_python_implementation": "CPython",
     "implementation_name": "cpython"}
    for python in ("3.11", "3.12", "3.13")
    for system, name, machine in (
        ("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"),
        ("darwin", "Darwin", "arm64"), ("win32", "Windows", "AMD64"),
    )
]  # fmt: skip
"""Where selion is installed."""


def lines_of(path: Path) -> list[str]:
    """Return the requirements, each on one line."""
    return path.read_text("utf-8").replace("\\\n", " ").splitlines()


@pytest.fixture(scope="module")
def hashed() -> dict[str, list[str]]:
    """Requirement -> its hashes."""
    found = {}
    for line in lines_of(HASHED):
        requirement, *hashes = re.split(r"\s+--hash=", line)
        found[requirement.strip()] = hashes
    return found


def test_both_files_name_the_same_versions_for_the_same_places(hashed):
    def pins(lines):
        said = [Requirement(line) for line in lines]
        return sorted((one.name, str(one.specifier), str(one.marker or "")) for one in said)

    assert pins(hashed) == pins(lines_of(PLAIN))


def test_every_version_has_hashes_and_no_line_an_address(hashed):
    for requirement, hashes in hashed.items():
        assert hashes, requirement
        for one in hashes:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", one), (requirement, one)
    for path in (PLAIN, HASHED):
        text = path.read_text("utf-8")
        assert "://" not in text
        assert "index" not in re.sub(r"^[\w.-]+==", "", text, flags=re.MULTILINE)
    assert "--hash" not in PLAIN.read_text("utf-8"), "pip takes no hashes beside a folder"


def test_what_is_asked_for_and_what_builds_it_is_pinned_everywhere(hashed):
    table = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [
        *table["build-system"]["requires"],
        *table["project"]["dependencies"],
        *(one for extra in table["project"]["optional-dependencies"].values() for one in extra),
    ]
    pinned = [Requirement(line) for line in hashed]
    for one in map(Requirement, wanted):
        for place in PLACES:
            if not holds(one.marker, place):
                continue
            found = [
                pin for pin in pinned if pin.name.lower() == one.name and holds(pin.marker, place)
            ]
            assert len(found) == 1, (one.name, place)
            (pin,) = found
            version = str(pin.specifier).removeprefix("==")
            assert one.specifier.contains(version, prereleases=True), pin


def holds(marker: Marker | None, place: dict[str, str]) -> bool:
    """Return whether a requirement is meant there."""
    return marker is None or marker.evaluate(place)
