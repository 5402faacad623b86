import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.documents import Block, OutlineSection, ParsedDocument, RawChunk
from app.ingest.chunking import MAX_CHUNK_TOKENS, NaiveConfig, chunk_id, chunk_naive
from app.ingest.cutting import cut
from app.ingest.delimiters import parse_delimiters
from app.ingest.outline import outline
from app.ingest.parsers import parse


def words(text: str) -> int:
    return len(text.split())


def letters(text: str) -> int:
    """A tokenizer for which every character counts, white space too: the sharpest bound."""
    return len(text)


def chunks_of(text: str, filename: str = "a.txt", **config: object) -> list[RawChunk]:
    document = parse(text.encode(), filename)
    return chunk_naive(outline(document, filename), NaiveConfig(**config), words)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "quoted", "single"),
    [
        ("\n", (), ("\n",)),
        ("\\n", (), ("\n",)),
        ("\\n!", (), ("\n", "!")),
        ("\n。`##`;", ("##",), ("\n", ";", "。")),
        ("`ab``abc`", ("abc", "ab"), ()),
        (r"`\n\n`\t\\", ("\n\n",), ("\t", "\\")),
        ("`", (), ("`",)),
    ],
)
def test_delimiters_are_read_as_written(written: str, quoted: tuple[str, ...], single: tuple[str, ...]) -> None:
    delimiters = parse_delimiters(written)
    assert (delimiters.quoted, delimiters.single) == (quoted, single)


def test_the_longest_delimiter_wins_and_is_dropped() -> None:
    assert parse_delimiters("`###``##`;").split("a###b##c;d") == ["a", "b", "c", "d"]


def test_a_short_file_is_one_chunk_as_it_stands() -> None:
    (chunk,) = chunks_of("One line!\nAnother line.")
    assert chunk.content == "One line!\nAnother line."
    assert (chunk.section_order, chunk.ordinal, chunk.positions) == (0, 0, ((1, 0, 0, 0, 0),))


def test_pieces_are_merged_until_the_limit_is_exceeded_and_lines_stay_apart() -> None:
    chunks = chunks_of("a b\nc d\ne f\ng h\ni j", chunk_token_num=5)
    assert [chunk.content for chunk in chunks] == ["a b\nc d", "e f\ng h", "i j"]
    assert [chunk.positions for chunk in chunks] == [((1, 0, 0, 0, 0),), ((2, 1, 1, 1, 1),), ((3, 2, 2, 2, 2),)]


def test_a_long_piece_stays_whole() -> None:
    line = "word " * 100
    assert [words(chunk.content) for chunk in chunks_of(f"{line}\n{line}", chunk_token_num=10)] == [100, 100]


def test_a_monstrous_piece_is_cut_after_sentences() -> None:
    text = "This sentence has exactly seven words here. " * 5000
    chunks = chunks_of(text, chunk_token_num=128)
    assert all(chunk.content.endswith("here.") for chunk in chunks)
    assert max(words(chunk.content) for chunk in chunks) <= 2 * 128
    assert " ".join(chunk.content for chunk in chunks).split() == text.split()


def test_a_word_without_end_is_cut_too() -> None:
    section = OutlineSection(
        order=0, level=1, title="a", path=("a",), parent_order=None, blocks=(Block(kind="plain", text="x" * 200_000),)
    )
    chunks = chunk_naive([section], NaiveConfig(), letters)
    assert max(len(chunk.content) for chunk in chunks) <= MAX_CHUNK_TOKENS
    assert sum(chunk.content.count("x") for chunk in chunks) == 200_000


def test_each_section_has_its_own_chunks_that_begin_with_its_heading() -> None:
    chunks = chunks_of("# One\n\nfirst text\n\n## Two\n\nsecond text\n\nmore", "a.md")
    assert [(chunk.content, chunk.section_order) for chunk in chunks] == [
        ("# One\nfirst text", 0),
        ("## Two\nsecond text\nmore", 1),
    ]


def test_a_heading_without_text_opens_the_next_sections_chunk() -> None:
    chunks = chunks_of("# Book\n\n## Chapter\n\ntext\n\n## Empty", "a.md")
    assert [(chunk.content, chunk.section_order) for chunk in chunks] == [
        ("# Book\n## Chapter\ntext", 1),
        ("## Empty", 2),
    ]


def test_tables_are_chunks_of_their_own_in_their_place() -> None:
    chunks = chunks_of("# T\n\nbefore\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nafter", "a.md")
    assert [chunk.content for chunk in chunks] == ["# T\nbefore", "| a | b |\n|---|---|\n| 1 | 2 |", "after"]


def test_a_table_keeps_its_heading_with_it_when_nothing_else_follows_the_heading() -> None:
    (chunk,) = chunks_of("# Prices\n\n| a | b |\n|---|---|\n| 1 | 2 |", "a.md")
    assert chunk.content.startswith("# Prices\n| a | b |")


