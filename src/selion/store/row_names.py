"""What rows of a table are called in words and tables."""

from __future__ import annotations

import numpy as np


def row_name(value: object) -> str:
    """Return a value of a column as its file has it.

    A column of whole numbers in which one is missing is read as floats: its 9162.0 is the 9162 of
    the file.

    Examples
    --------
    >>> row_name(9162.0), row_name("Graz"), row_name(0.5)
    ('9162', 'Graz', '0.5')
    """
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)  # type: ignore[call-overload]
