"""A file's bytes to a `ParsedDocument`, by extension.

Runs native code on what strangers uploaded: call it through `app/ingest/sandbox.py`. The reader of a format is
imported when a file of that format comes: the parse child lives for one document and pays for every import.
"""

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from app.domain.documents import ParsedDocument, ParseFailed
from app.ingest.caps import ParseCaps, ParseHints
from app.ingest.file_types import DocumentType, document_type, suffix
from app.ingest.formats.source import Source

_READERS = {
    "app.ingest.formats.plain:parse_plain": "txt ini yml sql py js java c cpp h php go ts sh cs kt",
    "app.ingest.formats.plain:parse_markdown": "md",
    "app.ingest.formats.plain:parse_html": "htm html",
    "app.ingest.formats.tabular:parse_csv": "csv",
    "app.ingest.formats.tabular:parse_workbook": "xlsx xls ods",
    "app.ingest.formats.json_values:parse_json": "json jsonl ldjson",
    "app.ingest.formats.xml_text:parse_xml_text": "xml",
    "app.ingest.formats.mail:parse_eml": "eml",
    "app.ingest.formats.outlook:parse_msg": "msg",
    "app.ingest.pdf:parse_pdf": "pdf",
    "app.ingest.formats.word:parse_docx": "docx",
    "app.ingest.formats.slides:parse_pptx": "pptx",
    "app.ingest.formats.open_document:parse_open_document": "odt odp",
    "app.ingest.formats.epub:parse_epub": "epub",
    "app.ingest.formats.legacy:parse_rtf": "rtf",
    "app.ingest.formats.legacy:parse_doc": "doc",
    "app.ingest.formats.legacy:parse_ppt": "ppt",
    "app.ingest.formats.legacy:parse_iwork": "pages key numbers",
    "app.ingest.formats.images:parse_image": "jpg jpeg png tif gif pcx tga psd pcd ai webp avif apng icon ico",
    "app.ingest.formats.images:parse_svg": "svg",
}
_READER_OF = {extension: reader for reader, extensions in _READERS.items() for extension in extensions.split()}
_VIDEO_WORDS = """
mpg mpeg avi rm rmvb mov wmv asf dat asx wvx mpe mpa mp4 mkv
"""
_VIDEO = frozenset(_VIDEO_WORDS.split())
_PICTURES_INSIDE = frozenset(["docx", "pptx", "odt", "odp", "epub"])  # whose readers leave pictures unread
_INSIDE_ONLY = {"tiff": "tif", "bmp": "ico", "yaml": "yml", "markdown": "md", "log": "txt", "tsv": "csv", "text": "txt"}


def parse(data: bytes, filename: str, caps: ParseCaps | None = None, hints: ParseHints | None = None) -> ParsedDocument:
    """Return the document's blocks; a note says so where there are none. Blocking.

    Raises:
        ParseFailed: with a message for the document's owner.
    """
    caps, hints = caps or ParseCaps(), hints or ParseHints()

    def read_inside(inner: bytes, name: str) -> ParsedDocument:
        extension = suffix(name)
        name = f"{name}.{_INSIDE_ONLY[extension]}" if extension in _INSIDE_ONLY else name
        return _parse(inner, name, caps, ParseHints(ocr=hints.ocr), _no_further, is_inside=True)

    return _parse(data, filename, caps, hints, read_inside, is_inside=False)


def _parse(
    data: bytes,
    filename: str,
    caps: ParseCaps,
    hints: ParseHints,
    read_inside: Callable[[bytes, str], ParsedDocument],
    *,
    is_inside: bool,
) -> ParsedDocument:
    reader = _READER_OF.get(suffix(filename))
    if reader is None:
        raise ParseFailed(_no_reader(filename))
    if len(data) > caps.size_bytes:
        raise ParseFailed(f"File size exceeds( <= {caps.size_bytes // 1024**2}Mb )")
    if not data.strip():
        return ParsedDocument(notes=(f"{filename} is empty.",))
    source = Source(data=data, filename=filename, caps=caps, hints=hints, read_inside=read_inside, is_inside=is_inside)
    module, _, name = reader.partition(":")
    read = cast(Callable[[Source], ParsedDocument], getattr(importlib.import_module(module), name))
    try:
        document = read(source)
        if document.pictures and suffix(filename) in _PICTURES_INSIDE and not is_inside:
            from app.ingest.formats.pictures_inside import read_pictures

            document = read_pictures(document, source)
    except RecursionError as error:
        raise ParseFailed(f"{filename} nests deeper than is read.") from error
    if document.blocks or document.attachments:
        return document
    return replace(document, notes=(*document.notes, f"No text was found in {filename}."))


def _no_further(data: bytes, name: str) -> ParsedDocument:
    raise ParseFailed(f"{name} lies two files deep and was not read ({len(data)} bytes).")


def _no_reader(filename: str) -> str:
    extension = suffix(filename)
    if extension in _VIDEO:
        return f"{filename} is a video; videos are not read. Upload a transcript instead."
    match document_type(filename):
        case DocumentType.AURAL:
            return (
                f"{filename} is a sound recording; no speech model is set up to read it. Upload a transcript instead."
            )
        case DocumentType.VISUAL:
            return f"Pictures of the type {extension} are not read. Save {filename} as PNG or JPEG and upload that."
        case _:
            return "file type not supported yet(pdf, xlsx, doc, docx, txt supported)"
