"""Token counters for providers that do not count."""

import importlib.util
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from app.domain.models import ChatMessage
from app.llm.base import TokenCounter

_ORDINARY = {"cl100k_base": 100_256, "o200k_base": 199_998}  # tokens that stand for text
_SLICE_CHARACTERS = 120_000  # at most 480 kB of UTF-8: bpe-openai refuses inputs near 1 MB
PER_MESSAGE, PER_PROMPT = 3, 3  # what the chat format adds, after OpenAI's cookbook on counting


class BpeTokenCounter:
    """Counts as OpenAI's models do. The table is loaded at the first count and stays: see `load`."""

    def __init__(self, encoding: Literal["o200k_base", "cl100k_base"] = "o200k_base") -> None:
        self._encoding = encoding
        self._tokenizer: Any = None
        self._lock = threading.Lock()

    def load(self) -> Any:
        """Return the table, loading it once: 0.07 s and 70 MB for o200k, 0.03 s and 34 MB for cl100k. Thread-safe."""
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = _bindings().tokenizer_for_encoding(self._encoding)
            return self._tokenizer

    def count(self, text: str) -> int:
        """Return the number of ordinary tokens; text that spells a special token is text."""
        tokenizer = self._tokenizer or self.load()
        return sum(tokenizer.count(part.encode("utf-8", "replace").decode()) for part in _slices(text))


class Encodings:
    """OpenAI's encodings by name, each loaded at its first use; for threads, since loading takes a while."""

    def __init__(self) -> None:
        self._counters: dict[str, BpeTokenCounter] = {}

    def count(self, encoding: str, text: str) -> int:
        """Return the number of tokens of `text`."""
        return self._counter(encoding).count(text)

    def decode(self, encoding: str, tokens: Sequence[int]) -> str | None:
        """Return the text of token numbers; None when they are none."""
        most = _ORDINARY.get(encoding, 0)
        if not all(0 <= token < most for token in tokens):  # the tokenizer reads past its table
            return None
        try:
            found: str | None = self._counter(encoding).load().decode(list(tokens))
        except ValueError:  # no UTF-8
            return None
        return found

    def _counter(self, encoding: str) -> BpeTokenCounter:
        if encoding not in self._counters:
            self._counters[encoding] = BpeTokenCounter("cl100k_base" if encoding == "cl100k_base" else "o200k_base")
        return self._counters[encoding]


class ApproximateTokenCounter:
    """Counts at no cost in memory: four characters of Latin script a token, one of CJK; within 20 % on prose."""

    def count(self, text: str) -> int:
        """Return about how many tokens `text` is, never 0 for a text."""
        if text.isascii():
            return -(-len(text) // 4)
        narrow = sum(character < "\u0600" for character in text)
        return -(-narrow // 4) + (len(text) - narrow)


def count_prompt(messages: Sequence[ChatMessage], counter: TokenCounter) -> int:
    """Return the tokens of a whole prompt: every message, with what the chat format adds."""
    return PER_PROMPT + sum(
        counter.count(message.content) + counter.count(message.role) + PER_MESSAGE for message in messages
    )


def _bindings() -> Any:
    """Return bpe-openai's extension module without its package, whose import unpacks every table into Python: 98 MB."""
    package = importlib.util.find_spec("bpe_openai")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the package bpe-openai is not installed")
    path = next(Path(package.origin).parent.glob("_bindings.*[!i]"))
    spec = importlib.util.spec_from_file_location("bpe_openai._bindings", path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _slices(text: str) -> Iterator[str]:
    """Cut `text` at spaces where there are some, so that a token is rarely cut in two."""
    start = 0
    while len(text) - start > _SLICE_CHARACTERS:
        end = text.rfind(" ", start + _SLICE_CHARACTERS // 2, start + _SLICE_CHARACTERS)
        end = end if end > start else start + _SLICE_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]
