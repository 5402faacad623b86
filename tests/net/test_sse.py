from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import UpstreamFailed
from app.net.sse import SseDecoder

LINES = st.sampled_from(
    [
        "data: a",
        "data:b",
        "data: ü€😀",
        "data",
        "data:",
        "data:  two spaces",
        ": ping",
        "event: x",
        "id: 7",
        "dataless: 1",
        "",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


def as_stream(mark: bytes, lines: list[tuple[str, bytes]]) -> bytes:
    return mark + b"".join(line.encode() + end for line, end in lines)


STREAMS = st.builds(as_stream, st.sampled_from([b"", b"\xef\xbb\xbf"]), st.lists(st.tuples(LINES, ENDS), max_size=30))


def decode(chunks: list[bytes]) -> list[bytes]:
    decoder = SseDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.flush()


def by_the_standard(stream: bytes) -> list[bytes]:
    """Read line by line, as the WHATWG text says; what is left without a blank line is flushed."""
    text = stream.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    events: list[bytes] = []
    data: list[bytes] = []
    for line in [*text.split(b"\n"), b""]:
        name, _, value = line.partition(b":")
        if not line and data:
            events.append(b"\n".join(data))
            data = []
        elif name == b"data":
            data.append(value[1:] if value[:1] == b" " else value)
    return events


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_cut_of_a_stream_gives_the_events_of_the_standard(stream: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    chunks = [stream[start:end] for start, end in pairwise(edges)]

    assert decode(chunks) == by_the_standard(stream)


@given(stream=STREAMS)
def test_a_stream_fed_byte_by_byte_gives_the_events_of_the_standard(stream: bytes) -> None:
    assert decode([stream[at : at + 1] for at in range(len(stream))]) == by_the_standard(stream)


def test_an_event_is_given_out_as_soon_as_its_blank_line_is_in() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"data: a\n") == []
    assert decoder.feed(b"\n") == [b"a"]
    assert decoder.feed(b"data: b\r") == []
    assert decoder.feed(b"\r") == [b"b"]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_an_event_over_the_limit_fails_however_it_is_cut(size: int) -> None:
    decoder = SseDecoder(max_event_bytes=100)
    stream = b"data: fine\n\ndata: " + b"x" * 200 + b"\n\n"

    def feed_all() -> None:
        for at in range(0, len(stream), size):
            decoder.feed(stream[at : at + size])

    with pytest.raises(UpstreamFailed, match="too large"):
        feed_all()


def test_many_small_events_in_one_large_chunk_are_under_the_limit() -> None:
    assert len(SseDecoder(max_event_bytes=100).feed(b"data: small\n\n" * 100)) == 100
