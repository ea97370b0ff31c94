"""Evaluation: a model against a dataset, or a map against a truth, with baselines beside every score.

``selion.evaluate``, the name of this room and of the function that the package offers, can be called.
"""

import sys
from types import ModuleType
from typing import Any

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    submod_attrs={
        "deployment": ["deployment_scores"],
        "files": ["evaluate_files"],
        "folder": ["read_folder"],
        "answers": ["EvaluateOptions"],
        "pixels": ["PixelOptions", "evaluate_pixels"],
        "run": ["evaluate"],
        "sheet": ["write_report"],
        "vectors": ["score_fields"],
    },
)


class _Room(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from selion.evaluate.run import evaluate

        return evaluate(*arguments, **options)


sys.modules[__name__].__class__ = _Room
