"""How things show themselves in a notebook: a small picture and the facts.

Nothing is imported for this before somebody looks.
"""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from html import escape
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from selion.classes import IGNORE
from selion.errors import BadInput, SelionError
from selion.extras import require
from selion.grid import ground_sampling_distance
from selion.raster import FileSource, Raster, Source
from selion.reports import picture

if TYPE_CHECKING:
    from geopandas import GeoDataFrame
    from odc.geo.geobox import GeoBox

LONGEST = 320
"""Longer side of a picture in pixels."""
LONG = 400
"""Letters of a fact that are shown."""
MOST_NUMBERS = 200_000_000
"""Pixels times bands up to which a file is read for its picture; a larger one shows its facts
only."""
CELL = "padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top"


def html(thing: Any) -> str | None:
    """Return the HTML of one of selion's types, None where it has no face.

    Parameters
    ----------
    thing : object
        A Raster or Source, LabelMap, Instances, ClassScheme, Dataset, Report, ModelCard or
        segmenter.
    """
    for kind in type(thing).__mro__:
        if kind.__name__ in FACES:
            return FACES[kind.__name__](thing)
    return None


def _card(
    title: str,
    facts: Mapping[str, object],
    image: np.ndarray | None = None,
    alternative: str = "",
    after: str = "",
) -> str:
    """Lay a picture beside a table of facts.

    Colours are the notebook's own, so that it reads in light and dark.
    """
    rows = "".join(
        (
            f'<tr><th scope="row" style="{CELL}">{escape(k)}</th><td '
            f'style="{CELL}">{escape(shorten(str(v), LONG, placeholder=" ..."))}</td></tr>'
        )
        for k, v in facts.items()
        if v != ""
    )
    drawn = (
        ""
        if image is None
        else (
            f'<img src="{png_uri(image)}" alt="{escape(alternative)}" '
            f'style="max-width:{LONGEST}px;image-rendering:auto">'
        )
    )
    words = f"<div><strong>{escape(title)}</strong><table>{rows}</table>{after}</div>"
    return (
        "<div "
        f'style="display:flex;gap:1rem;flex-wrap:wrap;align-items:flex-start">{drawn}{words}</div>'
    )


