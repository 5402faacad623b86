"""The tag method: rows of a content and its tags (knowledge.md 5.8)."""

import re

from app.domain.documents import RawChunk
from app.ingest.chunking import Draft
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.methods.rows import pairs

_COMMA = re.compile("[,，]")


def tag(source: Source) -> Cut:
    """One chunk per row of content and tags; rows that do not split in two are put before the next one's content.

    Such rows at the very end have no tags to go to and are left out, with a note.
    """
    drafts: list[Draft] = []
    held: list[str] = []
    sheet = 0
    left_out = 0
    for row in pairs(source):
        if row.sheet != sheet:
            left_out += len(held)
            held, sheet = [], row.sheet
        if len(row.cells) != 2:
            held.append(row.line.strip())
            continue
        content, tags = row.cells
        text = "\n".join((*held, content.strip()))
        held = []
        chunk = RawChunk(
            content=text,
            section_order=row.section,
            positions=((row.sheet, 0, 0, row.number, row.number),),
            ordinal=0,
            tags=tuple(dict.fromkeys(name for name in map(_name, _COMMA.split(tags)) if name)),
        )
        drafts.append(Draft(chunk))
    left_out += len(held)
    notes = (f"{left_out} rows at the end have no tags and were left out.",) if left_out else ()
    return Cut(chunks=number_drafts(drafts), notes=notes)


def _name(tag_text: str) -> str:
    return tag_text.strip().replace(".", "_")
