import orjson
import pytest

from bench.jobs import Dialect, Target
from bench.wire import WireError, check_whole, pieces, read_answer

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Turn-Id: 7\r\n\r\n"


def target(dialect: Dialect = "openai", expected: str = "a b ") -> Target:
    return Target(name="t", port=1, path="/", dialect=dialect, body="{}", expected=expected)


def event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def openai_piece(text: str | None, **more: object) -> bytes:
    return event({"choices": [{"delta": {"content": text, **more}}]})


def native_piece(answer: str, *, final: bool = False, **more: object) -> bytes:
    return event({"code": 0, "message": "", "data": {"answer": answer, "final": final, **more}})


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


DONE = b"data: [DONE]\n\n"
OPENAI = HEAD + chunked(
    openai_piece("") + openai_piece("a "), b": ping\n\n" + openai_piece("b "), openai_piece(None), DONE
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_an_answer_is_the_same_however_it_was_cut_into_reads(size: int) -> None:
    reads = [(float(at), OPENAI[at : at + size]) for at in range(0, len(OPENAI), size)]

    answer = read_answer(reads)

    assert answer.head.headers["x-turn-id"] == "7"
    assert [text for _, text in pieces(answer, target())] == ["a ", "b "]


def test_a_piece_has_the_time_of_the_read_that_completed_it() -> None:
    at = OPENAI.index(b"a ") + 1

    said = pieces(read_answer([(1.0, OPENAI[:at]), (2.0, OPENAI[at:])]), target())

    assert said == [(2.0, "a "), (2.0, "b ")]


def test_a_native_answer_is_read_too() -> None:
    body = chunked(native_piece("a ") + native_piece("b "), native_piece("", final=True, final_content="a b "))
    end = event({"code": 0, "message": "", "data": True}) + DONE
    answer = read_answer([(0.0, HEAD + body.removesuffix(b"0\r\n\r\n") + chunked(end))])

    assert [text for _, text in pieces(answer, target("native"))] == ["a ", "b "]


def test_an_answer_that_was_cut_off_is_no_answer() -> None:
    with pytest.raises(WireError, match="cut off"):
        read_answer([(0.0, OPENAI[:-7])])
    with pytest.raises(WireError, match="no answer"):
        read_answer([])


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (HEAD + chunked(openai_piece("a "), DONE), "2 characters instead of 4"),
        (HEAD + chunked(openai_piece("a "), openai_piece("b ")), "no .DONE. at the end"),
        (HEAD + chunked(openai_piece("a "), DONE, openai_piece("b ")), "no .DONE. at the end"),
        (HEAD + chunked(openai_piece("a "), event({"error": {"message": "no"}}), DONE), "error event"),
        (HEAD + chunked(openai_piece("a "), openai_piece("b "), openai_piece(None, final_content="a"), DONE), "final"),
        (HEAD.replace(b"200 OK", b"503 No") + chunked(openai_piece("a "), openai_piece("b "), DONE), "status 503"),
    ],
)
def test_a_stream_that_is_not_as_it_should_be_is_refused(raw: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        pieces(read_answer([(0.0, raw)]), target())


def test_a_whole_answer_is_compared_word_by_word() -> None:
    body = orjson.dumps({"choices": [{"message": {"content": "a b "}}]})
    answer = read_answer([(0.0, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))])

    check_whole(answer, target())
    with pytest.raises(WireError, match="instead of 'c'"):
        check_whole(answer, target(expected="c"))
