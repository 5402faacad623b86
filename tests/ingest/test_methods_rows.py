"""knowledge.md 5.6 to 5.8: qa, table and tag."""

import pytest

from app.domain.documents import ParsedDocument, ParseFailed, Picture
from app.ingest.methods.cells import Kind, kind_of, typed
from tests.ingest.sources import block, contents, cut_by, heading, sheet


@pytest.mark.promise("5.6-labels", "5.6-searched-question", "5.6-top-row")
def test_a_pair_is_one_chunk_of_which_the_question_is_searched() -> None:
    cut = cut_by("qa", [sheet(("Who?", "Ann."), ("", ""), ("Where?", "Home."))], "a.csv")
    assert [(chunk.content, chunk.searched, chunk.positions) for chunk in cut.chunks] == [
        ("Question: Who?\tAnswer: Ann.", "Who?", ((1, 0, 0, 1, 1),)),
        ("Question: Where?\tAnswer: Home.", "Where?", ((1, 0, 0, 3, 3),)),
    ]


@pytest.mark.promise("5.6-labels")
def test_labels_are_chinese_for_other_languages() -> None:
    cut = cut_by("qa", "谁？\t我。", is_english=False)
    assert contents(cut) == ["问题：谁？\t回答：我。"]


@pytest.mark.promise("5.6-prefixes")
@pytest.mark.parametrize(
    ("question", "answer", "shown"),
    [
        ("Q: who", "A: me", "Question: who\tAnswer: me"),
        ("question： who", "Answer:\tme", "Question: who\tAnswer: me"),
        ("问题：谁", "答：我", "Question: 谁\tAnswer: 我"),
        ("A cat", "a dog", "Question: A cat\tAnswer: a dog"),  # an article is no prefix
    ],
)
def test_prefixes_of_questions_and_answers_are_stripped(question: str, answer: str, shown: str) -> None:
    assert contents(cut_by("qa", [sheet((question, answer))], "a.xlsx")) == [shown]


@pytest.mark.promise("5.6-sheets")
def test_a_sheet_gives_the_first_two_filled_cells_of_each_row_of_every_sheet() -> None:
    sheets = [sheet(("", "q1", "", "a1", "more"), ("lonely", ""), name="S"), sheet(("q2", "a2"), name="T")]
    cut = cut_by("qa", sheets, "a.xlsx")
    assert contents(cut) == ["Question: q1\tAnswer: a1", "Question: q2\tAnswer: a2"]
    assert [chunk.positions[0][:1] + chunk.positions[0][3:4] for chunk in cut.chunks] == [(1, 1), (2, 1)]


@pytest.mark.promise("5.6-txt")
def test_text_is_split_at_tabs_or_commas_and_other_lines_go_on_with_the_answer() -> None:
    tabs = "q, with comma\ta1\ngoes on\nq2\ta2"
    assert contents(cut_by("qa", tabs)) == ["Question: q, with comma\tAnswer: a1\ngoes on", "Question: q2\tAnswer: a2"]
    commas = "q1,a1\nno comma\nq2,a2\nx\ty"
    assert contents(cut_by("qa", commas)) == ["Question: q1\tAnswer: a1\nno comma", "Question: q2\tAnswer: a2\nx\ty"]
    assert contents(cut_by("qa", "q1\ta1\nq2,a2")) == ["Question: q1\tAnswer: a1\nq2,a2"]  # as many of both


@pytest.mark.promise("5.6-csv")
def test_csv_quoting_is_respected_and_odd_rows_go_on_with_the_answer() -> None:
    cut = cut_by("qa", 'q1,"a1, with comma"\nalone\nq2,a2\n', "a.csv")
    assert contents(cut) == ["Question: q1\tAnswer: a1, with comma\nalone", "Question: q2\tAnswer: a2"]
    assert contents(cut_by("qa", "q1\ta, b\nq2\tc\n", "a.csv")) == [
        "Question: q1\tAnswer: a, b",
        "Question: q2\tAnswer: c",
    ]
    assert contents(cut_by("qa", "q1\ta, b\nq2\tc, d\n", "a.csv")) == [
        "Question: q1\tAnswer: a, b",
        "Question: q2\tAnswer: c, d",
    ]
    assert contents(cut_by("qa", "q1\ta1\nq2,a2\nq3,a3\nq4,a4\n", "a.csv")) == [
        "Question: q1\tAnswer: a1\nq2,a2\nq3,a3\nq4,a4"
    ]
    assert contents(cut_by("qa", 'q1,"a1\tmore"\nq2,a2\n', "a.csv")) == [
        "Question: q1\tAnswer: a1\tmore",
        "Question: q2\tAnswer: a2",
    ]


