"""The provider: its name, its setting, its algorithms."""

from __future__ import annotations

from pathlib import Path

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .command import NoTilth, read_command

SETTING = "TILTH_COMMAND"
HERE = Path(__file__).parent


def command_of_settings() -> list[str]:
    """Return the command that is called; raises NoTilth."""
    return read_command(str(ProcessingConfig.getSetting(SETTING) or ""))


class TilthProvider(QgsProcessingProvider):
    """tilth in Processing's toolbox."""

    def load(self) -> bool:
        """Declare the setting, then the algorithms."""
        ProcessingConfig.settingIcons["tilth"] = self.icon()
        ProcessingConfig.addSetting(Setting("tilth", SETTING, "Command of tilth (empty: the one that installed this plugin)", "", valuetype=Setting.FILE))
        ProcessingConfig.readSettings()
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Take the setting away."""
        ProcessingConfig.removeSetting(SETTING)

    def loadAlgorithms(self) -> None:  # noqa: N802  # QGIS asks for this name
        """Add one algorithm per task."""
        from .tasks import ALGORITHMS

        for algorithm in ALGORITHMS:
            self.addAlgorithm(algorithm())

    def id(self) -> str:
        """Return the prefix of algorithm ids."""
        return "tilth"

    def name(self) -> str:
        """Return what the toolbox shows."""
        return "tilth"

    def longName(self) -> str:  # noqa: N802
        """Return what the settings show."""
        try:
            return f"tilth ({' '.join(command_of_settings())})"
        except NoTilth:
            return "tilth (no command found)"

    def icon(self) -> QIcon:
        """Return the icon."""
        return QIcon(str(HERE / "icon.svg"))
