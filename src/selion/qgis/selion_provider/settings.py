"""Where the plugin lies, and which command it calls."""

from __future__ import annotations

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig

from .command import read_command

SETTING = "SELION_COMMAND"
HERE = Path(__file__).parent


def command_of_settings() -> list[str]:
    """Return the command that is called; raises NoSelion."""
    return read_command(str(ProcessingConfig.getSetting(SETTING) or ""))
