"""knowledge.md 5.5: book, laws, manual and paper."""

import re

import pytest

from app.domain.documents import Block, ParseFailed
from app.ingest.caps import ParseHints
from app.ingest.methods.headings import Line, is_title, levels
from app.ingest.methods.numerals import number_of
from app.ingest.parsers import parse
from tests.ingest.files import make_two_columns_pdf
from tests.ingest.sources import block, contents, cut_by, heading, words

FILLER = "some words of the text that go on"  # 8 words


def ranked(*texts: str) -> list[int | None] | None:
    return levels([Line(text, 0) for text in texts])


@pytest.mark.promise("5.5-numbering-families")
@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("第一编 总则", "第二章 人", "第三节 权", "第四条 一", "（一）甲", "x"), [0, 1, 2, 3, 4, None]),
        (("第1章 始", "2. Two", "2.1 Sub", "2.1.1 Deep", "2.1.1.1 Deeper", "x"), [0, 1, 2, 3, 4, None]),
        (("一、甲", "（二）乙", "(3) c", "(4) d", "x"), [2, 3, 4, 4, None]),
        (("第一章 始", "第一节 甲", "一、乙", "（二）丙", "(3) d", "二、丁", "x"), [0, 1, 2, 3, 4, 2, None]),
        (("PART ONE", "Chapter II", "Section 3", "Article 4", "x"), [0, 1, 2, 3, None]),
        (("# A", "## B", "### C", "#### D", "##### E", "###### F", "x"), [0, 1, 2, 3, 4, 5, None]),
        (("Chapter I", "1. One", "2. Two", "Chapter II", "3. Three"), [None, 1, 1, None, 1]),
    ],
)
def test_the_family_that_most_lines_belong_to_gives_the_levels(
    texts: tuple[str, ...], expected: list[int | None]
) -> None:
    assert ranked(*texts) == expected


@pytest.mark.promise("5.5-no-number-heading")
@pytest.mark.parametrize(
    "text", ["0", "12 34 people", "1.......... 7", "1. Introduction ........ 12", "3.5% of all", "2.1kg"]
)
def test_figures_and_dotted_leaders_are_no_headings(text: str) -> None:
    assert ranked("1. One", "2. Two", text) == [1, 1, None]


@pytest.mark.promise("5.5-no-title")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A short title", True),
        ("第三条 本法适用于境内。", True),
        ("one two three four five six seven eight nine ten eleven twelve thirteen", False),
        ("one two three four five six seven eight nine ten eleven twelve", True),
        ("x" * 32, False),
        ("x" * 31, True),
        ("This, however, is a sentence", False),
        ("结束了。", False),
        ("First; second", False),
        ("Stop!", False),
    ],
)
def test_long_lines_and_sentences_are_no_titles(text: str, expected: bool) -> None:
    assert is_title(text) is expected


@pytest.mark.parametrize(
    ("text", "number"), [("12", 12), ("IV", 4), ("二十三", 23), ("一百零五", 105), ("ten", 10), ("x1", None)]
)
def test_numbers_are_read_as_people_write_them(text: str, number: int | None) -> None:
    assert number_of(text) == number


def test_a_file_without_headings_has_no_levels() -> None:
    assert ranked("just", "lines") is None


@pytest.mark.promise("5.5-toc")
@pytest.mark.parametrize("title", ["Contents", "Table of Contents", "目录", "目 次", "Acknowledgements", "致谢"])
@pytest.mark.parametrize("method", ["book", "laws"])
def test_the_table_of_contents_is_left_out(method: str, title: str) -> None:
    text = f"My book\n{title}\nChapter I Begin\nChapter II Go on\nChapter I Begin\n{FILLER}\nChapter II Go on\n{FILLER}"
    joined = "\n".join(contents(cut_by(method, text)))
    assert joined.split("\n") == ["My book", "Chapter I Begin", FILLER, "Chapter II Go on", FILLER]


@pytest.mark.promise("5.5-toc")
def test_a_table_of_contents_may_have_127_entries() -> None:
    entries = "\n".join(f"Chapter {number} of it" for number in range(1, 200))
    short, long = (
        "\n".join(contents(cut_by("book", f"Contents\nalpha beta\n{entry}\nalpha beta\n{FILLER}")))
        for entry in ("\n".join(entries.split("\n")[:126]), "\n".join(entries.split("\n")[:127]))
    )
    assert short == f"alpha beta\n{FILLER}"
    assert long.startswith("Contents\nalpha beta\nChapter 1 of it\n")


