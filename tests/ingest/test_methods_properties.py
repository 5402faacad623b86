"""What holds for every chunk method, whatever the file: nothing is lost, places are right, the same in is the same out.

Which methods lose what on purpose: book and laws a table of contents, qa and tag and table what is no row of theirs.
"""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.domain.documents import Block, ParsedDocument, Picture
from app.ingest.methods.base import Cut
from app.ingest.methods.registry import method_names
from tests.ingest.sources import contents, cut_by, letters, sheet, words

LINE = st.one_of(
    st.text("abé。, .!?:#数据1234567890第一章条()", min_size=1, max_size=60),
    st.sampled_from(
        ["Chapter I", "Section 2", "第一章 总则", "第二条 甲", "1. One", "1.1 Two", "contents", "Abstract", "（一）x"]
    ),
)
BODY = st.lists(LINE, min_size=1, max_size=6).map("\n".join)
BLOCK = st.one_of(
    st.builds(Block, kind=st.sampled_from(["text", "list", "plain"]), text=BODY, page=st.none()),
    st.builds(Block, kind=st.just("heading"), text=LINE, level=st.integers(1, 6)),
    st.builds(Block, kind=st.just("table"), text=st.just("| a | b |\n|---|---|\n| 1 | 2 |")),
    st.builds(Block, kind=st.just("image"), text=st.sampled_from(["", "read"]), picture=st.integers(0, 1)),
)
DOCUMENT = st.lists(BLOCK, max_size=14).map(
    lambda blocks: ParsedDocument(
        blocks=tuple(blocks), pictures=(Picture(data=b"1", media_type="x"), Picture(data=b"2", media_type="x"))
    )
)
NAMES = {"paper": "a.pdf", "manual": "a.pdf", "presentation": "a.pdf", "picture": "a.png"}
KEEPING = ("naive", "email", "knowledge_graph", "one", "manual", "paper", "book", "laws", "presentation", "picture")
METHODS = [name for name in method_names() if name != "audio"]


def without_contents_title(document: ParsedDocument) -> bool:
    return not any("contents" in block.text.lower() for block in document.blocks)


def is_subsequence(wanted: str, found: str) -> bool:
    rest = iter(found)
    return all(character in rest for character in wanted)


def shown(method: str, document: ParsedDocument) -> str:
    """All that a method has to keep; slides show headings without marks and tables as pairs."""
    if method == "presentation":
        return "".join(block.text for block in document.blocks if block.kind != "table")
    told = tuple(block for block in document.blocks if block.kind != "heading" or block.text.strip())
    return replace(document, blocks=told).markdown  # the mark of a heading without words is no text


@pytest.mark.promise("5.1-nothing-lost")
@pytest.mark.parametrize("method", KEEPING)
@pytest.mark.parametrize("count", [words, letters])
@settings(max_examples=60, deadline=None)
@given(document=DOCUMENT)
@example(document=ParsedDocument(blocks=(Block(kind="heading", text=" ", level=1),)))
def test_no_text_is_lost_or_put_out_of_order(
    method: str, count: Callable[[str], int], document: ParsedDocument
) -> None:
    if method in {"book", "laws"} and not without_contents_title(document):
        return
    cut = cut_by(method, document, NAMES.get(method, "a.txt"), count=count, delimiter="\n", chunk_token_num=8)
    found = "".join("".join(contents(cut)).split())
    assert is_subsequence("".join(shown(method, document).split()), found)


@pytest.mark.promise("5.1-nothing-lost")
@settings(max_examples=60, deadline=None)
@given(document=DOCUMENT)
def test_a_manual_in_word_loses_nothing(document: ParsedDocument) -> None:
    kept = ParsedDocument(blocks=tuple(block for block in document.blocks if block.kind != "table"))
    found = "".join("".join(contents(cut_by("manual", kept, "a.docx"))).split())
    assert is_subsequence("".join(kept.markdown.split()), found)


@pytest.mark.promise("5.1-positions")
@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(document=DOCUMENT)
def test_every_chunk_has_its_place_and_its_section(method: str, document: ParsedDocument) -> None:
    name = NAMES.get(method, "a.txt")
    cut = cut_by(method, document, name)
    assert [chunk.ordinal for chunk in cut.chunks] == list(range(len(cut.chunks)))
    sections = sum(block.kind == "heading" for block in document.blocks) + 1
    places = [(chunk.positions[0][0], chunk.positions[0][3]) for chunk in cut.chunks]
    assert places == sorted(places)
    for chunk in cut.chunks:
        assert chunk.positions
        assert all(len(place) == 5 and all(isinstance(part, int) for part in place) for place in chunk.positions)
        assert (chunk.section_order is None) == (not document.blocks)
        assert 0 <= (chunk.section_order or 0) < sections
        assert chunk.content.strip() or chunk.picture is not None
    assert cut == cut_by(method, document, name)


ROWS = st.lists(
    st.lists(st.text("abc12.,;\t\"' é", max_size=8), min_size=1, max_size=4).map(tuple), min_size=1, max_size=8
)


@pytest.mark.promise("5.1-nothing-lost")
@settings(max_examples=150, deadline=None)
@given(rows=ROWS)
def test_no_cell_of_a_sheet_is_lost(rows: list[tuple[str, ...]]) -> None:
    found = "\n".join(contents(cut_by("naive", [sheet(*rows)], "a.xlsx")))
    cells = Counter(cell.strip() for row in rows for cell in row if cell.strip())
    for cell, times in cells.items():
        assert found.count(cell) >= times


@pytest.mark.parametrize("method", ["qa", "tag"])
@settings(max_examples=80, deadline=None)
@given(rows=ROWS)
def test_rows_of_any_kind_are_borne(method: str, rows: list[tuple[str, ...]]) -> None:
    for name in ("a.xlsx", "a.csv"):
        cut = cut_by(method, [sheet(*rows)], name)
        assert all(chunk.content.strip() for chunk in cut.chunks if method == "qa")


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=30)
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=6), inner, max_size=6)),
    max_leaves=40,
)


def leaves(value: object) -> list[str]:
    match value:
        case dict() if value:
            return [leaf for child in value.values() for leaf in leaves(child)]
        case list() if value:
            return [leaf for child in value for leaf in leaves(child)]
        case _:
            return [json.dumps(value, ensure_ascii=False)]


@pytest.mark.promise("5.4-json-cut")
@settings(max_examples=150, deadline=None)
@given(value=JSON, size=st.integers(1, 200))
def test_no_leaf_of_json_is_lost_or_altered(value: object, size: int) -> None:
    text = json.dumps(value, ensure_ascii=False)
    cut: Cut = cut_by("naive", [Block(kind="json", text=text)], "a.json", chunk_token_num=size, count=letters)
    found = "".join("".join(contents(cut)).split())
    at = 0
    for leaf in leaves(value):
        at = found.find("".join(leaf.split()), at)
        assert at >= 0
