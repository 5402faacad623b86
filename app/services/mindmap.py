"""A mind map of what was found for a question: an outline by a model, or by the documents (conversations.md 7.6)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from app.domain.models import ChatMessage
from app.domain.references import Reference
from app.retrieval.delimiting import DATA_NOTICE, as_data

_DEPTH_MOST = 6
_NODES_MOST = 300
_NODE_CHARS = 160
_PASSAGES = 3  # of each document, where no model draws
_PASSAGE_CHARS = 80
_HEADING = re.compile(r"[ \t]*(?P<marks>#{1,6})[ \t]+(?P<text>\S.*)")
_BULLET = re.compile(r"(?P<indent>[ \t]*)(?:[-*+•]|\d+[.)])[ \t]+(?P<text>\S.*)")
_TAB = 4
_AROUND = " \t*_`#:"
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s|\n")

_PROMPT = """\
Draw a mind map of the passages below as far as they bear on the question: a Markdown outline of headings (`#`, `##`, \
`###`) and, below them, lists (`- `). At most four levels; every line a few words; in the language of the question. \
Put nothing into it that the passages do not say, and write the outline only.

{notice}

The passages:
{passages}

The question:
{question}"""


@dataclass(slots=True)
class Node:
    """A node of a mind map and what hangs on it."""

    text: str
    children: list["Node"] = field(default_factory=list["Node"])


def mindmap_prompt(question: str, passages: Sequence[Reference]) -> list[ChatMessage]:
    """Return what a model is asked about the passages."""
    text = "\n\n".join(one.content for one in passages)
    prompt = _PROMPT.format(notice=DATA_NOTICE, passages=as_data(text), question=as_data(question))
    return [ChatMessage(role="user", content=prompt)]


def parse_outline(said: str) -> Node:
    """Return the tree of a Markdown outline below a root; lines that are neither heading nor list item are left out."""
    root = Node("root")
    above: list[tuple[int, Node]] = [(0, root)]
    heading = 0
    for line in said.splitlines()[: 4 * _NODES_MOST]:
        if (match := _HEADING.fullmatch(line.rstrip())) is not None:
            level = heading = len(match["marks"])
        elif (match := _BULLET.fullmatch(line.rstrip())) is not None:
            level = heading + 1 + len(match["indent"].expandtabs(_TAB))
        else:
            continue
        text = " ".join(match["text"].split()).strip(_AROUND)[:_NODE_CHARS]
        while above[-1][0] >= level:
            above.pop()
        if not text or len(above) > _DEPTH_MOST:
            continue
        node = Node(text)
        above[-1][1].children.append(node)
        above.append((level, node))
    return root


def outline_of(passages: Sequence[Reference]) -> Node:
    """Return a tree without a model: the documents, and below each the first words of its passages."""
    root = Node("root")
    documents: dict[str, Node] = {}
    for one in passages:
        if one.document_id not in documents:
            documents[one.document_id] = Node(one.document_name[:_NODE_CHARS])
            root.children.append(documents[one.document_id])
        words = _first_words(one.content)
        if words and len(documents[one.document_id].children) < _PASSAGES:
            documents[one.document_id].children.append(Node(words))
    return root


def _first_words(content: str) -> str:
    first = " ".join(_SENTENCE_END.split(content.strip(), maxsplit=1)[0].split())
    return first if len(first) <= _PASSAGE_CHARS else first[:_PASSAGE_CHARS].rsplit(" ", 1)[0] + "…"
