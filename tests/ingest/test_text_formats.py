from email.message import EmailMessage

import pytest

from app.domain.documents import Block, ParsedDocument
from app.ingest.parsers import parse
from tests.ingest.office_files import make_eml
from tests.ingest.ole_files import make_msg

DOCBOOK = b"""<?xml version="1.0"?><!DOCTYPE book [<!ENTITY v "1.2">]>
<book><title>Guide &v;</title><chapter id="one"><title>Start</title>
<para>Some <emphasis>bold</emphasis> &v; &nbsp;text</para>
<itemizedlist><listitem><para>first</para></listitem><listitem><para>second</para></listitem></itemizedlist>
<programlisting>a = 1
  b = 2</programlisting>
<table><tgroup><tbody><row><entry>Way</entry><entry>Fee</entry></row><row><entry>Post</entry><entry>3</entry></row>
</tbody></tgroup></table></chapter></book>"""
DATA = b"""<people><person id="7" rank="high"><name>Ann</name><age>30</age></person>
<person id="8"><name>Bob</name><age>31</age></person></people>"""


SOURCES = "txt ini yml sql py js java c cpp h php go ts sh cs kt"


def kinds(document: ParsedDocument) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in document.blocks]


@pytest.mark.promise("issue3-formats")
def test_xml_documents_have_headings_lists_and_tables() -> None:
    document = parse(DOCBOOK, "a.xml")
    assert document.title == "Guide 1.2"
    assert [(b.kind, b.level, b.text) for b in document.blocks] == [
        ("heading", 1, "Guide 1.2"),
        ("heading", 2, "Start"),
        ("text", 0, "Some bold 1.2 text"),
        ("list", 0, "- first\n- second"),
        ("code", 0, "```\na = 1\n  b = 2\n```"),
        ("table", 0, "| Way | Fee |\n| --- | --- |\n| Post | 3 |"),
    ]


@pytest.mark.promise("issue3-formats")
def test_xml_records_become_named_lines() -> None:
    assert kinds(parse(DATA, "a.xml")) == [("text", "rank: high\nname: Ann\nage: 30"), ("text", "name: Bob\nage: 31")]


def test_broken_xml_is_read_as_it_stands() -> None:
    document = parse(b"<a><b>some words</a>", "a.xml")
    assert kinds(document) == [("plain", "<a><b>some words</a>")]
    assert "read as running text" in document.notes[0]


@pytest.mark.promise("5.4-json")
@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ('{"a": [1, 2.50]}', [("json", '{"a": [1, 2.50]}')]),
        ("[\n 1,\n 2\n]", [("json", "[\n 1,\n 2\n]")]),
        ('{"a": 1}\n\n{"b": 2}\n', [("json", '{"a": 1}'), ("json", '{"b": 2}')]),
        ('{"a": NaN}', [("json", '{"a": "NaN"}')]),
        ("not json", [("plain", "not json")]),
        ('{"a": 1}\nbad\nworse', [("plain", '{"a": 1}\nbad\nworse')]),
    ],
)
def test_json_is_read_value_by_value(text: str, blocks: list[tuple[str, str]]) -> None:
    for suffix in ("json", "jsonl", "ldjson"):
        assert kinds(parse(text.encode(), f"a.{suffix}")) == blocks


@pytest.mark.promise("5.4-json")
def test_eight_of_ten_lines_make_json_lines() -> None:
    eight = ['{"n": 1}'] * 8 + ["bad"] * 2
    assert [kind for kind, _ in kinds(parse("\n".join(eight).encode(), "a.json"))] == ["json"] * 8 + ["plain"] * 2
    seven = ['{"n": 1}'] * 7 + ["bad"] * 3
    assert [kind for kind, _ in kinds(parse("\n".join(seven).encode(), "a.json"))] == ["plain"]


@pytest.mark.promise("5.4-sheets")
@pytest.mark.parametrize(
    ("data", "rows"),
    [
        (b'a,b\n"x, 1",2\n', (("a", "b"), ("x, 1", "2"))),
        ("\ufeffNäme;Zahl\nä;1,5\n".encode(), (("Näme", "Zahl"), ("ä", "1,5"))),
        ("Näme;Zahl\nä;1,5\n".encode("cp1252"), (("Näme", "Zahl"), ("ä", "1,5"))),
        ("a\tb\n1\t2\n".encode("utf-16"), (("a", "b"), ("1", "2"))),
        (b"a|b\n1|2\n", (("a", "b"), ("1", "2"))),
        (b"sep=;\na;b,c\n", (("a", "b,c"),)),
        (b'a,b\n"two\nlines",2\n', (("a", "b"), ("two\nlines", "2"))),
        (b'a,b\n"say ""hi""",2\n', (("a", "b"), ('say "hi"', "2"))),
        (b"only\none\ncolumn\n", (("only",), ("one",), ("column",))),
    ],
)
def test_csv_is_read_whatever_divides_it(data: bytes, rows: tuple[tuple[str, ...], ...]) -> None:
    assert parse(data, "a.csv").blocks == (Block(kind="sheet", text="", rows=rows),)


