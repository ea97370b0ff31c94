"""Every failure that selion explains instead of showing a traceback.

::

    SelionError
    ├── BadInput              what was given cannot be used as it is
    │   ├── UnreadableFile    missing, truncated or of no known format
    │   ├── BandMismatch      bands or their number do not fit the model
    │   ├── GridMismatch      two things that must lie on one grid do not; a rotated grid; no CRS
    │   │                     where metres are needed
    │   ├── EmptyImage        nothing but nodata
    │   ├── InputChanged      a file became another one while it was read
    │   └── UnknownName       no model, dataset, class or option value of that name (the nearest one
    │                         is offered)
    ├── OutputExists          the output is there already and --force was not given
    ├── OutputFailed          the output cannot be written: no permission, no space
    ├── Incomplete            the output is there, but some blocks of it could not be done and are
    │                         missing
    ├── SearchFailed          a catalogue did not answer, or with something that is none
    │   └── NoScenes          it answered, and there is nothing to use
    ├── FetchFailed           a download did not arrive whole
    │   ├── ChecksumMismatch  it arrived, but it is not what the card says
    │   └── ServerLost        the server that all of a run needs is gone, or lets nobody in
    ├── UnsafeFile            a file that would have to be executed to be read (a pickle with code
    │                         in it)
    └── MissingExtra          an optional dependency is not installed

One message is one sentence: what was given, what was wanted, what to do.  The command line prints
it and exits with 2 (3 for Incomplete).  What may make a map wrong, and is no failure, is an
ImageWarning for callers in Python.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_ADDRESS = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{1,30}:/{1,3}|/vsi[a-z0-9_]+[/?])[^\s'\"<>`]*")
_ACCOUNT = re.compile(r"^((?:/vsi[a-z0-9_]+/)?(?:[^:/]+:/{1,3})?)[^/]*@")
_ASKED = re.compile(r"(?<=url: )(/[^\s?]*)\?\S*")
"""How requests names an address whose server did not answer."""
LONGEST = 4000
"""Characters of a message."""
_LONG = re.compile(r"(\S{300})\S{700,}(\S{100})")
"""What is longer than any path."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Commands to a terminal, and halves of characters, which cannot be printed."""


class ImageWarning(UserWarning):
    """What may make a map wrong: it is made, and says so in its table's metadata too.

    ``warnings.simplefilter("error", ImageWarning)`` makes failures of such warnings, and
    ``"ignore"`` silences them.
    """


def plain_text(text: str, longest: int = 400) -> str:
    """Return what a file says of itself as one line that can be printed anywhere."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return line if len(line) <= longest else f"{line[: longest - 4]} ..."


def without_secrets(text: str) -> str:
    """Return a sentence without the signatures and passwords of the addresses in it.

    What follows ``?`` in an address may be a signature, and that is a key; what stands before
    ``@`` is a name and a password.

    Examples
    --------
    >>> without_secrets("Neither https://me:word@example.org/a.tif?sig=key, nor 'a?b@c.tif'.")
    "Neither https://example.org/a.tif, nor 'a?b@c.tif'."
    """
    return _ADDRESS.sub(_plain, _ASKED.sub(r"\1", text))


def _plain(found: re.Match[str]) -> str:
    if found.string.endswith("openai:", 0, found.start()) and "?" not in found.group():
        return _ACCOUNT.sub(r"\1", found.group())  # behind "#" stands the name of a server's model
    address, mark, query = re.fullmatch(r"([^?#]*)([?#]?)(.*)", found.group()).groups()  # type: ignore[union-attr]  # it matches anything
    end = re.search(r"[:;,.)\]]*$", query) if query else None
    return _ACCOUNT.sub(r"\1", address) + (end.group() if end else mark)


def _sentence(text: str) -> str:
    """Return a message as one line that can be printed anywhere, whatever was quoted in it.

    What a file holds may have line breaks, commands for a terminal, or a hundred thousand letters.
    """
    if len(text) > 5 * LONGEST:  # first, so that this takes no time; no address is cut at its front
        text = f"{text[: 3 * LONGEST]} ... {text[-LONGEST:].partition(' ')[2]}"
    line = re.sub(r"[\t\n\r\f\v]+", " ", without_secrets(text)).strip()
    line = _LONG.sub(r"\1...\2", _UNPRINTABLE.sub("?", line))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 400]} ... {line[-390:]}"


class SelionError(Exception):
    """Root of the tree: catch it and you have caught all that selion raises on purpose.

    Its message is one line, and holds no signature and no password of an address, whoever put it
    together.
    """

    def __init__(self, *said: object) -> None:
        super().__init__(*(_sentence(one) if isinstance(one, str) else one for one in said))


class BadInput(SelionError):
    """What was given cannot be used as it is."""


class UnreadableFile(BadInput):
    """A file is missing, truncated or of no known format."""


class BandMismatch(BadInput):
    """Bands, or their number, do not fit the model."""


class GridMismatch(BadInput):
    """Two things that must share a grid do not, or a grid cannot serve (rotated, no CRS)."""


class EmptyImage(BadInput):
    """Nothing but nodata."""


class InputChanged(BadInput):
    """A file became another one while it was read."""

    @classmethod
    def of(cls, name: str, what: str) -> InputChanged:
        """Build the sentence; ``what`` has happened to it."""
        return cls(
            f"{name} was {what} while it was being read, so nothing was made of it: give the same "
            "command again when it stays as it is."
        )


class UnknownName(BadInput):
    """No model, dataset or option value of that name."""

    @classmethod
    def among(cls, kind: str, given: str, known: Iterable[str]) -> UnknownName:
        """Build the sentence that names the nearest known value.

        Of an ending, which may be that of a signed address, what follows ``?`` is left out.

        Examples
        --------
        >>> print(UnknownName.among("format", ".tif?sig=key", [".gpkg"]))
        There is no format called '.tif?...': known: .gpkg.
        """
        known = list(known)
        if given.startswith("."):
            given = re.sub(r"([?#]).+", r"\1...", given, flags=re.DOTALL)
        near = difflib.get_close_matches(given, known, n=1, cutoff=0.6)
        hint = (
            f"did you mean {near[0]!r}?"
            if near
            else f"known: {', '.join(sorted(known))}."
            if known
            else "there is none."
        )
        return cls(f"There is no {kind} called {given!r}: {hint}")


class OutputExists(SelionError):
    """The output is there already."""


class OutputFailed(SelionError):
    """The output cannot be written."""


class Incomplete(SelionError):
    """The output is written, but blocks that could not be done are missing in it.

    The command line exits with 3.
    """


class SearchFailed(SelionError):
    """A catalogue did not answer, or with something that is none."""


class NoScenes(SearchFailed):
    """The catalogue answered, and there is nothing to use."""


class FetchFailed(SelionError):
    """A download did not arrive whole."""


class ChecksumMismatch(FetchFailed):
    """What arrived is not what its card says."""


class ServerLost(FetchFailed):
    """The server that all of a run needs, as that of its model, is gone or lets nobody in."""


class UnsafeFile(SelionError):
    """Reading the file would execute code that came with it."""


class MissingExtra(SelionError):
    """An optional dependency is not installed."""


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts, as a sentence says it.

    Examples
    --------
    >>> counted(1, "job"), counted(1200, "job")
    ('1 job', '1,200 jobs')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
