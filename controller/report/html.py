"""The document as one HTML file: nothing is loaded, nothing is run, every text is escaped; it prints on A4."""

from html import escape
from typing import Final

from .document import Cell, Document, Table
from .picture import draw

POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'"  # no script, no image, no request, whatever a text may hold
)
STYLE: Final = """
:root { color-scheme: light; }
body { font: 15px/1.45 "DejaVu Sans", "Noto Sans", "Liberation Sans", Arial, sans-serif; color: #1c2733; background: #fff;
       max-width: 68rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; padding-bottom: .25rem; border-bottom: 2px solid #1b4f8a; }
.subtitle { font-size: 1.25rem; color: #1b4f8a; margin: .2rem 0 1.4rem; }
.banner { background: #fff3c4; border: 2px solid #b7791f; padding: .6rem 1rem; font-weight: bold; margin: 0 0 1rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid #e4e7eb;
         overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
th { color: #52606d; font-weight: 600; font-size: .85em; }
.facts th { width: 15rem; font-size: 1em; font-weight: 400; }
.faint { color: #7b8794; }
.good { color: #0b6b3a; }
.bad { color: #b00020; font-weight: 600; }
.level-1 { border-left: 4px solid #d9a400; padding-left: .5rem; }
.level-2 { border-left: 4px solid #ee7700; padding-left: .5rem; }
.level-3 { border-left: 4px solid #cc1122; padding-left: .5rem; }
.seen, .judged, .ordered, .sounded, .told, .answered, .muted, .trouble, .record { font-size: .85em; color: #334e68; }
.trouble { color: #b00020; }
figure { margin: 1rem 0; break-inside: avoid; }
figcaption { color: #52606d; font-size: .9em; }
svg { width: 100%; height: auto; }
footer { margin: 2.5rem 0 1rem; color: #52606d; font-size: .85em; border-top: 1px solid #e4e7eb; padding-top: .6rem; }
@page { size: A4; margin: 14mm; }
@media print { body { font-size: 9.5pt; margin: 0; padding: 0; max-width: none; } thead { display: table-header-group; }
               tr { break-inside: avoid; } h2 { break-after: avoid; } }
"""


def page(document: Document, instructions: str) -> str:
    """The whole page. `instructions`: the heading over the zone's own."""
    facts = "".join(f'<tr><th scope="row">{escape(name)}</th>{_cell(cell)}</tr>' for name, cell in document.facts)
    figures = "".join(
        f"<figure>{draw(chart, document.timezone)}<figcaption>{escape(chart.title)}</figcaption></figure>"
        for chart in document.charts
    )
    written = "".join(f"<p>{escape(line)}</p>" for line in document.instructions)
    banner = f'<p class="banner">{escape(document.banner)}</p>' if document.banner else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{document.language}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document.title)}: {escape(document.subtitle)}</title><style>{STYLE}</style></head><body>"
        f'{banner}<h1>{escape(document.title)}</h1><p class="subtitle">{escape(document.subtitle)}</p>'
        f'<table class="facts"><tbody>{facts}</tbody></table>'
        f"{''.join(map(_table, document.tables))}{figures}{''.join(map(_table, document.lists))}"
        f"<h2>{escape(instructions)}</h2>{written}"
        f"<footer>{escape(document.footer)}</footer></body></html>\n"
    )


def _table(table: Table) -> str:
    title = f"<h2>{escape(table.title)}</h2>"
    if not table.rows:
        return f'{title}<p class="faint">{escape(table.empty)}</p>'
    columns = "".join(f'<col style="width:{width}%">' for width in table.widths)
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.heads)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    return f"{title}<table><colgroup>{columns}</colgroup><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(cell: Cell) -> str:
    style = f' class="{cell.style}"' if cell.style else ""
    return f"<td{style}>{escape(cell.text)}</td>"