@pytest.mark.promise("5.6-md")
def test_a_path_of_headings_asks_and_its_text_answers_as_html() -> None:
    text = "intro\n\n# Install\n\n## Linux\n\nRun *this*:\n\n```\n# no heading\n```\n\n"
    text += "## Mac\n\n| a | b |\n|---|---|\n| 1 | 2 |"
    cut = cut_by("qa", text, "guide.md")
    assert contents(cut)[0] == "Question: guide\tAnswer: <p>intro</p>"
    assert contents(cut)[1].startswith("Question: Install\nLinux\tAnswer: <p>Run <em>this</em>:</p>")
    assert "# no heading" in contents(cut)[1]
    assert "<td>1</td>" in contents(cut)[2]
    assert [chunk.searched for chunk in cut.chunks] == ["guide", "Install\nLinux", "Install\nMac"]
    deep = "\n\n".join(f"{'#' * level} H{level}" for level in range(1, 7))
    cut = cut_by("qa", f"{deep}\n\nso deep\n\n### Up\n\nagain", "guide.md")
    assert [chunk.searched for chunk in cut.chunks] == ["H1\nH2\nH3\nH4\nH5\nH6", "H1\nH2\nUp"]


@pytest.mark.promise("5.6-md")
def test_markup_in_an_answer_is_shown_not_run() -> None:
    assert "<script>" not in contents(cut_by("qa", "# Q\n\n<script>alert(1)</script>", "a.md"))[0]


@pytest.mark.promise("5.6-docx")
def test_a_word_files_headings_ask_and_its_tables_are_apart() -> None:
    blocks = [heading("Part", 1), heading("How?", 2), block("text", "So."), block("table", "| a |\n|---|\n| 1 |")]
    cut = cut_by("qa", blocks, "a.docx")
    assert contents(cut)[0] == "Question: Part\nHow?\tAnswer: So."
    assert contents(cut)[1].startswith("<table><caption>Table Location: a.docx &gt; Part &gt; How?</caption>")
    assert (cut.chunks[1].doc_type, cut.chunks[1].searched) == ("table", None)


@pytest.mark.promise("5.6-pdf")
def test_numbered_questions_of_a_pdf_take_what_follows_up_to_the_next_number() -> None:
    lines = "Frequently asked\n1. What is it? A tool.\nIt helps.\n2. Who made it?\nWe did, in\n"
    lines += "1999. No question.\n3. Why?\nWhy not."
    pictures = (Picture(data=b"x", media_type="image/png"),)
    blocks = (block("text", lines, page=2), block("image", "", page=3, picture=0))
    cut = cut_by("qa", ParsedDocument(blocks=blocks, pictures=pictures), "faq.pdf")
    assert contents(cut) == [
        "Question: 1. What is it?\tAnswer: A tool.\nIt helps.",
        "Question: 2. Who made it?\tAnswer: We did, in\n1999. No question.",
        "Question: 3. Why?\tAnswer: Why not.",
    ]
    assert [chunk.picture for chunk in cut.chunks] == [None, None, 0]


@pytest.mark.promise("5.6-pdf")
@pytest.mark.parametrize(
    "marks",
    [
        ("(1)", "(2)"),
        ("QUESTION 1", "QUESTION 2"),
        ("第一问", "第二问"),
        ("（十）", "（十一）"),
        ("QUESTION IV", "QUESTION V"),
    ],
)
def test_questions_are_numbered_in_many_ways(marks: tuple[str, str]) -> None:
    text = f"{marks[0]} here\nanswer one\n{marks[1]} there\nanswer two"
    cut = cut_by("qa", [block("text", text, page=1)], "faq.pdf")
    assert contents(cut) == [
        f"Question: {marks[0]} here\tAnswer: answer one",
        f"Question: {marks[1]} there\tAnswer: answer two",
    ]


@pytest.mark.promise("5.6-else")
@pytest.mark.parametrize("name", ["a.html", "a.json", "a.pptx"])
def test_other_files_are_refused_by_qa(name: str) -> None:
    with pytest.raises(ParseFailed, match=r"^Excel, csv\(txt\), pdf, markdown and docx format files are supported\.$"):
        cut_by("qa", [block("text", "x")], name)


@pytest.mark.promise("5.6-else")
def test_a_file_without_pairs_says_so() -> None:
    cut = cut_by("qa", "no pair here")
    assert (list(cut.chunks), cut.notes) == ([], ("No pair of question and answer was found.",))


ROWS = (
    ("id", "Name", "Age", "Height (cm)", "Born/Birthday", "Member", "Note"),
    ("1", "Ann", "31", "170.5", "1990-02-01", "yes", "a; b"),
    ("2", "Bob", "forty", "180", "1991/03/02 10:20", "no", ""),
    ("3", "Cid", "+7", "1,234.5", "1 Mar 1992", "x", "c"),
)


