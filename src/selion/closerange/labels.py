"""Sheets of labels to print: the name of each plot as a QR code, and as text beside it."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from selion import store
from selion.closerange.codes import named_plot
from selion.closerange.naming import Pattern, read_pattern
from selion.errors import BadInput
from selion.extras import require

DPI = 300
PAPERS = {"a4": (210.0, 297.0), "letter": (215.9, 279.4)}
"""Width and height in mm."""
MARGIN = 10.0
"""Of the paper, mm: most printers leave as much bare."""
GAP = 4.0
"""Between two labels, mm, with the line to cut along in its middle."""
QUIET = 4
"""Modules of white around a code, as the standard (ISO/IEC 18004) wants them."""
SIZES = (10.0, 150.0)
LONGEST = 120
"""Characters of a code; more make modules that no photograph of a plot resolves."""
FONTS = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf"),
    *("arial.ttf", "Arial Unicode.ttf", "NotoSansCJK-Regular.ttc", "msyh.ttc"),
)
"""Of the machine, where there are, for signs that Pillow's own font lacks: it has ASCII alone."""
EPOCH = time.gmtime(0)
"""What the file says of its making: equal plots, equal bytes."""


@dataclass(frozen=True, slots=True)
class CodeSheetOptions:
    """How labels are made."""

    codes: str = "{plot}"
    """What a code says, ``{plot}`` where the plot stands; as ``crops trial --codes`` reads it."""
    size: float = 40.0
    """Edge of a code with its white border, mm."""
    paper: str = "a4"

    def __post_init__(self) -> None:
        if self.paper not in PAPERS:
            raise BadInput(
                f"Paper of the kind {self.paper!r} was asked for; wanted is one of "
                f"{', '.join(PAPERS)}."
            )
        if not SIZES[0] <= self.size <= SIZES[1]:
            raise BadInput(
                f"Codes of {self.size:g} mm were asked for; wanted are {SIZES[0]:g} to "
                f"{SIZES[1]:g} mm."
            )


@dataclass(frozen=True, slots=True)
class Label:
    """A plot with its code."""

    plot: str
    text: str
    """What the code says."""
    modules: np.ndarray
    """(n, n) bool, the white border included; True is dark."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Labels that were written."""

    path: Path
    labels: int
    pages: int
    module: float
    """Edge in mm of the finest module printed."""
    unreadable: tuple[str, ...]
    """Plots with signs that the font of the text lacks; their codes hold them."""


def write_labels(
    plots: Sequence[str],
    path: Path,
    options: CodeSheetOptions | None = None,
    *,
    force: bool = False,
) -> Sheet:
    """Write a PDF of labels, to be printed at 100 % and cut.

    Parameters
    ----------
    plots : sequence of str
        Their names, in the order of the sheet; see :func:`selion.data.plots.list_plots`.
    path : path
        A name that ends in ``.pdf``.
    options : CodeSheetOptions, optional
    force : bool
        Whether what is there is replaced.

    Returns
    -------
    Sheet

    Raises
    ------
    BadInput
        If there are no plots, the ending is another one, or what a code would say could not be read
        back as its plot.
    MissingExtra
        If zxing-cpp, which makes the codes, is not installed.
    OutputExists, OutputFailed
        See :func:`selion.store.atomic_write`.
    """
    options = options or CodeSheetOptions()
    if path.suffix.lower() != ".pdf":
        raise BadInput(f"{path} was given for the labels; wanted is a name that ends in .pdf.")
    labels = make_labels(plots, options)
    store.check_output(path, force)
    encoded, pages = io.BytesIO(), 0
    # Page by page: those of thousands of plots would not fit into memory before they are encoded.
    for page in draw_pages(labels, options):
        said: dict[str, Any] = {"append": True}
        if not pages:
            said = {"title": "Labels of plots", "creationDate": EPOCH, "modDate": EPOCH}
        page.save(encoded, "PDF", resolution=float(DPI), **said)
        pages += 1
    with store.atomic_write(path, force) as temporary:
        temporary.write_bytes(encoded.getbuffer())
    finest = min(_module(label, options) for label in labels) * 25.4 / DPI
    bad = tuple(one.plot for one in labels if not _draws(_font_of(one.plot), one.plot))
    return Sheet(path, len(labels), pages, finest, bad)


