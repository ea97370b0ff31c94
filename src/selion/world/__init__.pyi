from .editions import EDITIONS as EDITIONS
from .editions import Edition as Edition
from .editions import find_edition as find_edition
from .probabilities import PublishedScores as PublishedScores
from .probabilities import open_probabilities as open_probabilities
from .tiles import PublishedTile as PublishedTile
from .tiles import find_tiles as find_tiles
