"""What Word and PowerPoint files share: relations between parts, embedded files, core properties."""

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from app.domain.documents import ParseFailed
from app.ingest.archives import Parts
from app.ingest.decoding import clean
from app.ingest.formats.xml_trees import Node, parse_xml

_EMBEDDED = (".docx", ".xlsx", ".pptx", ".xls", ".doc", ".ppt", ".pdf", ".csv", ".txt")


@dataclass(frozen=True, slots=True)
class Relation:
    """A part another part points to: the last word of the relation's type, and the part's name."""

    kind: str
    target: str


def relations(parts: Parts, part: str, filename: str) -> dict[str, Relation]:
    """Return the relations of `part` by id, without those that lead outside the file."""
    folder, name = posixpath.split(part)
    data = parts.find(posixpath.join(folder, "_rels", f"{name}.rels"))
    if data is None:
        return {}
    found: dict[str, Relation] = {}
    for node in parse_xml(data, filename).all("Relationship"):
        if node.attrs.get("TargetMode") == "External":
            continue
        target = unquote(node.attrs.get("Target", ""))
        path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
        kind = node.attrs.get("Type", "").rpartition("/")[2]
        found[node.attrs.get("Id", "")] = Relation(kind, path)
    return found


def outside_links(parts: Parts, part: str, filename: str) -> tuple[str, ...]:
    """Return the web addresses that `part` links to, each once."""
    folder, name = posixpath.split(part)
    data = parts.find(posixpath.join(folder, "_rels", f"{name}.rels"))
    nodes = parse_xml(data, filename).all("Relationship") if data is not None else ()
    links = (
        node.attrs.get("Target", "").strip()
        for node in nodes
        if node.attrs.get("TargetMode") == "External" and node.attrs.get("Type", "").endswith("/hyperlink")
    )
    return tuple(dict.fromkeys(link for link in links if link.startswith(("http://", "https://"))))


def main_part(parts: Parts, filename: str, usual: str) -> str:
    """Return the name of the part that holds the document."""
    for relation in relations(parts, "", filename).values():
        if relation.kind == "officeDocument" and relation.target in parts:
            return relation.target
    return usual


def core_title(parts: Parts, filename: str) -> str | None:
    """Return the title among the file's properties."""
    data = parts.find("docProps/core.xml")
    if data is None:
        return None
    try:
        title = parse_xml(data, filename).find("dc:title")
    except ParseFailed:
        return None
    return (" ".join(clean(title.text).split()) or None) if title else None


def embedded_files(parts: Parts, folder: str) -> tuple[list[tuple[str, bytes]], int]:
    """Return `(files put into the document, number of embedded objects of unknown kinds)`."""
    inside = [name for name in parts.names if name.startswith(f"{folder}/embeddings/")]
    known = [name for name in inside if name.lower().endswith(_EMBEDDED)]
    return [(posixpath.basename(name), parts.read(name)) for name in known], len(inside) - len(known)


def embedded_note(unread: int) -> tuple[str, ...]:
    """Return the log line on embedded objects that were not read."""
    return (f"{unread} embedded objects are of kinds that are not read.",) if unread else ()


def drawing_text(node: Node) -> str:
    """Return the texts of a chart or diagram, each once, one a line."""
    texts = (" ".join(child.text.split()) for child in node.all("a:t", "c:v", "c:pt"))
    return "\n".join(dict.fromkeys(text for text in texts if text))


def related_drawings(node: Node, related: dict[str, Relation], read: Callable[[str], bytes | None], name: str) -> str:
    """Return the texts of the charts and diagrams that `node` points to."""
    found: list[str] = []
    for pointer in node.all("c:chart", "dgm:relIds"):
        relation = related.get(pointer.attrs.get("r:id") or pointer.attrs.get("r:dm") or "")
        data = read(relation.target) if relation else None
        if data is not None:
            found.append(drawing_text(parse_xml(data, name)))
    return "\n".join(text for text in found if text)
