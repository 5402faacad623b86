"""knowledge.md 5.2 to 5.4: what goes into pieces and how they are merged."""

import json
import re

import pytest

from app.domain.documents import ParsedDocument, Picture
from tests.ingest.sources import block, contents, cut_by, heading, letters, sheet, words


@pytest.mark.promise("5.2-set-of-delimiters")
def test_every_character_is_a_delimiter_and_backticks_quote_longer_ones() -> None:
    text = "one two three##four five six。seven eight nine;ten eleven twelve\nthirteen"
    cut = cut_by("naive", text, delimiter="\n。`##`;", chunk_token_num=2)
    assert contents(cut) == [
        "one two three",
        "four five six",
        "seven eight nine",
        "ten eleven twelve",
        "thirteen",
    ]
    for delimiter in ("`###``##`;", ";`##``###`"):
        assert contents(cut_by("naive", "a b###c d##e f;g h", delimiter=delimiter, chunk_token_num=1)) == [
            "a b", "c d", "e f", "g h",
        ]  # fmt: skip


@pytest.mark.promise("5.2-unescape")
@pytest.mark.parametrize("name", ["a.txt", "a.py"])
@pytest.mark.parametrize(("written", "mark"), [("\\n", "\n"), ("\\t", "\t"), ("\\\\", "\\"), ("`\\n\\n`", "\n\n")])
def test_delimiters_typed_as_backslash_sequences_mean_the_character(name: str, written: str, mark: str) -> None:
    cut = cut_by("naive", f"nine tins on{mark}top near it", name, delimiter=written, chunk_token_num=2)
    assert contents(cut) == ["nine tins on", "top near it"]


@pytest.mark.promise("5.2-unescape")
@pytest.mark.parametrize(
    ("written", "mark"), [("`\\t`", "\t"), ("`\\n\\n`", "\n\n"), ("`\\r`", "\r"), ("`\\\\`", "\\")]
)
def test_so_they_do_where_only_quoted_ones_count(written: str, mark: str) -> None:
    for name, kind in (("a.md", "text"), ("a.docx", "text"), ("a.html", "text"), ("a.txt", "plain")):
        told = block(kind, f"nine tins on{mark}top near it")  # type: ignore[arg-type]
        cut = cut_by("naive", [told], name, delimiter=written, chunk_token_num=2)
        assert contents(cut) == ["nine tins on", "top near it"], name


@pytest.mark.promise("5.3-soft-limit")
def test_a_chunk_ends_once_it_exceeds_the_limit_and_not_before() -> None:
    cut = cut_by("naive", "\n".join(f"w{number} x y" for number in range(6)), chunk_token_num=5)
    assert contents(cut) == ["w0 x y\nw1 x y", "w2 x y\nw3 x y", "w4 x y\nw5 x y"]


@pytest.mark.promise("5.3-short-sections-whole")
def test_a_section_below_the_limit_is_not_split_at_delimiters() -> None:
    assert contents(cut_by("naive", "a!b!c", delimiter="!", chunk_token_num=10)) == ["a!b!c"]


@pytest.mark.promise("5.3-long-piece-whole")
def test_a_piece_longer_than_the_limit_stays_whole_and_blank_ones_are_dropped() -> None:
    long = " ".join(["word"] * 400)
    found = contents(cut_by("naive", f"one two\n{long}\n \n\n{long}!", chunk_token_num=5))
    assert found == [f"one two\n{long}", f"{long}!"]


@pytest.mark.promise("5.3-newline-between-pieces")
def test_pieces_keep_a_line_end_between_them() -> None:
    cut = cut_by("naive", "first line\nsecond line\nthird line and more", chunk_token_num=4)
    assert contents(cut) == ["first line\nsecond line", "third line and more"]


@pytest.mark.promise("5.4-docx-table-caption")
def test_a_table_of_a_word_file_is_a_chunk_that_tells_where_it_was() -> None:
    table = block("table", "| Name | Name | Price |\n|---|---|---|\n| nut | nut | 1 < 2 |")
    cut = cut_by("naive", [heading("Shop", 1), heading("Tools", 2), block("text", "We sell."), table], "list.docx")
    assert contents(cut) == [
        "# Shop\n## Tools\nWe sell.",
        "<table><caption>Table Location: list.docx > Shop > Tools</caption>"
        '<tr><th colspan="2">Name</th><th>Price</th></tr>'
        '<tr><td colspan="2">nut</td><td>1 &lt; 2</td></tr></table>'.replace(" > ", " &gt; "),
    ]
    assert [chunk.doc_type for chunk in cut.chunks] == ["", "table"]


