"""The qa method: one chunk per pair of question and answer (knowledge.md 5.6)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from markdown_it import MarkdownIt

from app.domain.documents import Block, OutlineSection, RawChunk
from app.ingest.chunking import Draft
from app.ingest.methods.base import Cut, Source, number_drafts
from app.ingest.methods.questions import Pair, numbered_pairs
from app.ingest.methods.rows import SHEETS, pairs
from app.ingest.tables import html_table, pipe_rows

_PREFIX = re.compile(
    r"^(?:问题|答案|回答|问|答|user|assistant|question|answer|q|a)[ \t]*[:：\t][ \t:：]*", re.IGNORECASE
)
_MOST_RENDERED = 400_000  # characters of one answer; beyond it Markdown stays Markdown


def qa(source: Source) -> Cut:
    """One chunk per pair; the text search sees the question only; `top` is the number of the row or pair."""
    match source.suffix:
        case suffix if suffix in SHEETS or suffix in {"csv", "txt"}:
            found = list(_row_pairs(source))
        case "pdf":
            found = numbered_pairs(source.blocks)
        case _:
            found = list(_heading_pairs(source))
    tables = [_table(source, *each) for each in _tables(source)] if source.suffix == "docx" else []
    notes = () if found or tables or not source.blocks else ("No pair of question and answer was found.",)
    drafts = [_draft(pair, is_english=source.is_english) for pair in found]
    return Cut(chunks=number_drafts([*drafts, *tables]), notes=notes)


def labelled(question: str, answer: str, *, is_english: bool) -> tuple[str, str]:
    """Return the content of a pair's chunk, and its bare question; labels that are there already are stripped."""
    labels = ("Question: ", "Answer: ") if is_english else ("问题：", "回答：")
    question, answer = (_PREFIX.sub("", text.strip()) for text in (question, answer))
    return f"{labels[0]}{question}\t{labels[1]}{answer}", question


def _draft(pair: Pair, *, is_english: bool) -> Draft:
    content, question = labelled(pair.question, pair.answer, is_english=is_english)
    chunk = RawChunk(
        content=content,
        section_order=pair.section,
        positions=((pair.page, 0, 0, pair.number, pair.number),),
        ordinal=0,
        searched=question,
        picture=pair.picture,
    )
    return Draft(chunk)


def _row_pairs(source: Source) -> Iterator[Pair]:
    """Rows of two cells; a row of text that does not split in two goes on with the answer before it."""
    held: Pair | None = None
    extends = source.suffix not in SHEETS
    for row in pairs(source):
        if len(row.cells) == 2:
            if held:
                yield held
            held = Pair(*row.cells, page=row.sheet, number=row.number, section=row.section)
        elif held and extends:
            held = replace(held, answer=f"{held.answer}\n{row.line}")
    if held:
        yield held


def _heading_pairs(source: Source) -> Iterator[Pair]:
    """The path of headings asks, the text up to the next heading answers; text before any is asked by the title."""
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table") if source.suffix == "md" else None
    number = 0
    for section in source.sections:
        blocks = [block for block in section.blocks if source.suffix != "docx" or block.kind != "table"]
        answer = "\n\n".join(block.markdown for block in blocks if block.text.strip())
        if not answer.strip():
            continue
        if renderer is not None and len(answer) <= _MOST_RENDERED:
            answer = renderer.render(answer).strip()
        number += 1
        yield Pair(
            question="\n".join(section.path),
            answer=answer,
            page=next((block.page for block in blocks if block.page is not None), 1),
            number=number,
            section=section.order,
            picture=next((block.picture for block in blocks if block.picture is not None), None),
        )


def _tables(source: Source) -> Iterable[tuple[Block, OutlineSection]]:
    return ((block, section) for section in source.sections for block in section.blocks if block.kind == "table")


def _table(source: Source, block: Block, section: OutlineSection) -> Draft:
    caption = " > ".join((source.filename, *(section.path if section.heading else ())))
    rows = block.rows or pipe_rows(block.text)
    text = html_table(rows, f"Table Location: {caption}") if rows else block.text
    chunk = RawChunk(content=text, section_order=section.order, positions=(), ordinal=0, doc_type="table")
    return Draft(chunk, (block.page,) if block.page is not None else ())
