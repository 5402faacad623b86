"""Snippets with the found words marked (knowledge.md 7.5)."""

import re
from collections.abc import Set as AbstractSet
from html import escape as escape_html

from app.retrieval.lexemes import fold, scan

_SENTENCE = re.compile(r"[^.?!;。？！；\n]*(?:[.?!;](?!\s|$)[^.?!;。？！；\n]*)*(?:[.?!;]+|[。？！；]+|\n|$)")
_WORD = re.compile(
    r"[^\W_]+(?:[\u0300-\u036f\u0610-\u065f\u0900-\u0903\u093a-\u094f]+[^\W_]*)*(?:\+\+|#|(?:[.,]\d+)+)?"
)


def highlight(content: str, lexemes: AbstractSet[str], *, escape: bool = False) -> str | None:
    """Return the sentences of `content` that hold one of `lexemes`, its words in `<em>`, joined by `...`.

    None if there is none: the caller then shows the content. A word is marked when its stem is wanted, so
    `chunk` marks `chunks`. Markup in the content stays as it is, because `content` itself is handed out so and a
    page has to treat both alike; `escape` makes the snippet safe to put into a page.
    """
    snippets: list[str] = []
    for found in _SENTENCE.finditer(content):
        sentence = found[0].strip()
        if not sentence:
            continue
        marked, hits = _mark(sentence, lexemes, escape=escape)
        if hits:
            snippets.append(marked)
    return "...".join(snippets) if snippets else None


def _mark(sentence: str, lexemes: AbstractSet[str], *, escape: bool) -> tuple[str, int]:
    parts: list[str] = []
    end = 0
    hits = 0
    for word in _WORD.finditer(sentence):
        for start, stop in _spans(word[0], lexemes):
            parts.append(_text(sentence[end : word.start() + start], escape))
            end = word.start() + stop
            parts.append(f"<em>{_text(sentence[word.start() + start : end], escape)}</em>")
            hits += 1
    parts.append(_text(sentence[end:], escape))
    return "".join(parts), hits


def _spans(word: str, lexemes: AbstractSet[str]) -> list[tuple[int, int]]:
    """Return the parts of `word` to mark: all of it, or the matching runs where words are not separated."""
    folded = fold(word)
    tokens = list(scan(folded))
    found = [(token.start, token.end) for token in tokens if token.lexeme in lexemes]
    if any(token.is_paired for token in tokens):
        if len(folded) != len(word):
            return [(0, len(word))] if found else []
        found += [(at, at + 1) for at, letter in enumerate(folded) if letter in lexemes]
        return _joined(sorted(found))
    if len(found) == len(tokens) or len(tokens) == 1 or len(folded) != len(word):
        return [(0, len(word))] if found else []
    return found


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _text(text: str, escape: bool) -> str:
    return escape_html(text, quote=False) if escape else text
