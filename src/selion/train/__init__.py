"""Learning: a recipe and samples in, a trained model with its card out.

Torch and the rest of the ``train`` extra are imported when something is trained; reading a recipe needs neither.  ``selion.train``, the name of this room and
of the function that the package offers, can be called: ``selion.train("own-polygons", "my-fields", ["data.image=farm.tif", "data.polygons=fields.gpkg"])``.
"""

import sys
from types import ModuleType
from typing import Any

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)


class _Room(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from selion.train.run import train_recipe

        return train_recipe(*arguments, **options)


sys.modules[__name__].__class__ = _Room
