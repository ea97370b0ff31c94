"""Printed codes in photographs: QR, Data Matrix and bar codes on the labels of plots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from selion.closerange.naming import Pattern
from selion.cores import usable_cores
from selion.data.photos import read_photo
from selion.errors import SelionError
from selion.extras import require
from selion.progress import OnStep, silent

KINDS = (
    *("QRCode", "MicroQRCode", "RMQRCode", "DataMatrix", "Aztec", "PDF417"),
    *("Code128", "Code93", "Code39"),
)
"""Codes that are looked for; others hold little that checks them, and leaves are taken for them."""
MOST_THREADS = 4
"""Photographs in memory at once."""


@dataclass(frozen=True, slots=True)
class Code:
    """A code that was read."""

    text: str
    kind: str
    """What it is called: ``QR Code``."""
    x: float
    y: float
    """Its middle in the photograph, pixels from the top left corner."""


@dataclass(frozen=True, slots=True)
class CodedPhoto:
    """What the codes of a photograph say."""

    codes: tuple[Code, ...] = ()
    plots: tuple[str, ...] = ()
    """Of each code; empty where it is no plot."""
    error: str = ""
    """Why the photograph could not be read."""

    @property
    def plot(self) -> str:
        """The plot, if the codes name exactly one."""
        named = {plot for plot in self.plots if plot}
        return named.pop() if len(named) == 1 else ""

    @property
    def why(self) -> str:
        """Why no plot follows from it; empty if one does."""
        if self.error:
            return self.error
        if not self.codes:
            return "no code could be read"
        named = sorted({plot for plot in self.plots if plot})
        if not named:
            said = ", ".join(repr(code.text[:40]) for code in self.codes[:3])
            return f"its codes name no plot ({said})"
        return f"its codes name several plots ({', '.join(named)})" if len(named) > 1 else ""


Reader = Callable[[np.ndarray], Sequence[Code]]
"""From (3, y, x) uint8 red, green and blue to what is read."""


def find_codes(image: np.ndarray) -> tuple[Code, ...]:
    """Read all codes in a photograph, turned, tilted and moderately blurred ones too.

    Parameters
    ----------
    image : (3, y, x) uint8 ndarray
        Red, green, blue.

    Returns
    -------
    tuple of Code
        From the top down; the same text at one place once.

    Raises
    ------
    MissingExtra
        If zxing-cpp is not installed.
    """
    zxing = require("zxingcpp", "photos")
    red, green, blue = image.astype(np.uint16)
    luma = ((77 * red + 150 * green + 29 * blue) >> 8).astype(np.uint8)
    wanted = [getattr(zxing.BarcodeFormat, kind) for kind in KINDS]
    found = {}
    for one in zxing.read_barcodes(luma, formats=wanted):
        if not one.text:
            continue
        place = one.position
        corners = [place.top_left, place.top_right, place.bottom_right, place.bottom_left]
        x, y = (sum(getattr(c, axis) for c in corners) / 4 for axis in "xy")
        kind = str(one.format).rpartition(".")[2]
        found[one.text, round(x / 50), round(y / 50)] = Code(one.text, kind, x, y)
    return tuple(sorted(found.values(), key=lambda code: (code.y, code.x)))


def read_codes(
    folder: Path,
    files: Sequence[str],
    plot_of: Callable[[str], str],
    on_step: OnStep = silent,
    reader: Reader | None = None,
) -> dict[str, CodedPhoto]:
    """Read the codes of photographs; one that cannot be read says why and stops no other.

    Parameters
    ----------
    folder : path
        Of the photographs.
    files : sequence of str
        Below it.
    plot_of : callable
        From what a code says to the plot that it names; "": none.
    on_step : callable, optional
    reader : callable, optional
        :func:`find_codes` without it.

    Raises
    ------
    MissingExtra
        See :func:`find_codes`.
    """
    if reader is None:
        require("zxingcpp", "photos")
    look = partial(_coded, folder, plot_of, reader or find_codes)
    found: dict[str, CodedPhoto] = {}
    with ThreadPoolExecutor(min(MOST_THREADS, usable_cores()), "selion-codes") as threads:
        for file, coded in zip(files, threads.map(look, files), strict=True):
            found[file] = coded
            on_step("codes", len(found), len(files), file)
    return found


def _coded(folder: Path, plot_of: Callable[[str], str], reader: Reader, file: str) -> CodedPhoto:
    try:
        image = read_photo(folder / file, gray=True).image.values
    except (SelionError, OSError) as error:
        return CodedPhoto(error=str(error).replace(str(folder / file), file))
    codes = tuple(reader(image))
    return CodedPhoto(codes, tuple(plot_of(code.text) for code in codes))


def named_plot(pattern: Pattern, known: Collection[str], text: str) -> str:
    """Return the plot that a code names; "" where it does not fit, or there is no such plot.

    Parameters
    ----------
    pattern : Pattern
        Of what codes say.
    known : collection of str
        Plots that there are; empty: not known.
    text : str
        What the code says.
    """
    plot = pattern.read_text(text.strip()).get("plot", "")
    return plot if not known or plot in known else ""


def code_rows(coded: Mapping[str, CodedPhoto]) -> list[dict[str, object]]:
    """Return one row per code, and one per photograph without a plot, for ``codes.csv``."""
    rows: list[dict[str, object]] = []
    for file, one in coded.items():
        rows += [
            {"file": file, "code": code.text, "kind": code.kind, "x": round(code.x, 1)}
            | {"y": round(code.y, 1), "plot": plot, "why": "" if plot else "names no plot"}
            for code, plot in zip(one.codes, one.plots, strict=True)
        ]
        if one.why:
            rows.append({"file": file, "why": one.why})
    return rows
