import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.caps import ArchiveCaps, ParseCaps
from app.ingest.outline import outline
from app.ingest.parsers import parse
from tests.ingest.files import (
    make_bookmarked_pdf,
    make_docx,
    make_encrypted_pdf,
    make_pdf,
    make_scanned_pdf,
    make_zip,
)
from tests.ingest.office_files import make_eml, make_xlsx

MARKDOWN = """---
title: "The Manual"
author: Ann
---
Before any heading.

# First *part*

Some text
over two lines.

- one
- two
  continued

```python
# not a heading
x = 1
```

| a | b |
|---|---|
| 1 | 2 |

Setext part
-----------

> a quote

1. first
2. second
"""

HTML = """<!doctype html><html><head><title>Shop &amp; Help</title><style>p{}</style></head><body>
<nav><ul><li><a href=/>Home</a></li></ul></nav>
<script>var trap = "<p>never shown</p>";</script>
<main><h1>Returns</h1><p>You may <b>return</b> goods<br>within 30 days.<p>Second paragraph.
<ul><li>first<li>second<ol><li>inner</li></ol></li></ul>
<h2>Fees</h2><table><tr><th>Way</th><th>Fee</th></tr><tr><td>Post</td><td>3 | 4</td></tr></table>
<pre><code class="language-js">let a = 1;
  let b = 2;</code></pre><div style="display: none">hidden order</div></main>
<footer>Imprint</footer></body></html>"""


def kinds(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in document.blocks]


def test_markdown_becomes_blocks() -> None:
    document = parse(MARKDOWN.encode(), "manual.md")

    assert document.title == "The Manual"
    assert kinds(document) == [
        ("text", 'title: "The Manual"\nauthor: Ann'),
        ("text", "Before any heading."),
        ("heading", "First *part*"),
        ("text", "Some text\nover two lines."),
        ("list", "- one\n- two\n  continued"),
        ("code", "```python\n# not a heading\nx = 1\n```"),
        ("table", "| a | b |\n|---|---|\n| 1 | 2 |"),
        ("heading", "Setext part"),
        ("text", "> a quote"),
        ("list", "1. first\n2. second"),
    ]
    assert [block.level for block in document.blocks if block.kind == "heading"] == [1, 2]


def test_html_keeps_what_a_reader_sees() -> None:
    document = parse(HTML.encode(), "page.html")

    assert document.title == "Shop & Help"
    assert kinds(document) == [
        ("heading", "Returns"),
        ("text", "You may return goods\nwithin 30 days."),
        ("text", "Second paragraph."),
        ("list", "- first\n- second\n  1. inner"),
        ("heading", "Fees"),
        ("table", "| Way | Fee |\n| --- | --- |\n| Post | 3 \\| 4 |"),
        ("code", "```js\nlet a = 1;\n  let b = 2;\n```"),
    ]


def test_a_page_whose_navigation_never_ends_is_still_read() -> None:
    assert kinds(parse(b"<nav><p>All there is.", "a.htm")) == [("text", "All there is.")]


@pytest.mark.parametrize("tag", ["td", "/table", "table", "/td", "tr", "li", "/ul", "ul", "/pre", "pre", "h1", "/h1"])
def test_broken_html_loses_no_text(tag: str) -> None:
    text = parse(f"<p>before</p><{tag}>inside<div><{tag}>deeper</div><p>after".encode(), "a.html").markdown
    assert [word for word in ("before", "inside", "deeper", "after") if word not in text] == []


def test_docx_has_headings_lists_and_tables_in_order() -> None:
    document = parse(make_docx(), "handbook.docx")

    assert [kind for kind, _ in kinds(document)] == [
        "heading", "text", "heading", "text", "list", "table", "text", "heading", "text",
    ]  # fmt: skip
    assert [section.path for section in outline(document, "handbook.docx")] == [
        ("Handbook",),
        ("Handbook", "Holidays"),
        ("Handbook", "Sickness"),
    ]


@pytest.mark.promise("5.4-pdf-layout")
def test_pdf_headings_are_found_by_their_size() -> None:
    document = parse(make_pdf(chapters=2), "guide.pdf")

    assert (document.pages, document.title) == (2, "The Guide")
    assert [(section.title, section.level) for section in outline(document, "guide.pdf")] == [
        ("Chapter 0 of the guide", 1),
        ("Details about part 0", 2),
        ("Chapter 1 of the guide", 1),
        ("Details about part 1", 2),
    ]
    for number in (1, 2):
        text = " ".join(" ".join(b.text.split()) for b in document.blocks if b.kind == "text" and b.page == number)
        assert text.count("Refunds are paid within thirty days of purchase. Keep the receipt, please.") == 14
        assert f"Part{number - 1}." in text
    assert {block.page for block in document.blocks} == {1, 2}


