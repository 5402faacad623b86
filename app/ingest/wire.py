"""The bytes between the parse child and its parent."""

import msgspec

from app.domain.documents import ParsedDocument


class Answer(msgspec.Struct, array_like=True):
    """What the child says: a document, or why there is none."""

    document: ParsedDocument | None = None
    failure: str | None = None


_decoder: msgspec.msgpack.Decoder[Answer] = msgspec.msgpack.Decoder(Answer)


def pack(answer: Answer) -> bytes:
    """Return the answer as MessagePack."""
    return msgspec.msgpack.encode(answer)


def unpack(data: bytes) -> Answer:
    """Read what `pack` wrote.

    Raises:
        msgspec.DecodeError: the child wrote something else, or was cut short.
    """
    return _decoder.decode(data)
