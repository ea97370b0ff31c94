"""Evaluation: a model against a dataset, or a map against a truth, with baselines beside every score."""

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