@pytest.mark.promise("5.5-toc")
@pytest.mark.parametrize("after", ["nothing like it comes again", "\n".join(["other line"] * 200) + "\nalpha beta"])
def test_what_only_looks_like_a_table_of_contents_stays(after: str) -> None:
    joined = "\n".join(contents(cut_by("book", f"Contents\nalpha beta\n{after}")))
    assert joined.startswith("Contents\nalpha beta")


@pytest.mark.promise("5.5-book-colon-title")
def test_the_last_sentence_of_a_long_line_that_ends_with_a_colon_is_a_title() -> None:
    line = f"{FILLER}. It goes on and on here. The parts are:"
    text = f"Chapter I Begin\n{line}\n" + "\n".join(FILLER for _ in range(60))
    cut = cut_by("book", text)
    assert contents(cut)[0].startswith(f"Chapter I Begin\n{FILLER}. It goes on and on here.\nThe parts are:\n{FILLER}")
    assert contents(cut)[1].startswith(f"Chapter I Begin\nThe parts are:\n{FILLER}")


@pytest.mark.promise("5.5-book-hierarchy")
def test_lines_of_a_book_stand_under_their_headings_in_packs_of_about_218_tokens() -> None:
    long = "\n".join(f"{FILLER} {number}" for number in range(60))
    text = f"PART ONE\nChapter I\nSection 1\n{long}\nSection 2\n{FILLER}\nChapter II\n{FILLER} last"
    found = contents(cut_by("book", text))
    assert [piece.split("\n")[:3] for piece in found[:2]] == [["PART ONE", "Chapter I", "Section 1"]] * 2
    assert all(words(piece) <= 218 + 20 for piece in found)
    assert [words(piece) for piece in found[:-1]] == [186, 186, 188]  # one more line end and line exceed 218
    assert found[-1].endswith(f"Section 2\n{FILLER}\nChapter II\n{FILLER} last")


@pytest.mark.promise("5.5-book-depth")
def test_at_most_five_headings_stand_above_a_line_of_a_book() -> None:
    blocks = [*(heading(f"H{level}", level) for level in range(1, 7)), *(block("text", FILLER) for _ in range(60))]
    found = contents(cut_by("book", blocks, "a.md"))
    assert found[0].startswith("# H1\n## H2")
    assert found[1].split("\n")[:6] == ["## H2", "### H3", "#### H4", "##### H5", "###### H6", FILLER]


@pytest.mark.promise("5.5-book-soft-merge")
@pytest.mark.parametrize("method", ["book", "laws"])
def test_without_numbering_lines_are_merged_at_256_tokens(method: str) -> None:
    found = contents(cut_by(method, "\n".join(f"{FILLER} {letter * 2}" for letter in "abcdefgh" * 10)))
    assert [words(piece) for piece in found] == [234, 234, 234, 18]  # 26 lines of 9 words and a line end exceed 256


@pytest.mark.promise("5.5-tables-separate")
@pytest.mark.parametrize("method", ["book", "laws", "manual", "paper"])
def test_tables_are_chunks_of_their_own(method: str) -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    blocks = [heading("One", 1), block("text", FILLER), block("table", table), heading("Two", 1), block("text", "end")]
    cut = cut_by(method, blocks, "a.pdf")
    assert [chunk.content for chunk in cut.chunks if chunk.doc_type == "table"] == [table]
    rest = "\n".join(chunk.content for chunk in cut.chunks if chunk.doc_type != "table")
    assert [rest.count(part) for part in ("# One", FILLER, "# Two", "end", "|")] == [1, 1, 1, 1, 0]
    assert [chunk.section_order for chunk in cut.chunks] == sorted(chunk.section_order or 0 for chunk in cut.chunks)


@pytest.mark.promise("5.5-laws-tree")
def test_laws_are_cut_at_the_second_level_under_the_path_of_headings() -> None:
    text = "前言\n第一章 总则\n总述。\n第一条 甲。\n（一）子项。\n第二条 乙。\n第二章 分则\n第三条 丙。\n补充。"
    assert contents(cut_by("laws", text)) == [
        "前言",
        "第一章 总则\n总述。",
        "第一章 总则\n第一条 甲。\n（一）子项。",
        "第一章 总则\n第二条 乙。",
        "第二章 分则\n第三条 丙。\n补充。",
    ]


