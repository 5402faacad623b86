"""Files that came inside a file, as parts of it: each under a heading of its own (knowledge.md 5.4, 5.5 email)."""

from dataclasses import replace

from app.domain.documents import Attachment, Block, ParsedDocument, Picture

_MOST_LEVEL = 6


def with_attachments(document: ParsedDocument) -> ParsedDocument:
    """Return the document with the blocks and pictures of what it holds behind its own; the name is the heading.

    Those that could not be read leave a note. One level: what attachments hold themselves is left out, with a note.
    """
    if not document.attachments:
        return document
    blocks: list[Block] = list(document.blocks)
    pictures: list[Picture] = list(document.pictures)
    notes: list[str] = list(document.notes)
    for attached in document.attachments:
        notes += [f"{attached.name}: {note}" for note in attached.document.notes]
        if attached.failure is not None:
            notes.append(f"{attached.name} could not be read: {attached.failure}")
            continue
        if attached.document.attachments:
            notes.append(f"{attached.name} holds files itself; they were left out.")
        blocks += _blocks(attached, len(pictures))
        pictures += attached.document.pictures
    return replace(document, blocks=tuple(blocks), pictures=tuple(pictures), notes=tuple(notes), attachments=())


def _blocks(attached: Attachment, first_picture: int) -> list[Block]:
    """Its pages are not those of the whole, so they are dropped; its headings stand below its name."""
    if not attached.document.blocks:
        return []
    title = Block(kind="heading", text=attached.name, level=1)
    inner = [
        replace(
            block,
            page=None,
            level=min(_MOST_LEVEL, block.level + 1) if block.level else 0,
            picture=None if block.picture is None else block.picture + first_picture,
        )
        for block in attached.document.blocks
    ]
    return [title, *inner]