@pytest.mark.promise("5.7-row-chunks", "5.7-dropped-columns")
def test_each_row_of_a_table_is_a_chunk_of_column_and_value() -> None:
    cut = cut_by("table", [sheet(*ROWS)], "a.xlsx")
    assert contents(cut) == [
        "Name:Ann; Age:31; Height (cm):170.5; Born/Birthday:1990-02-01; Member:yes; Note:a; b",
        "Name:Bob; Age:forty; Height (cm):180; Born/Birthday:1991/03/02 10:20; Member:no",
        "Name:Cid; Age:+7; Height (cm):1,234.5; Born/Birthday:1 Mar 1992; Member:x; Note:c",
    ]
    assert [chunk.positions for chunk in cut.chunks] == [((1, 0, 0, row, row),) for row in (2, 3, 4)]


@pytest.mark.promise("5.7-dropped-columns")
def test_columns_that_only_number_the_rows_are_dropped() -> None:
    rows = (("id", "a", "_id", "index", "idx", "ids", "ID"), ("1", "x", "2", "3", "4", "5", "6"))
    cut = cut_by("table", [sheet(*rows)], "a.xlsx")
    assert contents(cut) == ["a:x; ids:5; ID:6"]
    assert set(cut.field_map) == {"a_tks", "ids_long", "id_long"}


@pytest.mark.promise("5.7-types", "5.7-typed-cells", "5.7-header-convention")
def test_columns_have_the_type_of_most_values_and_cells_are_stored_typed() -> None:
    cut = cut_by("table", [sheet(*ROWS)], "a.xlsx")
    assert [dict(chunk.row or {}) for chunk in cut.chunks] == [
        {"name_tks": "Ann", "age_long": 31, "height_flt": 170.5, "born_dt": "1990-02-01 00:00:00",
         "member_kwd": "yes", "note_tks": "a; b"},
        {"name_tks": "Bob", "age_long": None, "height_flt": 180.0, "born_dt": "1991-03-02 10:20:00",
         "member_kwd": "no", "note_tks": None},
        {"name_tks": "Cid", "age_long": 7, "height_flt": 1234.5, "born_dt": "1992-03-01 00:00:00",
         "member_kwd": None, "note_tks": "c"},
    ]  # fmt: skip


@pytest.mark.promise("5.7-field-map")
def test_the_field_map_names_the_columns_by_code() -> None:
    rows = (("unit_price", "价格（元）", "Price", "price"), ("1.5", "2", "x", "y"))
    assert dict(cut_by("table", [sheet(*rows)], "a.csv").field_map) == {
        "unit_price_flt": "unit price",
        "价格_long": "价格（元）",
        "price_tks": "Price",
        "2_price_tks": "price",
    }


@pytest.mark.promise("5.7-duplicate-names")
def test_columns_of_the_same_name_are_refused() -> None:
    with pytest.raises(ParseFailed, match=r"^Duplicate column names detected: a, b$"):
        cut_by("table", [sheet(("a", "b", "a", "b"), ("1", "2", "3", "4"))], "a.xlsx")


@pytest.mark.promise("5.7-merged-headers")
def test_merged_header_rows_are_joined() -> None:
    filled = (("Name", "Sales", "Sales", "Total"), ("Name", "North", "South", "Total"), ("Ann", "1", "2", "3"))
    assert contents(cut_by("table", [sheet(*filled)], "a.xlsx")) == ["Name:Ann; Sales-North:1; Sales-South:2; Total:3"]
    blank = (("Name", "Sales", "", ""), ("", "North", "South", "West"), ("Ann", "1", "2", "3"))
    assert contents(cut_by("table", [sheet(*blank)], "a.xlsx")) == [
        "Name:Ann; Sales-North:1; Sales-South:2; Sales-West:3"
    ]


