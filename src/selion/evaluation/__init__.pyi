from .answers import EvaluateOptions as EvaluateOptions
from .deployment import deployment_scores as deployment_scores
from .files import evaluate_files as evaluate_files
from .folder import read_folder as read_folder
from .pixels import PixelOptions as PixelOptions
from .pixels import evaluate_pixels as evaluate_pixels
from .run import evaluate as evaluate
from .vectors import score_fields as score_fields
