"""PPTX: a page for each slide, its shapes from top to bottom and left to right, its notes after them."""

from collections.abc import Iterator
from dataclasses import dataclass

from app.domain.documents import Block, ParsedDocument, ParseFailed, pipe_table
from app.ingest.archives import Parts
from app.ingest.decoding import clean
from app.ingest.formats.office_parts import (
    Relation,
    core_title,
    embedded_files,
    embedded_note,
    main_part,
    related_drawings,
    relations,
)
from app.ingest.formats.pictures import Gallery, open_picture, thumbnail, upright
from app.ingest.formats.source import Source
from app.ingest.formats.xml_trees import Node, parse_xml

_TITLES = {"title", "ctrTitle"}
_FURNITURE = {"dt", "ftr", "sldNum", "hdr", "sldImg"}
_Place = tuple[int, int]


def parse_pptx(source: Source) -> ParsedDocument:
    """Read a presentation. Slides are not drawn: `page_pictures` has no effect here.

    Raises:
        ParseFailed: protected, in the old format under a new name, longer than is read, or damaged.
    """
    if source.is_ole:
        raise ParseFailed(
            f"{source.filename} is protected by a password or in the old .ppt format. Save it as a plain .pptx file."
        )
    parts = Parts(source.data, source.filename, source.caps.archive, must_hold=None)
    main = main_part(parts, source.filename, "ppt/presentation.xml")
    if main not in parts:
        raise ParseFailed(f"{source.filename} is an archive, but not of the kind its extension says.")
    order = parse_xml(parts.read(main), source.filename).find("p:sldIdLst")
    related = relations(parts, main, source.filename)
    ids = [node.attrs.get("r:id", "") for node in order.nodes()] if order else []
    slides = [related[key].target for key in ids if key in related]
    if len(slides) > source.caps.pages:
        raise ParseFailed(f"{source.filename} has {len(slides)} slides; at most {source.caps.pages} are read.")
    reader = _Reader(source, parts)
    for number, slide in enumerate(slides, 1):
        reader.read(slide, number)
    inside, unread = embedded_files(parts, "ppt")
    attachments, notes = source.attach(inside)
    return ParsedDocument(
        blocks=tuple(reader.blocks),
        pages=len(slides),
        title=core_title(parts, source.filename),
        pictures=tuple(reader.gallery.pictures),
        attachments=attachments,
        notes=(*notes, *embedded_note(unread), *reader.gallery.notes),
        thumbnail=None if source.is_inside else _thumbnail(source, parts),
    )


def _thumbnail(source: Source, parts: Parts) -> bytes | None:
    """Return the picture of the first slide that the program put into the file."""
    data = parts.find("docProps/thumbnail.jpeg") or parts.find("docProps/thumbnail.png")
    if data is None:
        return None
    caps = source.caps.pictures
    try:
        return thumbnail(upright(open_picture(data, source.filename, caps), source.filename, caps.side_px), caps)
    except ParseFailed:
        return None


@dataclass(slots=True)
class _Shape:
    node: Node
    place: _Place
    role: str


class _Reader:
    def __init__(self, source: Source, parts: Parts) -> None:
        self._name = source.filename
        self._parts = parts
        self._layouts: dict[str, dict[str, _Place]] = {}
        self.gallery = Gallery(source.caps.pictures)
        self.blocks: list[Block] = []

    def read(self, slide: str, number: int) -> None:
        """Add the blocks of one slide."""
        data = self._parts.find(slide)
        if data is None:
            return
        related = relations(self._parts, slide, self._name)
        tree = parse_xml(data, self._name).find("p:cSld", "p:spTree")
        places = self._places(related)
        for shape in sorted(_shapes(tree, places), key=lambda shape: (shape.role not in _TITLES, shape.place)):
            self.blocks += self._shape(shape, related, number)
        self.blocks += self._notes(related, number)

    def _places(self, related: dict[str, Relation]) -> dict[str, _Place]:
        """Return where the slide's layout puts what the slide does not place itself, by placeholder."""
        target = next((relation.target for relation in related.values() if relation.kind == "slideLayout"), "")
        if target not in self._layouts:
            data = self._parts.find(target)
            root = parse_xml(data, self._name) if data else None
            found: dict[str, _Place] = {}
            for node in root.all("p:sp") if root else ():
                place, holder = _own_place(node), next(iter(node.all("p:ph")), None)
                if place and holder:
                    found[f"idx {holder.attrs.get('idx', '0')}"] = place
                    found.setdefault(holder.attrs.get("type", "obj"), place)
            self._layouts[target] = found
        return self._layouts[target]

    def _shape(self, shape: _Shape, related: dict[str, Relation], number: int) -> Iterator[Block]:
        node = shape.node
        if node.tag == "p:pic":
            pointer = next(iter(node.all("a:blip")), None)
            relation = related.get(pointer.attrs.get("r:embed", "")) if pointer else None
            data = self._parts.find(relation.target) if relation else None
            index = self.gallery.add(data) if data else None
            if index is not None:
                words = node.attribute(("p:nvPicPr", "p:cNvPr"), "descr")
                yield Block(kind="image", text=clean(words).strip(), page=number, picture=index)
        elif node.tag == "p:graphicFrame":
            for table in node.all("a:tbl"):
                if rows := _rows(table):
                    yield Block(kind="table", text=pipe_table(rows), page=number, rows=tuple(map(tuple, rows)))
            if drawn := related_drawings(node, related, self._parts.find, self._name):
                yield Block(kind="text", text=clean(drawn), page=number)
        elif shape.role not in _FURNITURE:
            yield from _text(node, shape.role, number)

    def _notes(self, related: dict[str, Relation], number: int) -> Iterator[Block]:
        target = next((relation.target for relation in related.values() if relation.kind == "notesSlide"), "")
        data = self._parts.find(target)
        tree = parse_xml(data, self._name).find("p:cSld", "p:spTree") if data else None
        for shape in _shapes(tree, {}):
            if shape.role not in _FURNITURE:
                text = "\n".join(line for line, _, _ in _paragraphs(shape.node))
                if text.strip():
                    yield Block(kind="text", text=text, page=number)


