import io
import zipfile
from collections.abc import Sequence

import pytest

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.parsers import parse
from tests.ingest.files import make_zip
from tests.ingest.office_files import (
    make_doc,
    make_epub,
    make_odf,
    make_odp,
    make_ods,
    make_odt,
    make_png,
    make_ppt,
    make_pptx,
    make_rich_docx,
    make_xls,
    make_xlsx,
    rels,
    word_xml,
)
from tests.ingest.ole_files import make_ole

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
RTF = rb"""{\rtf1\ansi\ansicpg1251\deff0{\fonttbl{\f0 Times;}}{\info{\title T}}
\pard\outlinelevel0\b\fs36 Main Heading\b0\fs24\par
\pard Caf\u233? and \'cf\'f0\'e8\'e2\'e5\'f2.\par
\trowd\cellx2000\cellx4000\intbl A\cell B\cell\row\trowd\cellx2000\cellx4000\intbl 1\cell 2\cell\row
\pard{\*\generator hidden;}The end.\par}"""
PICTURE = make_png()


def kinds(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in document.blocks]


@pytest.mark.promise("5.4-docx", "5.4-embedded")
def test_docx_is_read_as_word_shows_it() -> None:
    document = parse(make_rich_docx(PICTURE), "rules.docx")

    assert document.title == "The Rules"
    assert kinds(document) == [
        ("heading", "Article I. Scope"),
        ("text", "See the picture."),
        ("image", "A blue box"),
        ("text", "Kept text"),
        ("text", "The small print."),
        ("text", "In a box"),
        ("heading", "Article II. Terms"),
        ("table", "| Region | Sales | Sales |\n| --- | --- | --- |\n| Region | 2024 | 2025 |\n| North | 1 | 2 |"),
        ("list", "1. first\n  1.a) inner"),
    ]
    assert [block.picture for block in document.blocks if block.picture is not None] == [0, 0]
    assert [picture.media_type for picture in document.pictures] == ["image/png"]
    assert [(one.name, one.document.blocks[0].rows) for one in document.attachments] == [
        ("inner.xlsx", (("k", "v"), ("x", "1")))
    ]


@pytest.mark.promise("5.4-embedded")
@pytest.mark.parametrize(("name", "folder"), [("a.docx", "word"), ("a.xlsx", "xl"), ("a.pptx", "ppt")])
def test_files_inside_office_files_are_read_one_level_deep(name: str, folder: str) -> None:
    outer = {"a.docx": make_rich_docx(PICTURE), "a.xlsx": make_xlsx({"S": [["x"]]}), "a.pptx": make_pptx(PICTURE)}[name]
    with zipfile.ZipFile(io.BytesIO(outer)) as archive:
        entries = {part: archive.read(part) for part in archive.namelist() if "/embeddings/" not in part}
    entries[f"{folder}/embeddings/deep.docx"] = make_rich_docx(PICTURE)  # which has inner.xlsx in it
    entries[f"{folder}/embeddings/list.xlsx"] = make_xlsx({"S": [["k", "v"]]})
    entries[f"{folder}/embeddings/broken.pptx"] = b"no slides"
    document = parse(make_zip(entries), name)
    plain = parse(outer, name)

    assert document.blocks == plain.blocks
    found = {one.name: one for one in document.attachments}
    assert set(found) == {"deep.docx", "list.xlsx", "broken.pptx"}
    assert found["list.xlsx"].document.blocks[0].rows == (("k", "v"),)
    deep = found["deep.docx"].document
    assert deep.blocks[0].text == "Article I. Scope"
    assert (deep.attachments, deep.notes[-1:]) == ((), ("Files inside deep.docx were not read: inner.xlsx.",))
    assert found["broken.pptx"].failure


@pytest.mark.promise("5.5-presentation-read", "2.1-thumbnail-made")
def test_slides_are_read_in_their_order_and_from_the_top() -> None:
    document = parse(make_pptx(PICTURE), "fees.pptx")

    assert [(block.page, block.kind, block.text) for block in document.blocks] == [
        (1, "heading", "Fees"),
        (1, "list", "- one\n- two\n  - inner"),
        (1, "text", "left"),
        (1, "text", "right"),
        (1, "table", "| Way | Fee |\n| --- | --- |\n| Post | 3 |"),
        (1, "image", "A chart of fees"),
        (2, "heading", "Thanks"),
        (2, "text", "Smile here"),
    ]
    assert document.pages == 2
    assert (document.thumbnail or b"").startswith(b"\x89PNG")


