"""Styles of QGIS for a table of fields.

It reads them from a GeoPackage or from a ``.qml`` beside a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from xml.sax.saxutils import escape, quoteattr

LINE, FILL = "255,213,0,255", "90,200,90,40"
"""Yellow outlines on crops, soil and forest alike; the image shines through."""
CIVIDIS = ("#00204c", "#414d6b", "#7c7b78", "#bcaf6f", "#ffea46")
"""Five steps of cividis (Nunez et al. 2018), which people who see no red or no green can tell
apart, dark to bright."""


def outline_style() -> str:
    """Return the style that draws fields as outlines."""
    return _document(
        '<renderer-v2 type="singleSymbol" '
        f'symbollevels="0">{_symbols([(LINE, FILL)])}</renderer-v2>'
    )


def graded_style(
    attribute: str, bounds: Sequence[float], labels: Sequence[str], colours: Sequence[str] = CIVIDIS
) -> str:
    """Return a style that fills fields by a number.

    Parameters
    ----------
    attribute : str
        Column, or an expression of QGIS.
    bounds : sequence of float
        One more than there are classes, from low to high.
    labels, colours : sequence of str
        One per class; colours are ``#rrggbb``.
    """
    steps = list(zip(bounds[:-1], bounds[1:], labels, strict=True))
    ranges = "".join(
        (
            f'<range symbol="{k}" render="true" lower="{low:.15f}" upper="{high:.15f}" '
            f"label={quoteattr(label)}/>"
        )
        for k, (low, high, label) in enumerate(steps)
    )
    symbols = _symbols(
        [("35,35,35,255", _rgba(colour)) for colour, _ in zip(colours, steps, strict=True)]
    )
    return _document(
        f'<renderer-v2 type="graduatedSymbol" attr={quoteattr(attribute)} '
        f'symbollevels="0"><ranges>{ranges}</ranges>{symbols}</renderer-v2>'
    )


def field_styles(*, placed: bool = True, sure: str = "confidence") -> dict[str, str]:
    """Return name -> QML: outlines first, which is the default, then by confidence and by size.

    Parameters
    ----------
    placed : bool
        Whether areas are m2 on the ground; else they are pixels of a photograph.
    sure : str
        Column, or an expression of QGIS, of the confidence, 0 to 1.
    """
    tenths = (0.0, 0.5, 0.7, 0.8, 0.9, 1.0)
    words = [f"{low:g} to {high:g}" for low, high in pairwise(tenths)]
    return {
        "fields": outline_style(),
        "confidence": graded_style(sure, tenths, words),
        "size": graded_style(*(HECTARES if placed else PIXELS)),
    }


HECTARES = (
    '"metrics:area" / 10000',
    (0.0, 0.5, 2.0, 5.0, 20.0, 1e9),
    ("below 0.5 ha", "0.5 to 2 ha", "2 to 5 ha", "5 to 20 ha", "20 ha and more"),
)
PIXELS = (
    '"metrics:area"',
    (0.0, 1e3, 1e4, 1e5, 1e6, 1e15),
    ("below 1,000 px", "1,000 to 10,000 px", "10,000 to 100,000 px", "100,000 to 1 million px",
     "1 million px and more"),
)  # fmt: skip


def _symbols(looks: Sequence[tuple[str, str]]) -> str:
    """Write one fill symbol per (line, fill)."""
    return (
        "<symbols>"
        f"{''.join(_symbol(str(k), line, fill) for k, (line, fill) in enumerate(looks))}</symbols>"
    )


def _symbol(name: str, line: str, fill: str) -> str:
    """Write a symbol twice over.

    As options for QGIS from 3.26 on, as properties for those before.
    """
    looks = {
        "color": fill,
        "outline_color": line,
        "outline_width": "0.4",
        "outline_style": "solid",
        "style": "solid",
        "joinstyle": "bevel",
    }
    options = "".join(
        f'<Option name="{key}" value={quoteattr(value)} type="QString"/>'
        for key, value in looks.items()
    )
    older = "".join(f'<prop k="{key}" v={quoteattr(value)}/>' for key, value in looks.items())
    layer = (
        '<layer class="SimpleFill" enabled="1" pass="0" locked="0"><Option '
        f'type="Map">{options}</Option>{older}</layer>'
    )
    return (
        f'<symbol name="{name}" type="fill" alpha="1" force_rhr="0" '
        f'clip_to_extent="1">{layer}</symbol>'
    )


def _rgba(colour: str, alpha: int = 170) -> str:
    return ",".join(str(int(colour[k : k + 2], 16)) for k in (1, 3, 5)) + f",{alpha}"


def _document(renderer: str) -> str:
    return (
        "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
        f'<qgis version="3.22" styleCategories="Symbology">{renderer}</qgis>\n'
    )


def scores_style(bands: Sequence[str], shown: str, highest: float) -> str:
    """Return a style that draws one band of a raster of probabilities from see-through to yellow.

    Parameters
    ----------
    bands : sequence of str
    shown : str
        The band that is drawn; the others are reached in the layer's properties.
    highest : float
        The number that stands for a probability of 1.
    """
    stops = (
        (0.0, "#00204c", 0),
        (0.25, "#414d6b", 90),
        (0.5, "#7c7b78", 170),
        (0.75, "#bcaf6f", 220),
        (1.0, "#ffea46", 255),
    )
    items = "".join(
        f'<item value="{share * highest:g}" color="{colour}" alpha="{alpha}" label="{share:g}"/>'
        for share, colour, alpha in stops
    )
    ramp = (
        '<colorrampshader colorRampType="INTERPOLATED" classificationMode="1" clip="0" '
        f'minimumValue="0" maximumValue="{highest:g}">{items}</colorrampshader>'
    )
    band = list(bands).index(shown) + 1
    looks = (
        f'type="singlebandpseudocolor" band="{band}" opacity="1" alphaBand="-1" '
        f'classificationMin="0" classificationMax="{highest:g}"'
    )
    return _document(
        f"<!-- {escape(shown)} --><pipe><rasterrenderer "
        f"{looks}><rastershader>{ramp}</rastershader></rasterrenderer></pipe>"
    )
