"""Files as people upload them, made on the spot."""

import io
import zipfile
from collections.abc import Sequence

import docx
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table

BODY = "Refunds are paid within thirty days of purchase. Keep the receipt, please. "


def make_pdf(*, chapters: int = 3, has_table: bool = False) -> bytes:
    """A page for each chapter: a large heading, text, a smaller heading, text."""
    styles = getSampleStyleSheet()
    story = []
    for number in range(chapters):
        story += [
            Paragraph(f"Chapter {number} of the guide", styles["Heading1"]),
            Paragraph(BODY * 8, styles["BodyText"]),
        ]
        story += [
            Paragraph(f"Details about part {number}", styles["Heading2"]),
            Paragraph(f"Part{number}. " + BODY * 6, styles["BodyText"]),
        ]
        if has_table:
            rows = [
                ["Country", "Capital", "Population"],
                ["France", "Paris", "68 million"],
                ["Spain", "Madrid", "48 million"],
            ]
            story += [Spacer(1, 20), Table(rows, colWidths=[120] * 3, style=[("GRID", (0, 0), (-1, -1), 1, (0, 0, 0))])]
        story.append(PageBreak())
    file = io.BytesIO()
    SimpleDocTemplate(file, title="The Guide").build(story)
    return file.getvalue()


def make_bookmarked_pdf(pages: Sequence[tuple[str, int, str]]) -> bytes:
    """A page for each `(bookmark, level, text)`, all in one type size, so that only bookmarks tell the outline."""
    file = io.BytesIO()
    canvas = Canvas(file)
    for number, (title, level, text) in enumerate(pages):
        canvas.bookmarkPage(f"p{number}")
        canvas.addOutlineEntry(title, f"p{number}", level=level)
        canvas.setFont("Helvetica", 11)
        canvas.drawString(72, 760, title)
        for row in range(6):
            canvas.drawString(72, 720 - 15 * row, f"{text} {row}.")
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def make_two_columns_pdf() -> bytes:
    """A page of a title over two columns of 30 lines; the file holds them line by line across the page."""
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=(595, 842))
    canvas.setFont("Helvetica-Bold", 18)
    canvas.drawString(170, 790, "On the nature of bees")
    canvas.setFont("Helvetica", 10)
    for row in range(30):
        for column, x in (("left", 50), ("right", 315)):
            canvas.drawString(x, 740 - 14 * row, f"The {column} column goes on in its line {row} of many")
    canvas.save()
    return file.getvalue()


def make_encrypted_pdf(password: str) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file, encrypt=StandardEncryption(password, ownerPassword="owner", strength=128))
    canvas.drawString(72, 720, "a secret")
    canvas.save()
    return file.getvalue()


def make_scanned_pdf(pages: int = 2) -> bytes:
    """Pages with drawings and no text."""
    file = io.BytesIO()
    canvas = Canvas(file)
    for _ in range(pages):
        canvas.rect(72, 72, 300, 400, fill=1)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def make_docx() -> bytes:
    document = docx.Document()
    document.add_heading("Handbook", 1)
    document.add_paragraph("Welcome to the company.")
    document.add_heading("Holidays", 2)
    document.add_paragraph("Everybody has thirty days.")
    document.add_paragraph("Ask early", style="List Bullet")
    document.add_paragraph("Tell your team", style="List Bullet")
    table = document.add_table(rows=2, cols=2)
    for row, cells in enumerate((("Year", "Days"), ("2025", "30"))):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text
    document.add_paragraph("Text after the table.")
    document.add_heading("Sickness", 2)
    document.add_paragraph("Call before nine.")
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def make_zip(entries: dict[str, bytes], stored: str = "") -> bytes:
    """A zip of `entries`; the one called `stored` is not compressed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data, zipfile.ZIP_STORED if name == stored else None)
    return file.getvalue()
