"""The document as a PDF, by fpdf2 (the extra `report`): A4, every page numbered, fonts with Romanian and Cyrillic inside."""

from collections.abc import Iterator
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final

from cython_ext import BuciumError

from .. import texts
from .document import Cell, Chart, Document, Table
from .picture import draw

if TYPE_CHECKING:
    from fpdf import FPDF

FAMILY: Final = "DejaVu"
BLUE, DARK, FAINT, GRID = (27, 79, 138), (28, 39, 51), (123, 135, 148), (228, 231, 235)
COLOURS: Final = {
    "good": (11, 107, 58),
    "bad": (176, 0, 32),
    "faint": FAINT,
    "trouble": (176, 0, 32),
    "level-1": (140, 104, 0),
    "level-2": (184, 84, 0),
    "level-3": (204, 17, 34),
}
LINE: Final = 4.4  # mm
CHART_HEIGHT: Final = 48  # mm


def render(document: Document, instructions: str) -> bytes:
    """The PDF. BuciumError when fpdf2 is not installed: it says how."""
    try:
        from fpdf import FPDF
    except ImportError:
        raise BuciumError(
            'a PDF needs fpdf2; install it: pip install "bucium[report]" (HTML and JSON need nothing)'
        ) from None

    class Paper(FPDF):
        """Numbers its pages."""

        def footer(self) -> None:
            self.set_y(-12)
            self.set_font(FAMILY, size=7)
            self.set_text_color(*FAINT)
            pages = texts.text(document.language, "report.page", page=self.page_no(), pages="{nb}")
            self.cell(0, 5, f"{document.title}: {document.subtitle}", align="L")
            self.set_x(self.l_margin)
            self.cell(0, 5, pages, align="R")

    paper = Paper(format="A4")
    paper.set_margins(14, 14)
    paper.set_auto_page_break(True, 16)
    with as_file(files("controller.report") / "fonts") as folder:
        paper.add_font(FAMILY, "", folder / "DejaVuSans.ttf")
        paper.add_font(FAMILY, "B", folder / "DejaVuSans-Bold.ttf")
    paper.set_title(f"{document.title}: {document.subtitle}")
    paper.set_lang(document.language)
    paper.add_page()
    _head(paper, document)
    for table in document.tables:
        _table(paper, table)
    for chart in document.charts:
        _chart(paper, chart, document.timezone)
    for table in document.lists:
        _table(paper, table)
    _heading(paper, instructions)
    for line in document.instructions:
        _text(paper, line)
    paper.ln(3)
    _text(paper, document.footer, size=7, colour=FAINT)
    return bytes(paper.output())


def _head(paper: "FPDF", document: Document) -> None:
    if document.banner:
        paper.set_fill_color(255, 243, 196)
        paper.set_font(FAMILY, "B", 10)
        paper.multi_cell(0, 7, document.banner, fill=True, align="L", new_x="LMARGIN", new_y="NEXT")
        paper.ln(2)
    paper.set_text_color(*DARK)
    paper.set_font(FAMILY, "B", 17)
    paper.multi_cell(0, 8, document.title, align="L", new_x="LMARGIN", new_y="NEXT")
    paper.set_font(FAMILY, "", 12)
    paper.set_text_color(*BLUE)
    paper.multi_cell(0, 7, document.subtitle, align="L", new_x="LMARGIN", new_y="NEXT")
    paper.ln(3)
    rows = tuple((Cell(name, "faint"), cell) for name, cell in document.facts)
    _rows(paper, (26, 74), (), rows)


def _heading(paper: "FPDF", words: str) -> None:
    if paper.will_page_break(30):
        paper.add_page()
    paper.ln(4)
    paper.set_font(FAMILY, "B", 11)
    paper.set_text_color(*DARK)
    paper.multi_cell(0, 6, words, align="L", new_x="LMARGIN", new_y="NEXT")
    paper.set_draw_color(*BLUE)
    paper.line(paper.l_margin, paper.get_y(), paper.w - paper.r_margin, paper.get_y())
    paper.ln(1.5)


def _text(paper: "FPDF", words: str, size: float = 8, colour: tuple[int, int, int] = DARK) -> None:
    paper.set_font(FAMILY, "", size)
    paper.set_text_color(*colour)
    paper.multi_cell(0, LINE, words, align="L", new_x="LMARGIN", new_y="NEXT")


def _table(paper: "FPDF", table: Table) -> None:
    _heading(paper, table.title)
    if table.rows:
        _rows(paper, table.widths, table.heads, table.rows)
    else:
        _text(paper, table.empty, colour=FAINT)


def _rows(paper: "FPDF", widths: tuple[int, ...], heads: tuple[str, ...], rows: tuple[tuple[Cell, ...], ...]) -> None:
    from fpdf.fonts import FontFace

    paper.set_font(FAMILY, "", 7.5)
    paper.set_draw_color(*GRID)
    paper.set_text_color(*DARK)
    with paper.table(
        col_widths=widths,
        text_align="LEFT",
        borders_layout="HORIZONTAL_LINES",
        line_height=LINE,
        padding=(0.6, 1.2, 0.6, 0),
        first_row_as_headings=bool(heads),
        headings_style=FontFace(emphasis="BOLD", color=FAINT, fill_color=None),
        v_align="TOP",
    ) as drawn:
        if heads:
            drawn.row(heads)
        for row in rows:
            line = drawn.row()
            for cell in row:
                colour = COLOURS.get(cell.style)
                style = (
                    FontFace(color=colour, emphasis="BOLD" if cell.style in ("bad", "level-3") else None)
                    if colour
                    else None
                )
                line.cell(cell.text, style=style)


def _chart(paper: "FPDF", chart: Chart, timezone: str) -> None:
    if paper.will_page_break(CHART_HEIGHT + 12):
        paper.add_page()
    paper.ln(3)
    for _ in _drawn(paper, chart, timezone):
        _text(paper, chart.title, size=7.5, colour=FAINT)


def _drawn(paper: "FPDF", chart: Chart, timezone: str) -> Iterator[None]:
    """The SVG itself, as vectors."""
    from io import BytesIO

    picture = draw(chart, timezone).replace("DejaVu Sans, ", f"{FAMILY}, ", 1)
    paper.image(BytesIO(picture.encode()), w=paper.epw, h=CHART_HEIGHT)
    yield