@pytest.mark.promise("5.5-email-read")
def test_mail_has_headers_one_body_and_attachments() -> None:
    document = parse(make_eml(), "m.eml")

    assert document.title == "Rückgabe & Geld"
    assert kinds(document) == [
        ("text", "Subject: Rückgabe & Geld\nFrom: Änn <ann@example.org>\nTo: bob@example.org"),
        ("plain", "Refunds are paid within thirty days."),
    ]
    assert [one.name for one in document.attachments] == ["täble.csv", "run.exe", "Older.eml"]
    table, program, older = document.attachments
    assert table.document.blocks[0].rows == (("a", "b"), ("1", "2"))
    assert (program.failure or "").startswith("file type not supported yet")
    assert kinds(older.document)[1] == ("plain", "The older text.")


@pytest.mark.promise("5.5-email-read")
def test_files_of_a_mail_in_a_mail_are_not_read() -> None:
    inner, outer = EmailMessage(), EmailMessage()
    inner["Subject"] = "Inner"
    inner.set_content("Inner text.")
    inner.add_attachment(b"a;b\n", maintype="text", subtype="csv", filename="deep.csv")
    outer["Subject"] = "Outer"
    outer.set_content("Outer text.")
    outer.add_attachment(inner)
    [attached] = parse(outer.as_bytes(), "m.eml").attachments

    assert kinds(attached.document) == [("text", "Subject: Inner"), ("plain", "Inner text.")]
    assert attached.document.attachments == ()
    assert attached.document.notes == ("Files inside Inner.eml were not read: deep.csv.",)


@pytest.mark.promise("5.5-email-read")
def test_a_body_that_is_only_html_is_read_as_a_page() -> None:
    mail = b"Subject: x\nContent-Type: text/html; charset=iso-8859-1\n\n<h1>Gr\xfc\xdfe</h1><script>no</script><p>Hi"
    assert kinds(parse(mail, "m.eml")) == [("text", "Subject: x"), ("heading", "Grüße"), ("text", "Hi")]


@pytest.mark.promise("5.5-email-read")
def test_outlook_messages_are_read() -> None:
    document = parse(make_msg(), "m.msg")

    assert document.title == "Réfunds policy"
    assert kinds(document) == [
        (
            "text",
            "From: Ann Smith <ann@example.org>\nTo: Bob <bob@example.org>\nSubject: Réfunds policy\n"
            "Date: Mon, 2 Jun 2025 10:00:00 +0000",
        ),
        ("plain", "Dear Bob,\nRefunds are paid within thirty days.\nAnn"),
    ]
    (table,) = document.attachments
    assert (table.name, table.document.blocks[0].rows[:2]) == ("table.csv", (("a", "b"), ("1", "2")))


@pytest.mark.promise("5.4-plain")
@pytest.mark.parametrize("suffix", SOURCES.split())
def test_source_code_is_running_text(suffix: str) -> None:
    text = "first = 1  # größe\n\n    second()\n"
    for encoding in ("utf-8", "cp1252", "utf-16"):
        assert kinds(parse(text.encode(encoding), f"a.{suffix}")) == [("plain", text)]


@pytest.mark.promise("5.4-html")
def test_pages_lose_scripts_styles_and_comments_and_keep_tables_whole() -> None:
    headings = "".join(f"<h{level}>Part {level}</h{level}>" for level in range(1, 7))
    page = f"""<html><head><style>p{{}}</style></head><body><nav>Menu</nav>{headings}<p>Te<!-- hidden -->xt.</p>
    <script>alert(1)</script><table><tr><th>Way</th><th>Fee</th></tr><tr><td>Post<style>td{{}}</style></td><td>3</td>
    </tr></table><p>After<script>alert(2)</script> it.</p></body>"""
    for suffix in ("htm", "html"):
        document = parse(page.encode(), f"a.{suffix}")
        assert [(block.kind, block.level, block.text) for block in document.blocks] == [
            *[("heading", level, f"Part {level}") for level in range(1, 7)],
            ("text", 0, "Text."),
            ("table", 0, "| Way | Fee |\n| --- | --- |\n| Post | 3 |"),
            ("text", 0, "After it."),
        ]
