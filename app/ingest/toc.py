"""The table of contents of a document, read out of its chunks by a chat model (knowledge.md 5.12, `toc_extraction`)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.contents import ContentsEntry
from app.domain.ids import ChunkId
from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.answers import bared
from app.ingest.cutting import CountTokens
from app.retrieval.delimiting import DATA_NOTICE, as_data

GROUP_TOKENS = 1024
_TITLE_TOKENS = 22
_LEVELS_MOST = 6
_LEVELS_AT_ONCE = 150
_HEADING = re.compile(r"^\W*(\d{1,6})\s*[:：|.)\]-]+\s*(\S.*)$")
_LEVEL = re.compile(r"^\W*(\d{1,6})\s*[:：=|.)\]-]+\s*(?:level\s*)?(\d{1,2})\W*$", re.IGNORECASE)

_HEADINGS_PROMPT = """\
Below are numbered passages of a document. Write down the headings that stand in them, one on each line as \
`number: heading`, where the number is that of the passage the heading stands in. Copy each heading as it is written. \
Leave out page numbers, captions and ordinary sentences. If there is no heading, write `none`.

{notice}

{passages}"""

_LEVELS_PROMPT = """\
Below are the numbered headings of a document in their order. Write one line for each, `number: level`, where level 1 \
is a main heading, level 2 stands under level 1, and so on. Write nothing else.

{notice}

{headings}"""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and the index of the chunk it stands in."""

    chunk: int
    title: str


def chunk_groups(texts: Sequence[str], count: CountTokens) -> list[list[int]]:
    """Return the indexes of consecutive chunks that have up to 1024 tokens together; a larger one stands alone."""
    groups: list[list[int]] = []
    held = 0
    for at, text in enumerate(texts):
        size = count(text)
        if not groups or held + size > GROUP_TOKENS:
            groups.append([])
            held = 0
        groups[-1].append(at)
        held += size
    return groups


def headings_prompt(texts: Sequence[str], group: Sequence[int]) -> tuple[list[ChatMessage], GenerationOptions]:
    """Return what to ask for the headings in the chunks of `group`, which are numbered from 1 over the document."""
    passages = "\n\n".join(f"[{at + 1}]\n{texts[at]}" for at in group)
    prompt = _HEADINGS_PROMPT.format(notice=DATA_NOTICE, passages=as_data(passages))
    return [ChatMessage(role="user", content=prompt)], GenerationOptions(temperature=0.2, max_tokens=512)


def read_headings(answer: str, group: Sequence[int], count: CountTokens) -> list[Heading]:
    """Return the headings in an answer, in the order of their chunks; too long, numeric and foreign ones left out."""
    found: list[Heading] = []
    for line in answer.splitlines():
        match = _HEADING.match(line)
        if match is None or int(match[1]) - 1 not in group:
            continue
        title = bared(match[2]) if not match[2][0].isdigit() else match[2].strip(" \"'`*")
        if any(map(str.isalpha, title)) and count(title) <= _TITLE_TOKENS:
            found.append(Heading(int(match[1]) - 1, title))
    ordered = sorted(found, key=lambda each: each.chunk)
    return list(dict.fromkeys(ordered))


def heading_batches(headings: Sequence[Heading]) -> list[Sequence[Heading]]:
    """Return the headings as many at a time as levels are asked for."""
    return [headings[start : start + _LEVELS_AT_ONCE] for start in range(0, len(headings), _LEVELS_AT_ONCE)]


def levels_prompt(headings: Sequence[Heading]) -> tuple[list[ChatMessage], GenerationOptions]:
    """Return what to ask for the levels of `headings`."""
    listed = "\n".join(f"{number}: {heading.title}" for number, heading in enumerate(headings, 1))
    prompt = _LEVELS_PROMPT.format(notice=DATA_NOTICE, headings=as_data(listed))
    options = GenerationOptions(temperature=0.0, max_tokens=64 + 8 * len(headings))
    return [ChatMessage(role="user", content=prompt)], options


def read_levels(answer: str, headings: int) -> list[int]:
    """Return the level of each heading; 1 where the answer names none."""
    levels = [1] * headings
    for line in answer.splitlines():
        match = _LEVEL.match(line)
        if match is not None and 1 <= int(match[1]) <= headings:
            levels[int(match[1]) - 1] = min(_LEVELS_MOST, max(1, int(match[2])))
    return levels


def contents(headings: Sequence[Heading], levels: Sequence[int], chunk_ids: Sequence[ChunkId]) -> list[ContentsEntry]:
    """Return the entries: under each heading stand the chunks from its own to that of the next heading."""
    ends = [heading.chunk for heading in headings[1:]] + [len(chunk_ids) - 1]  # the next may begin within its chunk
    return [
        ContentsEntry(level=level, title=heading.title, chunk_ids=tuple(chunk_ids[heading.chunk : end + 1]))
        for heading, level, end in zip(headings, levels, ends[: len(headings)], strict=True)
    ]
