"""``python -m selion``: the command line where the script ``selion`` is not on the path."""

from selion.cli.main import main

if __name__ == "__main__":
    main()
