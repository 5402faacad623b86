import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.lexemes import MAX_LEXEME_BYTES, fine_lexemes, fold, lexemes
from app.retrieval.query import MAX_TERMS_LONG, MAX_TERMS_SHORT, is_short, minimum_matches, query_terms
from app.retrieval.text_index import bag, has_lexemes, token_stream, tsvector


@pytest.mark.promise("7.1-stream")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ragflow_test_upload_0.txt", ["ragflow", "test", "upload", "0", "txt"]),
        ("Refunds, refunded & refunding", ["refund", "refund", "refund"]),
        ("Größe CAFÉ naïve Łódź", ["gross", "cafe", "naiv", "lodz"]),
        ("Ｆｕｌｌ１ ｗｉｄｔｈ", ["full1", "width"]),
        ("C++ and C# in .NET", ["c++", "and", "c#", "in", "net"]),
        ("3.11.7 costs 1,000,000 or 2.5", ["3.11.7", "cost", "1000000", "or", "2.5"]),
        ("Python 3. Then 1,2", ["python", "3", "then", "1", "2"]),
        ("возвраты Ёлки", ["возврат", "елк"]),
        ("数据库 DB", ["数据", "据库", "db"]),
        ("库", ["库"]),
        ("カタカナ ｶﾞ", ["カタ", "タカ", "カナ", "ガ"]),
        ("대한민국", ["대한", "한민", "민국"]),
        ("", []),
        ("!? --- __", []),
    ],
)
def test_text_becomes_tokens(text: str, expected: list[str]) -> None:
    assert lexemes(text) == expected


@pytest.mark.promise("7.1-fine")
def test_fine_tokens_are_the_smaller_parts() -> None:
    assert fine_lexemes("数据 v2 3.11 chunkTokenNum plain 1,000") == [
        "数",
        "据",
        "v",
        "2",
        "3",
        "11",
        "chunk",
        "token",
        "num",
    ]


@given(st.text())
def test_folding_twice_changes_nothing_in_the_tokens(text: str) -> None:
    assert lexemes(fold(text)) == lexemes(text)


@given(st.text())
def test_lexemes_fit_into_postgres(text: str) -> None:
    for lexeme in (*lexemes(text), *fine_lexemes(text)):
        assert lexeme
        assert not lexeme.isspace()
        assert len(lexeme.encode(errors="replace")) <= MAX_LEXEME_BYTES


def test_a_word_without_end_is_shortened() -> None:
    assert [len(lexeme) for lexeme in lexemes("x" * 100_000)] == [MAX_LEXEME_BYTES]


@pytest.mark.promise("7.1-stream")
@given(st.text(alphabet="abc déЖж数据0123 _-.,'", max_size=60))
def test_a_question_made_of_a_chunks_own_words_finds_it(text: str) -> None:
    found = bag(text, "")
    for term in query_terms(text):
        if "'" not in text:
            assert term.lexeme in found


@pytest.mark.promise("7.5-file-names")
def test_the_fixture_of_the_contract_is_found_by_its_words() -> None:
    title = "ragflow_test_upload_0"
    parsed = bag("This is the content of a test TXT file.", title)
    added = [bag(f"chunk test {number}", "") for number in range(4)]

    def hits(question: str) -> int:
        terms = {term.lexeme for term in query_terms(question)}
        return sum(bool(terms & found) for found in [parsed, *added])

    assert [hits(question) for question in ("chunk", "1", "ragflow", "unknown")] == [4, 1, 1, 0]


POSTING = re.compile(r"'(?:[^'\\]|''|\\\\)*'(?::\d+[ABC]?(?:,\d+[ABC]?)*)?")


@given(st.text(max_size=200), st.text(max_size=20), st.lists(st.text(max_size=20), max_size=3))
def test_the_tsvector_literal_is_well_formed(content: str, title: str, keywords: list[str]) -> None:
    literal = tsvector(content, title, keywords)
    assert re.fullmatch(rf"(?:{POSTING.pattern}(?: |$))*", literal)


