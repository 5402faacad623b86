"""A file's bytes to a `ParsedDocument`, by extension.

Runs native code on what strangers uploaded: call it through `app/ingest/sandbox.py`.
"""

from collections.abc import Callable

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.archives import check_archive, read_entry
from app.ingest.caps import ParseCaps, ParseHints
from app.ingest.decoding import decode, looks_binary
from app.ingest.file_types import suffix
from app.ingest.html_blocks import html_blocks
from app.ingest.markdown_blocks import markdown_blocks, split_front_matter
from app.ingest.native import read_native
from app.ingest.pdf import parse_pdf

# csv and json as they stand until their own methods (knowledge.md 5.4) are built
_PLAIN_TYPES = "txt csv json jsonl ldjson ini yml xml sql py js java c cpp h php go ts sh cs kt"
_PLAIN = frozenset(_PLAIN_TYPES.split())
_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def parse(
    data: bytes,
    filename: str,
    caps: ParseCaps | None = None,
    hints: ParseHints | None = None,  # noqa: ARG001
) -> ParsedDocument:
    """Return the document's blocks; no blocks at all for an empty file. Blocking.

    Raises:
        ParseFailed: with a message for the document's owner.
    """
    caps = caps or ParseCaps()
    parser = _PARSERS.get(suffix(filename), _parse_plain if suffix(filename) in _PLAIN else None)
    if parser is None:
        raise ParseFailed("file type not supported yet(pdf, docx, md, html, txt supported)")
    if len(data) > caps.size_bytes:
        raise ParseFailed(f"File size exceeds( <= {caps.size_bytes // 1024**2}Mb )")
    if not data.strip():
        return ParsedDocument()
    return parser(data, filename, caps)


def _parse_plain(data: bytes, filename: str, caps: ParseCaps) -> ParsedDocument:  # noqa: ARG001 - one shape for all
    text = _text(data, filename)
    return ParsedDocument(blocks=(Block(kind="plain", text=text),) if text.strip() else ())


def _parse_markdown(data: bytes, filename: str, caps: ParseCaps) -> ParsedDocument:  # noqa: ARG001 - one shape for all
    title, front, body = split_front_matter(_text(data, filename))
    blocks = [Block(kind="text", text=front)] if front.strip() else []
    return ParsedDocument(blocks=(*blocks, *markdown_blocks(body)), title=title)


def _parse_html(data: bytes, filename: str, caps: ParseCaps) -> ParsedDocument:  # noqa: ARG001 - one shape for all
    title, blocks = html_blocks(_text(data, filename))
    return ParsedDocument(blocks=tuple(blocks), title=title)


def _parse_docx(data: bytes, filename: str, caps: ParseCaps) -> ParsedDocument:
    if data.startswith(b"\xd0\xcf\x11\xe0"):  # an OLE container: how Office stores protected and old files
        raise ParseFailed(
            f"{filename} is protected by a password or in the old .doc format. Save it as a plain .docx file."
        )
    check_archive(data, filename, caps.archive, must_hold="word/document.xml")
    native = read_native(data, filename, _DOCX, timeout_s=caps.timeout_s, max_pages=None)
    _, _, body = split_front_matter(native.markdown)
    blocks = markdown_blocks(body)
    if not blocks and b":body" not in read_entry(data, "word/document.xml", at_most=1024**2):
        raise ParseFailed(f"{filename} is damaged: the document in it cannot be read.")
    return ParsedDocument(blocks=tuple(blocks))


def _parse_pdf(data: bytes, filename: str, caps: ParseCaps) -> ParsedDocument:
    return parse_pdf(data, filename, timeout_s=caps.timeout_s, max_pages=caps.pages)


def _text(data: bytes, filename: str) -> str:
    if looks_binary(data):
        raise ParseFailed(f"{filename} is not a text file, although its name says so.")
    return decode(data)


_PARSERS: dict[str, Callable[[bytes, str, ParseCaps], ParsedDocument]] = {
    "pdf": _parse_pdf,
    "docx": _parse_docx,
    "md": _parse_markdown,
    "htm": _parse_html,
    "html": _parse_html,
}
