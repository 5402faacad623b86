"""What is inside a document: blocks as parsed, sections of its outline, chunks to be searched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from app.domain.errors import ParleyError

BlockKind = Literal["heading", "text", "plain", "table", "code", "list", "sheet", "json", "image"]
"""`plain` is running text of an unstructured file, which the chunker may split at delimiters; `text` is a paragraph;
`sheet` a table of a spreadsheet or CSV file, told by its `rows`; `json` one JSON value, as JSON text; `image` a picture
with what could be read on it, if anything."""

Position = tuple[int, int, int, int, int]
"""`(page from 1, left, right, top, bottom)` (knowledge.md 3.2)."""


class ParseFailed(ParleyError):
    """The document cannot be read; `message` tells its owner why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One paragraph, heading, table, list or listing, in reading order.

    `level` is 1 to 6 for headings and 0 otherwise. `page` counts from 1 (pages, slides), None where there are none.
    Tables are Markdown pipe tables; listings keep their fence. A `sheet` has its name as `text` (empty for CSV) and
    its cells as `rows`, the header not told apart. `picture` is an index into the document's pictures.
    """

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None
    rows: tuple[tuple[str, ...], ...] = ()
    picture: int | None = None

    @property
    def markdown(self) -> str:
        """The block as Markdown; a sheet as a pipe table under its name."""
        match self.kind:
            case "heading":
                return f"{'#' * self.level} {self.text}"
            case "sheet":
                return "\n\n".join(part for part in (self.text, pipe_table(self.rows)) if part)
            case _:
                return self.text


def pipe_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as a Markdown table whose first row is the head."""
    lines = ["| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in row) + " |" for row in rows]
    if lines:
        lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """An image found in a file, or the image of a page."""

    data: bytes
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file that came inside another, parsed; `failure` says why it could not be."""

    name: str
    document: "ParsedDocument"
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """A file as text: free of NUL and lone surrogates, line ends as `\\n`. No blocks = nothing to read in it.

    `notes` are lines for the document's log: pages that could not be read, parts left out. `thumbnail` is a small PNG
    of the first page or of the image itself. `links` are the web addresses it links to, where they were asked for.
    """

    blocks: tuple[Block, ...] = ()
    pages: int | None = None
    title: str | None = None
    pictures: tuple[Picture, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    notes: tuple[str, ...] = ()
    thumbnail: bytes | None = None
    links: tuple[str, ...] = ()

    @property
    def markdown(self) -> str:
        """The whole text, blocks separated by an empty line."""
        return "\n\n".join(block.markdown for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlineSection:
    """A heading and what follows it up to the next heading.

    `order` counts from 0 over the document and is total; `level` is the depth in the outline, from 1;
    `path` holds the titles from the root down to and including this one. `heading` is the heading's own
    block, None for text before the first heading. `blocks` holds the body without it.
    """

    order: int
    level: int
    title: str
    path: tuple[str, ...]
    parent_order: int | None
    heading: Block | None = None
    blocks: tuple[Block, ...] = ()

    @property
    def content(self) -> str:
        """The body as Markdown, without the heading line."""
        return "\n\n".join(block.markdown for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawChunk:
    """A piece of a document before it is embedded; `ordinal` counts from 0 over the document.

    `searched` is what the text search sees where that is not the content (qa: the question only); `embedded` likewise
    for the vector. `tags` are those of a tag dataset, `row` the typed cells of a table row, `picture` an index into
    the parsed document's pictures.
    """

    content: str
    section_order: int | None
    positions: tuple[Position, ...]
    ordinal: int
    searched: str | None = None
    embedded: str | None = None
    important_keywords: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    row: Mapping[str, Any] | None = None
    picture: int | None = None
    doc_type: str = ""