def test_the_tsvector_has_weights_by_field_and_positions_in_order() -> None:
    literal = tsvector("blue cars v2", "my_cars", ["Fast wheels"], ["Who?"])
    assert "'blue':1C" in literal
    assert "'car':2C,13B" in literal
    assert re.search(r"'fast':(\d+)A 'wheel':(\d+)A", literal)
    assert re.search(r"'who':\d+A", literal)
    assert re.search(r"'v':\d+(?: |$)", literal)


def test_a_huge_chunk_still_fits_into_a_tsvector() -> None:
    literal = tsvector(" ".join(f"unique{number}word" for number in range(120_000)), "t")
    assert len(literal.encode()) < 2_000_000
    lexeme_bytes = sum(len(entry.split(":")[0]) - 2 + 8 for entry in literal.split(" "))
    assert lexeme_bytes < 1_040_000
    assert max(int(n) for n in re.findall(r":(\d+)", literal)) <= 16383
    assert tsvector("same " * 1000, "").count(",") == 255


def test_the_token_stream_is_separated_by_blanks() -> None:
    assert token_stream("Chunk tests, 0") == "chunk test 0"
    assert has_lexemes("a")
    assert not has_lexemes("?!")


@pytest.mark.promise("7.2-stop-words")
@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the refund policy?", ["refund", "polici"]),
        ("Who wrote Hamlet's story", ["wrote", "hamlet", "stori"]),
        ("what is it", ["what", "is", "it"]),
        ("请问数据库是什么？", ["数据", "据库"]),
        ("什么", ["什么"]),
        ("Как вернуть товар?", ["вернут", "товар"]),
        ("chunk chunks chunked", ["chunk"]),
        ("", []),
        ("?!", []),
    ],
)
def test_a_question_becomes_its_content_words(question: str, expected: list[str]) -> None:
    assert [term.lexeme for term in query_terms(question)] == expected


@pytest.mark.promise("7.3-factors")
def test_terms_carry_factors_and_their_originals() -> None:
    terms = {term.lexeme: term for term in query_terms("Policies of order 77 or 5 in uk x cat 我的书")}
    assert (terms["polici"].original, terms["polici"].factor) == ("policies", 1.0)
    assert (terms["77"].factor, terms["77"].is_number, terms["5"].factor) == (2.0, True, 1.0)
    assert [terms[word].factor for word in ("uk", "x", "cat")] == [0.01, 0.01, 1.0]
    assert terms["我的"].factor == 0.3


@pytest.mark.promise("7.2-caps")
def test_the_number_of_terms_is_bounded() -> None:
    assert (MAX_TERMS_SHORT, MAX_TERMS_LONG) == (32, 256)
    assert len(query_terms(" ".join(f"word{number}" for number in range(999)))) == MAX_TERMS_SHORT  # no pure words
    names = (f"{a}{b}{c}q" for a in "bcdfgh" for b in "aeiou" for c in "klmnprstvw")
    assert len(query_terms(" ".join(names))) == MAX_TERMS_LONG
    assert len(query_terms("".join(chr(0x4E00 + number) for number in range(200)))) == MAX_TERMS_SHORT


@pytest.mark.promise("7.2-route", "4.5-short")
def test_short_questions_need_a_third_of_their_terms() -> None:
    assert is_short("vector database")
    assert is_short("数据库是什么")
    assert not is_short("how do I pay my bill")
    assert is_short("one two three")
    assert not is_short("one two three four")
    assert is_short("one two three 4 5 6 7 8 9 10")  # 7 of 10
    assert not is_short("one two three four 5 6 7 8 9 10")
    assert [minimum_matches("数据库系统原理", terms) for terms in (1, 3, 4, 6, 7, 10, 11)] == [1, 1, 2, 2, 3, 3, 4]
    assert minimum_matches("how do I pay my very long bill", 3) == 1
    assert minimum_matches("x", 0) == 0
