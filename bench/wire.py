"""Reads an HTTP/1.1 answer from the reads of a socket: exact, and after the fact, so that a run is not slowed by it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from bench.jobs import Target

END_OF_CHUNKS = b"\r\n0\r\n\r\n"
DONE = b"[DONE]"


class WireError(Exception):
    """The bytes are not the answer they should be."""


@dataclass(slots=True)
class Head:
    """Status and headers, their names in lower case."""

    status: int
    headers: dict[str, str]


@dataclass(slots=True)
class Answer:
    """A whole answer. `events` are the payloads of `data:` lines, each with the time of the read that completed it."""

    head: Head
    body: bytes
    events: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])


def parse_head(raw: bytes) -> tuple[Head, int] | None:
    """Return the head and where the body begins; None while it is not whole."""
    end = raw.find(b"\r\n\r\n")
    if end < 0:
        return None
    first, *lines = raw[:end].decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Head(int(first.split(" ", 2)[1]), {name.lower(): value.strip() for name, _, value in pairs}), end + 4


def read_answer(reads: Iterable[tuple[float, bytes]]) -> Answer:
    """Return the answer that `reads` (time, bytes) make up.

    Raises:
        WireError: they are cut off or no HTTP.
    """
    raw, head, body, events = b"", None, b"", list[tuple[float, bytes]]()
    chunks: _Chunks | None = None
    pending = b""
    for time_s, data in reads:
        if head is None:
            raw += data
            parsed = parse_head(raw)
            if parsed is None:
                continue
            head, start = parsed
            data = raw[start:]
            chunks = _Chunks() if head.headers.get("transfer-encoding") == "chunked" else None
        decoded = chunks.feed(data) if chunks is not None else data
        body += decoded
        *whole, pending = (pending + decoded).replace(b"\r\n", b"\n").split(b"\n\n")
        events += [(time_s, payload) for block in whole if (payload := _payload(block)) is not None]
    if head is None:
        raise WireError("no answer")
    if chunks is not None and not chunks.is_over:
        raise WireError(f"cut off after {len(body)} bytes")
    return Answer(head, body, events)


def _payload(block: bytes) -> bytes | None:
    """Return what an event's `data:` line says; None for a comment."""
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            return line[5:].strip()
    return None


class _Chunks:
    """Undoes chunked transfer coding, giving out also the part of a chunk that has come so far."""

    def __init__(self) -> None:
        self._raw = b""
        self._left = 0  # of the chunk that is being read, with its line end
        self.is_over = False

    def feed(self, data: bytes) -> bytes:
        raw, at, out = self._raw + data, 0, list[bytes]()
        while not self.is_over:
            if self._left > 2:
                part = raw[at : at + self._left - 2]
                out.append(part)
                at += len(part)
                self._left -= len(part)
                if self._left > 2:
                    break
            if self._left:
                if len(raw) - at < self._left:
                    break
                at += self._left
                self._left = 0
            end = raw.find(b"\r\n", at)
            if end < 0:
                break
            size = int(raw[at:end].split(b";")[0], 16)
            at = end + 2
            self._left = size + 2
            self.is_over = size == 0
        self._raw = raw[at:]
        return b"".join(out)


def pieces(answer: Answer, target: Target) -> list[tuple[float, str]]:
    """Return time and text of each piece of a streamed answer, having checked the whole of it.

    Raises:
        WireError: status, text or ending are wrong.
    """
    if answer.head.status != 200:
        raise WireError(f"status {answer.head.status}: {answer.body[:200]!r}")
    if not answer.events or answer.events[-1][1] != DONE:
        raise WireError(f"no [DONE] at the end: {answer.body[-200:]!r}")
    read = _openai_piece if target.dialect == "openai" else _native_piece
    said = [(time_s, text) for time_s, payload in answer.events[:-1] if (text := read(orjson.loads(payload), target))]
    text = "".join(text for _, text in said)
    if text != target.expected:
        raise WireError(f"{len(text)} characters instead of {len(target.expected)}, ending {text[-60:]!r}")
    return said


def check_whole(answer: Answer, target: Target) -> None:
    """Check an answer that was not streamed.

    Raises:
        WireError: status or text are wrong.
    """
    if answer.head.status != 200:
        raise WireError(f"status {answer.head.status}: {answer.body[:200]!r}")
    told = orjson.loads(answer.body)
    text = told["choices"][0]["message"]["content"] if target.dialect == "openai" else told["data"]["answer"]
    if text != target.expected:
        raise WireError(f"{text!r} instead of {target.expected!r}"[:300])


def _openai_piece(event: dict[str, Any], target: Target) -> str:
    if "error" in event:
        raise WireError(f"error event: {event['error']}")
    choices = event["choices"]
    if not choices:
        return ""
    final = choices[0]["delta"].get("final_content", target.expected)
    if final != target.expected:
        raise WireError(f"final_content is {final[-60:]!r}")
    return choices[0]["delta"].get("content") or ""


def _native_piece(event: dict[str, Any], target: Target) -> str:
    data = event["data"]
    if event["code"] != 0:
        raise WireError(f"error event: {event['message']}")
    if data is True:
        return ""
    if data["final"]:
        if data["final_content"] != target.expected:
            raise WireError(f"final_content is {data['final_content'][-60:]!r}")
        return ""
    text: str = data["answer"]
    return text
