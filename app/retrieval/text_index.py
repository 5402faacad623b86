"""The `tsvector` of a chunk, written by us so that Postgres parses no language (knowledge.md 7.5)."""

from collections.abc import Iterable, Sequence

from app.retrieval.lexemes import MAX_LEXEME_BYTES, fine_lexemes, fold, lexemes, scan

_MAX_POSITION = 16383
_MAX_POSITIONS = 256  # of one lexeme; Postgres drops the rest
_MAX_BYTES = 700_000  # a tsvector holds less than 1 MB of lexemes and positions
_GAP = 8  # between fields and between keywords, so that phrases never match across them


def tsvector(content: str, title: str, keywords: Sequence[str] = (), questions: Sequence[str] = ()) -> str:
    """Return text for a `::tsvector` cast.

    Weights: A questions and keywords, B title (a file name without extension), C content, D the fine parts of
    content and title. Positions of content begin at 1 in their order; then come title, keywords, questions.
    """
    held = _Postings()
    held.add(lexemes(content), "C")
    held.add(lexemes(title), "B")
    for phrase in (*keywords, *questions):
        held.add(lexemes(phrase), "A")
    held.add([*fine_lexemes(content), *fine_lexemes(title)], "")
    return held.literal()


def bag(content: str, title: str, keywords: Sequence[str] = (), questions: Sequence[str] = ()) -> frozenset[str]:
    """Return every lexeme of a chunk that counts as a hit (knowledge.md 4.3), whole folded keywords included."""
    texts = (content, title, *keywords, *questions)
    found = {lexeme for text in texts for lexeme in lexemes(text)}
    found.update(lexeme for text in (content, title) for lexeme in fine_lexemes(text))
    found.update(fold(keyword).strip() for keyword in keywords)
    return frozenset(found)


def token_stream(content: str) -> str:
    """Return the tokens of `content` separated by blanks (`content_ltks`)."""
    return " ".join(lexemes(content))


class _Postings:
    """Lexemes with their positions, in the order of first sight."""

    def __init__(self) -> None:
        self._postings: dict[str, list[str]] = {}
        self._next = 1
        self._bytes = 0

    def add(self, tokens: Iterable[str], weight: str) -> None:
        """Append one field; it stops taking new lexemes when the row would be too large."""
        for token in tokens:
            position = min(self._next, _MAX_POSITION)
            self._next += 1
            lexeme = token.replace("\0", "").encode()[:MAX_LEXEME_BYTES].decode(errors="ignore")
            if not lexeme:
                continue
            posting = self._postings.get(lexeme)
            if posting is None:
                if self._bytes > _MAX_BYTES:
                    continue
                posting = self._postings[lexeme] = []
                self._bytes += len(lexeme.encode()) + 4
            if len(posting) < _MAX_POSITIONS and self._bytes <= _MAX_BYTES:
                posting.append(f"{position}{weight}")
                self._bytes += 2
        self._next += _GAP

    def literal(self) -> str:
        """Return the literal; quotes and backslashes doubled."""
        return " ".join(_entry(lexeme, positions) for lexeme, positions in self._postings.items())


def _entry(lexeme: str, positions: list[str]) -> str:
    quoted = lexeme.replace("\\", "\\\\").replace("'", "''")
    return f"'{quoted}':{','.join(positions)}" if positions else f"'{quoted}'"


def has_lexemes(text: str) -> bool:
    """Tell whether there is anything to search for in `text`."""
    return next(iter(scan(fold(text))), None) is not None