@pytest.mark.promise("5.4-docx-table-caption")
def test_a_huge_table_of_a_word_file_is_cut_between_rows_under_its_head_and_caption() -> None:
    rows = "\n".join(f"| r{number} | {number} |" for number in range(400))
    cut = cut_by("naive", [block("table", f"| a | b |\n|---|---|\n{rows}")], "list.docx", count=letters)
    assert len(cut.chunks) > 3
    for text in contents(cut):
        assert text.startswith("<table><caption>Table Location: list.docx</caption><tr><th>a</th><th>b</th></tr>")
        assert letters(text) < 2048
    joined = "".join(contents(cut))
    assert [joined.count(f"<td>r{number}</td>") for number in range(400)] == [1] * 400


@pytest.mark.promise("5.4-docx-images")
def test_a_picture_goes_with_the_paragraph_before_it_and_the_next_opens_a_chunk() -> None:
    pictures = tuple(Picture(data=bytes([number]), media_type="image/png") for number in range(3))
    blocks = (
        block("text", "Before."),
        block("image", "", picture=0),
        block("text", "Caption of one."),
        block("image", "read on two", picture=1),
        block("text", "After.", picture=2),
    )
    cut = cut_by("naive", ParsedDocument(blocks=blocks, pictures=pictures), "a.docx")
    assert [(chunk.content, chunk.picture) for chunk in cut.chunks] == [
        ("Before.\nCaption of one.", 0),
        ("read on two", 1),
        ("After.", 2),
    ]


@pytest.mark.promise("5.4-sheet-lines")
def test_rows_of_a_sheet_are_lines_of_header_and_value() -> None:
    rows = (("Name", "Age", "Left"), ("Ann", "31", ""), ("", "", ""), ("Bob", "", ""))
    cut = cut_by("naive", [sheet(*rows, name="People"), sheet(("x", "y"), ("1", "2"), name="Sheet1")], "a.xlsx")
    assert contents(cut) == ["Left ——People\nName：Ann; Age：31 ——People\nName：Bob ——People\nx：1; y：2"]


@pytest.mark.promise("5.4-sheet-lines")
def test_lines_of_a_sheet_are_merged_by_the_soft_limit() -> None:
    rows = [("n", "m"), *((str(number), "v") for number in range(5))]
    cut = cut_by("naive", [sheet(*rows)], "a.csv", chunk_token_num=3)
    assert contents(cut) == ["n：0; m：v\nn：1; m：v", "n：2; m：v\nn：3; m：v", "n：4; m：v"]


@pytest.mark.promise("5.4-html4excel")
def test_html4excel_makes_tables_of_twelve_rows_under_the_same_head() -> None:
    rows = [("n", "m"), *((str(number), "v") for number in range(30))]
    cut = cut_by("naive", [sheet(*rows, name="List")], "a.xlsx", html4excel=True)
    assert [text.count("<tr>") for text in contents(cut)] == [13, 13, 7]
    for text in contents(cut):
        assert text.startswith("<table><caption>List</caption><tr><th>n</th><th>m</th></tr>")
    joined = "".join(contents(cut))
    assert re.findall("<td>([0-9]+)</td>", joined) == [str(number) for number in range(30)]


CODE = ("py", "js", "java", "c", "cpp", "h", "php", "go", "ts", "sh", "cs", "kt", "sql")


@pytest.mark.promise("5.4-code-and-text")
def test_source_code_is_split_at_lines_and_keeps_its_indentation_inside() -> None:
    cut = cut_by("naive", "def f():\n    return 1\n\ndef g():\n    return 2", "a.py", chunk_token_num=3)
    assert contents(cut) == ["def f():\n    return 1", "def g():\n    return 2"]


@pytest.mark.promise("5.4-code-and-text")
@pytest.mark.parametrize("name", ["a.txt", *(f"a.{suffix}" for suffix in CODE)])
def test_parts_of_text_and_code_are_merged_until_the_size_is_passed(name: str) -> None:
    """A part is added while the chunk is not over its size, so the last one may reach beyond it."""
    words = "one two\nthree four\nfive six\nseven eight"
    assert contents(cut_by("naive", words, name, delimiter="\n", chunk_token_num=3)) == [
        "one two\nthree four",
        "five six\nseven eight",
    ]
    assert contents(cut_by("naive", words, name, delimiter="\n", chunk_token_num=100)) == [words]