@pytest.mark.promise("5.4-pdf-layout")
def test_pdf_tables_are_tables() -> None:
    document = parse(make_pdf(chapters=2, has_table=True), "t.pdf")
    tables = [block for block in document.blocks if block.kind == "table"]
    rows = [["Country", "Capital", "Population"], ["France", "Paris", "68 million"], ["Spain", "Madrid", "48 million"]]
    assert [table.page for table in tables] == [1, 2]
    for table in tables:
        lines = [line for line in table.text.splitlines() if "---" not in line]
        assert [[cell.strip() for cell in line.strip("|").split("|")] for line in lines] == rows
    texts = [block for block in document.blocks if block.kind == "text"]
    assert "Madrid" not in "".join(block.text for block in texts), "a table is told once"


def test_pdf_bookmarks_are_the_outline() -> None:
    data = make_bookmarked_pdf(
        [("Introduction", 0, "Welcome"), ("1.1 Scope", 1, "What it covers"), ("Closing words", 0, "Goodbye")]
    )
    sections = outline(parse(data, "book.pdf"), "book.pdf")

    assert [(s.title, s.path, s.parent_order) for s in sections] == [
        ("Introduction", ("Introduction",), None),
        ("1.1 Scope", ("Introduction", "1.1 Scope"), 0),
        ("Closing words", ("Closing words",), None),
    ]
    assert [
        "Welcome 0" in s.content or "What it covers 0" in s.content or "Goodbye 0" in s.content for s in sections
    ] == [True] * 3
    assert "Scope" not in sections[1].content  # the title is not said twice


@pytest.mark.parametrize(
    ("data", "filename", "says"),
    [
        (make_encrypted_pdf("sesame"), "a.pdf", "protected by a password"),
        (make_scanned_pdf(2), "a.pdf", "no text layer: its 2 pages look scanned"),
        (make_pdf()[:900], "a.pdf", "damaged"),
        (b"PK\x03\x04 whatever", "a.pdf", "not a PDF"),
        (make_docx()[:2000], "a.docx", "damaged"),
        (make_zip({"xl/workbook.xml": b"<x/>"}), "a.docx", "archive, but not of the kind"),
        (make_zip({"word/document.xml": b"this is no xml"}), "a.docx", "damaged|could not be read"),
        (make_zip({"word/document.xml": b"0" * 40_000_000}), "a.docx", "archive bomb"),
        (make_zip({"word/document.xml": b"", "../../etc/passwd": b""}), "a.docx", "unsafe name"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "a.docx", "protected by a password or in the old"),
        (bytes(range(256)) * 20, "a.txt", "not a text file"),
        (b"MZ\x90", "a.exe", "file type not supported yet"),
    ],
)
def test_unreadable_files_say_why(data: bytes, filename: str, says: str) -> None:
    with pytest.raises(ParseFailed, match=says):
        parse(data, filename)


@pytest.mark.promise("2.1-size-refused", "issue3-limits")
def test_caps_are_parameters() -> None:
    many = make_zip({f"part{number}": b"x" for number in range(30)})
    with pytest.raises(ParseFailed, match="30 parts"):
        parse(many, "a.docx", ParseCaps(archive=ArchiveCaps(entries=20)))
    small = ParseCaps(size_bytes=1024**2)
    with pytest.raises(ParseFailed, match=r"^File size exceeds\( <= 1Mb \)$"):
        parse(b"x" * (1024**2 + 1), "a.txt", small)
    assert len(parse(b"x" * 1024**2, "a.txt", small).markdown) == 1024**2
    assert ParseCaps().size_bytes == 128 * 1024**2
    with pytest.raises(ParseFailed, match=r"^File size exceeds\( <= 128Mb \)$"):
        parse(b"x" * (128 * 1024**2 + 1), "a.txt")
    with pytest.raises(ParseFailed, match="3 pages; at most 2"):
        parse(make_pdf(chapters=3), "a.pdf", ParseCaps(pages=2))
    rows = [["a", "b"], ["c", "d"]]
    for name, data in (("a.csv", b"a,b\nc,d\n"), ("a.xlsx", make_xlsx({"S": rows}))):
        assert [block.rows for block in parse(data, name, ParseCaps(cells=4)).blocks] == [(("a", "b"), ("c", "d"))]
        with pytest.raises(ParseFailed, match="has more than 3 cells"):
            parse(data, name, ParseCaps(cells=3))
    with pytest.raises(ParseFailed, match="would unpack to 0 MiB, which looks like an archive bomb"):
        parse(make_docx(), "a.docx", ParseCaps(archive=ArchiveCaps(unpacked_bytes=1000)))
    mail = parse(make_eml(), "m.eml", ParseCaps(attachments=1))
    assert [one.name for one in mail.attachments] == ["täble.csv"]
    assert mail.notes == ("2 more attachments were not read; at most 1 are.",)


