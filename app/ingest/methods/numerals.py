"""Numbers as headings and questions carry them: digits, Roman, Chinese and English words."""

_CHINESE = {character: value for value, character in enumerate("零一二三四五六七八九")} | {"〇": 0}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_WORDS = {
    word: value
    for value, word in enumerate(
        ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], start=1
    )
}


def number_of(text: str) -> int | None:
    """Return the number that `text` spells, from 0 to 9999; None if it spells none."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return int(text[:4])
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if text and all(character in _ROMAN for character in text.upper()):
        return _roman(text.upper())
    if text and all(character in _CHINESE or character in _UNITS for character in text):
        return _chinese(text)
    return None


def _roman(text: str) -> int:
    values = [_ROMAN[character] for character in text]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0], strict=True))


def _chinese(text: str) -> int:
    total = digit = 0
    for character in text:
        if character in _UNITS:
            total += (digit or 1) * _UNITS[character]
            digit = 0
        else:
            digit = digit * 10 + _CHINESE[character]
    return total + digit
