from pathlib import Path

import pypdfium2
from docx import Document

from examples import make_docx, make_pdf
from examples.demo import DOCUMENTS

WORDS_A_PAGE = 450


def pdf_text(path: Path) -> list[str]:
    document = pypdfium2.PdfDocument(path)
    try:
        return [page.get_textpage().get_text_range() for page in document]
    finally:
        document.close()


def docx_text(path: Path) -> list[str]:
    document = Document(str(path))
    cells = [cell.text for table in document.tables for row in table.rows for cell in row.cells]
    return [paragraph.text for paragraph in document.paragraphs] + cells


def test_there_are_ten_pages_and_more_in_every_common_format() -> None:
    paths = sorted(DOCUMENTS.iterdir())
    texts = [" ".join(pdf_text(path)) for path in paths if path.suffix == ".pdf"]
    texts += [" ".join(docx_text(path)) for path in paths if path.suffix == ".docx"]
    texts += [path.read_text("utf-8") for path in paths if path.suffix not in (".pdf", ".docx")]

    assert {path.suffix for path in paths} == {".md", ".html", ".txt", ".docx", ".pdf"}
    assert sum(len(text.split()) for text in texts) > 10 * WORDS_A_PAGE


def test_one_page_is_german_and_one_japanese() -> None:
    german = (DOCUMENTS / "11-lastenrad-verleih.de.md").read_text("utf-8")
    japanese = (DOCUMENTS / "12-monthly-check.ja.md").read_text("utf-8")

    assert "Kaution von **100 Euro**" in german
    assert sum("぀" <= letter <= "鿿" for letter in japanese) > 400


def test_the_pdf_is_what_its_script_makes(tmp_path: Path) -> None:
    make_pdf.make(tmp_path / "again.pdf")

    assert pdf_text(tmp_path / "again.pdf") == pdf_text(make_pdf.PDF)
    assert len(pdf_text(make_pdf.PDF)) == 3


def test_the_docx_is_what_its_script_makes(tmp_path: Path) -> None:
    make_docx.make(tmp_path / "again.docx")

    assert docx_text(tmp_path / "again.docx") == docx_text(make_docx.DOCX)
