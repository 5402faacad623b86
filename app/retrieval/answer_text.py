"""The parts of an answer: its thinking, its listings, its sentences."""

import re
from dataclasses import dataclass

MIN_PIECE_CHARS = 5
_PROTECTED = re.compile(
    r"(?P<think><think>.*?(?:</think>|\Z))"
    r"|(?P<fence>^[ \t]{0,3}(?P<mark>`{3,}|~{3,})[^\n]*(?:\n.*?)??(?:\n[ \t]{0,3}(?P=mark)[`~]*[ \t]*(?=\n|\Z)|\Z))"
    r"|(?P<span>(?P<tick>`+)(?!`)[^\n]*?[^`\n](?P=tick)(?!`))",
    re.DOTALL | re.MULTILINE,
)
_MARKERS = r"(?:(?:\[ID:\d+\]\s*)+)?"  # markers behind the full stop belong to the sentence
_CLOSERS = "\"'”’*_"
_SENTENCE_END = re.compile(
    rf"[.!?]+(?:[{_CLOSERS}]*(?=\s|$)|[{_CLOSERS}]*[)\]][{_CLOSERS})\]]*(?=\s+[^a-z\s]|\s*$))\s*{_MARKERS}"
    rf"|[。！？；]+[”’」』）]*\s*{_MARKERS}"
)
_NO_SENTENCE = re.compile(r"\s*(?:#{1,6}\s|\||[-=*_]{3,}\s*$)")
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|z\.B|vs|Dr|Mr|Mrs|Ms|Prof|Nr|Fig|approx|ca|cf|St)|^\s*\d{1,3}|(?<!\w)[A-Z])\.\s*$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPiece:
    """A stretch of an answer; all pieces joined are the answer.

    `is_citable` tells a sentence that may carry a citation: no thinking, listing, heading or table row.
    """

    text: str
    is_citable: bool


def split_answer(answer: str) -> list[AnswerPiece]:
    """Return the pieces of `answer` in order; listings and thinking whole, sentences from 5 characters citable."""
    pieces: list[AnswerPiece] = []
    for text, is_protected in stretches(answer, keeps_spans=False):
        if is_protected:
            pieces.append(AnswerPiece(text=text, is_citable=False))
        else:
            pieces += [AnswerPiece(text=part, is_citable=_is_citable(part)) for part in split_sentences(text)]
    return pieces


def stretches(answer: str, *, keeps_spans: bool = True) -> list[tuple[str, bool]]:
    """Return `(text, is_protected)` in order: thinking and listings, and inline code if `keeps_spans`."""
    found: list[tuple[str, bool]] = []
    end = 0
    for protected in _PROTECTED.finditer(answer):
        if protected["span"] and not keeps_spans:
            continue
        if protected.start() > end:
            found.append((answer[end : protected.start()], False))
        found.append((protected[0], True))
        end = protected.end()
    if end < len(answer):
        found.append((answer[end:], False))
    return found


def split_sentences(text: str) -> list[str]:
    """Return the sentences of `text`, white space kept at their ends; joined they are `text`."""
    sentences: list[str] = []
    for line in re.findall(r"[^\n]*\n+\s*|[^\n]+", text):
        if _NO_SENTENCE.match(line):
            sentences.append(line)
            continue
        joins = False
        for part in _line_sentences(line):
            if joins and sentences:
                sentences[-1] += part
            else:
                sentences.append(part)
            joins = bool(_ABBREVIATION.search(part))
    return sentences


def _line_sentences(line: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for found in _SENTENCE_END.finditer(line):
        parts.append(line[start : found.end()])
        start = found.end()
    if start < len(line):
        if parts and not line[start:].strip():
            parts[-1] += line[start:]
        else:
            parts.append(line[start:])
    return parts


def _is_citable(sentence: str) -> bool:
    return len(sentence.strip()) >= MIN_PIECE_CHARS and not _NO_SENTENCE.match(sentence)
