from .printed import Paper as Paper
from .printed import PaperModel as PaperModel
from .printed import PaperRow as PaperRow
from .printed import PaperTable as PaperTable
from .printed import read_paper as read_paper
from .results import FoundModel as FoundModel
from .results import RowScores as RowScores
from .results import TableScores as TableScores
