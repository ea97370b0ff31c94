"""``selion`` whose colour rule looks at windows of 64 px instead of its own of 1,024.

A tiny photograph is filled up to a window before the rule looks at it: most of the work, and the
same answer, as the rule knows single pixels only.  ``memory_of_verbs.py`` gives it 20,000 of them.
"""

from __future__ import annotations

from selion.cli.main import main
from selion.closerange import rule

if __name__ == "__main__":
    rule.WINDOW = 64
    main()
