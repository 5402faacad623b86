"""HTML to blocks: what a reader of the page sees, without scripts, navigation and forms.

Our own pass over the standard library's tolerant tokenizer: the parser library leaves footers in, and
makes a heading of the page's title (parts.md 6).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser

from app.domain.documents import Block, BlockKind

_HIDDEN_TAGS = """
script style noscript template svg math iframe object canvas audio video map select button textarea datalist dialog
nav footer menu
"""
_BLOCK_TAGS = """
address article aside blockquote body center dd details div dl dt fieldset figcaption figure form header hgroup hr
html legend main p section summary
"""
_VOID_TAGS = "area base br col embed hr img input link meta source track wbr"
_HIDDEN = frozenset(_HIDDEN_TAGS.split())
_RAW = frozenset({"script", "style", "noscript", "template", "svg", "iframe", "object"})
_BLOCK = frozenset(_BLOCK_TAGS.split())
_VOID = frozenset(_VOID_TAGS.split())
_SPACE = re.compile(r"[ \t\n\r\f]+")
_LANGUAGE = re.compile(r"(?:language|lang|highlight)-([\w+#-]+)")
_HIDING_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_HIDING_ROLE = frozenset({"navigation", "contentinfo", "search", "dialog"})

FindPicture = Callable[[str], int | None]
"""Takes the picture at an address of the page; its number among the document's, None for none."""


def html_blocks(text: str, find_picture: FindPicture | None = None) -> tuple[str | None, list[Block]]:
    """Return `(title, blocks)` of a page; lists as Markdown items, tables as pipe tables, listings fenced.

    Pictures that are found stand behind the paragraph, list or table they are in; of others there is what they say.
    """
    whole = text.rfind(">") + 1  # a tag begun after the last `>` never ends: looking for its end is quadratic
    text = text[:whole] + text[whole:].replace("<", "&lt;")
    reader = _Reader(_HIDDEN, find_picture)
    reader.feed(text)
    reader.close()
    reader.finish()
    if not reader.blocks:  # an unclosed <nav> or a page that is all menu: better too much than nothing
        reader = _Reader(_RAW, find_picture)
        reader.feed(text)
        reader.close()
        reader.finish()
    return reader.title, reader.blocks


@dataclass(slots=True)
class _Table:
    rows: list[list[str]] = field(default_factory=list[list[str]])
    caption: str = ""
    span: int = 1


