"""What all algorithms share: call the command, show its progress, stop it, style what it made."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
    QgsProcessingParameterString,
)

from .command import Listener, NoSelion, Said, leftovers, remove, summary
from .process import Cancelled, CommandFailed, Ears, run
from .settings import HERE, command_of_settings

OUTPUT, MODEL, FAST, KEEP, SIMPLIFY, MIN_AREA, METHOD = (
    "OUTPUT",
    "MODEL",
    "FAST",
    "KEEP",
    "SIMPLIFY",
    "MIN_AREA",
    "METHOD",
)
METHODS = ("auto", "watershed", "components", "vote", "cut")


class Called(QgsProcessingAlgorithm):
    """An algorithm that is a command line."""

    NAME, LABEL, HELP = "", "", ""

    def name(self) -> str:
        """Return the id after ``selion:``."""
        return self.NAME

    def displayName(self) -> str:  # noqa: N802  # QGIS asks for these names
        """Return what the toolbox shows."""
        return self.LABEL

    def shortHelpString(self) -> str:  # noqa: N802
        """Return the text beside the form."""
        return self.HELP

    def createInstance(self) -> Called:  # noqa: N802
        """Return a fresh one; QGIS runs copies."""
        return type(self)()

    def flags(self) -> Any:
        """Return the flags; the name of an option is not translated."""
        return super().flags() | QgsProcessingAlgorithm.FlagCanCancel

    def canExecute(self) -> Any:  # noqa: N802
        """Say at once where there is no command."""
        try:
            command_of_settings()
        except NoSelion as problem:
            return False, str(problem)
        return True, ""

    def call(
        self,
        words: list[str],
        out: str,
        feedback: QgsProcessingFeedback,
        *,
        area: bool = False,
        keep: bool = False,
    ) -> dict[str, Any]:
        """Run selion with these words.

        What a stopped run leaves beside ``out`` goes unless it is kept for the next run.
        """
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        try:
            command = [*command_of_settings(), *words]
            feedback.pushCommandInfo(" ".join(command))
            result = run(
                command,
                Ears(lambda said: _show(said, feedback), feedback.pushInfo, feedback.isCanceled),
                Listener(area),
            )
        except Cancelled:
            self._tidy(out, keep=keep)
            return {}
        except (NoSelion, CommandFailed) as problem:
            self._tidy(out, keep=keep)
            raise QgsProcessingException(str(problem)) from problem
        for line in summary(result):
            feedback.pushInfo(line)
        return result

    @staticmethod
    def _tidy(out: str, *, keep: bool) -> None:
        if not keep:
            remove(leftovers(out))

    def add_outline_parameters(self) -> None:
        """Declare how probabilities become outlines."""
        self.advanced(
            QgsProcessingParameterEnum(
                METHOD, "How probabilities become objects", list(METHODS), defaultValue=0
            )
        )
        number = QgsProcessingParameterNumber
        self.advanced(
            number(
                SIMPLIFY,
                "Simplify outlines by (metres; empty: 1.5 pixels)",
                number.Double,
                optional=True,
                minValue=0,
            )
        )
        self.advanced(
            number(
                MIN_AREA,
                "Smallest field (m2; empty: 500 or 20 pixels)",
                number.Double,
                optional=True,
                minValue=0,
            )
        )

    def add_model_parameters(self) -> None:
        """Declare what runs."""
        self.addParameter(
            QgsProcessingParameterString(
                MODEL,
                "Model: name or folder (empty: the packaged one that fits the bands)",
                optional=True,
            )
        )
        self.advanced(
            QgsProcessingParameterBoolean(
                FAST, "Fast: bfloat16 where the processor has it", defaultValue=False
            )
        )
        self.advanced(
            QgsProcessingParameterBoolean(
                KEEP,
                "Keep finished parts when stopped, so that the same run goes on",
                defaultValue=False,
            )
        )

    def advanced(self, parameter: QgsProcessingParameterDefinition) -> None:
        """Declare a parameter that is folded away."""
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        self.addParameter(parameter)

    def add_counts(self) -> None:
        """Declare the numbers that come back."""
        self.addOutput(QgsProcessingOutputNumber("FIELDS", "Number of fields"))
        self.addOutput(QgsProcessingOutputNumber("HECTARES", "Area of all fields in hectares"))

    def outline_options(self, given: Any, context: QgsProcessingContext) -> dict[str, Any]:
        """Return the options of outlines."""
        options: dict[str, Any] = {"method": METHODS[self.parameterAsEnum(given, METHOD, context)]}
        for name in (SIMPLIFY, MIN_AREA):
            if given.get(name) is not None:
                options[name.lower().replace("_", "-")] = self.parameterAsDouble(
                    given, name, context
                )
        return options

    def model_options(self, given: Any, context: QgsProcessingContext) -> dict[str, Any]:
        """Return the options of the model."""
        return {
            "model": self.parameterAsString(given, MODEL, context).strip(),
            "fast": self.parameterAsBoolean(given, FAST, context),
        }

    @staticmethod
    def results(out: str, result: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Return what Processing shows: no output where the run was stopped."""
        if not result:
            return {}
        return {
            OUTPUT: out,
            "FIELDS": result.get("fields"),
            "HECTARES": result.get("total_ha"),
            **more,
        }

    @staticmethod
    def style_raster(path: str, context: QgsProcessingContext) -> None:
        """Have a raster of probabilities drawn with the style that lies beside the plugin."""
        if context.willLoadLayerOnCompletion(path):
            details = context.layerToLoadOnCompletionDetails(path)
            details.setPostProcessor(_Styler.of(HERE / "scores.qml"))


def _show(said: Said, feedback: QgsProcessingFeedback) -> None:
    if said.percent is not None:
        feedback.setProgress(said.percent)
    if said.text:
        feedback.setProgressText(said.text)
    if said.note:
        feedback.pushInfo(said.note)


class _Styler(QgsProcessingLayerPostProcessorInterface):
    """Loads a style into a layer that was just added."""

    kept: ClassVar[list[_Styler]] = []
    """QGIS does not own post processors: one that nobody holds is gone before it is called."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @classmethod
    def of(cls, path: Path) -> _Styler:
        """Make one that stays."""
        cls.kept.append(cls(path))
        return cls.kept[-1]

    def postProcessLayer(self, layer: Any, _context: Any, _feedback: Any) -> None:  # noqa: N802
        """Load the style."""
        layer.loadNamedStyle(str(self.path))
        layer.triggerRepaint()
