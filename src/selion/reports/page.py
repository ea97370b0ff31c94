"""One look for every report page.

Self-contained HTML, light and dark, printable, readable with a keyboard and by a screen reader, no
script.  Each page says itself that a browser may load nothing from elsewhere, run nothing, and take
no style but the one that is written here: no part of a page brings its own.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from urllib.parse import quote

from selion.store.beside import MAKER

NUMBER = re.compile(r"([-+]?[\d,]+(\.\d+)?( ?%)?|-)( !)?|")
"""What is set to the right: a number that was written already, the dash that stands for one, with
the mark that it may bear, or nothing."""
MADE_BY = f'<meta name="generator" content="{MAKER}">'
"""By which a page of ours is told from somebody's own."""
STYLE = """
:root{color-scheme:light dark;--ink:#1c2b1f;--paper:#fbfaf6;--line:#d9d6c8;--soft:#566359;
--accent:#2f6b3a;--warn:#9c4417}
@media (prefers-color-scheme:dark){:root{--ink:#e8eee6;--paper:#161b17;--line:#414b43;
--soft:#a9b6ab;--accent:#8fd19e;--warn:#f0a878}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1rem}main.wide{max-width:90rem}h1{font-size:1.9rem;
line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .6rem;overflow-wrap:anywhere}p{max-width:44rem}
.lead{color:var(--soft)}
a{color:var(--accent)}a:focus-visible,.scroll:focus-visible{outline:2px solid var(--accent);
outline-offset:2px}
figure{margin:0 0 .8rem}.row figure img{width:100%}
figcaption{color:var(--soft);font-size:.9rem;margin-top:.3rem;
overflow-wrap:anywhere}
img{max-width:100%;height:auto;display:block;border:1px solid var(--line);image-rendering:auto}
.row{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(24rem,100%),1fr));
margin:.8rem 0}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}caption{text-align:left;
color:var(--soft);font-size:.9rem;padding-bottom:.3rem;min-width:min(24rem,80vw)}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);
vertical-align:top}td.n,th.n{text-align:right}td.n{white-space:nowrap}
tbody th{font-weight:400}td{overflow-wrap:break-word;max-width:44rem}
@media(max-width:40rem){td{overflow-wrap:anywhere;min-width:4rem}td.n{min-width:0}
th,td{padding-right:.5rem}}
details{margin:.8rem 0}summary{cursor:pointer;color:var(--accent);width:fit-content}
.scroll{overflow-x:auto;margin:.6rem 0;background:linear-gradient(to right,var(--paper) 50%,#0000)
local,linear-gradient(to left,var(--paper) 50%,#0000) 100% 0 local,
linear-gradient(to right,#0004,#0000) scroll,
linear-gradient(to left,#0004,#0000) 100% 0 scroll;background-repeat:no-repeat;
background-size:3rem 100%,3rem 100%,.7rem 100%,.7rem 100%}code{font-size:.92em}
footer{color:var(--soft);font-size:.85rem;margin-top:2.5rem;border-top:1px solid var(--line);
padding-top:.6rem}
svg{max-width:100%;font-size:11px;fill:currentColor}
svg.chart{width:100%}svg.bar{width:100%;max-width:44rem;height:22px}svg.square{width:18rem;
font-size:12px}
.key{display:inline-block;margin-right:1em}
.key svg{display:inline-block;width:.85em;height:.85em;border:1px solid var(--soft);
vertical-align:-.1em;margin-right:.35em}
.grid{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr))}
.card{border:1px solid var(--line);border-radius:5px;overflow:hidden;break-inside:avoid}
.card img{width:100%;aspect-ratio:1;object-fit:contain;border:0;background:var(--line)}
.card p{margin:.35rem .6rem;font-size:.9rem;overflow-wrap:anywhere}
figure p{margin:.6rem 0 .2rem}.band{display:block;width:100%;height:.5rem;background:var(--line)}
.band .span{fill:var(--accent);opacity:.4}.band .at{fill:var(--ink)}
.card.no{border-color:var(--warn)}.why{color:var(--warn)}.soft{color:var(--soft)}
.years{display:flex;flex-wrap:wrap;position:relative;margin:1.2rem 0}
.years input{position:absolute;opacity:0;pointer-events:none}
.years label{order:1;flex:1 1 3rem;text-align:center;padding:.7rem 0 .3rem;position:relative;
border-top:4px solid var(--line);cursor:pointer}
.years label::before{content:"";position:absolute;left:50%;top:-.6rem;width:.95rem;height:.95rem;
margin-left:-.5rem;border-radius:50%;border:2px solid var(--soft);background:var(--paper)}
.years input:checked+label{font-weight:700}
.years input:checked+label::before{background:var(--accent);border-color:var(--ink)}
.years input:focus-visible+label{outline:2px solid var(--accent);outline-offset:2px}
.years .panel{order:2;width:100%;display:none}
.years input:checked+label+.panel{display:block}
.slide{overflow-x:scroll;position:relative;border:1px solid var(--line)}
.slide::-webkit-scrollbar{height:.9rem;background:var(--line)}
.slide::-webkit-scrollbar-thumb{background:var(--accent);border-radius:.45rem}
.slide:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.slide .wide{position:relative;width:200%;display:flow-root}
.slide img{position:sticky;left:0;width:50%;max-width:none;border:0}
.slide .over{position:absolute;inset:0;clip-path:inset(0 50% 0 0)}
.slide .over img{width:50%}
.slide .line{position:absolute;top:0;bottom:0;left:calc(50% - 2px);width:3px;background:#fff;
box-shadow:0 0 3px #000}
.slide .line::after{content:"◂ ▸";font-style:normal;position:absolute;left:50%;
top:calc(50% - 1.1rem);margin-left:-1.6rem;width:3.2rem;line-height:2.2rem;border-radius:1.1rem;
text-align:center;background:#fff;color:#111;box-shadow:0 0 3px #000}
.slide .half{position:absolute;top:0;left:25%;width:1px;height:1px;scroll-initial-target:nearest}
.slid{position:relative}.slid .measure{position:absolute;left:0;width:100%;bottom:1.7rem;color:#111;
font-size:.8rem;font-weight:700;white-space:nowrap;pointer-events:none}
.measure span,.measure svg{position:relative;left:.7rem}.measure span{background:#fff;
padding:0 .3rem}.measure svg{display:block;outline:1px solid #fff}
h3{font-size:1.05rem;margin:1rem 0 .4rem}
@page{margin:14mm}
@media print{:root{color-scheme:light;--ink:#000;--paper:#fff;--line:#bbb;--soft:#444;
--accent:#1d5a2a;--warn:#8a3a10}
body{font-size:10pt}main,main.wide{max-width:none;padding:0}.scroll{overflow:visible}
h2{break-after:avoid}figure,tr,.card{break-inside:avoid}
thead{display:table-header-group}.row{grid-template-columns:repeat(2,1fr)}
.grid{grid-template-columns:repeat(3,1fr)}
.slide{overflow:visible;border:0}
.slide .wide{width:100%;display:flex;flex-direction:column-reverse}.slide img,
.slide .over img{position:static;width:100%;margin-bottom:.5rem}
.slide .over{position:static;clip-path:none}.slide .line,
.slid .measure{display:none}
.years label{display:none}.years .panel{display:block;break-inside:avoid}
i,rect,circle,polyline,img{print-color-adjust:exact;-webkit-print-color-adjust:exact}
table{font-size:9pt}th,td{padding-right:.5rem}}
"""