@pytest.mark.promise("5.4-sheets")
def test_sheets_keep_names_types_and_merged_cells() -> None:
    days = (45810.5, "date")
    rows: list[list[object]] = [
        ["Group", None, "when"],
        ["a", 1.0, days],
        ["b", 0.1 + 0.2, True],
        [None, 12345678901, None],
        ["c", None, (45810, "date")],
    ]
    sheets: dict[str, Sequence[Sequence[object]]] = {"Sales": rows, "Empty": [], "More": [["x"]]}
    document = parse(make_xlsx(sheets, merged=["A1:B1", "A3:A4"]), "s.xlsx")

    assert [(block.text, block.rows) for block in document.blocks] == [
        (
            "Sales",
            (
                ("Group", "Group", "when"),
                ("a", "1", "2025-06-02 12:00:00"),
                ("b", "0.3", "TRUE"),
                ("b", "12345678901", ""),
                ("c", "", "2025-06-02 00:00:00"),
            ),
        ),
        ("More", (("x",),)),
    ]


@pytest.mark.promise("5.4-sheets", "issue3-formats")
@pytest.mark.parametrize(
    ("filename", "data", "sheet"),
    [
        ("old.xls", make_xls([["Näme", "n"], ["x", 3.0]]), ("Old", (("Näme", "n"), ("x", "3")))),
        ("new.xls", make_xlsx({"New": [["a", 1]]}), ("New", (("a", "1"),))),
        ("cash.ods", make_ods(), ("Cash", (("Day", "Sum"), ("2025-06-02 00:00:00", "3")))),
        ("text.xls", b"a\tb\n1\t2\n", ("", (("a", "b"), ("1", "2")))),
    ],
)
def test_other_spreadsheets_are_read(
    filename: str, data: bytes, sheet: tuple[str, tuple[tuple[str, ...], ...]]
) -> None:
    assert [(block.text, block.rows) for block in parse(data, filename).blocks] == [sheet]


@pytest.mark.promise("issue3-formats")
def test_open_document_text_is_read() -> None:
    document = parse(make_odt(PICTURE), "rules.odt")

    assert kinds(document) == [
        ("heading", "Rules"),
        ("text", "Be   kind\nalways."),
        ("text", "A footnote."),
        ("image", "A box"),
        ("heading", "Lists"),
        ("list", "- one\n  - inner"),
        ("table", "| Year | Days |\n| --- | --- |\n| 2025 | 30 |"),
    ]
    assert len(document.pictures) == 1


@pytest.mark.promise("issue3-formats", "5.5-presentation-read")
def test_open_document_slides_are_read_from_the_top() -> None:
    assert [(block.page, block.kind, block.text) for block in parse(make_odp(), "s.odp").blocks] == [
        (1, "heading", "Start"),
        (1, "text", "above"),
        (1, "text", "below"),
        (2, "text", "Second"),
        (2, "text", "Say it slowly"),
    ]


@pytest.mark.promise("issue3-formats")
def test_a_book_is_read_in_its_reading_order() -> None:
    document = parse(make_epub(), "book.epub")
    assert document.title == "A Book"
    assert kinds(document) == [
        ("heading", "Start"),
        ("text", "It begins."),
        ("heading", "End"),
        ("text", "It ends."),
    ]


@pytest.mark.promise("issue3-formats")
def test_rtf_is_read() -> None:
    assert kinds(parse(RTF, "a.rtf")) == [
        ("heading", "Main Heading"),
        ("text", "Café and Привет."),
        ("table", "| A | B |\n| --- | --- |\n| 1 | 2 |"),
        ("text", "The end."),
    ]


@pytest.mark.promise("issue3-formats")
def test_office_files_from_before_2007_are_read() -> None:
    assert kinds(parse(make_doc("Héllo Word.\nSecond paragraph."), "a.doc")) == [
        ("plain", "Héllo Word.\nSecond paragraph.")
    ]
    slides = parse(make_ppt([["Title one", "body"], ["Title two"]]), "a.ppt")
    assert [(block.page, block.text) for block in slides.blocks] == [(1, "Title one"), (1, "body"), (2, "Title two")]


