"""Server-sent events, decoded as the bytes arrive."""

from app.domain.errors import UpstreamFailed

_BOM = b"\xef\xbb\xbf"


class SseDecoder:
    """Turns bytes, cut anywhere, into the `data` of each event.

    Follows the WHATWG event-stream rules for line ends (LF, CRLF, CR), comments, multi-line data and a leading byte
    order mark; event names, ids and retry hints are read over. All work is on whole buffers: `replace` brings the line
    ends to LF, `split` finds the events, and only an event of several lines is looked at line by line.
    """

    __slots__ = ("_after_cr", "_at_start", "_max_event_bytes", "_pending", "_pending_bytes")

    def __init__(self, *, max_event_bytes: int = 1 << 20) -> None:
        self._max_event_bytes = max_event_bytes
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._after_cr = False
        self._at_start = True

    @property
    def is_idle(self) -> bool:
        """Whether what comes next begins an event: nothing of one is held."""
        return not (self._pending or self._after_cr or self._at_start)

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that `chunk` completes, in order.

        Raises:
            UpstreamFailed: an event is over `max_event_bytes`.
        """
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk[0] == 10:  # the LF of a CRLF that was cut in two
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk[-1] == 13
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if not chunk:
            return []
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        if b"\n" not in chunk and not self._at_start:  # an event cannot end here: do not copy what came before
            self._check(self._pending_bytes)
            return []
        return self._cut()

    def flush(self) -> list[bytes]:
        """Return the data of an event whose closing blank line never came; call once, at the end of the stream."""
        rest = b"".join(self._pending)
        self._pending, self._pending_bytes = [], 0
        data = _data_of(rest)
        return [] if data is None else [data]

    def _cut(self) -> list[bytes]:
        buffer = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        if self._at_start:
            if len(buffer) < len(_BOM) and _BOM.startswith(buffer):
                return []
            self._at_start = False
            buffer = buffer.removeprefix(_BOM)
        events = buffer.split(b"\n\n")
        rest = events.pop()
        self._pending = [rest] if rest else []
        self._pending_bytes = len(rest)
        if len(buffer) > self._max_event_bytes:
            self._check(max(len(rest), *map(len, events), 0))
        found: list[bytes] = []
        for event in events:
            if event.startswith(b"data: ") and b"\n" not in event:
                found.append(event[6:])
            elif (data := _data_of(event)) is not None:
                found.append(data)
        return found

    def _check(self, size_bytes: int) -> None:
        if size_bytes > self._max_event_bytes:
            raise UpstreamFailed("The model provider sent an event that is too large.")


def _data_of(event: bytes) -> bytes | None:
    lines: list[bytes] = []
    for line in event.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
    return b"\n".join(lines) if lines else None