def test_a_huge_table_is_cut_between_rows_under_a_repeated_head() -> None:
    rows = "\n".join(f"| row {number} | value {number} |" for number in range(2000))
    chunks = chunks_of(f"| name | value |\n|---|---|\n{rows}", "a.md")
    assert len(chunks) > 3
    for chunk in chunks:
        assert chunk.content.startswith("| name | value |\n|---|---|\n| row ")
        assert words(chunk.content) <= MAX_CHUNK_TOKENS
        assert chunk.content.endswith("|")


def test_markdown_is_not_split_at_single_characters_but_at_quoted_ones() -> None:
    text = "# A\n\none! two! " + "three! " * 40
    assert "!" in chunks_of(text, "a.md", delimiter="\n!", chunk_token_num=10)[0].content
    split = chunks_of("# A\n\nx" + " x" * 20 + "@@y" + " y" * 20, "a.md", delimiter="`@@`", chunk_token_num=10)
    assert [set(chunk.content.split()) for chunk in split] == [{"#", "A", "x"}, {"y"}]


def test_chunks_of_a_pdf_carry_their_pages() -> None:
    blocks = (Block(kind="text", text="one", page=1), Block(kind="text", text="two", page=2))
    (chunk,) = chunk_naive(outline(ParsedDocument(blocks=blocks), "a.pdf"), NaiveConfig(), words)
    assert chunk.positions == ((1, 0, 0, 0, 0), (2, 0, 0, 0, 0))


def test_a_chunk_id_is_sixteen_hex_digits_of_text_and_document() -> None:
    assert re.fullmatch("[0-9a-f]{16}", chunk_id("a", "d"))
    assert chunk_id("a", "d") == chunk_id("a", "d") != chunk_id("a", "e")


TEXT = st.text(alphabet="ab cdé。.!;\n\t #|-数据 `", max_size=400)
CONFIG = st.builds(
    NaiveConfig,
    chunk_token_num=st.integers(1, 60),
    delimiter=st.sampled_from(["\n", "\\n", "\n!", "`ab`", "\n。;!", "`ab`."]),
)


def without(text: str, delimiter: str) -> str:
    delimiters = parse_delimiters(delimiter)
    for gone in (*delimiters.quoted, *delimiters.single):
        text = text.replace(gone, "")
    return "".join(text.split())


@settings(max_examples=300)
@given(TEXT, CONFIG, st.sampled_from([words, letters]))
def test_no_text_is_lost_in_a_plain_file(text: str, config: NaiveConfig, count: object) -> None:
    sections = outline(parse(text.encode(), "a.txt"), "a.txt")
    chunks = chunk_naive(sections, config, count)  # type: ignore[arg-type]
    joined = "".join(chunk.content for chunk in chunks)
    if "ab" not in config.delimiter:  # a quoted delimiter may come to be where another was taken out
        assert without(joined, config.delimiter) == without(text, config.delimiter)
    assert chunks == chunk_naive(sections, config, count)  # type: ignore[arg-type]
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))
    assert all(chunk.content.strip() for chunk in chunks)


BLOCK = st.one_of(
    st.builds(
        Block,
        kind=st.sampled_from(["text", "list", "code", "plain"]),
        text=st.text("ab .。\n", min_size=1, max_size=900),
    ),
    st.builds(Block, kind=st.just("heading"), text=st.text("ab ", min_size=1, max_size=30), level=st.integers(1, 3)),
    st.builds(Block, kind=st.just("table"), text=st.just("| a | b |\n|---|---|\n| 1 | 2 |")),
)


@settings(max_examples=200)
@given(st.lists(BLOCK, max_size=12), st.integers(1, 400))
def test_bounds_hold_and_nothing_is_lost_in_a_structured_file(blocks: list[Block], limit: int) -> None:
    document = ParsedDocument(blocks=tuple(blocks))
    chunks = chunk_naive(outline(document, "a.md"), NaiveConfig(chunk_token_num=limit), letters)

    assert "".join("".join(chunk.content for chunk in chunks).split()) == "".join(document.markdown.split())
    piece = max([limit, 32, *(len(block.text) for block in blocks if block.kind in {"plain", "table"})], default=0)
    headings = sum(len(block.text) + 8 for block in blocks if block.kind == "heading")
    for chunk in chunks:
        assert len(chunk.content) <= min(MAX_CHUNK_TOKENS, limit + piece + headings + 2)


@given(st.text(max_size=300), st.integers(1, 40))
def test_cutting_loses_only_white_space_and_respects_the_limit(text: str, limit: int) -> None:
    parts = cut(text, limit, letters)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(len(part) <= limit for part in parts)
