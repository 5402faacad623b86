"""What is inside a document: blocks as parsed, sections of its outline, chunks to be searched."""

from dataclasses import dataclass
from typing import Literal

from app.domain.errors import ParleyError

BlockKind = Literal["heading", "text", "plain", "table", "code", "list"]
"""`plain` is running text of an unstructured file, which the chunker may split at delimiters; `text` is a paragraph."""

Position = tuple[int, int, int, int, int]
"""`(page from 1, left, right, top, bottom)` (knowledge.md 3.2)."""


class ParseFailed(ParleyError):
    """The document cannot be read; `message` tells its owner why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One paragraph, heading, table, list or listing, in reading order.

    `level` is 1 to 6 for headings and 0 otherwise. `page` counts from 1, None where there are no pages.
    Tables are Markdown pipe tables; listings keep their fence.
    """

    kind: BlockKind
    text: str
    level: int = 0
    page: int | None = None

    @property
    def markdown(self) -> str:
        """The block as Markdown."""
        return f"{'#' * self.level} {self.text}" if self.kind == "heading" else self.text


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedDocument:
    """A file as text: free of NUL and lone surrogates, line ends as `\\n`. No blocks = nothing to read in it."""

    blocks: tuple[Block, ...] = ()
    pages: int | None = None
    title: str | None = None

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
    """A piece of a document before it is embedded; `ordinal` counts from 0 over the document."""

    content: str
    section_order: int | None
    positions: tuple[Position, ...]
    ordinal: int
