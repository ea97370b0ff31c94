"""The plugin as one zip: for *Install from ZIP*, or for a repository of plugins."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from selion import store
from selion.errors import BadInput
from selion.qgis.install import FOUND, PLUGIN, plugin_folder

REQUIRED = (
    "name",
    "description",
    "version",
    "qgisMinimumVersion",
    "author",
    "email",
    "about",
    "tracker",
    "repository",
    "homepage",
)
"""What the repository of QGIS' plugins asks for in ``metadata.txt``."""
LEFT_OUT = (".pyc",)
MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of every file in the zip, so that the same plugin is the same zip."""
ADDRESS = re.compile(r"https?://[^\s/]+\.[^\s/]+\S*")
MAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")


@dataclass(frozen=True)
class Links:
    """Where people find the plugin's code, report problems, and reach its author."""

    repository: str = ""
    tracker: str = ""
    homepage: str = ""
    email: str = ""

    def __post_init__(self) -> None:
        for name in ("repository", "tracker", "homepage"):
            given = getattr(self, name)
            if given and not ADDRESS.fullmatch(given):
                raise BadInput(f"'{given}' as {name} is no address: wanted is https://...")
        if self.email and not MAIL.fullmatch(self.email):
            raise BadInput(f"'{self.email}' as email is none: wanted is name@example.org.")

    @property
    def given(self) -> dict[str, str]:
        """Those that are there, by their names in ``metadata.txt``."""
        names = ("email", "tracker", "repository", "homepage")
        return {name: value for name in names if (value := getattr(self, name))}


@dataclass(frozen=True)
class Packaged:
    """A zip that was written."""

    path: Path
    lacking: tuple[str, ...]
    """What the repository of plugins would ask for and is not there."""


def package_plugin(
    out: Path,
    links: Links | None = None,
    *,
    command: list[str] | None = None,
    portable: bool = False,
    force: bool = False,
) -> Packaged:
    """Write the plugin as a zip with one folder.

    Parameters
    ----------
    out : path
        ``.zip``.
    links : Links, optional
        What goes into ``metadata.txt``; a repository of plugins wants them.
    command : list of str, optional
        What the plugin calls; None: this Python with selion's command line.
    portable : bool
        Whether no command is noted, so that the zip serves other machines: there the plugin calls
        ``selion`` from the path, or what its setting says.
    force : bool
        Whether a zip that is there is replaced.

    Raises
    ------
    BadInput
        If ``out`` is no ``.zip``, or a link is none.
    OutputExists, OutputFailed
        If it may not, or cannot, be written.
    """
    if out.suffix.lower() != ".zip":
        raise BadInput(f"{out} does not end in .zip, which QGIS asks for.")
    metadata = _metadata(links or Links())
    store.check_output(out, force)
    with (
        store.atomic_write(out, force=force) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as made,
    ):
        for path in sorted(plugin_folder().iterdir()):
            if path.is_file() and path.suffix not in LEFT_OUT and path.name != FOUND:
                text = metadata.encode() if path.name == "metadata.txt" else path.read_bytes()
                _add(made, path.name, text)
        if not portable:
            facts = {"command": command or [sys.executable, "-m", "selion.cli.main"]}
            _add(made, FOUND, (json.dumps(facts, indent=1) + "\n").encode())
    return Packaged(out, _lacking(metadata))


def _add(made: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(f"{PLUGIN}/{name}", MOMENT)
    entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    made.writestr(entry, content)


def _metadata(links: Links) -> str:
    """Return ``metadata.txt`` with the links that are given."""
    text = (plugin_folder() / "metadata.txt").read_text("utf-8")
    given = links.given
    lines = [line for line in text.splitlines() if line.partition("=")[0] not in given]
    return "\n".join([*lines, *(f"{name}={value}" for name, value in given.items())]) + "\n"


def _lacking(metadata: str) -> tuple[str, ...]:
    lines = (line.partition("=") for line in metadata.splitlines())
    found = {name: value.strip() for name, _, value in lines}
    made_up = {"email"} if found.get("email", "").endswith("example.org") else set()
    return tuple(name for name in REQUIRED if not found.get(name) or name in made_up)
