"""knowledge.md 5.5: one, presentation, picture, audio, email; 2.8: page ranges; 1.3: odd configs."""

import struct
from typing import Any

import pytest

from app.domain.documents import Attachment, ParsedDocument, ParseFailed, Picture
from app.ingest.methods.attachments import with_attachments
from app.ingest.methods.general import is_enough
from app.ingest.methods.registry import check_file, hints_of, method_names, method_of, page_steps
from app.ingest.parser_config import CutSettings, read_settings
from tests.ingest.sources import block, contents, cut_by, heading, sheet, words


def png(width: int, height: int) -> Picture:
    head = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", width, height)
    return Picture(data=head + b"\x08\2\0\0\0", media_type="image/png")


@pytest.mark.promise("5.5-one")
def test_one_makes_one_chunk_of_a_whole_file_with_sheets_as_html() -> None:
    text = "\n".join(f"line {number}" + " word" * 50 for number in range(100))
    assert contents(cut_by("one", text, chunk_token_num=10)) == [text]
    rows = [heading("T", 1), sheet(("a", "b"), ("1", "2"), name="S")]
    assert contents(cut_by("one", rows, "a.xlsx")) == [
        "# T\n<table><caption>S</caption><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>"
    ]


@pytest.mark.promise("5.5-presentation")
def test_each_slide_is_a_chunk_on_its_full_page_with_its_picture() -> None:
    blocks = (
        heading("Welcome", 1, page=1),
        block("list", "- a\n  - b", page=1),
        block("table", "| k | v |\n|---|---|\n| x | 1 |\n| y | 2 |", page=2, picture=1),
        block("image", "", page=3, picture=2),
    )
    first = block("text", "shown", page=1, picture=0)
    document = ParsedDocument(blocks=(first, *blocks), pictures=(png(800, 600), png(80, 60), png(8, 6)), pages=3)
    cut = cut_by("presentation", document, "a.pptx")
    assert [(chunk.content, chunk.picture, chunk.positions) for chunk in cut.chunks] == [
        ("shown\nWelcome\n- a\n  - b", 0, ((1, 0, 800, 0, 600),)),
        ("k: x; v: 1\nk: y; v: 2", 1, ((2, 0, 80, 0, 60),)),
        ("", 2, ((3, 0, 8, 0, 6),)),
    ]


@pytest.mark.promise("5.5-presentation")
def test_a_jpeg_of_a_page_tells_its_size_too() -> None:
    data = b"\xff\xd8\xff\xe0\0\x04ab\xff\xc0\0\x11\x08" + struct.pack(">HH", 300, 400) + b"\3"
    document = ParsedDocument(
        blocks=(block("text", "x", page=1, picture=0),), pictures=(Picture(data=data, media_type="image/jpeg"),)
    )
    assert cut_by("presentation", document, "a.pdf").chunks[0].positions == ((1, 0, 400, 0, 300),)


@pytest.mark.promise("5.5-picture")
def test_a_picture_is_one_chunk_with_what_was_read_on_it() -> None:
    document = ParsedDocument(blocks=(block("image", "STOP", picture=0),), pictures=(png(9, 9),))
    [chunk] = cut_by("picture", document, "a.png").chunks
    assert (chunk.content, chunk.doc_type, chunk.picture) == ("STOP", "image", 0)
    bare = ParsedDocument(blocks=(block("image", "", picture=0),), pictures=(png(9, 9),))
    [chunk] = cut_by("picture", bare, "a.png").chunks
    assert (chunk.content, chunk.doc_type, chunk.picture) == ("", "image", 0)


@pytest.mark.promise("5.5-picture")
def test_more_than_32_words_or_characters_need_no_description() -> None:
    assert is_enough("word " * 33, is_english=True)
    assert not is_enough("word " * 32, is_english=True)
    assert is_enough("字" * 33, is_english=False)
    assert not is_enough("字 " * 32, is_english=False)
    assert not is_enough("x" * 200, is_english=True)