@pytest.mark.promise("5.5-laws-docx")
def test_laws_in_a_word_file_are_cut_by_its_heading_styles() -> None:
    blocks = [heading("A", 1), heading("B", 2), heading("C", 3), block("text", "1. under"), heading("D", 2)]
    assert contents(cut_by("laws", blocks, "a.docx")) == ["# A\n## B\n### C\n1. under", "# A\n## D"]


@pytest.mark.promise("5.5-laws-tree")
def test_a_law_without_end_is_cut_under_its_repeated_path() -> None:
    found = contents(cut_by("laws", "Chapter I\nSection 1\n" + "\n".join([FILLER] * 1000)))
    assert len(found) > 3
    assert all(piece.startswith(f"Chapter I\nSection 1\n{FILLER}") and words(piece) <= 2048 for piece in found)
    assert sum(piece.count(FILLER) for piece in found) == 1000


@pytest.mark.promise("5.5-manual-docx")
def test_a_manual_in_word_has_a_chunk_per_heading_under_those_above() -> None:
    blocks = [
        block("text", "preface"), heading("A", 1), heading("B", 2), block("text", "one"), block("image", "", picture=4),
        heading("C", 2), heading("D", 3), block("text", "two"), heading("E", 1), block("text", "three"),
    ]  # fmt: skip
    cut = cut_by("manual", blocks, "a.docx")
    assert [(chunk.content, chunk.picture) for chunk in cut.chunks] == [
        ("preface", None),
        ("# A\n## B\none", 4),
        ("# A\n## C\n### D\ntwo", None),
        ("# E\nthree", None),
    ]


@pytest.mark.promise("5.5-manual-pdf")
def test_a_manual_in_pdf_keeps_lines_of_a_section_together_up_to_1024_tokens() -> None:
    blocks: list[Block] = []
    for number in range(3):
        blocks += [heading(f"Part {number}", 1, page=number + 1)]
        blocks += [block("text", FILLER, page=number + 1) for _ in range((10, 200, 2)[number])]
    found = [words(piece) for piece in contents(cut_by("manual", blocks, "a.pdf"))]
    assert found == [83, 915, 688, 19]  # 114 lines of 8 words and a line end exceed 1024


@pytest.mark.promise("5.5-manual-pdf")
def test_sections_of_a_manual_smaller_than_32_tokens_take_what_follows() -> None:
    blocks = [
        each for number in range(4) for each in (heading(f"P {number}", 1, page=1), block("text", FILLER, page=1))
    ]
    assert [piece.count("# P") for piece in contents(cut_by("manual", blocks, "a.pdf"))] == [3, 1]


PAPER = [
    heading("On the nature of bees", 1, page=1),
    block("text", "Ann B. Smith1, Carl Jones2* and Dora Müller", page=1),
    block("text", "University of Somewhere", page=1),
    heading("Abstract", 2, page=1),
    block("text", "We study bees. They fly.", page=1),
    block("text", "Keywords: bees", page=1),
    heading("1 Introduction", 2, page=1),
    block("text", "Bees are old.", page=2),
    heading("2 Results", 2, page=2),
    block("text", "They live.", page=2),
]


@pytest.mark.promise("5.5-paper-abstract")
def test_the_abstract_of_a_paper_is_a_chunk_with_keywords() -> None:
    cut = cut_by("paper", PAPER, "bees.pdf")
    [abstract] = [chunk for chunk in cut.chunks if chunk.important_keywords]
    assert abstract.content == "## Abstract\nWe study bees. They fly."
    assert {"abstract", "summary", "summarize", "摘要"} <= set(abstract.important_keywords)


@pytest.mark.promise("5.5-paper-abstract")
def test_an_abstract_may_begin_on_its_line() -> None:
    blocks = [
        block("text", "Title of it", page=1),
        block("text", "Abstract—We fly.", page=1),
        block("text", "1. Introduction", page=1),
    ]
    cut = cut_by("paper", blocks, "a.pdf")
    assert [chunk.content for chunk in cut.chunks if chunk.important_keywords] == ["Abstract—We fly."]