@pytest.mark.promise("5.2-markdown-quoted", "5.4-md-blocks")
def test_markdown_is_cut_into_blocks_and_at_quoted_delimiters_only() -> None:
    text = "# T\n\n- one!\n- two!\n\n```\na!\nb\n```\n\n> said!\n\nlast! words"
    assert contents(cut_by("naive", text, "a.md", delimiter="!", chunk_token_num=2)) == [
        "# T\n- one!\n- two!",
        "```\na!\nb\n```",
        "> said!",
        "last! words",
    ]
    quoted = "# T\n\nmany words here\n\nmore\n\n@@ other text"
    cut = cut_by("naive", quoted, "a.md", delimiter="`@@`", chunk_token_num=2)
    assert contents(cut) == ["# T\nmany words here\n\nmore", " other text"]


@pytest.mark.promise("5.4-md-blocks")
def test_a_list_of_markdown_keeps_its_continuation_lines_and_a_paragraph_ends_at_the_next_block() -> None:
    text = "one line\nthe same paragraph\n- item\n  goes on\n- next\n\n> said\n> more\n\n~~~\n# code\n~~~\nend"
    assert contents(cut_by("naive", text, "a.md", chunk_token_num=1)) == [
        "one line\nthe same paragraph",
        "- item\n  goes on\n- next",
        "> said\n> more",
        "~~~\n# code\n~~~",
        "end",
    ]


@pytest.mark.promise("5.4-md-tables")
def test_a_table_of_markdown_is_an_html_chunk_of_its_own() -> None:
    text = "# T\n\nbefore\n\n| a | b |\n|---|---|\n| 1 | 1 < 2 |\n\nafter"
    cut = cut_by("naive", text, "a.md")
    table = "<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>1 &lt; 2</td></tr></table>"
    assert contents(cut) == ["# T\nbefore", table, "after"]
    assert [chunk.doc_type for chunk in cut.chunks] == ["", "table", ""]
    kept = "<table>\n<tr><td>as it is</td></tr>\n</table>"
    assert contents(cut_by("naive", f"before\n\n{kept}\n\nafter", "a.md")) == ["before", kept, "after"]


@pytest.mark.promise("5.4-html-cut")
@pytest.mark.parametrize("level", range(1, 7))
def test_headings_of_html_have_their_marks(level: int) -> None:
    cut = cut_by("naive", f"<h{level}>Running</h{level}><p>Dogs.</p><style>p {{}}</style><!-- no -->", "a.htm")
    assert contents(cut) == [f"{'#' * level} Running\nDogs."]


@pytest.mark.promise("5.4-html-cut")
def test_html_is_packed_within_the_limit_and_cut_as_it_was_written() -> None:
    told = "Dogs were running fast. " * 30
    table = "<table><tr><td>a</td><td>b</td></tr><tr><td>1</td><td>2</td></tr></table>"
    page = f"<h2>Running</h2><script>no()</script><p>{told}</p>{table}"
    cut = cut_by("naive", page, "a.html", chunk_token_num=40)
    assert contents(cut)[0].startswith("## Running\nDogs were running fast.")
    assert max(map(words, contents(cut))) <= 40 + 40
    assert "no()" not in "".join(contents(cut))
    assert "".join(contents(cut)).count("Dogs were running fast.") == 30
    assert len(cut.chunks) < 30 * 4 / 40 + 3
    assert [chunk.doc_type for chunk in cut.chunks[-2:]] == ["", "table"]
    rows = "".join(f"<tr><td>r{number}</td><td>of the table</td></tr>" for number in range(50))
    cut = cut_by("naive", f"<p>before</p><table>{rows}</table><p>after</p>", "a.html", chunk_token_num=10)
    assert [chunk.content.count("of the table") for chunk in cut.chunks] == [0, 50, 0]


