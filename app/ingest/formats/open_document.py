"""ODT and ODP: headings, paragraphs, lists, tables, pictures; a page for each slide, its notes after it."""

import re
from collections.abc import Iterator

from app.domain.documents import Block, BlockKind, ParsedDocument, ParseFailed, pipe_table
from app.ingest.archives import Parts
from app.ingest.decoding import clean
from app.ingest.formats.pictures import Gallery, open_picture, thumbnail, upright
from app.ingest.formats.source import Source
from app.ingest.formats.xml_trees import Node, parse_xml

_LENGTH = re.compile(r"(-?[\d.]+)(cm|mm|in|pt|px|pc)?")
_IN_CM = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72, "px": 2.54 / 96, "pc": 2.54 / 6}
_MAX_REPEAT = 100  # of cells that say something; empty ones are repeated by the thousand
_HIDDEN_WORDS = """
text:tracked-changes office:annotation text:sequence-decls office:forms svg:desc svg:title
"""
_HIDDEN = frozenset(_HIDDEN_WORDS.split())


def parse_open_document(source: Source) -> ParsedDocument:
    """Read an OpenDocument text or presentation.

    Raises:
        ParseFailed: protected, damaged, or longer than is read.
    """
    if not source.is_zip:
        raise source.damaged()
    parts = Parts(source.data, source.filename, source.caps.archive, must_hold="content.xml")
    if b"encryption-data" in (parts.find("META-INF/manifest.xml") or b""):
        raise source.protected()
    body = parse_xml(parts.read("content.xml"), source.filename).find("office:body")
    reader = _Reader(source, parts)
    slides = list(body.all("draw:page")) if body else []
    if len(slides) > source.caps.pages:
        raise ParseFailed(f"{source.filename} has {len(slides)} slides; at most {source.caps.pages} are read.")
    for number, slide in enumerate(slides, 1):
        reader.slide(slide, number)
    if body and not slides:
        reader.walk(body)
    return ParsedDocument(
        blocks=tuple(reader.blocks),
        pages=len(slides) or None,
        title=_title(parts, source.filename),
        pictures=tuple(reader.gallery.pictures),
        notes=reader.gallery.notes,
        thumbnail=None if source.is_inside or not slides else _thumbnail(source, parts),
    )


def _title(parts: Parts, filename: str) -> str | None:
    data = parts.find("meta.xml")
    try:
        found = next(iter(parse_xml(data, filename).all("dc:title")), None) if data else None
    except ParseFailed:
        return None
    return (" ".join(clean(found.text).split()) or None) if found else None


def _thumbnail(source: Source, parts: Parts) -> bytes | None:
    data = parts.find("Thumbnails/thumbnail.png")
    caps = source.caps.pictures
    try:
        picture = open_picture(data, source.filename, caps) if data else None
        return thumbnail(upright(picture, source.filename, caps.side_px), caps) if picture else None
    except ParseFailed:
        return None


