"""The delimiter string of a parser config (knowledge.md 5.2)."""

import re
from dataclasses import dataclass

_QUOTED = re.compile(r"`([^`]+)`")
_ESCAPE = re.compile(r"\\([ntr\\])")
_MOST_QUOTED = 100  # configs of documents are not validated, and every one is looked for at every place
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """`quoted` were written in backticks; `single` are all other characters. Both longest first, then sorted."""

    quoted: tuple[str, ...]
    single: tuple[str, ...]

    def split(self, text: str) -> list[str]:
        """Split at every delimiter; the delimiters and blank pieces are dropped."""
        return _split(text, (*self.quoted, *self.single))

    def split_quoted(self, text: str) -> list[str]:
        """Split at the backtick-quoted delimiters only."""
        return _split(text, self.quoted)


def parse_delimiters(written: str) -> Delimiters:
    """Read a delimiter string; `\\n \\t \\r \\\\` typed as two characters mean the one. Of more than a hundred quoted
    ones the first count.
    """
    quoted = {_unescape(found) for found in _QUOTED.findall(written)[:_MOST_QUOTED]}
    single = set(_unescape(_QUOTED.sub("", written)))
    return Delimiters(
        quoted=tuple(sorted(quoted, key=lambda text: (-len(text), text))),
        single=tuple(sorted(single - quoted)),
    )


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: _ESCAPED[found[1]], text)


def _split(text: str, delimiters: tuple[str, ...]) -> list[str]:
    if not delimiters:
        return [text] if text.strip() else []
    pieces = re.split("|".join(re.escape(delimiter) for delimiter in delimiters), text)
    return [piece for piece in pieces if piece.strip()]
