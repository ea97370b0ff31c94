from .checks import Check as Check
from .checks import VerifiedResult as VerifiedResult
from .run import verify as verify
