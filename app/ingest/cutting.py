"""Cutting text that is too long for one chunk, at the best place there is."""

import re
from collections.abc import Callable, Iterable, Iterator

CountTokens = Callable[[str], int]
"""Number of tokens in a text."""

# Nothing is given back (`*+`): a run of dots, or of blanks, as long as a file is read once.
_SENTENCE = re.compile(r"[^.!?。！？；\n]*+(?:[.!?。！？；]++(?:[\"'”’)\]]*+(?=\s|[^\x00-\u02ff]|$)\s*+)?|\n\s*+|$)")
_WORD = re.compile(r"\s*+\S+|\s+")  # the second alternative keeps long white space linear
_SCAN = 4000  # characters looked at together: counting is not linear for every tokenizer


def cut(text: str, limit: int, count: CountTokens) -> list[str]:
    """Return `text` in order in parts of at most `limit` tokens: cut after sentences, else words, else characters.

    White space at the cuts is lost, nothing else. A single character is never cut, whatever it counts.
    """
    return [part for part in (packed.strip() for packed in _pack(_atoms(text, limit, count), limit)) if part]


def cut_lines(text: str, limit: int, count: CountTokens) -> list[str]:
    """Like `cut`, but at line ends first, and indentation is kept: for listings."""
    atoms: list[tuple[str, int]] = []
    for line in text.splitlines(keepends=True):
        size = count(line)
        atoms.extend([(line, size)] if size <= limit else _atoms(line, limit, count))
    return [part for part in (packed.rstrip().strip("\n") for packed in _pack(atoms, limit)) if part.strip()]


def _pack(atoms: Iterable[tuple[str, int]], limit: int) -> Iterator[str]:
    held: list[str] = []
    size = 0
    for text, tokens in atoms:
        if held and size + tokens > limit:
            yield "".join(held)
            held, size = [], 0
        held.append(text)
        size += tokens
    if held:
        yield "".join(held)


def _atoms(text: str, limit: int, count: CountTokens) -> Iterator[tuple[str, int]]:
    """Yield (part, tokens) no larger than `limit`; together they are `text`."""
    for found in _SENTENCE.finditer(text):
        sentence = found[0]
        if not sentence:
            continue
        if len(sentence) <= _SCAN and (size := count(sentence)) <= limit:
            yield sentence, size
            continue
        end = 0
        for word in _WORD.finditer(sentence):
            end = word.end()
            if len(word[0]) <= _SCAN and (size := count(word[0])) <= limit:
                yield word[0], size
            else:
                yield from _slices(word[0], limit, count)
        if sentence[end:]:
            yield sentence[end:], 0  # white space at the end


def _slices(word: str, limit: int, count: CountTokens) -> Iterator[tuple[str, int]]:
    at = 0
    width = min(max(1, limit), _SCAN)
    while at < len(word):
        part = word[at : at + width]
        size = count(part)
        while size > limit and len(part) > 1:
            part = part[: max(1, len(part) // 2)]
            size = count(part)
        yield part, size
        at += len(part)
        width = min(_SCAN, max(1, len(part) * 2 if size * 2 <= limit else len(part)))
