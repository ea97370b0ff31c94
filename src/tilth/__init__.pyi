__version__: str

from .classes import ClassScheme as ClassScheme
from .labels import Instances as Instances
from .labels import LabelMap as LabelMap
from .raster import Raster as Raster
