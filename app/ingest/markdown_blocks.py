"""Markdown to blocks, line by line: headings, fences, tables, lists, paragraphs."""

import re

from app.domain.documents import Block, BlockKind

_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]++(.*))?$")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_RULE = re.compile(r" {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$")
_ITEM = re.compile(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:[ \t]+|$)")
_TABLE_RULE = re.compile(r"[ \t]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
_HTML_TABLE = re.compile(r" {0,3}<table\b", re.IGNORECASE)
_EMPHASIS = re.compile(r"(\*\*|__|`)(?=\S)(.{1,300}?)(?<=\S)\1")
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,500}(?:[ \t]{1,3}\"[^\"]{0,300}\")?\)")
_FRONT_TITLE = re.compile(r"^title[ \t]*+:[ \t]*+(.+)$", re.MULTILINE | re.IGNORECASE)


def markdown_blocks(text: str, page: int | None = None) -> list[Block]:
    """Return the blocks of `text`, all on `page`. Thematic breaks are dropped, everything else is kept."""
    return _Scanner(text.split("\n"), page).run()


def split_front_matter(text: str) -> tuple[str | None, str, str]:
    """Return `(title, front matter without its fences, rest)`."""
    if not text.startswith("---\n"):
        return None, "", text
    end = text.find("\n---", 3)
    if end < 0 or (end + 4 < len(text) and text[end + 4] != "\n"):
        return None, "", text
    front = text[4:end].strip("\n") if end > 3 else ""
    if ":" not in front:  # two thematic breaks
        return None, "", text
    found = _FRONT_TITLE.search(front)
    return (found[1].rstrip(" \t").strip("\"'") or None) if found else None, front, text[end + 5 :]


def plain_inline(text: str) -> str:
    """Return a heading's text without emphasis, code marks and link targets."""
    return _EMPHASIS.sub(r"\2", _LINK.sub(r"\1", text)).strip()


def _without_closing(title: str) -> str:
    """Return a heading's text without the run of `#` that may close it."""
    bare = title.rstrip(" \t")
    opened = bare.rstrip("#")
    return opened.rstrip(" \t") if opened.endswith((" ", "\t")) else bare


class _Scanner:
    """One pass over the lines; each `_take_*` consumes at least one line or says no."""

    def __init__(self, lines: list[str], page: int | None) -> None:
        self._lines = lines
        self._page = page
        self._at = 0
        self._blocks: list[Block] = []
        self._last_table_end = next((i for i in reversed(range(len(lines))) if "</table>" in lines[i].lower()), -1)

    def run(self) -> list[Block]:
        while self._at < len(self._lines):
            line = self._lines[self._at]
            if not line.strip() or (_RULE.match(line) and not _ITEM_TEXT.match(line)):
                self._at += 1
            elif not (self._take_heading() or self._take_fence() or self._take_table() or self._take_list()):
                self._take_paragraph()
        return self._blocks

    def _add(self, kind: BlockKind, lines: list[str], *, level: int = 0) -> None:
        text = "\n".join(lines).strip("\n")
        if text.strip():
            self._blocks.append(Block(kind=kind, text=text, level=level, page=self._page))

    def _take_heading(self) -> bool:
        found = _ATX.match(self._lines[self._at])
        if not found:
            return False
        self._at += 1
        if title := plain_inline(_without_closing(found[2] or "")):
            self._add("heading", [title], level=len(found[1]))
        return True

    def _take_fence(self) -> bool:
        found = _FENCE.match(self._lines[self._at])
        if not found:
            return False
        mark = found[1]
        end = self._at + 1
        while end < len(self._lines):
            line = self._lines[end].strip()
            end += 1
            if line.startswith(mark) and not line.strip(mark[0]):
                break
        self._add("code", self._lines[self._at : end])
        self._at = end
        return True

    def _take_table(self) -> bool:
        lines, start = self._lines, self._at
        if _HTML_TABLE.match(lines[start]):
            if start > self._last_table_end:
                return False
            end = next(i + 1 for i in range(start, len(lines)) if "</table>" in lines[i].lower())
        elif self._is_table_start(start):
            end = start + 2
            while end < len(lines) and "|" in lines[end]:
                end += 1
        else:
            return False
        self._add("table", lines[start:end])
        self._at = end
        return True

    def _is_table_start(self, at: int) -> bool:
        lines = self._lines
        return (
            "|" in lines[at] and at + 1 < len(lines) and "|" in lines[at + 1] and bool(_TABLE_RULE.match(lines[at + 1]))
        )

    def _take_list(self) -> bool:
        if not _ITEM.match(self._lines[self._at]):
            return False
        end = self._at + 1
        while end < len(self._lines):
            line = self._lines[end]
            if not line.strip():
                after = self._lines[end + 1] if end + 1 < len(self._lines) else ""
                if not (_ITEM.match(after) or after.startswith(("  ", "\t"))):
                    break
            elif _ATX.match(line) or (_FENCE.match(line) and not line.startswith(" ")) or _RULE.match(line):
                break
            end += 1
        self._add("list", self._lines[self._at : end])
        self._at = end
        return True

    def _take_paragraph(self) -> None:
        start = self._at
        end = start + 1
        while end < len(self._lines) and not self._ends_paragraph(end):
            if _SETEXT.match(self._lines[end]):
                level = 1 if "=" in self._lines[end] else 2
                self._add(
                    "heading", [plain_inline(" ".join(line.strip() for line in self._lines[start:end]))], level=level
                )
                self._at = end + 1
                return
            end += 1
        self._add("text", self._lines[start:end])
        self._at = end

    def _ends_paragraph(self, at: int) -> bool:
        line = self._lines[at]
        if _SETEXT.match(line):
            return False
        return (
            not line.strip()
            or bool(_ATX.match(line) or _FENCE.match(line) or _RULE.match(line) or _HTML_TABLE.match(line))
            or (bool(_ITEM.match(line)) and not line.lstrip()[0].isdigit())
            or self._is_table_start(at)
        )


_ITEM_TEXT = re.compile(r" {0,3}[-*+][ \t]+[^\s*_-]")
