"""What a Word paragraph is: a heading by its style, an item by its numbering."""

import re
from collections import defaultdict

from app.ingest.formats.xml_trees import Node

_HEADING = re.compile(r"heading ([1-9])$")
_PLACE = re.compile(r"%([1-9])")
_MAX_BASES = 20
_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"),
          (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip


class Styles:
    """The paragraph styles of a document."""

    def __init__(self, root: Node | None) -> None:
        self._styles = {node.attrs.get("w:styleId", ""): node for node in root.all("w:style")} if root else {}

    def heading_level(self, paragraph: Node) -> int:
        """Return 1 to 6 for headings, by the paragraph's own outline level or its style's; 0 for others."""
        own = paragraph.attribute(("w:pPr", "w:outlineLvl"), "w:val")
        if own.isdigit():
            return min(int(own) + 1, 6) if int(own) < 9 else 0
        for style in self._chain(paragraph):
            name = style.attribute(("w:name",), "w:val").lower()
            if found := _HEADING.match(name):
                return min(int(found[1]), 6)
            if name == "title":
                return 1
            level = style.attribute(("w:pPr", "w:outlineLvl"), "w:val")
            if level.isdigit():
                return min(int(level) + 1, 6) if int(level) < 9 else 0
        return 0

    def numbering(self, paragraph: Node) -> tuple[str, int, bool]:
        """Return `(numbering id, depth from 0, whether the style's name says it is a list)`."""
        is_list = False
        number, depth = "", ""
        for node in (paragraph, *self._chain(paragraph)):
            is_list = is_list or node.attribute(("w:name",), "w:val").lower().startswith("list ")
            number = number or node.attribute(("w:pPr", "w:numPr", "w:numId"), "w:val")
            depth = depth or node.attribute(("w:pPr", "w:numPr", "w:ilvl"), "w:val")
        return number, min(int(depth), 8) if depth.isdigit() else 0, is_list

    def _chain(self, paragraph: Node) -> list[Node]:
        """Return the paragraph's style and those it is based on."""
        found: list[Node] = []
        name = paragraph.attribute(("w:pPr", "w:pStyle"), "w:val")
        while name in self._styles and len(found) < _MAX_BASES:
            found.append(self._styles[name])
            name = found[-1].attribute(("w:basedOn",), "w:val")
        return found


class Numbering:
    """The numbers and bullets of a document, counted as its paragraphs come."""

    def __init__(self, root: Node | None) -> None:
        self._levels: dict[str, dict[int, Node]] = {}
        self._abstract: dict[str, str] = {}
        self._counts: defaultdict[str, dict[int, int]] = defaultdict(dict)
        if root is None:
            return
        for node in root.all("w:abstractNum"):
            levels = {int(level.attrs.get("w:ilvl", "0")): level for level in node.all("w:lvl")}
            self._levels[node.attrs.get("w:abstractNumId", "")] = levels
        for node in root.all("w:num"):
            self._abstract[node.attrs.get("w:numId", "")] = node.attribute(("w:abstractNumId",), "w:val")

    def label(self, number: str, depth: int, is_list: bool) -> tuple[str, int]:
        """Return `(what stands before the paragraph, its depth)`: `-` for bullets, nothing if it is no item."""
        abstract = self._abstract.get(number, "")
        level = self._levels.get(abstract, {}).get(depth)
        if level is None or number == "0":
            return ("-", depth) if is_list and number != "0" else ("", 0)
        kind = level.attribute(("w:numFmt",), "w:val", "decimal")
        if kind == "bullet":
            return "-", depth
        if kind == "none":
            return "", 0
        counts = self._counts[abstract]
        start = level.attribute(("w:start",), "w:val", "1")
        counts[depth] = counts.get(depth, (int(start) if start.isdigit() else 1) - 1) + 1
        for deeper in [key for key in counts if key > depth]:
            del counts[deeper]
        pattern = level.attribute(("w:lvlText",), "w:val", f"%{depth + 1}.")
        return _PLACE.sub(lambda found: self._count(abstract, int(found[1]) - 1), pattern), depth

    def _count(self, abstract: str, depth: int) -> str:
        level = self._levels[abstract].get(depth)
        kind = level.attribute(("w:numFmt",), "w:val", "decimal") if level else "decimal"
        return _written(self._counts[abstract].get(depth, 1), kind)


def _written(count: int, kind: str) -> str:
    if kind.endswith("Letter") and count > 0:
        text = chr(ord("a") + (count - 1) % 26) * ((count - 1) // 26 % 10 + 1)
    elif kind.endswith("Roman") and 0 < count < 4000:
        text = ""
        for value, letters in _ROMAN:
            text += letters * (count // value)
            count %= value
    else:
        text = str(count)
    return text.upper() if kind.startswith("upper") else text
