"""Documents made by hand, cut by a chunk method as the pipeline would."""

from collections.abc import Callable, Sequence
from typing import Any

from app.domain.documents import Block, BlockKind, ParsedDocument
from app.ingest.methods.attachments import with_attachments
from app.ingest.methods.base import Cut, Source
from app.ingest.methods.registry import check_file, hints_of, method_of
from app.ingest.outline import outline
from app.ingest.parser_config import read_settings
from app.ingest.parsers import parse


def words(text: str) -> int:
    return len(text.split())


def letters(text: str) -> int:
    """A tokenizer for which every character counts, white space too: the sharpest bound."""
    return len(text)


def cut_by(
    method: str,
    document: ParsedDocument | str | Sequence[Block],
    filename: str = "a.txt",
    *,
    count: Callable[[str], int] = words,
    is_english: bool = True,
    **config: Any,
) -> Cut:
    """Cut a document, or the text of a file that is parsed first."""
    chosen = method_of(method)
    check_file(chosen, filename)
    if isinstance(document, str):
        document = parse(document.encode(), filename, hints=hints_of(chosen, read_settings(method, config)))
    elif not isinstance(document, ParsedDocument):
        document = ParsedDocument(blocks=tuple(document))
    if chosen.takes_attachments:
        document = with_attachments(document)
    return chosen.cut(
        Source(
            document=document,
            filename=filename,
            sections=outline(document, filename),
            settings=read_settings(method, config),
            count=count,
            is_english=is_english,
        )
    )


def contents(cut: Cut) -> list[str]:
    return [chunk.content for chunk in cut.chunks]


def block(kind: BlockKind, text: str, **rest: Any) -> Block:
    return Block(kind=kind, text=text, **rest)


def heading(text: str, level: int, page: int | None = None) -> Block:
    return Block(kind="heading", text=text, level=level, page=page)


def sheet(*rows: tuple[str, ...], name: str = "") -> Block:
    return Block(kind="sheet", text=name, rows=rows)
