import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.highlight import highlight
from app.retrieval.query import query_terms


@pytest.mark.promise("7.5-highlight")
@pytest.mark.parametrize(
    ("content", "question", "expected"),
    [
        ("chunk test 0", "chunk", "<em>chunk</em> test 0"),
        ("Many chunks here. Nothing there. A Chunk!", "chunk", "Many <em>chunks</em> here....A <em>Chunk</em>!"),
        ("One; a chunk? No! chunk; five", "chunk", "a <em>chunk</em>?...<em>chunk</em>;"),
        ("chunky bacon", "chunk", None),
        ("Version 3.11 is out. Other.", "3.11", "Version <em>3.11</em> is out."),
        ("Un CAFÉ noir", "cafe", "Un <em>CAFÉ</em> noir"),
        ("a file ragflow_test.txt", "ragflow", "a file <em>ragflow</em>_test.txt"),
        ("我们的数据库很快。别的句子。", "数据库", "我们的<em>数据库</em>很快。"),
        ("line one\nline two chunk", "chunk", "line two <em>chunk</em>"),
        ("use C++ now", "c++", "use <em>C++</em> now"),
        ("<b>chunk</b> & more", "chunk", "<b><em>chunk</em></b> & more"),
        ("nothing", "unknown", None),
        ("", "chunk", None),
    ],
)
def test_found_words_are_marked_in_their_sentences(content: str, question: str, expected: str | None) -> None:
    assert highlight(content, {term.lexeme for term in query_terms(question)}) == expected


def test_markup_can_be_escaped() -> None:
    assert highlight("<script>chunk & co", {"chunk"}, escape=True) == "&lt;script&gt;<em>chunk</em> &amp; co"


@given(st.text(alphabet="ab .!?;\n数据é_0<", max_size=100))
def test_marks_are_all_that_is_added_to_a_sentence(content: str) -> None:
    snippet = highlight(content, {"a", "b", "ab", "数据", "0"})
    if snippet is not None:
        stripped = re.sub("</?em>|\\.\\.\\.", "", snippet)
        assert set(stripped) <= set(content)
        assert snippet.count("<em>") == snippet.count("</em>") > 0
