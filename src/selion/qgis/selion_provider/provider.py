"""The provider: its name, its setting, its algorithms."""

from __future__ import annotations

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from .command import NoSelion
from .settings import HERE, SETTING, command_of_settings


class SelionProvider(QgsProcessingProvider):
    """selion in Processing's toolbox."""

    def load(self) -> bool:
        """Declare the setting, then the algorithms."""
        ProcessingConfig.settingIcons["selion"] = self.icon()
        ProcessingConfig.addSetting(
            Setting(
                "selion",
                SETTING,
                "Command of selion (empty: the one that installed this plugin)",
                "",
                valuetype=Setting.FILE,
            )
        )
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
        return "selion"

    def name(self) -> str:
        """Return what the toolbox shows."""
        return "selion"

    def longName(self) -> str:  # noqa: N802
        """Return what the settings show."""
        try:
            return f"selion ({' '.join(command_of_settings())})"
        except NoSelion:
            return "selion (no command found)"

    def icon(self) -> QIcon:
        """Return the icon."""
        return QIcon(str(HERE / "icon.svg"))