def png_uri(image: np.ndarray) -> str:
    """Encode a (y, x, 3) uint8 picture without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + b64encode(buffer.getvalue()).decode()


def _place(grid: GeoBox) -> dict[str, object]:
    """Return size, pixel and CRS of a grid in words."""
    height, width = grid.shape
    gsd = ground_sampling_distance(grid)
    facts: dict[str, object] = {"size": f"{height:,} x {width:,} pixels (y, x)"}
    if grid.crs is None:
        return {**facts, "place": "none: a photograph"}
    return {
        **facts,
        "pixel": "" if gsd is None else f"{gsd:.3g} m on the ground",
        "CRS": str(grid.crs),
    }


def _thinned(ids: np.ndarray) -> np.ndarray:
    step = max(1, -(-max(ids.shape) // LONGEST))
    return ids[::step, ::step]


def _raster(thing: Source) -> str:
    """Show a Raster or any Source."""
    height, width = thing.grid.shape
    image, broken = None, ""
    path = str(thing.path) if isinstance(thing, FileSource) else ""
    if height and width and height * width * len(thing.bands) <= MOST_NUMBERS and "://" not in path:
        try:
            image, _ = picture.thumbnail(thing, LONGEST)
        except SelionError as error:
            # whoever looks at a torn file wants its facts and a sentence, not a traceback
            broken = str(error)
    valid = thing.valid if isinstance(thing, Raster) else None
    facts = {"bands": ", ".join(thing.bands), "type": str(thing.dtype), **_place(thing.grid)}
    facts |= {
        "valid": "" if valid is None else f"{np.mean(valid):.1%} of the pixels",
        "file": path,
        "not shown": broken,
    }
    return _card(
        type(thing).__name__,
        facts,
        image,
        f"The raster's bands {', '.join(thing.bands[:3])} as a picture",
    )


def _swatches(names: Sequence[str], colours: Sequence[str], counts: Sequence[str]) -> str:
    """Name classes beside their colours."""
    box = (
        '<span style="display:inline-block;width:.8em;height:.8em;border:1px solid '
        '#888;background:{}"></span> {}'
    )
    parts = [
        box.format(escape(colour or "transparent"), escape(f"{name} {count}".strip()))
        for name, colour, count in zip(names, colours or [""] * len(names), counts, strict=True)
    ]
    return f"<div>{' &nbsp; '.join(parts)}</div>"


def _label_map(thing: Any) -> str:
    """Show one class per pixel, with the share of each."""
    counts = np.bincount(thing.ids.ravel(), minlength=256)
    known = max(int(counts[: len(thing.classes)].sum()), 1)
    shares = [f"{counts[k] / known:.1%}" for k in range(len(thing.classes))]
    legend = _swatches(thing.classes.names, thing.classes.colours, shares)
    unknown = counts[IGNORE] / max(thing.ids.size, 1)
    colours = thing.classes if thing.classes.colours else _coloured(thing.classes)
    facts = _place(thing.grid) | {"not known": f"{unknown:.1%} of the pixels"}
    return _card(
        "LabelMap",
        facts,
        picture.class_picture(_thinned(thing.ids), colours),
        f"Classes {', '.join(thing.classes.names)} as colours",
        legend,
    )


def _coloured(classes: Any) -> Any:
    """Give greys to classes without colours."""
    from dataclasses import replace

    steps = np.linspace(0, 230, len(classes)).astype(int)
    return replace(classes, colours=tuple(f"#{v:02x}{v:02x}{v:02x}" for v in steps))


def _instances(thing: Any) -> str:
    """Show objects in colours that part neighbours."""
    ids = _thinned(thing.ids)
    # same object, same colour, whenever it is shown
    palette = np.random.default_rng(5).integers(60, 236, (251, 3)).astype(np.uint8)
    image = np.where((ids > 0)[..., None], palette[ids % 251], np.uint8(20)).astype(np.uint8)
    there = (
        int(np.count_nonzero(np.bincount(thing.ids.ravel()[thing.ids.ravel() > 0])))
        if thing.ids.size
        else 0
    )
    facts: dict[str, object] = {
        "objects": f"{there:,}",
        **_place(thing.grid),
        "columns": ", ".join(map(str, thing.table.columns)),
    }
    if "class" in thing.table and len(thing.table):
        facts["classes"] = ", ".join(
            f"{name} {count:,}" for name, count in thing.table["class"].value_counts().items()
        )
    return _card("Instances", facts, image, f"{there} objects, each in a colour")


def _classes(thing: Any) -> str:
    facts = {"things": ", ".join(thing.things), "boundary": thing.boundary or ""}
    return _card(
        "ClassScheme",
        facts,
        after=_swatches(thing.names, thing.colours, [f"= {k}" for k in range(len(thing))]),
    )


def _dataset(thing: Any) -> str:
    splits = ", ".join(
        f"{split or 'no split'}: {sum(e.split == split for e in thing.entries):,}"
        for split in dict.fromkeys(e.split for e in thing.entries)
    )
    facts = {
        "samples": f"{len(thing):,}",
        "splits": splits,
        "licence": thing.licence,
        "citation": thing.citation,
        "problems": f"{len(thing.problems):,}",
    }
    return _card(
        f"Dataset {thing.name}",
        facts,
        after=_swatches(thing.classes.names, thing.classes.colours, [""] * len(thing.classes)),
    )


def _model_card(thing: Any) -> str:
    from selion.models.card import describe

    return _card(thing.name, describe(thing))


def _segmenter(thing: Any) -> str:
    from selion.models.card import describe

    return _card(
        f"{thing.card.name}, ready to run", {"engine": thing.engine} | describe(thing.card)
    )


def _report(thing: Any) -> str:
    header, rows = thing.score_table()
    head = "".join(f'<th scope="col" style="{CELL}">{escape(h)}</th>' for h in header)
    lines = ("".join(f'<td style="{CELL}">{escape(str(v))}</td>' for v in row) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    warned = any(thing.won_by_content_free(run) for run in thing.runs)
    note = (
        "<p>! a content-free answer is as good or better: do not judge by this measure alone.</p>"
        if warned
        else ""
    )
    return (
        f"<strong>{escape(thing.title)}</strong><table><thead><tr>{head}</tr></thead><tbody>"
        f"{body}</tbody></table>{note}"
    )


FACES: dict[str, Callable[[Any], str]] = {
    "Raster": _raster,
    "GeoTiffSource": _raster,
    "CubeSource": _raster,
    "PhotoSource": _raster,
    "LabelMap": _label_map,
    "Instances": _instances,
    "ClassScheme": _classes,
    "Dataset": _dataset,
    "ModelCard": _model_card,
    "GraphSegmenter": _segmenter,
    "TorchSegmenter": _segmenter,
    "Report": _report,
}
"""By the name of the type, so that nothing heavy is imported to ask; :mod:`selion.reports.ipython`
names the same ones."""
RAMP = ((0, 32, 76), (65, 77, 107), (124, 123, 120), (188, 175, 111), (255, 234, 70))
"""Cividis in five steps (Nunez et al. 2018)."""


def show_fields(
    frame: GeoDataFrame, by: str = "confidence", span: tuple[float, float] | None = None
) -> Any:
    """Show fields on a map that can be moved and asked, in a notebook.

    Parameters
    ----------
    frame : GeoDataFrame
        From :func:`selion.map_fields`, :func:`selion.to_fields` or a file.
    by : str
        Column of numbers that colours the fields.
    span : (low, high), optional
        Numbers of the darkest and the brightest colour; None: the 5th and the 95th percentile.

    Returns
    -------
    lonboard.Map

    Raises
    ------
    MissingExtra
        Without lonboard: ``pip install 'selion[notebook]'``.
    BadInput
        If there are no fields, or they lie in a photograph.
    """
    lonboard = require("lonboard", "notebook")
    if frame.empty or frame.crs is None:
        raise BadInput(
            "There are no fields to show."
            if frame.empty
            else "These fields lie in a photograph and have no place on a map: draw them over it."
        )
    values = frame[by].to_numpy(float)
    low, high = span or tuple(np.nanpercentile(values, [5, 95]))
    shares = np.nan_to_num(np.clip((values - low) / max(high - low, 1e-9), 0, 1))
    stops = np.linspace(0, 1, len(RAMP))
    colours = np.stack(
        [np.interp(shares, stops, [c[k] for c in RAMP]) for k in range(3)]
        + [np.full(len(values), 150)],
        -1,
    ).astype(np.uint8)
    layer = lonboard.PolygonLayer.from_geopandas(
        frame.to_crs("EPSG:4326"),
        auto_downcast=False,
        get_fill_color=colours,
        get_line_color=[255, 213, 0],
        line_width_min_pixels=1,
    )
    return lonboard.Map(layer)