def _shapes(tree: Node | None, places: dict[str, _Place]) -> Iterator[_Shape]:
    """Yield the shapes of a slide; those of a group stand where the group stands."""
    for node in tree.nodes() if tree else ():
        if node.tag == "mc:AlternateContent":
            yield from _shapes(next(node.nodes(), None), places)
        elif node.tag == "p:grpSp":
            place = _own_place(node) or (0, 0)
            inner = sorted(_shapes(node, places), key=lambda shape: shape.place)
            yield from (_Shape(shape.node, place, shape.role) for shape in inner)
        elif node.tag in {"p:sp", "p:pic", "p:graphicFrame"}:
            holder = next((ph for ph in node.all("p:ph")), None)
            role = "" if holder is None else holder.attrs.get("type", "obj")
            index = holder.attrs.get("idx", "0") if holder else ""
            place = _own_place(node) or places.get(f"idx {index}") or places.get(role) or (0, 0)
            yield _Shape(node, place, role)


def _own_place(node: Node) -> _Place | None:
    """Return (top, left) of a shape that says where it is."""
    frame = node.find("p:spPr", "a:xfrm") or node.find("p:grpSpPr", "a:xfrm") or node.find("p:xfrm")
    corner = frame.find("a:off") if frame else None
    if corner is None:
        return None
    try:
        return int(corner.attrs.get("y", "0")), int(corner.attrs.get("x", "0"))
    except ValueError:
        return None


def _text(node: Node, role: str, number: int) -> Iterator[Block]:
    """Yield a title as heading, else runs of paragraphs and lists."""
    paragraphs = list(_paragraphs(node, bulleted=role in {"obj", "body"}))
    if role in _TITLES:
        title = " ".join(" ".join(line for line, _, _ in paragraphs).split())
        if title:
            yield Block(kind="heading", text=title, level=1, page=number)
        return
    is_list = any(bullet for _, bullet, _ in paragraphs) and len(paragraphs) > 1
    lines = ["  " * depth + ("- " if bullet and is_list else "") + line for line, bullet, depth in paragraphs]
    if lines:
        yield Block(kind="list" if is_list else "text", text="\n".join(lines), page=number)


def _paragraphs(node: Node, *, bulleted: bool = False) -> Iterator[tuple[str, bool, int]]:
    """Yield (text, whether it has a bullet, depth) of each paragraph of a shape."""
    for paragraph in node.all("a:p"):
        pieces = ("\n" if part.tag == "a:br" else part.text for part in paragraph.all("a:t", "a:br", "m:t"))
        text = " ".join(clean("".join(pieces)).split())
        if not text:
            continue
        style = paragraph.find("a:pPr")
        depth = style.attrs.get("lvl", "0") if style else "0"
        bullet = bulleted
        for mark in style.nodes() if style else ():
            bullet = mark.tag in {"a:buChar", "a:buAutoNum", "a:buBlip"} or (bullet and mark.tag != "a:buNone")
        yield text, bullet, min(int(depth), 8) if depth.isdigit() else 0


def _rows(table: Node) -> list[list[str]]:
    """Return the cells of a slide's table; merged cells repeat their text."""
    rows: list[list[str]] = []
    for row in table.nodes():
        if row.tag != "a:tr":
            continue
        cells: list[str] = []
        for cell in row.nodes():
            if cell.tag != "a:tc":
                continue
            if cell.attrs.get("hMerge") in {"1", "true"} and cells:
                cells.append(cells[-1])
            elif cell.attrs.get("vMerge") in {"1", "true"} and rows and len(cells) < len(rows[-1]):
                cells.append(rows[-1][len(cells)])
            else:
                cells.append("\n".join(line for line, _, _ in _paragraphs(cell)))
        rows.append(cells)
    width = max((len(row) for row in rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows if any(row)]