@pytest.mark.promise("5.5-audio")
@pytest.mark.parametrize(("method", "name"), [("audio", "a.mp3"), ("naive", "a.wav"), ("audio", "a.bin")])
def test_sound_fails_clearly(method: str, name: str) -> None:
    with pytest.raises(ParseFailed, match="audio is not supported, there is no model that turns speech into text"):
        check_file(method_of(method), name)


MAIL = ParsedDocument(
    blocks=(block("plain", "From: ann@example.org\nSubject: Plan"), block("text", "See the files.")),
    pictures=(png(1, 1),),
    attachments=(
        Attachment(
            name="list.csv",
            document=ParsedDocument(
                blocks=(sheet(("a", "b"), ("1", "2")), block("image", "", picture=0)), pictures=(png(2, 2),)
            ),
        ),
        Attachment(name="bad.pdf", document=ParsedDocument(), failure="it is damaged"),
        Attachment(name="empty.txt", document=ParsedDocument(notes=("a page was skipped",))),
    ),
)


@pytest.mark.promise("5.5-email")
def test_an_email_is_its_headers_its_text_and_its_attachments() -> None:
    cut = cut_by("email", MAIL, "a.eml")
    assert [(chunk.content, chunk.section_order, chunk.picture) for chunk in cut.chunks] == [
        ("From: ann@example.org\nSubject: Plan\nSee the files.", 0, None),
        ("# list.csv\na：1; b：2", 1, 1),
    ]


@pytest.mark.promise("5.4-embedded-cut")
@pytest.mark.parametrize("name", ["a.docx", "a.xlsx", "a.pptx"])
def test_files_inside_office_files_are_cut_too(name: str) -> None:
    assert "# list.csv\na：1; b：2" in contents(cut_by("naive", MAIL, name))


@pytest.mark.promise("5.4-embedded-cut")
def test_files_inside_those_files_are_left_out_with_a_note() -> None:
    outer = ParsedDocument(attachments=(Attachment(name="inner.eml", document=MAIL),))
    read = with_attachments(outer)
    assert [each.text for each in read.blocks] == [
        "inner.eml", "From: ann@example.org\nSubject: Plan", "See the files.",
    ]  # fmt: skip
    assert read.notes == ("inner.eml holds files itself; they were left out.",)
    assert [chunk.content for chunk in cut_by("naive", outer, "a.docx").chunks] == [
        "# inner.eml\nFrom: ann@example.org\nSubject: Plan\nSee the files."
    ]
    assert contents(cut_by("qa", outer, "a.docx")) == []


@pytest.mark.promise("2.8-task-pages", "5.9-knowledge-graph")
@pytest.mark.parametrize(
    ("method", "config", "pages", "steps"),
    [
        ("naive", {}, 30, [(1, 13), (13, 25), (25, 31)]),
        ("paper", {}, 30, [(1, 23), (23, 31)]),
        ("one", {}, 30, [(1, 31)]),
        ("knowledge_graph", {}, 30, [(1, 31)]),
        ("naive", {"layout_recognize": "Plain Text"}, 30, [(1, 31)]),
        ("naive", {"layout_recognize": "deepdoc"}, 13, [(1, 13), (13, 14)]),
        ("naive", {"toc_extraction": True, "task_page_size": 5}, 30, [(1, 31)]),
        ("naive", {"toc_extraction": False}, 30, [(1, 13), (13, 25), (25, 31)]),
        ("paper", {"task_page_size": 20}, 30, [(1, 21), (21, 31)]),
        ("one", {"task_page_size": 20}, 30, [(1, 31)]),
        ("naive", {"task_page_size": 20}, 30, [(1, 21), (21, 31)]),
        ("naive", {"pages": [[2, 3], [10, 99]], "task_page_size": 15}, 30, [(2, 4), (10, 25), (25, 31)]),
    ],
)
def test_the_log_speaks_of_pages_in_steps(
    method: str, config: dict[str, Any], pages: int, steps: list[tuple[int, int]]
) -> None:
    settings = read_settings(method, config)
    assert page_steps(method_of(method), settings, "a.pdf", pages=pages, rows=0) == steps