def make_labels(plots: Sequence[str], options: CodeSheetOptions) -> list[Label]:
    """Make the code of each plot; parameters and errors as :func:`write_labels`."""
    if not plots:
        raise BadInput("There are no plots to make labels of: wanted is at least one.")
    pattern = read_pattern(options.codes)
    open_parts = [name for name in pattern.rule.groupindex if name != "plot"]
    if open_parts or set("*?") & set(pattern.text):
        raise BadInput(
            f"--codes {options.codes!r} leaves open what a code says; to be printed it is text "
            "with {plot} where the plot stands, for example 'TRIAL7-{plot}'."
        )
    twice = next((plot for k, plot in enumerate(plots) if plot in plots[:k]), None)
    if twice is not None:
        raise BadInput(f"Two plots are named {twice}: their labels would say the same.")
    return [_label(plot, pattern) for plot in plots]


def _label(plot: str, pattern: Pattern) -> Label:
    zxing = require("zxingcpp", "photos")
    text = pattern.text.replace("{plot}", plot)
    if named_plot(pattern, (), text) != plot or not plot.isprintable():
        raise BadInput(
            f"A code that says {text!r} would not be read as plot {plot!r} by --codes "
            f"{pattern.text!r}: names are taken without '/', line breaks and blanks at their ends."
        )
    if len(text) > LONGEST:
        raise BadInput(
            f"The code of plot {plot[:40]} would say {len(text)} characters; wanted are at most "
            f"{LONGEST}, as the modules get finer with each."
        )
    code = zxing.create_barcode(text, zxing.BarcodeFormat.QRCode, ec_level="M")
    bare = np.array(code.to_image(scale=1, add_quiet_zones=False)) < 128
    return Label(plot, text, np.pad(bare, QUIET))


def draw_pages(labels: Sequence[Label], options: CodeSheetOptions) -> Iterator[Image.Image]:
    """Draw one page after the other, black and white, :data:`DPI` pixels an inch."""
    across, down, width, height = _layout(options)
    for first in range(0, len(labels), across * down):
        page = Image.new("L", (_px(PAPERS[options.paper][0]), _px(PAPERS[options.paper][1])), 255)
        for k, label in enumerate(labels[first : first + across * down]):
            row, column = divmod(k, across)
            x, y = MARGIN + column * (width + GAP), MARGIN + row * (height + GAP)
            _draw(page, label, options, (_px(x), _px(y)), (_px(width), _px(height)))
        yield page.convert("1", dither=Image.Dither.NONE)


def _layout(options: CodeSheetOptions) -> tuple[int, int, float, float]:
    """Return labels across and down a page, and the width and height of one in mm."""
    width, height = (edge - 2 * MARGIN for edge in PAPERS[options.paper])
    across = max(1, math.floor((width + GAP) / (2 * options.size + GAP)))
    down = max(1, math.floor((height + GAP) / (options.size + GAP)))
    return across, down, (width + GAP) / across - GAP, options.size


def _px(millimetres: float) -> int:
    return round(millimetres / 25.4 * DPI)


def _module(label: Label, options: CodeSheetOptions) -> int:
    return max(1, _px(options.size) // len(label.modules))


def _draw(
    page: Image.Image,
    label: Label,
    options: CodeSheetOptions,
    corner: tuple[int, int],
    room: tuple[int, int],
) -> None:
    """Draw a code, the plot's name as large as it fits, what the code says, and where to cut."""
    pen = ImageDraw.Draw(page)
    edge, (x, y), (width, height) = _px(options.size), corner, room
    half = _px(GAP / 2)
    pen.rectangle((x - half, y - half, x + width + half, y + height + half), outline=0, width=1)
    dark = label.modules.repeat(_module(label, options), 0).repeat(_module(label, options), 1)
    left = (edge - len(dark)) // 2
    page.paste(Image.fromarray(np.where(dark, 0, 255).astype(np.uint8)), (x + left, y + left))
    space = width - edge - half
    font = _fitting(label.plot, space, height // 2)
    pen.text((x + edge, y + height // 2), label.plot, fill=0, font=font, anchor="lm")
    if label.text != label.plot:
        small = _fitting(label.text, space, height // 12)
        pen.text((x + edge, y + height - half), label.text, fill=0, font=small, anchor="ld")


def _fitting(text: str, width: int, height: int) -> Any:
    """Return the font in the largest size in which a text fits."""
    name = _font_of(text)
    whole = _font(name, height).getlength(text)
    return _font(name, max(8.0, height * min(1.0, width / max(whole, 1.0))))


def _font(name: str, size: float) -> Any:
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def _font_of(text: str) -> str:
    """Return a font that has all signs of a text; "", Pillow's own, too where none has."""
    return next((name for name in ("", *FONTS) if _draws(name, text)), "")


def _draws(name: str, text: str) -> bool:
    """Say whether a font is there and draws no sign as the box for what it lacks."""
    try:
        font = _font(name, 24)
    except OSError:
        return False
    lacking = bytes(font.getmask("\U0010fffd"))
    return all(sign.isspace() or bytes(font.getmask(sign)) != lacking for sign in text)
