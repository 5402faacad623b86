"""Our own tokenizer for full text search: the same stream for what is indexed and what is asked.

Folding: NFKC (so full-width is half-width), case folded, diacritics of Latin and Greek letters dropped.
Words split at everything that is no letter or digit, underscores too. Stems go by script, not by language, so
that query and index always agree: Latin letters the English Snowball stem, Cyrillic the Russian, Greek, Arabic
and Devanagari their own. Scripts written without spaces (Han, kana, Hangul, Thai, Lao, Khmer, Burmese) become
overlapping pairs of characters.
"""

import re
import threading
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import snowballstemmer

MAX_LEXEME_BYTES = 2046  # Postgres: "word is too long" from 2047

_PAIRED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # kana, Han
    "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af"  # Hangul
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"
)
_INNER_MARKS = "\u0300-\u036f\u0591-\u05c7\u0610-\u065f\u0670\u0900-\u0903\u093a-\u094f\u0b82-\u0bcd"
_TOKEN = re.compile(
    rf"(?P<number>\d{{1,3}}(?:,\d{{3}})+(?:\.\d+)?(?![\w,])|\d+(?:\.\d+)+(?![^\W_]))"
    rf"|(?P<paired>[{_PAIRED}]+)"
    r"|(?P<symbolic>(?<![^\W_])[a-z](?:\+\+|\#)(?![^\W_]))"
    rf"|(?P<word>[^\W_{_PAIRED}]+(?:[{_INNER_MARKS}]+[^\W_{_PAIRED}]*)*)"
)
_LETTERS_AND_DIGITS = re.compile(r"[^\W\d]+|\d+")
_CAMEL = re.compile(r"(?<![^\W_])(?=[A-Za-z0-9]{0,80}?[a-z][A-Z])[A-Za-z0-9]{4,80}(?![^\W_])")
_CAMEL_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "ı": "i", "ŧ": "t", "þ": "th", "ё": "е"}
)
_MARKED = re.compile("[\u00c0-\u024f\u1e00-\u1fff\u0386-\u03ce]")  # Latin and Greek letters that may carry marks
_MARKS = re.compile("[\u0300-\u036f]")


@dataclass(frozen=True, slots=True)
class Token:
    """A lexeme and where it stands: `start` and `end` index the folded text given to `scan`.

    `is_paired` tells a pair (or lone character) of a script without spaces.
    """

    lexeme: str
    start: int
    end: int
    is_number: bool = False
    is_paired: bool = False


def fold(text: str) -> str:
    """Return `text` as it is compared: NFKC, case folded, Latin and Greek letters without marks."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return _MARKED.sub(_without_marks, folded.translate(_UNDECOMPOSED))


def lexemes(text: str) -> list[str]:
    """Return the ordered token stream of `text`."""
    return [token.lexeme for token in scan(fold(text))]


def fine_lexemes(text: str) -> list[str]:
    """Return the smaller parts of the tokens: single characters of paired scripts, letters and digits of mixed
    words, parts of camelCase words and of decimal numbers. Never a token that `lexemes` gives at the same place.
    """
    parts: list[str] = []
    for found in _TOKEN.finditer(fold(text)):
        whole = found[0]
        match found.lastgroup:
            case "paired":
                if len(whole) > 1:
                    parts.extend(whole)
            case "number":
                if "." in whole:
                    parts.extend(whole.replace(",", "").split("."))
            case "word" if not whole.isalpha() and not whole.isdigit():
                pieces = _LETTERS_AND_DIGITS.findall(whole)
                if len(pieces) > 1:
                    parts.extend(stem(piece) for piece in pieces)
            case _:
                pass
    for found in _CAMEL.finditer(unicodedata.normalize("NFKC", text)):
        pieces = _CAMEL_PART.findall(found[0])
        if len(pieces) > 1:
            parts.extend(stem(piece.lower()) for piece in pieces)
    return parts


def scan(folded: str) -> Iterator[Token]:
    """Yield the tokens of a text that `fold` made."""
    for found in _TOKEN.finditer(folded):
        whole, start, end = found[0], found.start(), found.end()
        match found.lastgroup:
            case "paired":
                if len(whole) == 1:
                    yield Token(whole, start, end, is_paired=True)
                for at in range(len(whole) - 1):
                    yield Token(whole[at : at + 2], start + at, start + at + 2, is_paired=True)
            case "number":
                yield Token(whole.replace(",", "")[:200], start, end, is_number=True)
            case "symbolic":
                yield Token(whole, start, end)
            case _:
                yield Token(stem(whole), start, end, is_number=whole.isdigit())


@lru_cache(maxsize=1 << 17)
def stem(word: str) -> str:
    """Return the stem of a folded word by the script of its first letter, at most `MAX_LEXEME_BYTES` long."""
    if len(word) > 80:  # no word: a hash, a data URI
        return word.encode()[:MAX_LEXEME_BYTES].decode(errors="ignore")
    language = _language(word[0])
    if language is None or word.isdigit():
        return word
    with _STEMMING:
        return _STEMMERS[language].stemWord(word) or word


def _language(letter: str) -> str | None:
    if "a" <= letter <= "z":
        return "english"
    if "\u0400" <= letter <= "\u052f":
        return "russian"
    if "\u0370" <= letter <= "\u03ff":
        return "greek"
    if "\u0600" <= letter <= "\u06ff":
        return "arabic"
    return "hindi" if "\u0900" <= letter <= "\u097f" else None


def _without_marks(found: re.Match[str]) -> str:
    return _MARKS.sub("", unicodedata.normalize("NFD", found[0]))


_STEMMING = threading.Lock()  # a stemmer keeps the word it works on in itself
_STEMMERS = {name: snowballstemmer.stemmer(name) for name in ("english", "russian", "greek", "arabic", "hindi")}