@dataclass(frozen=True)
class Figure:
    """A picture with its caption and what it shows for those who cannot see it."""

    source: str
    """``data:`` address."""
    caption: str
    alternative: str


def figures(items: Iterable[Figure]) -> str:
    """Lay figures side by side where there is room."""
    parts = [
        (
            f'<figure><img src="{f.source}" '
            f'alt="{escape(f.alternative)}"><figcaption>{escape(f.caption)}</figcaption></figure>'
        )
        for f in items
    ]
    return row(parts)


def row(parts: Iterable[str]) -> str:
    """Lay parts side by side where there is room."""
    return f'<div class="row">{"".join(parts)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Build a table; numbers stand right.

    The first cell of a row names it.  A header of empty names is left away: then the table is a
    list of names and facts.
    """
    lines = list(rows)
    columns = list(zip(*lines, strict=True)) or [()] * len(header)
    numbers = [
        any(str(value) for value in column) and all(map(_is_number, column)) for column in columns
    ]
    head = (
        "".join(_head(name, right=right) for name, right in zip(header, numbers, strict=True))
        if any(header)
        else ""
    )
    body = "".join(
        f"<tr>{''.join(_cell(v, first=not k, right=numbers[k]) for k, v in enumerate(line))}</tr>"
        for line in lines
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    label = escape(caption or " ".join(filter(None, header)) or "Facts")
    inner = f"{title}{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody>"
    return (
        '<div class="scroll" tabindex="0" role="group" '
        f'aria-label="{label}"><table>{inner}</table></div>'
    )


def _head(name: str, *, right: bool) -> str:
    return (
        f'<th scope="col"{" class=n" if right else ""}>{escape(name)}</th>' if name else "<td></td>"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) or NUMBER.fullmatch(str(value)) is not None


def _cell(value: object, *, first: bool, right: bool) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.3f}</td>'
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    text = escape(str(value))
    if first and text and not right:
        return f'<th scope="row">{text}</th>'
    return f'<td class="n">{text}</td>' if right else f"<td>{text}</td>"


def legend(colours: Mapping[str, str]) -> str:
    """Explain colours: words beside boxes, so that nothing is said by a colour alone."""
    return "".join(
        '<span class="key"><svg viewBox="0 0 1 1" role="img" '
        f'aria-label="colour of {escape(name)}"><rect width="1" height="1" '
        f'fill="{escape(colour)}"/></svg>{escape(name)}</span> '
        for name, colour in colours.items()
    )


def band(low: float, high: float, at: float) -> str:
    """Draw a share, 0 to 1, in the band where it may lie."""
    return (
        '<svg class="band" viewBox="0 0 100 1" preserveAspectRatio="none" role="img" '
        f'aria-label="{at:.1%}, from {low:.0%} to {high:.0%}">'
        f'<rect class="span" x="{100 * low:.1f}" width="{100 * (high - low):.1f}" height="1"/>'
        f'<rect class="at" x="{100 * min(at, 0.992):.1f}" width=".8" height="1"/></svg>'
    )


def chart(svg: str, caption: str) -> str:
    """Give a drawing its caption, which may hold a legend and is HTML already."""
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def year_slider(name: str, panels: Sequence[tuple[str, str]]) -> str:
    """Show one of several panels at a time, chosen on a line of years with pointer or arrow keys.

    Parameters
    ----------
    name : str
        What is chosen.
    panels : sequence of (str, str)
        Label and HTML of each; the last is shown first, and all when printed.
    """
    parts = [
        (
            f'<input type="radio" name="year" id="year{number}"'
            f'{" checked" if number == len(panels) - 1 else ""}><label for="year{number}">'
            f'{escape(label)}</label><div class="panel"><h3>{escape(label)}</h3>{content}</div>'
        )
        for number, (label, content) in enumerate(panels)
    ]
    return (
        f'<div class="years" role="radiogroup" aria-label="{escape(name)}">{"".join(parts)}</div>'
    )


def slider(
    left: Figure, right: Figure, caption: str, measure: tuple[str, float] | None = None
) -> str:
    """Lay two pictures of one size over each other, with a line to pull from side to side.

    Scrolling the frame sideways moves the line: by finger, by its bar, by the arrow keys, without
    a script.  Printed, one stands below the other.

    Parameters
    ----------
    left, right : Figure
        What is seen on each side of the line; their captions name the sides.
    caption : str
        HTML below both.
    measure : (str, float), optional
        Of a scale bar: its words, and its share of the width.
    """
    bar = (
        ""
        if measure is None
        else (
            f'<div class="measure"><span>{escape(measure[0])}</span><svg role="img" '
            f'aria-label="Bar of {escape(measure[0])}" width="{measure[1]:.2%}" height="4">'
            '<rect width="100%" height="100%" fill="#111"/></svg></div>'
        )
    )
    label = escape(f"Left: {left.caption} Right: {right.caption} Scroll sideways to compare.")
    return (
        f'<figure><div class="slid"><div class="slide" tabindex="0" role="group" '
        f'aria-label="{label}"><div class="wide"><img src="{right.source}" '
        f'alt="{escape(right.alternative)}"><div class="over"><img src="{left.source}" '
        f'alt="{escape(left.alternative)}"></div><i class="line"></i><i class="half"></i></div>'
        f"</div>{bar}</div><figcaption>{escape(left.caption)} | {escape(right.caption)} Pull the "
        f"bar below the picture, or use the arrow keys. {caption}</figcaption></figure>"
    )


MASKED = (
    ".card .bare,#masks:not(:checked)~.grid .card .masked{display:none}"
    "#masks:not(:checked)~.grid .card .bare{display:block}"
)
"""Style of a page on which :data:`MASKS` shows or hides the masks of a grid beside it."""
MASKS = '<input type="checkbox" id="masks" checked> <label for="masks">masks</label>'


def pictures(place: str, bare: str, said: str) -> str:
    """Return a picture with its mask and, where there is one, without, linked to the first."""
    alternative = escape(said, quote=True)
    shown = [("masked", place), ("bare", bare)] if bare else [("alone", place)]
    return "".join(
        f'<a class="{kind}" href="{quote(one)}"><img src="{quote(one)}" loading="lazy" '
        f'alt="{alternative}"></a>'
        for kind, one in shown
    )


def section(title: str, *parts: str) -> str:
    """Join parts under a heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def folded(words: str, inner: str) -> str:
    """Fold HTML under a line that opens it: what is long, and wanted rarely."""
    return f"<details><summary>{escape(words)}</summary>{inner}</details>"


