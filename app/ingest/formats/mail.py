"""Mail: headers as `Name: value` lines, bodies decoded, attachments parsed by their names."""

import contextlib
import email
import email.errors
import email.header
import email.message
import email.policy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from app.domain.documents import Block, ParsedDocument
from app.ingest.decoding import clean, decode
from app.ingest.formats.source import Source

_TRANSPORT = re.compile(
    r"(?:x-|arc-|dkim-|domainkey|received|return-path|authentication-|content-|mime-version|delivered-to|envelope-|"
    r"list-(?!id)|dcc|autocrypt|feedback-id|precedence|user-agent|thread-|errors-to)",
    re.IGNORECASE,
)
_MAX_DEPTH = 50
_MAX_PARTS = 2000


@dataclass(slots=True)
class _Mail:
    bodies: list[list[Block]] = field(default_factory=list[list[Block]])
    seen: set[str] = field(default_factory=set[str])
    files: list[tuple[str, bytes]] = field(default_factory=list[tuple[str, bytes]])
    parts: int = 0


def parse_eml(source: Source) -> ParsedDocument:
    """Read a mail as RFC 5322 has it. An HTML body that says the same as the plain one is left out."""
    try:
        message = email.message_from_bytes(source.data, policy=email.policy.compat32)
        headers = headers_of(message)
        if not headers and not message.is_multipart():
            raise source.damaged()
        found = _Mail()
        _gather(message, found, 0)
    except (RecursionError, email.errors.MessageError) as error:
        raise source.damaged() from error
    return mail_document(source, headers, found.bodies, found.files)


def mail_document(
    source: Source, headers: list[tuple[str, str]], bodies: list[list[Block]], files: list[tuple[str, bytes]]
) -> ParsedDocument:
    """Return a mail as a document whose title is its subject."""
    lines = "\n".join(f"{name}: {value}" for name, value in headers)
    blocks = [Block(kind="text", text=lines)] if lines else []
    blocks += [block for body in bodies for block in body]
    attachments, notes = source.attach(files)
    subject = next((value for name, value in headers if name.lower() == "subject"), None)
    return ParsedDocument(blocks=tuple(blocks), title=subject or None, attachments=attachments, notes=notes)


def plain_body(text: str) -> list[Block]:
    """Return a body of plain text."""
    text = clean(text).strip()
    return [Block(kind="plain", text=text)] if text else []


def html_body(text: str) -> list[Block]:
    """Return a body of HTML."""
    from app.ingest.html_blocks import html_blocks

    return html_blocks(clean(text))[1]


def headers_of(message: email.message.Message) -> list[tuple[str, str]]:
    """Return the headers a reader cares about, decoded; those of the transport are left out."""
    return list(_headers(message))


def _headers(message: email.message.Message) -> Iterator[tuple[str, str]]:
    for name, value in message.items():
        if not _TRANSPORT.match(name) and (text := _decoded(str(value))):
            yield clean(name), text


def _decoded(value: str) -> str:
    with contextlib.suppress(email.errors.HeaderParseError, LookupError, ValueError):
        value = str(email.header.make_header(email.header.decode_header(value)))
    raw = value.encode("utf-8", "surrogateescape")
    return " ".join(clean(decode(raw) if "\udc80" <= max(value, default="") <= "\udcff" else value).split())


def _gather(message: email.message.Message, found: _Mail, depth: int) -> None:
    found.parts += 1
    if found.parts > _MAX_PARTS or depth > _MAX_DEPTH:
        return
    kind = message.get_content_type()
    name = _decoded(message.get_filename() or "")
    if kind == "message/rfc822" and isinstance(inside := message.get_payload(), list) and inside:
        part = inside[0]
        if isinstance(part, email.message.Message):
            subject = name.removesuffix(".eml") or _decoded(str(part.get("subject", ""))) or "message"
            found.files.append((f"{subject[:100]}.eml", part.as_bytes()))
    elif message.is_multipart():
        for part in message.get_payload():
            if isinstance(part, email.message.Message):
                _gather(part, found, depth + 1)
    elif name or message.get_content_disposition() == "attachment":
        found.files.append((name or f"attachment.{message.get_content_subtype()}", _payload(message)))
    elif kind in {"text/plain", "text/html"}:
        text = _text(message)
        body = html_body(text) if kind == "text/html" else plain_body(text)
        key = re.sub(r"\W+", "", "".join(block.text for block in body))
        if key and key not in found.seen:
            found.seen.add(key)
            found.bodies.append(body)


def _payload(message: email.message.Message) -> bytes:
    payload = message.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _text(message: email.message.Message) -> str:
    data = _payload(message)
    charset = message.get_content_charset()
    if charset:
        with contextlib.suppress(LookupError, UnicodeDecodeError, ValueError):
            return data.decode(charset)
    return decode(data)
