"""Blocks to sections: a heading and what follows it."""

from pathlib import PurePath

from app.domain.documents import Block, OutlineSection, ParsedDocument

_MAX_TITLE = 255


def outline(document: ParsedDocument, filename: str) -> list[OutlineSection]:
    """Return the sections in reading order; every block is in exactly one, as its heading or in its body.

    Text before the first heading is a section of its own, named as the document (its title, else the file's
    name without extension); so is a document without headings. No blocks, no sections.
    """
    sections: list[OutlineSection] = []
    open_path: list[tuple[int, int, str]] = []  # (heading level, order, title) from the root
    heading: Block | None = None
    body: list[Block] = []

    def close() -> None:
        if heading is None and not body:
            return
        title = _title(heading.text if heading else document.title or PurePath(filename).stem or filename)
        while heading and open_path and open_path[-1][0] >= heading.level:
            open_path.pop()
        sections.append(
            OutlineSection(
                order=len(sections),
                level=len(open_path) + 1,
                title=title,
                path=(*(above for _, _, above in open_path), title),
                parent_order=open_path[-1][1] if open_path else None,
                heading=heading,
                blocks=tuple(body),
            )
        )
        if heading:
            open_path.append((heading.level, len(sections) - 1, title))

    for block in document.blocks:
        if block.kind == "heading":
            close()
            heading, body = block, []
        else:
            body.append(block)
    close()
    return sections


def _title(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_TITLE else line[: _MAX_TITLE - 1] + "…"
