"""XML to a tree, for files of strangers: no outside files, no nested entities, bounded depth and size."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias
from xml.parsers import expat

from app.domain.documents import ParseFailed

MAX_DEPTH = 200
_MAX_NODES = 5_000_000
_MAX_ENTITY = 2000  # characters of one entity's value
_MAX_EXPANDED = 1_000_000  # characters all references may add

_OOXML = "http://schemas.openxmlformats.org/"
_STRICT = "http://purl.oclc.org/ooxml/"
_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_PREFIXES = {
    **{f"{base}wordprocessingml/{rest}": "w" for base, rest in ((_OOXML, "2006/main"), (_STRICT, "main"))},
    **{f"{base}presentationml/{rest}": "p" for base, rest in ((_OOXML, "2006/main"), (_STRICT, "main"))},
    **{f"{base}drawingml/{rest}": "a" for base, rest in ((_OOXML, "2006/main"), (_STRICT, "main"))},
    **{f"{base}drawingml/{rest}": "c" for base, rest in ((_OOXML, "2006/chart"), (_STRICT, "chart"))},
    **{f"{base}drawingml/{rest}": "dgm" for base, rest in ((_OOXML, "2006/diagram"), (_STRICT, "diagram"))},
    f"{_OOXML}officeDocument/2006/relationships": "r",
    f"{_STRICT}officeDocument/relationships": "r",
    **{f"{base}officeDocument/{rest}": "m" for base, rest in ((_OOXML, "2006/math"), (_STRICT, "math"))},
    "http://schemas.openxmlformats.org/markup-compatibility/2006": "mc",
    "urn:schemas-microsoft-com:vml": "v",
    **{f"{_ODF}{name}:1.0": name for name in ("office", "text", "table", "presentation", "meta")},
    f"{_ODF}drawing:1.0": "draw",
    f"{_ODF}svg-compatible:1.0": "svg",
    "http://www.w3.org/1999/xlink": "xlink",
    "http://purl.org/dc/elements/1.1/": "dc",
}  # fmt: skip


class EntitiesDeclared(ParseFailed):
    """The file declares entities where none belong."""


@dataclass(slots=True)
class Node:
    """An element: `tag` and attribute names with a fixed prefix where the namespace is a known one, bare elsewhere."""

    tag: str
    attrs: dict[str, str]
    children: "list[Child]" = field(default_factory=list["Child"])

    def nodes(self) -> "Iterator[Node]":
        """Yield the child elements."""
        return (child for child in self.children if isinstance(child, Node))

    def find(self, *path: str) -> "Node | None":
        """Return the first element down the path of tags."""
        node: Node | None = self
        for tag in path:
            node = next((child for child in node.nodes() if child.tag == tag), None) if node else None
        return node

    def all(self, *tags: str) -> "Iterator[Node]":
        """Yield the elements below with one of the tags, in the file's order."""
        pending = [iter(self.children)]
        while pending:
            child = next(pending[-1], None)
            if child is None:
                pending.pop()
            elif isinstance(child, Node):
                if child.tag in tags:
                    yield child
                pending.append(iter(child.children))

    def outermost(self, tag: str) -> "Iterator[Node]":
        """Yield the elements below with the tag, none that lies in another of them."""
        for child in self.nodes():
            if child.tag == tag:
                yield child
            else:
                yield from child.outermost(tag)

    @property
    def text(self) -> str:
        """All text below, as it stands."""
        found: list[str] = []
        pending = [iter(self.children)]
        while pending:
            child = next(pending[-1], None)
            if child is None:
                pending.pop()
            elif isinstance(child, Node):
                pending.append(iter(child.children))
            else:
                found.append(child)
        return "".join(found)

    def attribute(self, path: tuple[str, ...], name: str, default: str = "") -> str:
        """Return an attribute of the element down the path."""
        node = self.find(*path)
        return node.attrs.get(name, default) if node else default


Child: TypeAlias = Node | str


def parse_xml(data: bytes, filename: str, *, has_entities: bool = False) -> Node:
    """Return the root element.

    `has_entities` allows entities that stand for plain text, as documentation in XML has them; references to others
    stay as written. Outside entities and outside DTDs are never fetched.

    Raises:
        EntitiesDeclared: it declares entities and must not.
        ParseFailed: not well-formed, too deep or too large.
    """
    builder = _Builder(filename, has_entities=has_entities)
    try:
        builder.parser.Parse(data, True)
    except expat.ExpatError as error:
        raise ParseFailed(f"{filename} is damaged: its XML breaks off in line {error.lineno}.") from error
    except (ValueError, LookupError) as error:  # an encoding nobody knows
        raise ParseFailed(f"{filename} is damaged: its XML cannot be decoded.") from error
    if builder.root is None:
        raise ParseFailed(f"{filename} is damaged: its XML is empty.")
    return builder.root


class _Builder:
    def __init__(self, filename: str, *, has_entities: bool) -> None:
        self.root: Node | None = None
        self.parser = expat.ParserCreate(namespace_separator=" ")
        self._filename = filename
        self._has_entities = has_entities
        self._open: list[Node] = []
        self._nodes = 0
        self._names: dict[str, str] = {}
        self._entities: dict[str, str] = {}
        self._expanded = 0
        self.parser.buffer_text = True
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._data
        self.parser.EntityDeclHandler = self._declare
        if has_entities:
            self.parser.UseForeignDTD(False)
            self.parser.DefaultHandler = self._other  # with it, expat leaves references to us
            self.parser.SkippedEntityHandler = self._skipped

    def _name(self, name: str) -> str:
        known = self._names.get(name)
        if known is None:
            space, _, local = name.rpartition(" ")
            prefix = _PREFIXES.get(space)
            known = f"{prefix}:{local}" if prefix else local
            if len(self._names) < 10_000:
                self._names[name] = known
        return known

    def _start(self, name: str, attrs: dict[str, str]) -> None:
        self._nodes += 1
        if self._nodes > _MAX_NODES:
            raise ParseFailed(f"{self._filename} has more than {_MAX_NODES} XML elements.")
        if len(self._open) >= MAX_DEPTH:
            raise ParseFailed(f"{self._filename} nests its XML deeper than {MAX_DEPTH} levels.")
        node = Node(tag=self._name(name), attrs={self._name(key): value for key, value in attrs.items()})
        if self._open:
            self._open[-1].children.append(node)
        elif self.root is None:
            self.root = node
        self._open.append(node)

    def _end(self, _name: str) -> None:
        self._open.pop()

    def _data(self, text: str) -> None:
        if self._open:
            self._open[-1].children.append(text)

    def _declare(self, name: str, is_parameter: bool, value: str | None, *_outside: object) -> None:
        if not self._has_entities:
            raise EntitiesDeclared(f"{self._filename} declares XML entities, which are not read.")
        if not is_parameter and value is not None and len(value) <= _MAX_ENTITY and not {"&", "<", "%"} & set(value):
            self._entities.setdefault(name, value)

    def _other(self, text: str) -> None:
        if self._open and len(text) > 2 and text[0] == "&" and text[-1] == ";":
            self._refer(text[1:-1])

    def _skipped(self, name: str, is_parameter: bool) -> None:
        if not is_parameter:
            self._refer(name)

    def _refer(self, name: str) -> None:
        value = self._entities.get(name, f"&{name};")
        self._expanded += len(value)
        self._data(value if self._expanded <= _MAX_EXPANDED else f"&{name};")
