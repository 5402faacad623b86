"""What the reader of chunks makes of payloads that are not as they should be."""

import pytest

from app.domain.errors import UpstreamFailed
from app.domain.models import ModelItem, ModelReasoning, ModelText
from app.llm.openai_chunks import ChunkReader


def read(*payloads: bytes) -> tuple[ChunkReader, list[ModelItem]]:
    """Return the reader after `payloads`, and the items they gave."""
    reader, items = ChunkReader(api_key=None), list[ModelItem]()
    for payload in payloads:
        reader.take(payload, items)
    return reader, items


@pytest.mark.parametrize(
    "payload",
    [
        b"not JSON",
        b"[1, 2]",
        b'{"choices": [',
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"choices": 5, "id": "\xff"}',  # of a wrong type first, then not even text
    ],
)
def test_what_is_no_chunk_is_the_providers_failure(payload: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read(payload)


def test_blank_payloads_and_the_end_are_no_chunks() -> None:
    reader, items = read(b"", b"  ", b"[DONE]")
    assert reader.is_done
    assert items == []


def test_a_chunk_may_begin_with_blanks() -> None:
    _, items = read(b' {"choices": [{"delta": {"content": "Word"}}]}')
    assert items == [ModelText("Word")]


def test_plain_text_is_read_alike_before_and_after_a_thought() -> None:
    """Text without tags takes a short way, which is open again once a thought has ended."""
    texts = ("A ", "<think>hm", "m</think>\n", "B ", "C <", "d")
    _, items = read(
        *(b'{"choices": [{"delta": {"content": "%b"}}]}' % text.encode().replace(b"\n", b"\\n") for text in texts)
    )
    said = "".join(item.text for item in items if isinstance(item, ModelText))
    thought = "".join(item.text for item in items if isinstance(item, ModelReasoning))
    assert (said, thought) == ("A B C <d", "hmm")


def test_the_tokens_of_a_piece_go_with_its_text() -> None:
    token = {"token": "A", "logprob": -0.5, "bytes": [65], "top_logprobs": []}
    told = b'{"choices": [{"delta": {"content": "A"}, "logprobs": {"content": [%b]}}]}'
    written = b'{"token": "A", "logprob": -0.5, "bytes": [65], "top_logprobs": []}'
    _, items = read(told % written, b'{"choices": [{"delta": {"content": "B"}}]}')
    assert items == [ModelText("A", (token,)), ModelText("B")]
