"""Prediction: a source and any segmenter in, class probabilities out, block by block; it knows the socket and no plug.

The functions ``predict``, ``plan`` and ``estimate`` live in modules of the same name.  The imports below run when the room is first entered,
so that these names mean the functions from then on; and ``selion.predict``, the name of this room and of the function that the package
offers, can be called even when something has imported the room first.
"""

import sys
from types import ModuleType
from typing import Any

from selion.predict.block import WindowCache as WindowCache
from selion.predict.block import predict_block as predict_block
from selion.predict.compare import changed_pixels as changed_pixels
from selion.predict.estimate import Estimate as Estimate
from selion.predict.estimate import estimate as estimate
from selion.predict.journal import Journal as Journal
from selion.predict.objects import ObjectOptions as ObjectOptions
from selion.predict.objects import predict_objects as predict_objects
from selion.predict.parallel import Aside as Aside
from selion.predict.parallel import StripWork as StripWork
from selion.predict.parallel import run_blocks as run_blocks
from selion.predict.plan import Plan as Plan
from selion.predict.plan import PredictOptions as PredictOptions
from selion.predict.plan import plan as plan
from selion.predict.predict import predict as predict
from selion.predict.predict import run_plan as run_plan
from selion.predict.progress import Progress as Progress
from selion.predict.readback import JournalSource as JournalSource
from selion.predict.readback import ScoreSource as ScoreSource
from selion.predict.resample import Resampled as Resampled
from selion.predict.scores import NODATA as NODATA
from selion.predict.scores import dequantise as dequantise
from selion.predict.scores import quantise as quantise
from selion.predict.scores import score_tags as score_tags
from selion.predict.stages import Stages as Stages


class _Room(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return predict(*arguments, **options)


sys.modules[__name__].__class__ = _Room