class _Reader:
    def __init__(self, source: Source, parts: Parts) -> None:
        self._parts = parts
        self._page: int | None = None
        self.gallery = Gallery(source.caps.pictures)
        self.blocks: list[Block] = []

    def slide(self, slide: Node, number: int) -> None:
        """Add a slide: its title, the rest from top to bottom, its notes."""
        self._page = number
        notes = [node for node in slide.nodes() if node.tag == "presentation:notes"]
        shapes = [node for node in slide.nodes() if node.tag != "presentation:notes"]
        for shape in sorted(shapes, key=_place):
            if shape.attrs.get("presentation:class") == "title":
                self._add("heading", " ".join(" ".join(_line(p) for p in shape.all("text:p")).split()), level=1)
            else:
                self.walk(shape, is_shape=True)
        for note in notes:
            self.walk(note)

    def walk(self, node: Node, *, is_shape: bool = False) -> None:
        """Add the blocks below `node`. As deep as the tree is."""
        if is_shape and node.tag in {"draw:frame", "draw:image"}:
            self._frames(Node("", {}, [node]))
            return
        for child in node.nodes():
            match child.tag:
                case "text:h":
                    level = child.attrs.get("text:outline-level", "1")
                    self._add("heading", " ".join(_line(child).split()), level=min(max(_number(level), 1), 6))
                    self._frames(child)
                case "text:p":
                    self._add("text", _line(child))
                    self._notes(child)
                    self._frames(child)
                case "text:list":
                    self._add("list", "\n".join(self._items(child, 0)))
                    self._frames(child)
                case "table:table":
                    self._table(child)
                case "draw:frame":
                    self._frames(Node("", {}, [child]))
                case tag if tag not in _HIDDEN:
                    self.walk(child)
                case _:
                    pass

    def _frames(self, node: Node) -> None:
        """Add pictures and text boxes that hang in a paragraph."""
        for frame in node.outermost("draw:frame"):
            words = " ".join(n.text for n in frame.nodes() if n.tag in {"svg:title", "svg:desc"}).strip()
            for image in (child for child in frame.nodes() if child.tag == "draw:image"):
                data = self._parts.find(image.attrs.get("xlink:href", ""))
                index = self.gallery.add(data) if data else None
                if index is not None:
                    self.blocks.append(Block(kind="image", text=clean(words), page=self._page, picture=index))
                    break
            for box in frame.nodes():
                if box.tag in {"draw:text-box", "table:table"}:
                    self.walk(Node("", {}, [box]))

    def _notes(self, paragraph: Node) -> None:
        for note in paragraph.all("text:note-body"):
            self._add("text", " ".join(_line(p) for p in note.all("text:p")))

    def _items(self, node: Node, depth: int) -> Iterator[str]:
        for item in node.nodes():
            if item.tag not in {"text:list-item", "text:list-header"}:
                continue
            for child in item.nodes():
                if child.tag == "text:list":
                    yield from self._items(child, min(depth + 1, 8))
                elif child.tag in {"text:p", "text:h"} and (text := _line(child).strip()):
                    yield "  " * depth + "- " + text.replace("\n", "\n" + "  " * (depth + 1))

    def _table(self, node: Node) -> None:
        rows: list[list[str]] = []
        for row in node.outermost("table:table-row"):
            cells: list[str] = []
            for cell in row.nodes():
                if cell.tag not in {"table:table-cell", "table:covered-table-cell"}:
                    continue
                text = "\n".join(line for p in cell.all("text:p", "text:h") if (line := _line(p).strip()))
                if cell.tag == "table:covered-table-cell" and cells:
                    text = text or cells[-1]
                repeat = min(_number(cell.attrs.get("table:number-columns-repeated", "1")), _MAX_REPEAT)
                cells += [text] * max(repeat, 1)
            rows.append(cells)
        rows = [cells for cells in rows if any(cells)]
        width = max((index + 1 for cells in rows for index, cell in enumerate(cells) if cell), default=0)
        full = [(cells + [""] * width)[:width] for cells in rows]
        if width == 1:
            for cells in full:
                self._add("text", cells[0])
        elif full:
            table = Block(kind="table", text=pipe_table(full), page=self._page, rows=tuple(map(tuple, full)))
            self.blocks.append(table)

    def _add(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        if text.strip():
            self.blocks.append(Block(kind=kind, text=text.strip(), level=level, page=self._page))


def _line(node: Node) -> str:
    """Return the text of a paragraph without what hangs in it."""
    found: list[str] = []

    def gather(node: Node) -> None:
        for child in node.children:
            if isinstance(child, str):
                found.append(re.sub(r"\s+", " ", child))
            elif child.tag == "text:s":
                found.append(" " * min(_number(child.attrs.get("text:c", "1")), 100))
            elif child.tag == "text:tab":
                found.append("\t")
            elif child.tag == "text:line-break":
                found.append("\n")
            elif child.tag not in _HIDDEN and child.tag not in {"draw:frame", "text:note"}:
                gather(child)

    gather(node)
    return clean("".join(found))


def _place(node: Node) -> tuple[bool, float, float]:
    is_title = node.attrs.get("presentation:class") == "title"
    return not is_title, _length(node.attrs.get("svg:y", "0")), _length(node.attrs.get("svg:x", "0"))


def _length(text: str) -> float:
    found = _LENGTH.match(text)
    try:
        return float(found[1]) * _IN_CM.get(found[2] or "cm", 1.0) if found else 0.0
    except ValueError:
        return 0.0


def _number(text: str) -> int:
    return int(text) if text.isdigit() and text.isascii() and len(text) < 10 else 1
