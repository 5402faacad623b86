"""The native dialect to the byte (conversations.md 4.4, 4.5)."""

import json

import pytest

from app.domain.events import ReasoningPiece, TextPiece, TurnEvent
from app.wire.native_stream import NativeStream, answer_body, opener_body, opener_events
from tests.wire.events import (
    ASKED,
    FOUND,
    PIECES,
    SESSION,
    STARTED,
    TURN,
    done,
    failed,
    numbered,
    stopped,
)

END = b'data: {"code":0,"message":"","data":true}\n\ndata: [DONE]\n\n'


def piece(text: str) -> bytes:
    return (
        b'data: {"code":0,"message":"","data":{"answer":%b,"reference":{},"audio_binary":null,"id":"%b",'
        b'"session_id":"%b","created_at":1703123456.75,"final":false}}\n\n'
        % (json.dumps(text, ensure_ascii=False).encode(), TURN.encode(), SESSION.encode())
    )


def final(content: str, reference: bytes = b"{}", answer: str = "") -> bytes:
    return (
        b'data: {"code":0,"message":"","data":{"answer":%b,"reference":%b,"prompt":"","final_content":%b,'
        b'"audio_binary":null,"id":"%b","session_id":"%b","created_at":1703123457.5,"final":true}}\n\n'
        % (json.dumps(answer).encode(), reference, json.dumps(content).encode(), TURN.encode(), SESSION.encode())
    )


CHUNK = (
    b'{"id":"k%d","content":"Chunk %d \xc3\xbc","document_id":"%b","document_name":"%b.pdf","dataset_id":"s0",'
    b'"image_id":"","positions":[[1,2,3,4,5]],"chunk_id":"k%d","doc_id":"%b","doc_name":"%b.pdf","url":null,'
    b'"similarity":0.5,"vector_similarity":0.25,"term_similarity":null,"doc_type":"text"}'
)


def chunk(number: int, document: bytes) -> bytes:
    return CHUNK % (number, number, document, document, number, document, document)


REFERENCE = b'{"total":9,"chunks":[%b,%b,%b],"doc_aggs":[{"doc_name":"d0.pdf","doc_id":"d0","count":1}]}' % (
    chunk(0, b"d0"),
    chunk(1, b"d1"),
    chunk(2, b"d0"),
)


def written(*events: TurnEvent, is_cumulative: bool = False) -> bytes:
    return NativeStream(TURN, is_cumulative=is_cumulative).write(numbered(*events))


@pytest.mark.promise(
    "conversations:4.4-final", "conversations:4.4-framing", "conversations:4.4-think", "conversations:4.4-reference"
)
def test_a_whole_answer_to_the_byte() -> None:
    """4.4: pieces with their space, tags inside them, the final event with its references, both terminators."""
    assert written(STARTED, FOUND, ASKED, *PIECES, done()) == (
        piece("<think>Let me ")
        + piece("see.")
        + piece("</think>To reset")
        + piece(" it")
        + final("To reset it [ID:0].", REFERENCE)
        + END
    )


@pytest.mark.promise("conversations:4.4-reference")
def test_an_answer_without_a_search_has_an_empty_reference() -> None:
    assert written(STARTED, ASKED, TextPiece("Hi"), done("Hi", ())) == piece("Hi") + final("Hi") + END


@pytest.mark.promise("conversations:4.4-final")
def test_an_empty_answer_still_has_its_final_event() -> None:
    """4.5: D always sends one."""
    assert written(STARTED, done("", ())) == final("") + END


def test_a_stopped_turn_ends_like_a_whole_one() -> None:
    assert written(STARTED, TextPiece("To res"), stopped("To res")) == piece("To res") + final("To res") + END


@pytest.mark.promise("conversations:4.4-think")
def test_thinking_that_broke_off_still_closes_its_tag() -> None:
    """4.4: concatenation equals the text a 0.22 client would have got."""
    got = written(STARTED, ReasoningPiece("Hm"), stopped(""))
    assert got == piece("<think>Hm") + piece("</think>") + final("") + END


@pytest.mark.promise("conversations:4.4-error-event")
def test_a_failure_is_an_event_of_its_own_and_both_terminators_follow() -> None:
    assert written(STARTED, TextPiece("To"), failed("To", message='No "luck".')) == (
        piece("To")
        + b'data: {"code":500,"message":"No \\"luck\\".",'
        + b'"data":{"answer":"**ERROR**: No \\"luck\\".","reference":[]}}\n\n'
        + END
    )