class _Reader(HTMLParser):
    """Gathers text until a block ends."""

    def __init__(self, hidden: frozenset[str], find_picture: FindPicture | None) -> None:
        super().__init__(convert_charrefs=True)
        self._find_picture = find_picture
        self._pictures: list[Block] = []  # of the running block
        self.title: str | None = None
        self.blocks: list[Block] = []
        self._hidden_tags = hidden
        self._hidden_by: str | None = None
        self._hidden_depth = 0
        self._text: list[str] = []
        self._heading = 0
        self._in_title = False
        self._pre = 0
        self._language = ""
        self._tables: list[_Table] = []
        self._lists: list[int | None] = []  # next number of an ordered list, None for bullets
        self._items: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden_by:
            self._hidden_depth += tag == self._hidden_by
            if self._hidden_by == "svg" and tag == "image":  # as the covers of books are drawn
                self._picture(dict(attrs), "xlink:href")
            return
        if tag not in _VOID and (tag in self._hidden_tags or self._is_hidden(dict(attrs))):
            self._hidden_by, self._hidden_depth = tag, 1
            return
        if tag == "title":
            self._in_title = self.title is None
        elif tag == "br":
            self._text.append("\n")
        elif tag == "img":
            if words := self._picture(dict(attrs), "src"):
                self._text.append(f" {words} ")
        elif tag in {"table", "tr", "td", "th", "caption"}:
            self._start_table_part(tag, dict(attrs))
        elif self._tables:
            if tag in _BLOCK or tag == "li":
                self._text.append(" ")
        else:
            self._start_block(tag, dict(attrs))

    def _picture(self, attrs: dict[str, str | None], name: str) -> str:
        """Take a picture; what is left to say of one that is not there."""
        words = (attrs.get("alt") or "").strip()
        index = self._find_picture(attrs.get(name) or "") if self._find_picture is not None else None
        if index is None:
            return words
        self._pictures.append(Block(kind="image", text=words, picture=index))
        return ""

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_by:
            self._hidden_depth -= tag == self._hidden_by
            if not self._hidden_depth:
                self._hidden_by = None
        elif tag == "title":
            self._in_title = False
        elif tag in {"table", "tr", "td", "th", "caption"}:
            self._end_table_part(tag)
        elif self._tables:
            if tag in _BLOCK or tag == "li":
                self._text.append(" ")
        else:
            self._end_block(tag)

    def _end_block(self, tag: str) -> None:
        if tag == "pre" and self._pre:
            self._pre -= 1
            self._emit_listing()
        elif tag in {"ul", "ol"}:
            self._end_item()
            if self._lists:
                self._lists.pop()
            if not self._lists:
                self._emit_list()
        elif tag == "li":
            self._end_item()
        elif tag in _BLOCK or _heading_level(tag):
            self._flush()
            self._heading = 0

    def handle_data(self, data: str) -> None:
        if self._hidden_by:
            return
        if self._in_title:
            self.title = _squeeze((self.title or "") + data) or None
        else:
            self._text.append(data)

    def finish(self) -> None:
        """End what the page left open."""
        while self._tables:
            self._end_table_part("table")
        if self._pre:
            self._emit_listing()
        self._end_item()
        self._flush()
        self._emit_list()

    def _is_hidden(self, attrs: dict[str, str | None]) -> bool:
        return (
            "hidden" in attrs
            or (attrs.get("role") or "").lower() in _HIDING_ROLE
            or bool(_HIDING_STYLE.search(attrs.get("style") or ""))
        )

    def _start_block(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "pre":
            self._flush()
            self._pre += 1
            self._language = ""
        if self._pre or tag == "code":
            if found := _LANGUAGE.search(attrs.get("class") or ""):
                self._language = found[1]
        elif tag in {"ul", "ol"}:
            self._end_item() if self._lists else self._flush()
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self._end_item() if self._lists else self._flush()
        elif level := _heading_level(tag):
            self._flush()
            self._heading = level
        elif tag in _BLOCK:
            self._text.append("\n") if self._lists else self._flush()

    def _flush(self) -> None:
        """End the running paragraph or heading."""
        if self._lists:
            self._end_item()
            return
        self._emit("heading" if self._heading else "text", _lines(self._text), level=self._heading)
        self._text = []

    def _end_item(self) -> None:
        text = _lines(self._text) if self._lists else ""
        if not self._lists:
            return
        self._text = []
        if not text:
            return
        number = self._lists[-1]
        mark = "-" if number is None else f"{number}."
        if number is not None:
            self._lists[-1] = number + 1
        indent = "  " * min(len(self._lists) - 1, 20)  # deeper lists are made to be deep
        self._items.append(f"{indent}{mark} " + text.replace("\n", f"\n{indent}  "))

    def _emit_list(self) -> None:
        items, self._items = self._items, []
        self._emit("list", "\n".join(items))

    def _emit_listing(self) -> None:
        text = "".join(self._text).strip("\n").rstrip()
        self._text = []
        if text:
            fence = "````" if "```" in text else "```"
            self._emit("code", f"{fence}{self._language}\n{text}\n{fence}")

    def _emit(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        if self._items and kind != "list":
            self._emit_list()
        if level:
            text = _SPACE.sub(" ", text).rstrip(" ¶#")  # the sign of a link to the heading itself
        if text.strip():
            self.blocks.append(Block(kind=kind, text=text, level=level))
        self.blocks += self._pictures
        self._pictures = []

    def _start_table_part(self, tag: str, attrs: dict[str, str | None]) -> None:
        if tag == "table":
            if self._tables:
                self._text.append(" ")
            elif self._lists:
                self._end_item()
            else:
                self._flush()
            self._tables.append(_Table())
        elif self._tables and len(self._tables) == 1:
            table = self._tables[0]
            if tag == "tr":
                self._end_cell()
                table.rows.append([])
            elif tag != "caption":
                self._end_cell()
                span = attrs.get("colspan") or "1"
                table.span = min(int(span), 50) if span.isdigit() and span.isascii() else 1
                if not table.rows:
                    table.rows.append([])
        else:
            self._text.append(" ")

    def _end_table_part(self, tag: str) -> None:
        if not self._tables:
            return
        if len(self._tables) > 1:  # a table in a cell: its text belongs to the cell
            self._text.append(" ")
            if tag == "table":
                self._tables.pop()
            return
        table = self._tables[0]
        if tag == "caption":
            table.caption, self._text = _squeeze("".join(self._text)), []
        else:
            self._end_cell(is_closed=tag in {"td", "th"})
        if tag == "table":
            self._tables.pop()
            self._emit_table(table)

    def _end_cell(self, *, is_closed: bool = False) -> None:
        table = self._tables[0]
        text, self._text = _squeeze("".join(self._text)), []
        if text or is_closed:
            if not table.rows:
                table.rows.append([])
            table.rows[-1].extend([text, *[""] * (table.span - 1)])
            table.span = 1

    def _emit_table(self, table: _Table) -> None:
        rows = [row for row in table.rows if any(row)]
        width = max((len(row) for row in rows), default=0)
        if width <= 1:  # a frame, not a table
            self._emit("text", table.caption)
            for row in rows:
                self._emit("text", row[0])
            return
        body = [_pipes(row + [""] * (width - len(row))) for row in rows]
        body.insert(1, _pipes(["---"] * width))
        self._emit("text", table.caption)
        self._emit("table", "\n".join(body))


def _heading_level(tag: str) -> int:
    return int(tag[1]) if len(tag) == 2 and tag[0] == "h" and tag[1] in "123456" else 0


def _pipes(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _squeeze(text: str) -> str:
    return _SPACE.sub(" ", text).strip()


def _lines(parts: list[str]) -> str:
    """Join text runs; a `br` is the only part that is exactly one line end, so only those stay line ends."""
    lines: list[list[str]] = [[]]
    for part in parts:
        if part == "\n":
            lines.append([])
        else:
            lines[-1].append(part)
    squeezed = (_squeeze("".join(line)) for line in lines)
    return "\n".join(line for line in squeezed if line)