@pytest.mark.parametrize("filename", ["a.txt", "a.md", "a.html", "a.pdf", "a.docx"])
@pytest.mark.parametrize("data", [b"", b" \n\t "])
def test_an_empty_file_is_an_empty_document(filename: str, data: bytes) -> None:
    document = parse(data, filename)
    assert document.blocks == ()
    assert outline(document, filename) == []


@pytest.mark.timeout(20)
@pytest.mark.parametrize("text", ["<a " * 30_000, "<li>" * 30_000, "[" * 50_000, "**a" * 50_000, " " * 50_000 + "x"])
@pytest.mark.parametrize("filename", ["a.html", "a.md", "a.txt"])
def test_hostile_repetition_is_read_in_linear_time(text: str, filename: str) -> None:
    assert parse(text.encode(), filename) is not None


def test_nul_and_lone_surrogates_do_not_get_through() -> None:
    text = parse(b"<p>a&#xD800;b&#0;c\0d</p>", "a.html").markdown
    assert "\0" not in text
    text.encode()


@pytest.mark.promise("5.4-plain")
@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        ("Привет, мир", "cp1251 utf-16 utf-8-sig"),
        ("Возврат денег в течение тридцати дней. Пожалуйста, сохраните чек.", "koi8-r cp1251"),
        ("Zażółć gęślą jaźń, powiedział król.", "cp1250 utf-16-be"),
        ("料金は三十日以内に返金されます。領収書を保管してください。", "cp932 euc-jp utf-8"),
        ("退款将在三十天内支付，请妥善保管您的收据。", "gb18030 utf-32"),
        ("退款將在三十天內支付，請妥善保管您的收據。", "big5"),
        ("환불은 삼십 일 이내에 지급됩니다. 영수증을 보관하십시오.", "euc-kr"),
    ],
)
def test_text_in_old_encodings_is_read(text: str, encodings: str) -> None:
    for encoding in encodings.split():
        assert kinds(parse(text.encode(encoding), "a.txt")) == [("plain", text)], encoding
        late = "plain words\n" * 200 + text  # nothing of it in the first kibibyte
        if not encoding.startswith("utf"):
            assert kinds(parse(late.encode(encoding), "a.txt")) == [("plain", late)], encoding
            assert parse((late * 60).encode(encoding), "a.py").blocks[0].text == late * 60


def test_a_document_without_headings_is_one_section_named_as_the_file() -> None:
    sections = outline(parse(b"just text", "notes.v2.txt"), "notes.v2.txt")
    assert [(s.order, s.level, s.title, s.path, s.content) for s in sections] == [
        (0, 1, "notes.v2", ("notes.v2",), "just text")
    ]


BLOCKS = st.lists(
    st.one_of(
        st.builds(Block, kind=st.just("heading"), text=st.text("ab", min_size=1, max_size=3), level=st.integers(1, 6)),
        st.builds(Block, kind=st.sampled_from(["text", "table", "code"]), text=st.text("xy", min_size=1, max_size=3)),
    ),
    max_size=30,
)


@given(BLOCKS)
def test_every_block_is_in_exactly_one_section_and_paths_are_true(blocks: list[Block]) -> None:
    sections = outline(ParsedDocument(blocks=tuple(blocks)), "a.md")

    seen: list[Block] = []
    for section in sections:
        seen += [section.heading] if section.heading else []
        seen += section.blocks
    assert seen == blocks
    assert [section.order for section in sections] == list(range(len(sections)))
    for section in sections:
        parent = sections[section.parent_order].path if section.parent_order is not None else ()
        assert section.path == (*parent, section.title)
        assert section.level == len(section.path)


@settings(max_examples=200)
@given(st.text(alphabet="#-=`~|* \n\ta1.>[]()<", max_size=200))
def test_markdown_of_any_shape_keeps_its_letters(text: str) -> None:
    document = parse(text.encode(), "a.md")
    assert [c for c in document.markdown if c in "a"] == [c for c in text if c in "a"]


TAGS = "<p> </p> <table> <tr> <td> </td> </table> <li> <ul> </ul> <h2> </h2> <pre> </pre> x &amp; <br>"


@settings(max_examples=200)
@given(st.lists(st.sampled_from(TAGS.split(" ")), max_size=25))
def test_html_of_any_shape_keeps_its_letters_in_order(parts: list[str]) -> None:
    numbered = [f" w{at} " if part == "x" else part for at, part in enumerate(parts)]
    document = parse("".join(numbered).encode(), "a.html")
    words = [word for word in document.markdown.replace("#", " ").split() if word[:1] == "w"]
    assert words == [part.strip() for part in numbered if part[1:2] == "w"]
