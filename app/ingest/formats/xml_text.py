"""XML of any kind: titles as headings, paragraphs as text, records as `name: value` lines, tables and listings."""

import re
from html.entities import html5

from app.domain.documents import Block, BlockKind, ParsedDocument, ParseFailed, pipe_table
from app.ingest.decoding import clean
from app.ingest.formats.plain import plain, text_of
from app.ingest.formats.source import Source
from app.ingest.formats.xml_trees import Node, parse_xml

_TITLES = frozenset(["title", "head", "heading", "bridgehead", "caption"])
_TABLES = frozenset(["table", "informaltable", "tgroup"])
_ROWS = ("row", "tr")
_CELLS = frozenset(["entry", "td", "th"])
_LISTINGS = frozenset(["programlisting", "screen", "literallayout", "pre", "listing", "code-block"])
_ITEMS = frozenset(["listitem", "item", "li"])
_NOT_IN_ITEMS = (*_ITEMS, *_TABLES, *_LISTINGS)
_SKIPPED = frozenset(["script", "style"])
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*(?:\[[^\]]*\])?[^>]*>")
_DECLARED = re.compile(r"<!ENTITY\s+([\w.-]+)\s+[\"']([^\"'&<%]{1,500})[\"']\s*>")
_DECLARED_IN = 64 * 1024  # characters from the start
_ENTITY = re.compile(r"&(?!(?:amp|lt|gt|quot|apos);)(\w[\w.-]*);")
_MARKS_WORDS = """
id lang role class version space condition revision os arch schemalocation base remap linkend cols colname
colwidth align float frame rowsep colsep spacing mark fileref format scale width height style xreflabel
"""  # attributes that say how, not what
_MARKS = frozenset(_MARKS_WORDS.split())
_INLINE_LIMIT = 40  # a "record" with more fields than this is a list of things


def parse_xml_text(source: Source) -> ParsedDocument:
    """Read XML. What is not well-formed, or deeper than is read, is taken as running text, with a note."""
    text = text_of(source)
    try:
        try:
            root = parse_xml(source.data, source.filename, has_entities=True)
        except ParseFailed:  # names of entities that nobody declared are the usual reason
            root = parse_xml(_without_entities(text), source.filename)
    except ParseFailed as failure:
        return plain(text, f"{failure.message} It was read as running text.")
    walk = _Walk()
    walk.visit(root, 1)
    return ParsedDocument(blocks=tuple(walk.blocks), title=walk.title)


class _Walk:
    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.title: str | None = None

    def visit(self, node: Node, level: int) -> None:
        """Add the blocks of `node`; `level` is the depth among elements that have a title. As deep as the tree is."""
        name = node.tag.rpartition(":")[2].lower()
        if name in _SKIPPED:
            return
        if name in _LISTINGS:
            self._add("code", f"```\n{node.text.strip(chr(10)).rstrip()}\n```" if node.text.strip() else "")
        elif name in _TABLES and (rows := _rows(node)):
            self._add("table", pipe_table(rows))
        elif items := _items(node):
            self._add("list", "\n".join(items))
        elif name in _TITLES and not any(True for _ in node.nodes() if _is_titled(_)):
            self._heading(node, level - 1)
        elif _has_text(node):
            self._mixed(node, level)
        elif fields := _fields(node):
            self._add("text", "\n".join(fields))
        else:
            inner = level + 1 if _is_titled(node) else level
            if attributes := _attributes(node):
                self._add("text", f"{node.tag}: " + ", ".join(attributes))
            for child in node.nodes():
                self.visit(child, inner)

    def _heading(self, node: Node, level: int) -> None:
        text = " ".join(node.text.split())
        self.title = self.title or text or None
        self._add("heading", text, level=min(max(level, 1), 6))

    def _mixed(self, node: Node, level: int) -> None:
        """Add a paragraph; blocks inside it (lists, tables, listings) stand after the text before them."""
        running: list[str] = []
        for child in node.children:
            if isinstance(child, str):
                running.append(child)
            elif _is_block(child):
                self._add("text", " ".join("".join(running).split()))
                running = []
                self.visit(child, level)
            else:
                running.append(child.text)
        self._add("text", " ".join("".join(running).split()))

    def _add(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        if text.strip():
            self.blocks.append(Block(kind=kind, text=clean(text), level=level))


def _without_entities(text: str) -> bytes:
    """Return the XML without its declarations of encoding and entities, with the characters HTML's names stand for."""

    declared = {found[1]: found[2] for found in _DECLARED.finditer(text[:_DECLARED_IN])}

    def character(found: re.Match[str]) -> str:
        return declared.get(found[1]) or html5.get(f"{found[1]};", f"&amp;{found[1]};")

    text = _DOCTYPE.sub("", _DECLARATION.sub("", text, count=1), count=1)
    return _ENTITY.sub(character, text).encode()


def _is_titled(node: Node) -> bool:
    return any(child.tag.rpartition(":")[2].lower() in _TITLES for child in node.nodes())


def _has_text(node: Node) -> bool:
    return any(isinstance(child, str) and child.strip() for child in node.children)


def _is_block(node: Node) -> bool:
    name = node.tag.rpartition(":")[2].lower()
    return name in _TABLES | _LISTINGS or any(child.tag.rpartition(":")[2].lower() in _ITEMS for child in node.nodes())


def _items(node: Node) -> list[str]:
    """Return the items of a list that holds nothing but short ones."""
    children = list(node.nodes())
    if not children or any(child.tag.rpartition(":")[2].lower() not in _ITEMS for child in children):
        return []
    if any(True for child in children for _ in child.all(*_NOT_IN_ITEMS)):
        return []
    return ["- " + " ".join(child.text.split()) for child in children if child.text.strip()]


def _fields(node: Node) -> list[str]:
    """Return `name: value` lines if the element is a record: leaves only, told apart by their names."""
    children = list(node.nodes())
    names = {child.tag for child in children}
    is_record = (
        1 < len(children) <= _INLINE_LIMIT
        and len(names) > len(children) // 2
        and not any(True for child in children for _ in child.nodes())
        and not _TITLES & {name.rpartition(":")[2].lower() for name in names}
        and sum(len(child.text) for child in children) < 200 * len(children)
    )
    if not is_record:
        return []
    lines = _attributes(node)
    for child in children:
        if value := ", ".join(part for part in (" ".join(child.text.split()), *_attributes(child)) if part):
            lines.append(f"{child.tag}: {value}")
    return lines


def _rows(node: Node) -> list[list[str]]:
    rows = [
        [" ".join(cell.text.split()) for cell in row.nodes() if cell.tag.rpartition(":")[2].lower() in _CELLS]
        for row in node.all(*_ROWS)
    ]
    rows = [row for row in rows if any(row)]
    width = max((len(row) for row in rows), default=0)
    return [row + [""] * (width - len(row)) for row in rows] if width > 1 else []


def _attributes(node: Node) -> list[str]:
    """Return the attributes that tell a reader something, as `name: value`."""
    return [
        f"{name}: {value}"
        for name, value in node.attrs.items()
        if name.rpartition(" ")[2].rpartition("}")[2].lower() not in _MARKS and value.strip() and "://" not in value
    ]
