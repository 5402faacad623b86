"""Retrieved chunks as the text a model reads, and how it is asked to cite them (conversations.md 10.7, 5 and 7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SEPARATOR = "\n------\n"

CITATION_INSTRUCTIONS = """\
How to cite:
- Each passage of the knowledge above begins with a line `ID: n`. When a statement rests on a passage, put its marker \
`[ID:n]` at the end of that sentence, before the final punctuation, with the number of the passage.
- If several passages support a sentence, write one marker after another, as in `[ID:0][ID:3]`; at most 4 in a sentence.
- Use only numbers that occur in the knowledge. Leave out the marker where no passage supports what you say, and do \
not cite your own reasoning or common knowledge.
- Write no list of sources at the end, and put no markers into code blocks.

Example: Refunds are paid within 30 days [ID:2], to the card that was used [ID:0][ID:5]."""


NOTES_INSTRUCTIONS = """\
How to cite:
- The notes above carry markers such as `[ID:3]`, each of a passage that the note before it rests on. When a statement \
of yours rests on a note, put its marker at the end of that sentence, before the final punctuation.
- If several passages support a sentence, write one marker after another, as in `[ID:0][ID:3]`; at most 4 in a sentence.
- Use only markers that occur in the notes, and none where no note supports what you say.
- Write no list of sources at the end, and put no markers into code blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnowledgeChunk:
    """What the model is shown of one retrieved chunk."""

    content: str
    title: str
    url: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])


def render_knowledge(chunks: Sequence[KnowledgeChunk], numbers: Sequence[int] | None = None) -> str:
    """Return the chunks as blocks separated by a dashed line, numbered from 0 unless `numbers` has one for each."""
    numbered = zip(numbers if numbers is not None else range(len(chunks)), chunks, strict=True)
    return SEPARATOR.join(_block(number, chunk) for number, chunk in numbered)


def _block(number: int, chunk: KnowledgeChunk) -> str:
    about = {"title": chunk.title, "url": chunk.url, **chunk.metadata}
    lines = [f"ID: {number}"]
    lines += [f"{_line(key)}: {_line(value)}" for key, value in about.items() if value not in (None, "", [])]
    return "\n".join([*lines, chunk.content.strip()])


def _line(value: Any) -> str:
    """One line, whatever a file is called: a line end in a name must not start a block of its own."""
    text = ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return " ".join(text.split())
