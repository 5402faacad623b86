"""Methods that cut by size: naive, email, knowledge_graph, one, picture."""

from app.domain.documents import Block, RawChunk
from app.ingest.chunking import Draft, chunk_naive
from app.ingest.cutting import cut
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.tables import html_table

GRAPH_TOKENS = 8192
_ENOUGH = 32  # words, or characters where the language has no blanks between words
_MOST_ONE = 4 * 1024 * 1024  # characters of a chunk that is a whole file


def naive(source: Source) -> Cut:
    """Cut by the soft limit, section by section (knowledge.md 5.4)."""
    return Cut(chunks=chunk_naive(source.sections, source.naive_config(), source.count))


def knowledge_graph(source: Source) -> Cut:
    """Like naive in large chunks (knowledge.md 5.9)."""
    config = source.naive_config(most_tokens=GRAPH_TOKENS)
    return Cut(chunks=chunk_naive(source.sections, config, source.count))


def one(source: Source) -> Cut:
    """The whole file as one chunk, sheets as HTML; only beyond 4 Mi characters it is cut."""
    text = "\n".join(shown for block, _ in source.blocks if (shown := _whole(block)).strip())
    if not text:
        return Cut(chunks=[])
    pictures = [block.picture for block, _ in source.blocks if block.picture is not None]
    pages = sorted({block.page for block, _ in source.blocks if block.page is not None})
    parts = [text] if len(text) <= _MOST_ONE else cut(text, _MOST_ONE, len)
    drafts = [
        Draft(
            RawChunk(
                content=part,
                section_order=0,
                positions=(),
                ordinal=0,
                picture=pictures[0] if pictures and number == 0 else None,
            ),
            tuple(pages[:1]),
        )
        for number, part in enumerate(parts)
    ]
    return Cut(chunks=number_drafts(drafts))


def picture(source: Source) -> Cut:
    """The image as one chunk with what was read on it; blank until somebody describes it (`is_enough`)."""
    texts = [block.markdown for block, _ in source.blocks if block.text.strip()]
    if not texts and not source.document.pictures:
        return Cut(chunks=[])
    shown = next((block.picture for block, _ in source.blocks if block.picture is not None), None)
    if shown is None and source.document.pictures:
        shown = 0
    chunk = RawChunk(
        content="\n".join(texts),
        section_order=0 if source.sections else None,
        positions=(),
        ordinal=0,
        picture=shown,
        doc_type="image",
    )
    return Cut(chunks=number_drafts([Draft(chunk)]))


def is_enough(text: str, *, is_english: bool) -> bool:
    """Tell whether what was read on a picture is a chunk by itself, so that no vision model is asked.

    More than 32 words in English, more than 32 characters otherwise (knowledge.md 5.5).
    """
    return (len(text.split()) if is_english else len("".join(text.split()))) > _ENOUGH


def _whole(block: Block) -> str:
    return html_table(block.rows, block.text, has_spans=False) if block.kind == "sheet" else block.markdown
