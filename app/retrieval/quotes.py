"""An answer made of quotes: the retrieved sentences nearest to the question (parts.md 12).

Faithful by construction. Embedding is the caller's; here are only texts and vectors.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.retrieval.answer_text import split_sentences
from app.retrieval.lexemes import fold

FLOOR = 0.48
MOST = 3
MIN_CHARS = 20
MAX_CHARS = 600
_PASSAGE_SHARE = 0.3  # first quote from the right section: 82 % of those, against 77 % with 0
_NEXT_MARGIN = 0.12  # how much weaker than its predecessor a following sentence may be
_SECOND_MARGIN = 0.15  # how much weaker than the best a further quote may be
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,}).*?(?:^[ \t]{0,3}\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)
_DROPPED_LINE = re.compile(r"(?:#{1,6}\s|\||[-=*_+\s|:]*$|</?\w+[^>]*>\s*$)")
_ITEM_MARK = re.compile(r"^\s*(?:[-*+•]|\d{1,3}[.)])\s+|^\s*>\s?")
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.{1,300}?)(?<=\S)\1")
_LINK = re.compile(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,500}\)")
_STARTS_BLOCK = re.compile(r"\s*(?:[-*+•]\s|\d{1,3}[.)]\s|>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence that may be quoted; `chunk_number` is its passage's, `ordinal` its place among the passage's."""

    text: str
    chunk_number: int
    ordinal: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One or more consecutive sentences of one passage; `similarity` is the best sentence's."""

    text: str
    chunk_number: int
    similarity: float


def quotable_sentences(passages: Sequence[str]) -> list[Sentence]:
    """Return the sentences of all passages in order, without headings, tables, listings and repetitions."""
    sentences: list[Sentence] = []
    seen: set[str] = set()
    for number, passage in enumerate(passages):
        for ordinal, text in enumerate(_passage_sentences(passage)):
            key = fold(text)
            if key not in seen:
                seen.add(key)
                sentences.append(Sentence(text=text, chunk_number=number, ordinal=ordinal))
    return sentences


def pick_quotes(
    question_vector: Sequence[float] | npt.NDArray[np.float32],
    sentence_vectors: Sequence[Sequence[float]] | npt.NDArray[np.float32],
    sentences: Sequence[Sentence],
    *,
    floor: float = FLOOR,
    most: int = MOST,
) -> list[Quote]:
    """Return the best quotes, best first; none if no sentence reaches `floor`. Vectors are L2-normalised.

    A sentence's similarity is 0.7 of its own cosine and 0.3 of its passage's, taken as the mean of the passage's
    sentences. A sentence that follows a picked one in its passage and is nearly as near joins it. No more than
    `most` sentences in all.
    """
    if not sentences:
        return []
    matrix = np.asarray(sentence_vectors, dtype=np.float32)
    scores = _similarities(matrix, np.asarray(question_vector, dtype=np.float32), sentences)
    order = sorted(range(len(sentences)), key=lambda i: (-float(scores[i]), i))
    best = float(scores[order[0]])
    taken: set[int] = set()
    groups: list[list[int]] = []
    for i in order:
        score = float(scores[i])
        if score < floor or score < best - _SECOND_MARGIN or len(taken) >= most:
            break
        if i in taken:
            continue
        group = [i]
        taken.add(i)
        after = i + 1
        while len(taken) < most and _follows(sentences, i, after, taken) and scores[after] >= score - _NEXT_MARGIN:
            group.append(after)
            taken.add(after)
            after += 1
        groups.append(group)
    return [
        Quote(
            text=" ".join(sentences[i].text for i in group),
            chunk_number=sentences[group[0]].chunk_number,
            similarity=max(float(scores[i]) for i in group),
        )
        for group in _merged(groups, sentences)
    ]


def quote_answer(quotes: Sequence[Quote]) -> str:
    """Return the quotes as an answer, each with its marker; empty for no quotes."""
    return "\n\n".join(f"{quote.text} [ID:{quote.chunk_number}]" for quote in quotes)


def _similarities(
    matrix: npt.NDArray[np.float32], question: npt.NDArray[np.float32], sentences: Sequence[Sentence]
) -> npt.NDArray[np.float32]:
    numbers = np.asarray([sentence.chunk_number for sentence in sentences])
    passages = np.zeros(len(sentences), dtype=np.float32)
    for number in np.unique(numbers):
        is_inside = numbers == number
        mean = matrix[is_inside].mean(axis=0)
        passages[is_inside] = float(mean @ question) / max(float(np.linalg.norm(mean)), 1e-9)
    mixed = (1 - _PASSAGE_SHARE) * (matrix @ question) + _PASSAGE_SHARE * passages
    return mixed.astype(np.float32)


def _merged(groups: list[list[int]], sentences: Sequence[Sentence]) -> list[list[int]]:
    """Join groups that touch, in reading order, at the place of the better one."""
    merged: list[list[int]] = []
    for group in groups:
        for other in merged:
            low, high = min(group), max(group)
            touches = high + 1 == min(other) or max(other) + 1 == low
            if touches and sentences[low].chunk_number == sentences[other[0]].chunk_number:
                other[:] = sorted([*other, *group])
                break
        else:
            merged.append(group)
    return merged


def _follows(sentences: Sequence[Sentence], first: int, at: int, taken: set[int]) -> bool:
    if at >= len(sentences) or at in taken:
        return False
    before, now = sentences[at - 1], sentences[at]
    return now.chunk_number == sentences[first].chunk_number and now.ordinal == before.ordinal + 1


def _passage_sentences(passage: str) -> list[str]:
    found: list[str] = []
    for paragraph in _paragraphs(_FENCE.sub("\n\n", passage)):
        pending = ""
        for sentence in split_sentences(paragraph):
            pending = f"{pending} {sentence.strip()}".strip()
            if len(pending) >= MIN_CHARS:
                if len(pending) <= MAX_CHARS:
                    found.append(pending)
                pending = ""
        if pending and len(pending.split()) > 2:
            found.append(pending)
    return found


def _paragraphs(text: str) -> list[str]:
    """Return paragraphs and list items with their lines joined and marks removed."""
    paragraphs: list[list[str]] = [[]]
    for line in text.split("\n"):
        if not line.strip() or _DROPPED_LINE.match(line.strip()):
            paragraphs.append([])
            continue
        if _STARTS_BLOCK.match(line):
            paragraphs.append([])
        paragraphs[-1].append(_ITEM_MARK.sub("", line).strip())
    joined = (" ".join(lines) for lines in paragraphs if lines)
    return [_EMPHASIS.sub(r"\2", _LINK.sub(r"\1", paragraph)) for paragraph in joined]