@pytest.mark.promise("conversations:4.5-legacy")
def test_a_cumulative_stream_repeats_everything_and_ends_with_the_stored_text() -> None:
    """4.5: the last event of `legacy` holds the thinking, then the text after citation repair."""
    assert written(STARTED, FOUND, *PIECES, done(), is_cumulative=True) == (
        piece("<think>Let me ")
        + piece("<think>Let me see.")
        + piece("<think>Let me see.</think>To reset")
        + piece("<think>Let me see.</think>To reset it")
        + final("To reset it [ID:0].", REFERENCE, answer="<think>Let me see.</think>To reset it [ID:0].")
        + END
    )


@pytest.mark.promise("conversations:4.4-framing")
def test_text_of_any_kind_stays_on_one_line_and_unchanged() -> None:
    """4.4: one-line JSON, whatever is in it."""
    texts = ["\r\n", "\u2028\u2029\x85", "日本語 🚀", '"\\', "data: [DONE]\n\n", "\x01\x1f", " "]
    got = written(STARTED, *[TextPiece(one) for one in texts], done("", ()))
    events = got.split(b"\n\n")[: len(texts)]
    assert all(b"\n" not in one and b"\r" not in one for one in events)
    assert [json.loads(one.removeprefix(b"data: "))["data"]["answer"] for one in events] == texts


def test_bytes_do_not_depend_on_how_events_are_batched() -> None:
    """design.md 1.2: every wire is a pure function from events to bytes."""
    events = numbered(STARTED, FOUND, ASKED, *PIECES, done())
    whole = NativeStream(TURN, has_ids=True).write(events)
    for size in (1, 2, 3, 5):
        writer = NativeStream(TURN, has_ids=True)
        assert b"".join(writer.write(events[at : at + size]) for at in range(0, len(events), size)) == whole


def test_ids_are_the_numbers_of_events_and_a_reader_cut_anywhere_gets_its_ending() -> None:
    """A reader who saw id n asks for what comes after n; no SSE event may hide behind another's id."""
    events = numbered(STARTED, ReasoningPiece("Hm"), stopped(""))
    blocks = NativeStream(TURN, has_ids=True).write(events).removesuffix(b"\n\n").split(b"\n\n")
    last_id = b""
    for at, block in enumerate(blocks):
        first_line = block.split(b"\n")[0]
        last_id = first_line.removeprefix(b"id: ") if first_line.startswith(b"id: ") else last_id
        if b'"final":true' in block:
            assert last_id == b"3"
            break
        assert last_id != b"3", f"block {at} carries the number of the ending, and is not it"
    else:
        pytest.fail("no ending")


@pytest.mark.promise("conversations:4.5-json", "conversations:4.4-think")
def test_a_json_answer_has_its_thinking_inline() -> None:
    """4.5, last paragraph."""
    body = answer_body(TURN, SESSION, FOUND, "Hm.", done())
    assert (body["code"], body["data"]["answer"]) == (0, "<think>Hm.</think>To reset it [ID:0].")
    assert body["data"]["reference"] == json.loads(REFERENCE)


@pytest.mark.promise("conversations:10.7-doc-aggs")
@pytest.mark.parametrize(
    ("cited", "counts"), [((), [("d0", 2), ("d1", 1)]), ((1,), [("d1", 1)]), ((2, 0, 1), [("d0", 2), ("d1", 1)])]
)
def test_documents_are_those_that_are_cited_or_all(cited: tuple[int, ...], counts: list[tuple[str, int]]) -> None:
    """10.7 step 10: all chunks are listed, and `total` is what was found in all."""
    told = answer_body(TURN, SESSION, FOUND, None, done(cited=cited))["data"]["reference"]
    assert [(one["doc_id"], one["count"]) for one in told["doc_aggs"]] == counts
    assert (told["total"], len(told["chunks"])) == (9, 3)


@pytest.mark.promise("conversations:4.3-opener")
def test_the_opener_in_both_forms() -> None:
    """4.3."""
    opened: dict[str, object] = {
        "answer": "Hi",
        "reference": {},
        "audio_binary": None,
        "id": None,
        "session_id": SESSION,
    }
    assert opener_body(SESSION, "Hi") == {"code": 0, "data": opened}
    first, rest = opener_events(SESSION, "Hi").split(b"\n\n", 1)
    assert json.loads(first.removeprefix(b"data: ")) == {"code": 0, "message": "", "data": opened}
    assert rest == END
