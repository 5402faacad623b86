"""Splits a model's inline thinking from its answer."""

OPEN, CLOSE = "<think>", "</think>"


class ThinkSplitter:
    """Takes text in pieces cut anywhere and tells which part is thinking (openai.md 3.5).

    The tags themselves, and line breaks right after a tag, are dropped. However the text is cut, the two sides come
    out the same.
    """

    __slots__ = ("_held", "_is_thinking", "_trims")

    def __init__(self, *, starts_thinking: bool = False) -> None:
        self._is_thinking = starts_thinking
        self._held = ""
        self._trims = False

    @property
    def is_idle(self) -> bool:
        """Whether text without a `<` is a piece of the answer as it stands."""
        return not (self._is_thinking or self._held or self._trims)

    def is_plain(self, text: str) -> bool:
        """Tell that `text` is a piece of the answer as it stands, and `feed` need not be called for it."""
        return self.is_idle and "<" not in text

    def feed(self, text: str) -> list[tuple[bool, str]]:
        """Return non-empty parts as (is thinking, text); the start of what may become a tag is held back."""
        text = self._held + text
        self._held = ""
        parts: list[tuple[bool, str]] = []
        while text:
            tag = CLOSE if self._is_thinking else OPEN
            before, found, after = text.partition(tag)
            if not found:
                held = _overlap(text, tag)
                before, self._held = text[: len(text) - held], text[len(text) - held :]
            self._put(before, parts)
            if found:
                self._is_thinking = not self._is_thinking
                self._trims = True
            text = after
        return parts

    def flush(self) -> list[tuple[bool, str]]:
        """Return what was held back; call once, at the end."""
        parts: list[tuple[bool, str]] = []
        self._put(self._held, parts)
        self._held = ""
        return parts

    def _put(self, text: str, parts: list[tuple[bool, str]]) -> None:
        if self._trims:
            text = text.lstrip("\r\n")
            self._trims = not text
        if text:
            parts.append((self._is_thinking, text))


def _overlap(text: str, tag: str) -> int:
    """Return the length of the longest end of `text` that starts `tag`."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)