def paragraph(text: str) -> str:
    """Wrap a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def page(
    title: str,
    lead: str,
    sections: Iterable[str],
    footer: str = "",
    *,
    wide: bool = False,
    style: str = "",
) -> str:
    """Put a whole page together.

    Parameters
    ----------
    title, lead, footer : str
        Plain text.
    sections : iterable of str
        HTML; without scripts and styles, which the page's own policy refuses.
    wide : bool
        Whether it has more than one column of text.
    style : str
        What this page's style has besides :data:`STYLE`; never made of what came from outside.
    """
    look = STYLE + style
    head = (
        f'<meta charset="utf-8">{MADE_BY}<meta http-equiv="content-security-policy" '
        f'content="{policy(look)}"><meta name="viewport" '
        f'content="width=device-width,initial-scale=1"><title>{escape(title)}</title><style>'
        f"{look}</style>"
    )
    foot = f"<footer>{escape(footer)}</footer>" if footer else ""
    body = (
        f"<main{' class=wide' if wide else ''}><h1>{escape(title)}</h1><p "
        f'class="lead">{escape(lead)}</p>{"".join(sections)}{foot}</main>'
    )
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'


def policy(style: str) -> str:
    """Return what a browser may do with a page: pictures in it or beside it, and this style.

    References
    ----------
    Content Security Policy Level 3, W3C: 3.3 (the meta element), 6.7.3.3 (hashes).
    """
    known = b64encode(sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{known}'; img-src 'self' file: data:; "
        "base-uri 'none'; form-action 'none'"
    )
