"""The fast path of a relayed stream: chunks that differ from one seen before in nothing but their text.

A provider writes one text chunk like the next: the same bytes before the text, the same after it. Once one was read and
written anew, the others are rewritten without being parsed. What makes that safe: between the two ends nothing but one
JSON string without quotes may stand, so the chunk says what the one that was read said, with another text.
"""

import re

import orjson

_MARK = b"data: "


class Template:
    """How one provider's text chunks look, and how ours do. `end` comes right after the text."""

    __slots__ = ("_end", "_head", "_joint", "_our_end", "_our_head", "_our_joint", "_quotes", "_start")

    def __init__(self, head: bytes, end: bytes, our_head: bytes, our_end: bytes) -> None:
        self._head = head
        self._end = end
        self._start = _MARK + head
        self._joint = end + b"\n\n" + self._start
        self._quotes = self._joint.count(b'"')
        self._our_head = our_head
        self._our_end = our_end + b"\n\n"
        self._our_joint = self._our_end + our_head

    def buffer(self, data: bytes) -> tuple[str, bytes] | None:
        """Return text and bytes of whole events of this form; None when there is anything else in `data`."""
        if not (data.startswith(self._start) and data.endswith(self._end + b"\n\n")):
            return None
        middle = data[len(self._start) : len(data) - len(self._end) - 2]
        pieces = middle.split(self._joint) if self._joint in middle else [middle]
        if middle.count(b'"') != self._quotes * (len(pieces) - 1):
            return None
        return self._told(pieces)

    def event(self, payload: bytes) -> tuple[str, bytes] | None:
        """Return text and bytes of the data of one event; None when it is of another form."""
        if not (payload.startswith(self._head) and payload.endswith(self._end)):
            return None
        middle = payload[len(self._head) : len(payload) - len(self._end)]
        return None if b'"' in middle else self._told([middle])

    def _told(self, pieces: list[bytes]) -> tuple[str, bytes] | None:
        joined = b"".join(pieces)
        if b"<" in joined or b"\\u" in joined or b"" in pieces:  # a tag, or what may be one; or nothing at all
            return None
        try:
            text: str = orjson.loads(b'"' + joined + b'"')
        except orjson.JSONDecodeError:
            return None
        return text, self._our_head + self._our_joint.join(pieces) + self._our_end


def learnt(payload: bytes, key: str, text: str, ours: bytes, our_key: str) -> Template | None:
    """Return the form of a chunk that holds `text` under `key`, once, and is written anew as the event `ours`."""
    place = re.search(rb'"%b":\s*"' % key.encode(), payload)
    our_place = ours.find(b'"%b":"' % our_key.encode())
    if place is None or our_place < 0 or payload.count(b'"%b"' % key.encode()) != 1:
        return None
    end = payload.find(b'"', place.end())
    our_start = our_place + len(our_key) + 4
    our_end = ours.find(b'"', our_start)
    if min(end, our_end) < 0 or payload[place.end() : end].decode("utf-8", "replace") != text:
        return None
    if ours[our_start:our_end].decode("utf-8", "replace") != text:
        return None  # written with escapes: another chunk will do
    return Template(payload[: place.end()], payload[end:], ours[:our_start], ours[our_end:].removesuffix(b"\n\n"))