@pytest.mark.promise("issue3-formats")
@pytest.mark.parametrize(
    "data",
    [RTF, make_rich_docx(PICTURE), b"<html><body><h1>Main Heading</h1></body></html>"],
    ids=["rtf", "docx", "html"],
)
def test_what_was_saved_under_the_name_doc_is_read(data: bytes) -> None:
    assert parse(data, "a.doc").blocks[0].kind == "heading"


@pytest.mark.parametrize(
    ("filename", "data", "says"),
    [
        ("a.docx", make_ole({"EncryptedPackage": b"x"}), "protected by a password"),
        ("a.xlsx", make_ole({"EncryptedPackage": b"x"}), "protected by a password"),
        ("a.doc", make_ole({"EncryptedPackage": b"x"}), "protected by a password"),
        ("a.odt", make_odf("<x/>", {"META-INF/manifest.xml": b"<encryption-data/>"}), "protected by a password"),
        ("a.epub", make_zip({"mimetype": b""}), "not of the kind"),
        ("a.pptx", make_zip({"word/document.xml": b""}), "not of the kind"),
        ("a.doc", b"nothing known", "damaged"),
        ("a.xlsx", b"a,b\n1,2", "damaged"),
        ("a.pages", b"nothing known", "damaged"),
    ],
)
@pytest.mark.promise("issue3-limits")
def test_what_cannot_be_read_is_refused_with_a_reason(filename: str, data: bytes, says: str) -> None:
    with pytest.raises(ParseFailed, match=says):
        parse(data, filename)


@pytest.mark.promise("5.4-unsupported")
@pytest.mark.parametrize(
    ("filename", "says"),
    [
        ("a.mp3", "a.mp3 is a sound recording; no speech model is set up"),
        ("a.mp4", "a.mp4 is a video; videos are not read"),
        ("a.dxf", "Pictures of the type dxf are not read. Save a.dxf as PNG"),
        ("a.wps", r"file type not supported yet\(pdf, xlsx, doc, docx, txt supported\)"),
        ("a.hlp", r"file type not supported yet\(pdf, xlsx, doc, docx, txt supported\)"),
        ("a.markdown", r"file type not supported yet\(pdf, xlsx, doc, docx, txt supported\)"),
    ],
)
def test_types_nobody_reads_say_what_to_do(filename: str, says: str) -> None:
    with pytest.raises(ParseFailed, match=says):
        parse(b"data", filename)


@pytest.mark.promise("2.1-empty-read")
@pytest.mark.parametrize("filename", ["a.txt", "a.pdf", "a.docx", "a.png", "a.json", "a.eml"])
def test_an_empty_file_is_no_failure(filename: str) -> None:
    assert parse(b"", filename) == ParsedDocument(notes=(f"{filename} is empty.",))


def test_a_page_without_text_is_told() -> None:
    assert parse(b"<script>x</script>", "a.html").notes == ("No text was found in a.html.",)


def test_a_paragraph_keeps_its_picture() -> None:
    found = [block for block in parse(make_rich_docx(PICTURE), "a.docx").blocks if block.picture == 0]
    assert found[0] == Block(kind="text", text="See the picture.", picture=0)


@pytest.mark.promise("5.4-docx")
def test_notes_and_boxes_of_a_table_stay_with_their_cell() -> None:
    """What hangs in a cell is read once, and so is a box in a box."""
    text = "<w:r><w:t>{}</w:t></w:r>"
    note = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    boxed = "<w:r><w:pict><w:txbxContent><w:p>{}</w:p></w:txbxContent></w:pict></w:r>"
    cells = "".join(f"<w:tc><w:p>{inner}</w:p></w:tc>" for inner in (text.format("Fee") + note, text.format("12")))
    box = boxed.format(text.format("outer") + boxed.format(text.format("inner")))
    body = f"<w:tbl><w:tr>{cells}</w:tr></w:tbl><w:p>{box}</w:p>"
    notes = f'<w:footnotes {W}><w:footnote w:id="2"><w:p>{text.format("Net of tax.")}</w:p></w:footnote></w:footnotes>'
    document = parse(
        make_zip(
            {
                "word/document.xml": word_xml(body),
                "word/_rels/document.xml.rels": rels(("r1", "footnotes", "footnotes.xml")),
                "word/footnotes.xml": notes.encode(),
            }
        ),
        "a.docx",
    )
    assert document.blocks[0].rows == (("Fee\nNet of tax.", "12"),)
    assert [block.text for block in document.blocks[1:]] == ["outer", "inner"]
