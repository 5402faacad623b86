"""DOCX: headings, paragraphs, lists, tables and pictures in the order of the text. Macros are never looked at."""

from dataclasses import dataclass, field

from app.domain.documents import Block, BlockKind, ParsedDocument, ParseFailed, pipe_table
from app.ingest.archives import Parts
from app.ingest.decoding import clean
from app.ingest.formats.office_parts import (
    Relation,
    core_title,
    embedded_files,
    embedded_note,
    main_part,
    outside_links,
    related_drawings,
    relations,
)
from app.ingest.formats.pictures import Gallery
from app.ingest.formats.source import Source
from app.ingest.formats.word_styles import Numbering, Styles
from app.ingest.formats.xml_trees import Node, parse_xml

_DOCUMENT = "word/document.xml"
_THROUGH_WORDS = """
w:hyperlink w:ins w:moveTo w:smartTag w:sdt w:sdtContent w:fldSimple w:customXml w:bdo w:dir
mc:AlternateContent mc:Choice mc:Fallback w:r w:p
"""
_THROUGH = frozenset(_THROUGH_WORDS.split())
_ALONE = {"w:tab": "\t", "w:br": "\n", "w:cr": "\n", "w:noBreakHyphen": "-", "w:ptab": "\t"}
_MAX_COLUMNS = 200


def parse_docx(source: Source) -> ParsedDocument:
    """Read a Word document.

    Raises:
        ParseFailed: protected, in the old format under a new name, or damaged.
    """
    if source.is_ole:
        raise ParseFailed(
            f"{source.filename} is protected by a password or in the old .doc format. Save it as a plain .docx file."
        )
    parts = Parts(source.data, source.filename, source.caps.archive, must_hold=None)
    main = main_part(parts, source.filename, _DOCUMENT)
    if main not in parts:
        raise ParseFailed(f"{source.filename} is an archive, but not of the kind its extension says.")
    body = parse_xml(parts.read(main), source.filename).find("w:body")
    if body is None:
        raise ParseFailed(f"{source.filename} is damaged: the document in it cannot be read.")
    reader = _Reader(source, parts, main)
    reader.read(body)
    inside, unread = embedded_files(parts, "word")
    attachments, notes = source.attach(inside)
    return ParsedDocument(
        blocks=tuple(reader.blocks),
        title=core_title(parts, source.filename),
        pictures=tuple(reader.gallery.pictures),
        attachments=attachments,
        notes=(*notes, *embedded_note(unread), *reader.gallery.notes),
        links=outside_links(parts, main, source.filename) if source.hints.links else (),
    )


@dataclass(slots=True)
class _Inline:
    """What a paragraph holds: its text, its pictures with their descriptions, text boxes, charts, notes."""

    text: list[str] = field(default_factory=list[str])
    pictures: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    boxes: list[Node] = field(default_factory=list[Node])
    drawn: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])