@pytest.mark.promise("5.4-json-cut")
def test_json_is_split_into_sub_objects_that_keep_their_path() -> None:
    value = {"shop": {"name": "A" * 40, "items": [{"id": n, "price": 1.50, "text": "t" * 60} for n in range(20)]}}
    cut = cut_by("naive", [block("json", json.dumps(value))], "a.json", chunk_token_num=100, count=letters)
    parts = [json.loads(line) for text in contents(cut) for line in text.split("\n")]
    assert all(len(line) < 200 for text in contents(cut) for line in text.split("\n"))
    found = [item for part in parts for item in part["shop"].get("items", {}).items()]
    assert [index for index, _ in found] == sorted((index for index, _ in found), key=int)
    assert {index: item["id"] for index, item in found if "id" in item} == {str(n): n for n in range(20)}
    assert "".join(contents(cut)).count('"price": 1.5') == 20
    small = {"shop": {"prices": {f"p{n}": n for n in range(200)}}}
    cut = cut_by("naive", [block("json", json.dumps({"a": 1} | small))], "a.json", chunk_token_num=100, count=letters)
    assert contents(cut)[0].startswith('{"a": 1, "shop": {"prices": {"p0": 0, ')  # a part below 50 is not closed
    cut = cut_by("naive", [block("json", json.dumps(small))], "a.json", chunk_token_num=100, count=letters)
    parts = [line for text in contents(cut) for line in text.split("\n")]
    assert all(50 <= len(line) < 200 for line in parts[:-1]), parts
    assert len(parts) < 50
    assert {key: n for part in parts for key, n in json.loads(part)["shop"]["prices"].items()} == small["shop"][
        "prices"
    ]


@pytest.mark.promise("5.4-json-cut")
@pytest.mark.parametrize("text", ['{"a": 1.2300e5}', '{"a": {}}', "[]", '"word"', "{broken", "[" * 5000])
def test_odd_json_is_kept_as_it_stands(text: str) -> None:
    cut = cut_by("naive", [block("json", text)], "a.json", chunk_token_num=5)
    assert "".join("".join(contents(cut)).split()) == "".join(text.split())


@pytest.mark.promise("5.4-json-cut")
def test_lines_of_json_are_merged_like_other_pieces() -> None:
    cut = cut_by("naive", [block("json", f'{{"n": {n}}}') for n in range(6)], "a.jsonl", chunk_token_num=3)
    assert contents(cut) == [f'{{"n": {n}}}\n{{"n": {n + 1}}}' for n in (0, 2, 4)]


@pytest.mark.promise("5.1-positions")
def test_positions_are_five_whole_numbers_in_reading_order() -> None:
    blocks = [block("text", f"words on page {page} {'x ' * 20}", page=page) for page in (1, 1, 2, 3)]
    for document, name in ((blocks, "a.pdf"), ([block("plain", "a\nb\nc")], "a.txt")):
        cut = cut_by("naive", document, name, chunk_token_num=1)
        places = [position for chunk in cut.chunks for position in chunk.positions]
        assert all(len(position) == 5 for position in places)
        assert [(page, top) for page, _, _, top, _ in places] == sorted((page, top) for page, _, _, top, _ in places)
        assert len(cut.chunks) == (4 if name == "a.pdf" else 3)


@pytest.mark.promise("5.1-positions")
def test_what_has_no_page_stands_behind_what_it_follows() -> None:
    """Pages that a PDF links to, and files in it, have no page of theirs."""
    told = (("one", 7), ("two", None), ("three", 9), ("# four", None), ("five", None))
    blocks = [heading(text[2:], 1) if text.startswith("#") else block("text", text, page=page) for text, page in told]
    cut = cut_by("naive", blocks, "a.pdf", chunk_token_num=1)
    assert [(chunk.content, chunk.positions) for chunk in cut.chunks] == [
        ("one", ((7, 0, 0, 0, 0),)),
        ("two", ((7, 0, 0, 1, 1),)),
        ("three", ((9, 0, 0, 2, 2),)),
        ("# four\nfive", ((9, 0, 0, 3, 3),)),
    ]
    first = cut_by("naive", [block("text", "one"), block("text", "two", page=1)], "a.pdf", chunk_token_num=1)
    assert [chunk.positions for chunk in first.chunks] == [((1, 0, 0, 0, 0),), ((1, 0, 0, 1, 1),)]


@pytest.mark.promise("5.9-knowledge-graph")
def test_knowledge_graph_cuts_like_naive_in_chunks_of_8192_tokens() -> None:
    text = "\n".join("word " * 100 for _ in range(200))
    graph = cut_by("knowledge_graph", text)
    assert [words(text) for text in contents(graph)] == [8100, 8100, 3800]
    assert words(contents(cut_by("naive", text))[0]) == 600
