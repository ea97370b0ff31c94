from .change import compare_years as compare_years
from .classes import ClassScheme as ClassScheme
from .data import load_dataset as load_dataset
from .evaluation import evaluate as evaluate
from .fields import find_instances as find_instances
from .fields import to_fields as to_fields
from .labels import Instances as Instances
from .labels import LabelMap as LabelMap
from .models import load_model as load_model
from .pipeline import MapOptions as MapOptions
from .pipeline import composite as composite
from .pipeline import map_fields as map_fields
from .prediction import predict as predict
from .raster import Raster as Raster
from .store import open_raster as open_raster
from .training import train as train

__version__: str