@pytest.mark.promise("5.5-paper-abstract")
def test_an_abstract_begins_on_one_of_the_first_32_lines() -> None:
    for before, is_found in ((31, True), (32, False)):
        filling = "\n".join(f"line {number} of it" for number in range(before))
        cut = cut_by("paper", [block("text", f"{filling}\nAbstract\nWe fly.", page=1)], "a.pdf")
        assert [chunk.content for chunk in cut.chunks if chunk.important_keywords] == ["Abstract\nWe fly."] * is_found


@pytest.mark.promise("5.5-paper-sections")
def test_a_section_of_a_paper_is_one_chunk_up_to_the_largest_there_is() -> None:
    blocks = [
        heading("Long", 1), *(block("text", FILLER) for _ in range(200)), heading("Endless", 1),
        *(block("text", FILLER) for _ in range(300)), heading("Short", 1), block("text", FILLER),
    ]  # fmt: skip
    found = contents(cut_by("paper", blocks, "a.pdf", chunk_token_num=64))
    assert [piece.count(FILLER) for piece in found] == [200, 227, 73, 1]
    assert [piece.count("# ") for piece in found] == [1, 1, 0, 1]
    blocks = [
        each
        for text, level in (("A", 2), ("a", 3), ("B", 2), ("C", 1))
        for each in (heading(text, level), block("text", FILLER))
    ]
    assert contents(cut_by("paper", blocks, "a.pdf")) == [
        f"## A\n{FILLER}\n### a\n{FILLER}",
        f"## B\n{FILLER}",
        f"# C\n{FILLER}",
    ]


@pytest.mark.promise("5.5-paper-sections")
def test_the_rest_of_a_paper_is_merged_by_section() -> None:
    assert contents(cut_by("paper", PAPER, "bees.pdf")) == [
        "# On the nature of bees\nAnn B. Smith1, Carl Jones2* and Dora Müller\nUniversity of Somewhere",
        "## Abstract\nWe study bees. They fly.",
        "Keywords: bees",
        "## 1 Introduction\nBees are old.",
        "## 2 Results\nThey live.",
    ]


@pytest.mark.promise("5.5-paper-columns")
def test_a_page_of_two_columns_is_read_one_after_the_other() -> None:
    document = parse(make_two_columns_pdf(), "bees.pdf", hints=ParseHints(method="paper"))
    text = " ".join("\n".join(contents(cut_by("paper", document, "bees.pdf"))).split())
    found = re.findall(r"(left|right) column goes on in its line (\d+) of", text)
    assert found == [(column, str(row)) for column in ("left", "right") for row in range(30)]


@pytest.mark.promise("5.5-paper-authors")
def test_every_chunk_of_a_paper_is_found_by_its_authors() -> None:
    for chunk in cut_by("paper", PAPER, "bees.pdf").chunks:
        assert chunk.searched == f"{chunk.content}\nAnn B. Smith, Carl Jones, Dora Müller"


@pytest.mark.promise("5.5-inputs")
@pytest.mark.parametrize(
    ("method", "name", "message"),
    [
        ("paper", "a.docx", "file type not supported yet(pdf supported)"),
        ("book", "a.xlsx", "file type not supported yet(doc, docx, pdf, txt supported)"),
        ("laws", "a.csv", "file type not supported yet(doc, docx, pdf, txt supported)"),
        ("manual", "a.txt", "file type not supported yet(pdf and docx supported)"),
        ("presentation", "a.txt", "file type not supported yet(pptx, pdf supported)"),
    ],
)
def test_methods_refuse_files_they_are_not_made_for(method: str, name: str, message: str) -> None:
    with pytest.raises(ParseFailed) as refused:
        cut_by(method, [block("text", "x")], name)
    assert refused.value.message == message


@pytest.mark.promise("5.5-inputs")
@pytest.mark.parametrize("method", ["book", "laws"])
@pytest.mark.parametrize("name", ["a.docx", "a.pdf", "a.txt", "a.html", "a.htm", "a.doc", "a.md"])
def test_books_and_laws_come_in_many_forms(method: str, name: str) -> None:
    assert contents(cut_by(method, [block("text", FILLER)], name)) == [FILLER]
