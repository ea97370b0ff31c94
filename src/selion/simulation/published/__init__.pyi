from .nouns import SCENES as SCENES
from .nouns import CopiedTile as CopiedTile
from .nouns import CopyOptions as CopyOptions
from .nouns import PublishedCopy as PublishedCopy
from .simulate import simulate_published as simulate_published