@pytest.mark.promise("2.8-task-pages")
def test_tables_are_told_by_3000_rows_and_other_files_as_a_whole() -> None:
    steps = page_steps(method_of("table"), CutSettings(), "a.xlsx", pages=None, rows=7000)
    assert steps == [(1, 3001), (3001, 6001), (6001, 7001)]
    assert page_steps(method_of("naive"), CutSettings(), "a.txt", pages=None, rows=7000) == []


@pytest.mark.promise("1.3-read-keys")
def test_settings_are_read_from_a_parser_config() -> None:
    sent = {
        "chunk_token_num": 64, "delimiter": "!", "html4excel": True, "layout_recognize": "Plain Text",
        "pages": [[1, 3], [5, 5]], "task_page_size": 7,
    }  # fmt: skip
    settings = read_settings("naive", sent)
    assert settings == CutSettings(
        chunk_token_num=64, delimiter="!", html4excel=True, layout_recognize="Plain Text", pages=((1, 3), (5, 5)),
        task_page_size=7,
    )  # fmt: skip
    assert [page for page in range(1, 8) if settings.has_page(page)] == [1, 2, 3, 5]
    assert hints_of(method_of("presentation"), settings).page_pictures
    assert hints_of(method_of("naive"), settings).pages == ((1, 3), (5, 5))
    assert hints_of(method_of("naive"), settings).layout == "Plain Text"


@pytest.mark.promise("1.3-odd-values-fall-back")
@pytest.mark.parametrize("odd", [None, -1, 0, True, "12", 3.5, [], {}, [["a"]], [[3, 1]], [[0, 2]], [[1]], "", 10**9])
def test_odd_values_act_as_the_default(odd: Any) -> None:
    keys = ("chunk_token_num", "delimiter", "html4excel", "layout_recognize", "pages", "task_page_size")
    settings = read_settings("naive", dict.fromkeys(keys, odd))
    assert settings.chunk_token_num == 512
    assert settings.delimiter == (odd if isinstance(odd, str) and odd else "\n")
    assert settings.html4excel is (odd is True)
    assert settings.layout_recognize == (odd if isinstance(odd, str) and odd else "DeepDOC")
    assert settings.pages == ()
    assert settings.task_page_size == (odd if odd == 10**9 else None)


@pytest.mark.promise("1.3-odd-values-fall-back")
@pytest.mark.parametrize("method", method_names())
def test_no_config_makes_a_method_crash(method: str) -> None:
    values: list[Any] = [None, [], {"a": 1}, "x", -5, 1e300]
    plain = read_settings(method, {})
    for odd in values:
        read = read_settings(method, {"chunk_token_num": odd, "delimiter": odd, "pages": odd, "raptor": odd})
        assert (read.chunk_token_num, read.pages) == (plain.chunk_token_num, plain.pages)
        assert read.delimiter == (odd if odd == "x" else plain.delimiter)


@pytest.mark.promise("5.9-knowledge-graph")
def test_knowledge_graph_has_large_defaults_of_its_own() -> None:
    settings = read_settings("knowledge_graph", {})
    assert (settings.chunk_token_num, settings.delimiter) == (8192, "\\n")
    assert read_settings("knowledge_graph", {"chunk_token_num": 128}).chunk_token_num == 128


@pytest.mark.promise("2.1-methods-exist")
def test_every_method_a_document_may_have_is_built() -> None:
    wanted = "naive manual qa table paper book laws presentation picture one knowledge_graph email tag audio"
    assert sorted(method_names()) == sorted(wanted.split())
    assert all(method_of(name).name == name for name in wanted.split())


def test_an_empty_file_has_no_chunks_whatever_the_method() -> None:
    names = {"paper": "a.pdf", "manual": "a.pdf", "presentation": "a.pdf", "audio": "a.md", "picture": "a.png"}
    for method in method_names():
        if method != "audio":
            assert contents(cut_by(method, ParsedDocument(), names.get(method, "a.txt"))) == []
    assert words("") == 0
