from . import evaluate as evaluate
from . import predict as predict
from . import train as train
from .change import compare_years as compare_years
from .classes import ClassScheme as ClassScheme
from .data import load_dataset as load_dataset
from .fields import find_instances as find_instances
from .fields import to_fields as to_fields
from .labels import Instances as Instances
from .labels import LabelMap as LabelMap
from .models import load_model as load_model
from .raster import Raster as Raster
from .road import composite as composite
from .road import map_fields as map_fields
from .store import open_raster as open_raster

__version__: str
