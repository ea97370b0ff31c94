"""The papers' tables: what was printed, and the same figures scored here.

A paper's figures are data (``prue.toml``); a table becomes rows of scores, one for each model that
is there, with what is missing named.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
