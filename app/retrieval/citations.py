"""`[ID:n]` markers in an answer: found, repaired, placed (conversations.md 10.7, steps 8 and 9)."""

import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet

from app.retrieval.answer_text import AnswerPiece, stretches
from app.retrieval.lexemes import lexemes
from app.retrieval.scoring import clamp_weight

FIRST_THRESHOLD = 0.63
LAST_THRESHOLD = 0.3
THRESHOLD_STEP = 0.8
MOST_PER_PIECE = 4
_NEAR_BEST = 0.99

_MARKER = re.compile(r"\[ID:(\d{1,9})\]")
_LIST = r"(?:\s*[,;，、&]\s*(?:and\s+)?(?:ID\s*[:：]?\s*)?\d{1,9})*"
_NEAR_MARKER = re.compile(
    rf"(?P<gap>[ \t]{{0,3}})(?:"
    rf"[\[(【（]\s*(?:ID|ref)\s*[:：#]?\s*(?P<bracketed>\d{{1,9}}{_LIST})\s*[\])】）]"
    rf"|\bref\.?[ \t]*[:#]?[ \t]*(?P<bare>\d{{1,9}})\b)",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"\d+")


def cited_numbers(text: str) -> list[int]:
    """Return the numbers cited outside thinking and code, each once, in order of first sight."""
    found = (int(n) for part, is_protected in stretches(text) if not is_protected for n in _MARKER.findall(part))
    return list(dict.fromkeys(found))


def repair_markers(text: str, count: int) -> str:
    """Return `text` with near misses such as `(ID: 2)`, `【ID: 2】`, `[ID: 1, 2]` or `ref 2` as `[ID:2]`.

    Markers outside 0..count-1 are removed, a bare `ref 99` stays the prose it probably is. Thinking and code are
    not touched.
    """

    def repaired(found: re.Match[str]) -> str:
        numbers = [int(number) for number in _NUMBER.findall(found["bracketed"] or found["bare"])]
        kept = [f"[ID:{number}]" for number in numbers if number < count]
        if kept:
            return found["gap"] + "".join(kept)
        return found[0] if found["bare"] else ""

    return "".join(part if is_protected else _NEAR_MARKER.sub(repaired, part) for part, is_protected in stretches(text))


def piece_similarity(piece: str, bag: AbstractSet[str], cosine: float, vector_similarity_weight: float) -> float:
    """Return how well a chunk with the lexemes `bag` supports `piece`, by the hybrid weights of retrieval."""
    weight = clamp_weight(vector_similarity_weight)
    tokens = set(lexemes(piece))
    term = len(tokens & bag) / len(tokens) if tokens else 0.0
    return (1 - weight) * term + weight * cosine


def insert_citations(pieces: Sequence[AnswerPiece], similarities: Callable[[int], Sequence[float]]) -> str:
    """Return the answer with ` [ID:n]` after the pieces that a chunk supports.

    `similarities(i)` gives piece i's similarity to every kept chunk, by chunk number; it is asked once for each
    citable piece. The threshold starts at 0.63 and is lowered by a fifth while nothing is found and it stays above
    0.3. A piece gets the up to 4 chunks within 1 % of its best one; a chunk is cited once in an answer.
    """
    scores = {i: similarities(i) for i, piece in enumerate(pieces) if piece.is_citable}
    threshold = FIRST_THRESHOLD
    citations: dict[int, list[int]] = {}
    while threshold > LAST_THRESHOLD and not citations:
        citations = _citations(scores, threshold)
        threshold *= THRESHOLD_STEP
    return "".join(_with_markers(piece.text, citations.get(i, ())) for i, piece in enumerate(pieces))


def _citations(scores: dict[int, Sequence[float]], threshold: float) -> dict[int, list[int]]:
    used: set[int] = set()
    citations: dict[int, list[int]] = {}
    for index, row in scores.items():
        best = max(row, default=0.0)
        if best < threshold:
            continue
        near = sorted((n for n, score in enumerate(row) if score >= best * _NEAR_BEST), key=lambda n: (-row[n], n))
        fresh = [number for number in near[:MOST_PER_PIECE] if number not in used]
        if fresh:
            used.update(fresh)
            citations[index] = fresh
    return citations


def _with_markers(text: str, numbers: Iterable[int]) -> str:
    body = text.rstrip()
    return body + "".join(f" [ID:{number}]" for number in numbers) + text[len(body) :]
