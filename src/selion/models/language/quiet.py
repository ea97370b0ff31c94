"""Silence of the libraries' own bars, notes and reports; what matters is said by us."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

LOGGERS = ("transformers", "trl", "peft", "accelerate", "datasets")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the libraries' progress bars, warnings and notes off the screen."""
    # the trainers would report each start to their makers
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from transformers.utils import logging as library

    before = {name: logging.getLogger(name).level for name in LOGGERS}
    bars = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
            if bars:
                library.enable_progress_bar()
