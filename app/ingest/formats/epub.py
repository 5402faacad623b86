"""EPUB: the chapters in reading order, each read as a web page, with the book's pictures."""

import posixpath
from urllib.parse import unquote

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.archives import Parts
from app.ingest.decoding import clean, decode, looks_binary
from app.ingest.formats.pictures import Gallery
from app.ingest.formats.source import Source
from app.ingest.formats.xml_trees import Node, parse_xml
from app.ingest.html_blocks import FindPicture, html_blocks

_CONTAINER = "META-INF/container.xml"
_PAGES = {"application/xhtml+xml", "text/html", "application/xml", "text/x-oeb1-document"}


def parse_epub(source: Source) -> ParsedDocument:
    """Read a book.

    Raises:
        ParseFailed: damaged, or its chapters are encrypted.
    """
    if not source.is_zip:
        raise source.damaged()
    parts = Parts(source.data, source.filename, source.caps.archive, must_hold=_CONTAINER)
    container = parse_xml(parts.read(_CONTAINER), source.filename)
    package = next((node.attrs.get("full-path", "") for node in container.all("rootfile")), "")
    root = parse_xml(parts.read(package), source.filename)
    blocks: list[Block] = []
    pictures = _Pictures(parts, Gallery(source.caps.pictures))
    missing = encrypted = 0
    chapters = _chapters(root, posixpath.dirname(package))
    for name in chapters:
        data = parts.find(name)
        if data is None:
            missing += 1
        elif looks_binary(data):
            encrypted += 1
        else:
            blocks += html_blocks(decode(data), pictures.of(name))[1]
    if encrypted and not blocks:
        raise ParseFailed(f"{source.filename} is protected against copying (DRM) and cannot be read.")
    if missing and not blocks:
        raise source.damaged()
    title = next(iter(root.all("dc:title")), None)
    lost = missing + encrypted
    return ParsedDocument(
        blocks=tuple(blocks),
        title=(" ".join(clean(title.text).split()) or None) if title else None,
        pictures=tuple(pictures.gallery.pictures),
        notes=((f"{lost} of {len(chapters)} chapters could not be read.",) if lost else ()) + pictures.gallery.notes,
    )


class _Pictures:
    """The pictures of a book by the names of their parts, each taken once."""

    def __init__(self, parts: Parts, gallery: Gallery) -> None:
        self.gallery = gallery
        self._parts = parts
        self._known: dict[str, int | None] = {}

    def of(self, chapter: str) -> FindPicture:
        """Return what finds the pictures of a chapter, whose addresses are told from where it stands."""

        def find(address: str) -> int | None:
            path = unquote(address.partition("#")[0])
            if not path or path.startswith("data:"):
                return None
            name = posixpath.normpath(posixpath.join(posixpath.dirname(chapter), path))
            if name not in self._known:
                data = self._parts.find(name)
                self._known[name] = self.gallery.add(data) if data else None
            return self._known[name]

        return find


def _chapters(package: Node, folder: str) -> list[str]:
    """Return the parts in reading order, without the table of contents unless there is nothing else."""
    items = {node.attrs.get("id", ""): node for node in package.all("item")}
    spine = [items[key] for node in package.all("itemref") if (key := node.attrs.get("idref", "")) in items]
    pages = [node for node in spine or items.values() if node.attrs.get("media-type", "") in _PAGES]
    told = [node for node in pages if "nav" not in node.attrs.get("properties", "").split()] or pages
    names = (posixpath.normpath(posixpath.join(folder, unquote(node.attrs.get("href", "")))) for node in told)
    return list(dict.fromkeys(names))  # a part that is named a thousand times is read once
