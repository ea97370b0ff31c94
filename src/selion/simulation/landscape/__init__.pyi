from .photo import Photo as Photo
from .photo import simulate_photo as simulate_photo
from .scene import Landscape as Landscape
from .scene import field_ids as field_ids
from .scene import simulate as simulate
from .styles import NAMES as NAMES
from .styles import STYLES as STYLES
from .truth import COVER as COVER