@pytest.mark.promise("5.7-merged-headers")
def test_up_to_five_header_rows_are_joined() -> None:
    three = (
        ("Name", "Sales", "", "", "", "Total"),
        ("", "Old", "", "New", "", ""),
        ("", "North", "South", "North", "South", ""),
        ("Ann", "1", "2", "3", "4", "10"),
    )
    names = ["Name", "Sales-Old-North", "Sales-Old-South", "Sales-New-North", "Sales-New-South", "Total"]
    values = ["Ann", "1", "2", "3", "4", "10"]
    shown = "; ".join(f"{name}:{value}" for name, value in zip(names, values, strict=True))
    assert contents(cut_by("table", [sheet(*three)], "a.xlsx")) == [shown]
    filled = (
        ("Name", "Sales", "Sales", "Sales", "Sales", "Total"),
        ("Name", "Old", "Old", "New", "New", "Total"),
        ("Name", "North", "South", "North", "South", "Total"),
        ("Ann", "1", "2", "3", "4", "10"),
    )
    assert contents(cut_by("table", [sheet(*filled)], "a.xlsx")) == [shown]
    five = (
        ("A", "", "", "", ""),
        ("B", "C", "", "", ""),
        ("", "D", "E", "", ""),
        ("", "", "F", "G", ""),
        ("", "", "", "H", "I"),
        ("v", "w", "x", "y", "z"),
    )
    assert contents(cut_by("table", [sheet(*five)], "a.xlsx")) == [
        "A-B:v; A-C-D:w; A-C-E-F:x; A-C-E-G-H:y; A-C-E-G-I:z"
    ]


@pytest.mark.promise("5.7-merged-headers")
def test_a_row_of_values_is_no_second_header() -> None:
    rows = (("Name", "", "City"), ("Ann", "x", "Rome"), ("Bob", "y", "Oslo"))
    assert contents(cut_by("table", [sheet(*rows)], "a.csv")) == [
        "Name:Ann; Column 2:x; City:Rome",
        "Name:Bob; Column 2:y; City:Oslo",
    ]
    rows = (("Name", "Sales", ""), ("Ann", "x", "x"), ("Bob", "y", "y"))
    assert contents(cut_by("table", [sheet(*rows)], "a.csv")) == [
        "Name:Ann; Sales:x; Column 3:x",
        "Name:Bob; Sales:y; Column 3:y",
    ]
    rows = (("Name", "Sales", ""), ("", "x", "x"), ("Bob", "y", "z"))
    assert contents(cut_by("table", [sheet(*rows)], "a.csv"))[0] == "Sales:x; Column 3:x"


@pytest.mark.promise("5.7-separator")
@pytest.mark.parametrize("separator", ["\t", ",", ";", "|"])
@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_the_separator_of_a_text_table_is_found_out(name: str, separator: str) -> None:
    text = "\n".join(separator.join(row) for row in (("a", "b", "c"), ("1", "x y", "2"), ("3", "z", "4")))
    assert contents(cut_by("table", text, name)) == ["a:1; b:x y; c:2", "a:3; b:z; c:4"]


@pytest.mark.promise("5.7-else")
def test_other_files_are_refused_by_table() -> None:
    with pytest.raises(ParseFailed, match=r"^file type not supported yet\(excel, text, csv supported\)$"):
        cut_by("table", [block("text", "x")], "a.docx")


@pytest.mark.promise("5.8-rows")
@pytest.mark.parametrize(
    ("document", "name"),
    [
        ("first words\nmore of it\tred, v1.2,,red\nsecond\tblue", "a.txt"),
        ([sheet(("first words",), ("more of it", "red, v1.2,,red"), ("second", "blue"))], "a.xlsx"),
        ('first words\nmore of it,"red, v1.2,,red"\nsecond,blue\n', "a.csv"),
    ],
)
def test_rows_of_content_and_tags_are_chunks_with_tags(document: object, name: str) -> None:
    cut = cut_by("tag", document, name)  # type: ignore[arg-type]
    assert [(chunk.content, chunk.tags) for chunk in cut.chunks] == [
        ("first words\nmore of it", ("red", "v1_2")),
        ("second", ("blue",)),
    ]


@pytest.mark.promise("5.8-rows")
def test_rows_at_the_end_without_tags_are_told() -> None:
    cut = cut_by("tag", "a\tx\nb\nc")
    assert (contents(cut), cut.notes) == (["a"], ("2 rows at the end have no tags and were left out.",))


@pytest.mark.promise("5.8-rows")
def test_other_files_are_refused_by_tag() -> None:
    with pytest.raises(ParseFailed, match=r"^Excel, csv\(txt\) format files are supported\.$"):
        cut_by("tag", [block("text", "x")], "a.pdf")


@pytest.mark.promise("5.7-types")
@pytest.mark.parametrize(
    ("value", "kind", "held"),
    [
        ("1,234.5", "float", 1234.5),
        ("9,999,999,999,999,999,999,999,999,999", "float", 1e28),
        ("1" + ",000" * 200, "text", "1" + ",000" * 200),
        ("1" * 400, "text", "1" * 400),
        ("1e99", "float", 1e99),
        ("1e999", "text", "1e999"),
    ],
)
def test_every_number_of_a_cell_can_be_stored_as_json(value: str, kind: Kind, held: object) -> None:
    """An infinite one would fail the whole table."""
    assert kind_of(value) == kind
    assert typed(value, kind) == held
