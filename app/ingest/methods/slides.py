"""The presentation method: one chunk per slide or page, with its picture (knowledge.md 5.5)."""

from app.domain.documents import Block, Position, RawChunk
from app.ingest.chunking import Draft
from app.ingest.cutting import cut
from app.ingest.images import image_size
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.tables import pipe_rows, value_lines

_MOST_CHARACTERS = 1024 * 1024  # of one page; beyond it the page makes several chunks


def presentation(source: Source) -> Cut:
    """One chunk per page that has text or a picture, placed on the full page; tables as `header: value` pairs."""
    pages: dict[int, list[tuple[Block, int]]] = {}
    page = 1
    for block, section in source.blocks:
        page = block.page or page
        pages.setdefault(page, []).append((block, section))
    return Cut(
        chunks=number_drafts([draft for page, blocks in pages.items() for draft in _slide(source, page, blocks)])
    )


def _slide(source: Source, page: int, blocks: list[tuple[Block, int]]) -> list[Draft]:
    text = "\n".join(shown for block, _ in blocks if (shown := _shown(block)).strip())
    picture = next((block.picture for block, _ in blocks if block.picture is not None), None)
    parts = cut(text, _MOST_CHARACTERS, len) if len(text) > _MOST_CHARACTERS else [text]
    place = _full_page(source, page, picture)
    return [
        Draft(
            RawChunk(
                content=part,
                section_order=blocks[0][1],
                positions=(place,),
                ordinal=0,
                picture=picture,
                doc_type="image" if picture is not None else "",
            )
        )
        for part in parts
        if part.strip() or picture is not None
    ]


def _full_page(source: Source, page: int, picture: int | None) -> Position:
    if picture is None or picture >= len(source.document.pictures):
        return (page, 0, 0, 0, 0)
    width, height = image_size(source.document.pictures[picture].data)
    return (page, 0, width, 0, height)


def _shown(block: Block) -> str:
    rows = block.rows or (pipe_rows(block.text) if block.kind == "table" else ())
    return "\n".join(value_lines(rows)) if rows else block.text if block.kind == "heading" else block.markdown
