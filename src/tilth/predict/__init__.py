"""Prediction: a source and any segmenter in, class probabilities out, block by block; it knows the socket and no plug.

The functions ``predict``, ``plan`` and ``estimate`` live in modules of the same name.  The imports below run when the room is first entered,
so that these names mean the functions from then on; and ``tilth.predict``, the name of this room and of the function that the package
offers, can be called even when something has imported the room first.
"""

import sys
from types import ModuleType
from typing import Any

from tilth.predict.block import WindowCache as WindowCache
from tilth.predict.block import predict_block as predict_block
from tilth.predict.compare import changed_pixels as changed_pixels
from tilth.predict.estimate import Estimate as Estimate
from tilth.predict.estimate import estimate as estimate
from tilth.predict.journal import Journal as Journal
from tilth.predict.objects import ObjectOptions as ObjectOptions
from tilth.predict.objects import predict_objects as predict_objects
from tilth.predict.parallel import Aside as Aside
from tilth.predict.parallel import StripWork as StripWork
from tilth.predict.parallel import run_blocks as run_blocks
from tilth.predict.plan import Plan as Plan
from tilth.predict.plan import PredictOptions as PredictOptions
from tilth.predict.plan import plan as plan
from tilth.predict.predict import predict as predict
from tilth.predict.predict import run_plan as run_plan
from tilth.predict.progress import Progress as Progress
from tilth.predict.readback import JournalSource as JournalSource
from tilth.predict.readback import ScoreSource as ScoreSource
from tilth.predict.resample import Resampled as Resampled
from tilth.predict.scores import NODATA as NODATA
from tilth.predict.scores import dequantise as dequantise
from tilth.predict.scores import quantise as quantise
from tilth.predict.scores import score_tags as score_tags
from tilth.predict.stages import Stages as Stages


class _Room(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return predict(*arguments, **options)


sys.modules[__name__].__class__ = _Room
