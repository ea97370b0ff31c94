"""One look for every report page: self-contained HTML, light and dark, printable, no script needed to read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
:root{--ink:#1c2b1f;--paper:#fbfaf6;--line:#d9d6c8;--soft:#5d6b60;--accent:#2f6b3a}
@media (prefers-color-scheme:dark){:root{--ink:#e8eee6;--paper:#161b17;--line:#38423a;--soft:#a3b0a5;--accent:#8fd19e}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:2rem 1rem}h1{font-size:1.9rem;margin:0 0 .3rem}h2{font-size:1.2rem;margin:2rem 0 .6rem}
p{max-width:44rem}figure{margin:0}figcaption{color:var(--soft);font-size:.9rem;margin-top:.3rem}
img{max-width:100%;height:auto;display:block;border:1px solid var(--line);image-rendering:auto}
.row{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(24rem,1fr))}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--soft);font-size:.9rem;padding-bottom:.3rem}
th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}td.n{text-align:right}
.scroll{overflow-x:auto}code{font-size:.92em}footer{color:var(--soft);font-size:.85rem;margin-top:2.5rem}
@media print{body{background:#fff;color:#000}main{max-width:none}figure,table{break-inside:avoid}}
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
    parts = [f'<figure><img src="{f.source}" alt="{escape(f.alternative)}"><figcaption>{escape(f.caption)}</figcaption></figure>' for f in items]
    return f'<div class="row">{"".join(parts)}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """Build a table; numbers stand right."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in header)
    body = "".join(f"<tr>{''.join(_cell(v) for v in row)}</tr>" for row in rows)
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f'<td class="n">{value:.3f}</td>'
    if isinstance(value, int):
        return f'<td class="n">{value:,}</td>'
    return f"<td>{escape(str(value))}</td>"


def section(title: str, *parts: str) -> str:
    """Join parts under a heading."""
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def paragraph(text: str) -> str:
    """Wrap a paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def page(title: str, lead: str, sections: Iterable[str], footer: str = "") -> str:
    """Put a whole page together."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = f"<main><h1>{escape(title)}</h1><p>{escape(lead)}</p>{''.join(sections)}<footer>{escape(footer)}</footer></main>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{body}</body></html>\n'
