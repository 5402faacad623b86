"""A question to weighted terms (knowledge.md 7.2, 7.3)."""

import re
from dataclasses import dataclass

from app.retrieval.lexemes import Token, fold, scan

MAX_TERMS_LONG = 256
MAX_TERMS_SHORT = 32
SHORT_WORDS = 3
_SHORT_SHARE = 0.7
_FACTOR_SHORT_WORD = 0.01
_FACTOR_NUMBER = 2.0
_FACTOR_FUNCTION_CHARACTER = 0.3

_STOP_ENGLISH = """
a about am an and any anybody anyone are as at be been being but by can could did do does doing either for from
had has have having he her hers him his how i if in into is it its just may me might mine must my of on or our
ours please shall she should so some such tell than that the their theirs them then there these they this those
to too us was we were what whatever when where which who whom whose why will with would you your yours
"""
_STOP_RUSSIAN = """
и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее мне было вот от меня
еще нет о из ему теперь когда даже ну ли если уже или ни быть был него до вас нибудь вам ведь там потом себя ей
может они тут где есть надо ней для мы тебя их чем была сам чтоб без будто чего раз тоже себе под будет ж тогда
кто этот того потому этого какой ним здесь этом один почти мой тем чтобы нее были куда зачем всех можно при об
какая какие каков сколько почему это
"""
_STOP_WORDS = frozenset((_STOP_ENGLISH + _STOP_RUSSIAN).split())
_STOP_PHRASES_ZH = re.compile(
    "请问|請問|告诉我|告訴我|是什么样的|是什么|是什麼|什么样的|什么样|什么|什麼|是怎么办|怎么样的|怎么办|怎么样|怎么|怎麼辦|怎麼樣|怎麼|"
    "怎样的|怎样|怎樣|如何|有哪些|哪些|哪里|哪裡|哪个|哪個|哪家|为什么|為什麼|为何|為何|是不是|有没有|有沒有|是否|能否|可否|"
    "有多少|多少|几个|幾個|是谁|是誰|吗|嗎|呢|吧"
)
_FUNCTION_CHARACTERS_ZH = frozenset(
    "的了是在和与與或也都我你您他她它们們请請"
)  # parts of real words too, so only lighter
_LATIN_WORD = re.compile(r"[^\w\s]*[a-z]+(?:['’.-][a-z]+)*[^\w\s]*")
_HAN = re.compile("[\u3400-\u9fff]")
_KANA = re.compile("[\u3040-\u30ff]")  # Japanese: Chinese particles mean nothing there
_APOSTROPHE = re.compile(r"(?<=[^\W_])['’`](?:s|t|re|ve|ll|d|m)\b|(?<=n)['’]t\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryTerm:
    """One thing searched for.

    `factor` multiplies its idf: below 1 for words of one or two letters, above 1 for numbers of two or more digits.
    `original` is the folded text it was made of, for display.
    """

    lexeme: str
    factor: float
    is_number: bool
    original: str


def query_terms(question: str) -> list[QueryTerm]:
    """Return the unique terms of `question` in order, without question words; those stay if nothing else is left.

    At most 32 terms for a short or mostly non-Latin question, else 256.
    """
    folded = _APOSTROPHE.sub("", fold(question))
    terms = _terms(folded, keeps_stop_words=False) or _terms(folded, keeps_stop_words=True)
    return terms[: MAX_TERMS_SHORT if is_short(question) else MAX_TERMS_LONG]


def is_short(question: str) -> bool:
    """Tell whether the question takes the short path: 3 words or fewer, or 70 % of them not purely Latin."""
    words = fold(question).split()
    foreign = sum(not _LATIN_WORD.fullmatch(word) for word in words)
    return len(words) <= SHORT_WORDS or foreign >= _SHORT_SHARE * len(words)


def minimum_matches(question: str, terms: int) -> int:
    """Return how many of the terms a chunk must hold to be a candidate: 30 % on the short path, else one."""
    return max(1, -(-terms * 3 // 10)) if is_short(question) and terms > SHORT_WORDS else min(1, terms)


def _terms(folded: str, *, keeps_stop_words: bool) -> list[QueryTerm]:
    if not keeps_stop_words and _HAN.search(folded) and not _KANA.search(folded):
        folded = _STOP_PHRASES_ZH.sub(" ", folded)
    terms: dict[str, QueryTerm] = {}
    for token in scan(folded):
        original = folded[token.start : token.end]
        if token.lexeme in terms or (not keeps_stop_words and original in _STOP_WORDS):
            continue
        terms[token.lexeme] = QueryTerm(
            lexeme=token.lexeme, factor=_factor(token, original), is_number=token.is_number, original=original
        )
    return list(terms.values())


def _factor(token: Token, original: str) -> float:
    if token.is_number:
        return _FACTOR_NUMBER if len(original) >= 2 else 1.0
    if token.is_paired:
        return _FACTOR_FUNCTION_CHARACTER if _FUNCTION_CHARACTERS_ZH & set(original) else 1.0
    is_short_word = len(original) <= 2 and original.isalpha()
    return _FACTOR_SHORT_WORD if is_short_word else 1.0
