"""MSG: Outlook's messages, whose properties are streams of an OLE container."""

import email
import email.policy
import io
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import olefile

from app.domain.documents import Block, ParsedDocument
from app.ingest.decoding import clean, decode
from app.ingest.formats.mail import headers_of, html_body, mail_document, plain_body
from app.ingest.formats.source import Source

_MAX_RTF = 64 * 1024 * 1024
_WIDE, _NARROW, _BINARY = "001F", "001E", "0102"
_SUBJECT, _HEADERS, _BODY, _HTML, _RTF = "0037", "007D", "1000", "1013", "1009"
_SENDER, _SENDER_ADDRESS, _TO, _CC = "0C1A", "0C1F", "0E04", "0E03"
_FILE, _LONG_NAME, _SHORT_NAME, _SHOWN_NAME = "3701", "3707", "3704", "3001"
_SENT, _RECEIVED = 0x00390040, 0x0E060040
_PROPERTIES = "__properties_version1.0"
_RTF_START = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans "
    rb"SerifSymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0" + b"\r\n" + rb"\par "
    rb"\pard\plain\f0\fs20\b\i\u\tab\tx"
)  # every message's dictionary begins with it (MS-OXRTFCP 2.1.2.1)


def parse_msg(source: Source) -> ParsedDocument:
    """Read an Outlook message: headers, bodies, attachments. A message inside it is read as text of its own.

    Raises:
        ParseFailed: damaged.
    """
    if not source.is_ole:
        if not source.data.lstrip()[:1].isalpha():
            raise source.damaged()
        from app.ingest.formats.mail import parse_eml  # mail programs save plain mail under this name

        return parse_eml(source)
    try:
        with olefile.OleFileIO(io.BytesIO(source.data)) as container:
            message = _Message(container, [])
            headers, bodies = message.headers(), message.bodies(source)
            if not headers and not bodies:
                raise source.damaged()
            return mail_document(source, headers, bodies, message.files())
    except (OSError, ValueError, IndexError, KeyError, TypeError, struct.error, AttributeError) as error:
        raise source.damaged() from error


class _Message:
    def __init__(self, container: Any, path: list[str]) -> None:
        self._container = container
        self._path = path
        entries: list[list[str]] = container.listdir(storages=True)  # published stubs say bytes
        self._names = {entry[len(path)]: entry for entry in entries if _is_below(entry, path)}

    def headers(self) -> list[tuple[str, str]]:
        """Return those of the mail as it travelled, else the message's own properties."""
        travelled = self._text(_HEADERS).strip()
        if travelled:
            message = email.message_from_string(travelled + "\n\n", policy=email.policy.compat32)
            found = headers_of(message)
            if any(name.lower() == "subject" for name, _ in found):
                return found
        sender, address = self._text(_SENDER), self._text(_SENDER_ADDRESS)
        own = [
            ("Subject", self._text(_SUBJECT)),
            ("From", f"{sender} <{address}>" if "@" in address and address != sender else sender or address),
            ("To", self._text(_TO)),
            ("Cc", self._text(_CC)),
            ("Date", self._time()),
        ]
        return [(name, " ".join(value.split())) for name, value in own if value.strip()]

    def bodies(self, source: Source) -> list[list[Block]]:
        """Return the plain body and the HTML one; the RTF one where there is neither."""
        plain = plain_body(self._text(_BODY))
        markup = self._text(_HTML) or decode(self._bytes(_HTML, _BINARY).rstrip(b"\0"))
        html = html_body(markup) if markup.strip() else []
        if _letters(html) == _letters(plain):
            html = []
        if plain or html:
            return [body for body in (plain, html) if body]
        rich = _unpacked_rtf(self._bytes(_RTF, _BINARY))
        if not rich:
            return []
        from app.ingest.formats.legacy import parse_rtf

        return [list(parse_rtf(replace(source, data=rich, filename="body.rtf")).blocks)]

    def files(self) -> list[tuple[str, bytes]]:
        """Return the attachments by name; a message attached becomes a mail of its headers and body."""
        found: list[tuple[str, bytes]] = []
        for name, path in sorted(self._names.items()):
            if not name.startswith("__attach_version1.0_"):
                continue
            inside = _Message(self._container, path[: len(self._path) + 1])
            label = inside._text(_LONG_NAME) or inside._text(_SHORT_NAME) or inside._text(_SHOWN_NAME)
            data = inside._bytes(_FILE, _BINARY)
            if data:
                found.append((" ".join(label.split()) or "attachment", data))
            elif f"__substg1.0_{_FILE}000D" in inside._names:
                message = _Message(self._container, [*path[: len(self._path) + 1], f"__substg1.0_{_FILE}000D"])
                lines = "\n".join(f"{key}: {value}" for key, value in message.headers())
                text = f"{lines}\n\n{message._text(_BODY)}"
                found.append((f"{' '.join(label.split())[:100] or 'message'}.txt", text.encode()))
        return found

    def _bytes(self, tag: str, kind: str) -> bytes:
        path = self._names.get(f"__substg1.0_{tag}{kind}")
        return self._container.openstream(path).read() if path else b""

    def _text(self, tag: str) -> str:
        wide = self._bytes(tag, _WIDE)
        return clean(wide.decode("utf-16-le", "replace")) if wide else clean(decode(self._bytes(tag, _NARROW)))

    def _time(self) -> str:
        path = self._names.get(_PROPERTIES)
        data = self._container.openstream(path).read() if path else b""
        found: dict[int, int] = {}
        for head in (32, 24, 8):
            rows = data[head:]
            found |= {tag: value for tag, _, value in struct.iter_unpack("<IIQ", rows[: len(rows) // 16 * 16])}
            if value := found.get(_SENT) or found.get(_RECEIVED):
                moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=min(value, 2**63) // 10)
                return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
        return ""


def _is_below(entry: list[str], path: list[str]) -> bool:
    return len(entry) == len(path) + 1 and entry[: len(path)] == path


def _letters(blocks: list[Block]) -> str:
    return "".join(letter for block in blocks for letter in block.text if letter.isalnum())


def _unpacked_rtf(data: bytes) -> bytes:
    """Undo the compression of RTF bodies (MS-OXRTFCP 2.1)."""
    if len(data) < 16:
        return b""
    _, size, kind, _ = struct.unpack_from("<IIII", data)
    size = min(size, _MAX_RTF)
    if kind == 0x414C454D:
        return data[16 : 16 + size]
    window = bytearray(4096)
    window[: len(_RTF_START)] = _RTF_START
    write = len(_RTF_START)
    output = bytearray()
    at = 16
    while at < len(data) and len(output) < size:
        control = data[at]
        at += 1
        for bit in range(8):
            if control >> bit & 1:
                if at + 1 >= len(data):
                    return bytes(output)
                offset, length = data[at] << 4 | data[at + 1] >> 4, (data[at + 1] & 15) + 2
                at += 2
                if offset == write:
                    return bytes(output)
                piece = [(offset + step) % 4096 for step in range(length)]
                for place in piece:
                    window[write] = window[place]
                    output.append(window[write])
                    write = (write + 1) % 4096
            elif at < len(data):
                window[write] = data[at]
                output.append(data[at])
                write = (write + 1) % 4096
                at += 1
    return bytes(output)