class _Reader:
    def __init__(self, source: Source, parts: Parts, main: str) -> None:
        self._name = source.filename
        self._parts = parts
        self._related: dict[str, Relation] = relations(parts, main, source.filename)
        self._styles = Styles(self._optional("styles"))
        self._numbering = Numbering(self._optional("numbering"))
        self._foot = {**self._footnotes("footnotes", "w:footnote"), **self._footnotes("endnotes", "w:endnote")}
        self.gallery = Gallery(source.caps.pictures)
        self.blocks: list[Block] = []
        self._items: list[str] = []

    def read(self, body: Node) -> None:
        """Add the blocks of the body."""
        self._walk(body)
        self._end_list()

    def _optional(self, kind: str) -> Node | None:
        target = next((relation.target for relation in self._related.values() if relation.kind == kind), "")
        data = self._parts.find(target)
        try:
            return parse_xml(data, self._name) if data else None
        except ParseFailed:
            return None

    def _footnotes(self, kind: str, tag: str) -> dict[tuple[str, str], str]:
        root = self._optional(kind)
        found = root.all(tag) if root else ()
        return {
            (f"{tag}Reference", note.attrs.get("w:id", "")): " ".join("".join(t.text for t in note.all("w:t")).split())
            for note in found
            if note.attrs.get("w:type", "normal") == "normal"
        }

    def _walk(self, node: Node) -> None:
        for child in node.nodes():
            match child.tag:
                case "w:p":
                    self._paragraph(child)
                case "w:tbl":
                    self._table(child)
                case "w:sdt" | "w:sdtContent" | "w:customXml" | "w:ins" | "w:moveTo" | "mc:AlternateContent":
                    self._walk(_chosen(child))
                case _:
                    pass

    def _paragraph(self, node: Node) -> None:
        found = _Inline()
        self._inline(node, found)
        text = clean("".join(found.text)).strip()
        level = self._styles.heading_level(node)
        label, depth = self._numbering.label(*self._styles.numbering(node)) if text else ("", 0)
        if level and text:
            self._add("heading", " ".join(f"{label} {text}".split()), level=level)
            self._add_pictures(found.pictures)
        elif label and text:
            self._items.append("  " * depth + f"{label} " + text.replace("\n", "\n" + "  " * (depth + 1)))
            self._add_pictures(found.pictures)
        else:
            first = found.pictures[0][0] if text and found.pictures else None
            self._add("text", text, picture=first)
            self._add_pictures(found.pictures[1:] if text else found.pictures)
        for note in found.notes + found.drawn:
            self._add("text", note)
        for box in found.boxes:
            self._walk(box)

    def _inline(self, node: Node, found: _Inline) -> None:
        for child in _chosen(node).nodes():
            tag = child.tag
            if tag == "w:t" or tag == "m:t":
                found.text.append(child.text)
            elif tag in _ALONE:
                found.text.append(_ALONE[tag])
            elif tag in _THROUGH or tag.startswith("m:"):
                self._inline(child, found)
            elif tag in {"w:drawing", "w:pict", "w:object"}:
                self._drawing(child, found)
            elif note := self._foot.get((tag, child.attrs.get("w:id", ""))):
                found.notes.append(note)

    def _drawing(self, node: Node, found: _Inline) -> None:
        describing = next(iter(node.all("docPr")), None)
        words = (describing.attrs.get("descr") or "") if describing else ""
        for pointer in node.all("a:blip", "v:imagedata"):
            relation = self._related.get(pointer.attrs.get("r:embed") or pointer.attrs.get("r:id") or "")
            data = self._parts.find(relation.target) if relation and relation.kind == "image" else None
            index = self.gallery.add(data) if data else None
            if index is not None:
                found.pictures.append((index, clean(words).strip()))
        found.boxes += node.outermost("w:txbxContent")  # a box inside a box comes when that one is walked
        if drawn := related_drawings(node, self._related, self._parts.find, self._name):
            found.drawn.append(drawn)

    def _table(self, node: Node) -> None:
        rows: list[list[str]] = []
        above: dict[int, str] = {}
        for row in _below(node, "w:tr"):
            cells: list[str] = []
            for cell in _below(row, "w:tc"):
                span = _number(cell.attribute(("w:tcPr", "w:gridSpan"), "w:val", "1"))
                merge = cell.find("w:tcPr", "w:vMerge")
                continues = merge is not None and merge.attrs.get("w:val", "continue") == "continue"
                text = above.get(len(cells), "") if continues else self._cell(cell)
                if merge is not None:
                    above[len(cells)] = text
                cells += [text] * min(span, max(1, _MAX_COLUMNS - len(cells)))
            rows.append(cells)
        width = max((len(row) for row in rows), default=0)
        full = [cells + [""] * (width - len(cells)) for cells in rows if any(cells)]
        if width == 1:  # a frame
            for cells in full:
                self._add("text", cells[0])
        elif full:
            self._add("table", pipe_table(full), rows=tuple(tuple(row) for row in full))

    def _cell(self, cell: Node) -> str:
        found = _Inline()
        lines: list[str] = []
        for paragraph in cell.all("w:p"):
            self._inline(paragraph, found)
            lines.append("".join(found.text).strip())
            found.text.clear()
        self._add_pictures(found.pictures)
        return clean("\n".join(line for line in (*lines, *found.notes, *found.drawn) if line))

    def _add_pictures(self, pictures: list[tuple[int, str]]) -> None:
        for index, words in pictures:
            self.blocks.append(Block(kind="image", text=words, picture=index))

    def _add(
        self,
        kind: BlockKind,
        text: str,
        *,
        level: int = 0,
        picture: int | None = None,
        rows: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self._end_list()
        if text.strip():
            self.blocks.append(Block(kind=kind, text=text, level=level, picture=picture, rows=rows))

    def _end_list(self) -> None:
        if self._items:
            self.blocks.append(Block(kind="list", text="\n".join(self._items)))
            self._items = []


def _chosen(node: Node) -> Node:
    """Of alternatives, the first."""
    if node.tag != "mc:AlternateContent":
        return node
    return next(node.nodes(), node)


def _below(node: Node, tag: str) -> list[Node]:
    """Return the elements of a table with `tag`, through wrappers but not into inner tables."""
    found: list[Node] = []
    for child in node.nodes():
        if child.tag == tag:
            found.append(child)
        elif child.tag in {"w:sdt", "w:sdtContent", "w:customXml", "w:ins"}:
            found += _below(child, tag)
    return found


def _number(text: str) -> int:
    return max(1, int(text)) if text.isdigit() and text.isascii() else 1
