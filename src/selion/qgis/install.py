"""Puts the plugin into a profile of QGIS, and tells it which environment to call."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from selion import store
from selion.errors import OutputExists, UnreadableFile
from selion.store.replaced import FolderKind

PLUGIN = "selion_provider"
FOUND = "selion.json"
"""Beside the plugin's files: the command of the environment that installed it
(``selion_provider/command.py`` reads it)."""


def plugin_folder() -> Path:
    """Return the plugin as it lies in this package, for those who copy it themselves."""
    return Path(__file__).with_name(PLUGIN)


def plugin_kind() -> FolderKind:
    """Return what the plugin is known by, also one that QGIS installed from a zip."""
    names = tuple(one.name for one in plugin_folder().iterdir() if one.is_file())
    return FolderKind("the plugin of selion", ("metadata.txt",), (FOUND, *names), says="selion")


def profile_roots() -> list[Path]:
    """Return where QGIS of this system keeps its profiles, the newest version first."""
    given = os.environ.get("QGIS_CUSTOM_CONFIG_PATH")
    if given:
        return [Path(given) / "profiles"]
    home = Path.home()
    roots = {
        "win32": Path(os.environ.get("APPDATA", home / "AppData" / "Roaming")) / "QGIS",
        "darwin": home / "Library" / "Application Support" / "QGIS",
    }
    root = roots.get(
        sys.platform, Path(os.environ.get("XDG_DATA_HOME", home / ".local" / "share")) / "QGIS"
    )
    return [root / version / "profiles" for version in ("QGIS4", "QGIS3")]


def find_profile() -> Path:
    """Return the profile that QGIS starts with.

    Raises
    ------
    UnreadableFile
        If QGIS was never started by this person.
    """
    for root in profile_roots():
        if (root / "default").is_dir():
            return root / "default"
    raise UnreadableFile(
        f"There is no profile of QGIS in {' or '.join(map(str, profile_roots()))}: start QGIS "
        "once, or give one with --qgis-profile."
    )


def install_plugin(
    profile: Path | None = None, command: list[str] | None = None, *, force: bool = False
) -> Path:
    """Copy the plugin into a profile.

    Parameters
    ----------
    profile : path, optional
        Folder of a profile; None: the one that QGIS starts with.
    command : list of str, optional
        What the plugin calls; None: this Python with selion's command line.
    force : bool
        Whether a plugin of another make is replaced; an older one of ours always is.

    Returns
    -------
    Path
        The folder of the plugin.

    Raises
    ------
    UnreadableFile
        If there is no profile.
    OutputExists
        If something else lies in its place; the plugin itself, where 'selion qgis install' did not
        put it there, is replaced if ``force`` is true.
    OutputFailed
        If the profile cannot be written to.
    """
    profile = profile or find_profile()
    if not profile.is_dir():
        raise UnreadableFile(
            f"There is no folder {profile}: give the folder of a profile (in QGIS: Settings > User "
            "Profiles > Open Active Profile Folder)."
        )
    target = profile / "python" / "plugins" / PLUGIN
    if target.exists() and not (target / FOUND).is_file() and not force:
        raise OutputExists(
            f"{target} is there and was not put there by 'selion qgis install': move it away, or "
            "replace it with --force."
        )
    with store.atomic_folder(target, force=True, kind=plugin_kind()) as temporary:
        shutil.copytree(
            plugin_folder(),
            temporary,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        facts = {"command": command or [sys.executable, "-m", "selion.cli.main"]}
        (temporary / FOUND).write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return target
