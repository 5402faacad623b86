"""A JSON value in parts that keep their key paths (knowledge.md 5.4)."""

import json
import re
from collections.abc import Iterator
from typing import Any

_Items = list[tuple[str, Any]]
_MARK = "\ue0f0"  # opens the string that stands for a fraction: it is shown as it was written
_FRACTION = re.compile(f'"{_MARK}([0-9eE+.-]+)"')


def json_parts(text: str, chunk_token_num: int) -> list[str]:
    """Return the JSON texts of sub-objects below `2 * chunk_token_num` characters, each with its path of keys.

    Lists become objects keyed by index. A part is closed once it has `max(chunk_token_num - 200, 50)` characters and
    the next value does not fit; a leaf that is longer than a part stays whole. Text that is no JSON, or too deeply
    nested to be read, is one part as it stands.
    """
    most = max(1, 2 * chunk_token_num)
    least = max(min(most, chunk_token_num) - 200, 50)
    try:
        value = json.loads(text, parse_float=lambda number: _MARK + number)
        if not isinstance(value, dict | list) or not value:
            return [text] if text.strip() else []
        return [_dump(part) for part in _Splitter(most, least).run(value)]
    except (ValueError, RecursionError):
        return [text] if text.strip() else []


class _Splitter:
    def __init__(self, most: int, least: int) -> None:
        self._most = most
        self._least = least
        self._parts: list[dict[str, Any]] = [{}]
        self._size = 2

    def run(self, value: Any) -> list[dict[str, Any]]:
        """Walk the value depth first, without recursion: order and paths are kept."""
        waiting: list[Iterator[tuple[tuple[str, ...], Any]]] = [iter(_children((), value))]
        while waiting:
            found = next(waiting[-1], None)
            if found is None:
                waiting.pop()
                continue
            path, child = found
            inner = _children(path, child)
            length = sum(len(key) + 6 for key in path) + _length(child, self._most)
            if self._size + length < self._most or (not inner and self._size <= 2):
                self._put(path, _keyed(child), length)
                continue
            if self._size >= self._least or not inner:
                self._parts.append({})
                self._size = 2
            if inner:
                waiting.append(iter(inner))
            else:
                self._put(path, child, length)
        return [part for part in self._parts if part]

    def _put(self, path: tuple[str, ...], value: Any, length: int) -> None:
        at = self._parts[-1]
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = value
        self._size += length


def _children(path: tuple[str, ...], value: Any) -> list[tuple[tuple[str, ...], Any]]:
    return [((*path, key), child) for key, child in _items(value)]


def _items(value: Any) -> _Items:
    match value:
        case dict():
            return [(str(key), child) for key, child in value.items()]
        case list():
            return [(str(index), child) for index, child in enumerate(value)]
        case _:
            return []


def _keyed(value: Any) -> Any:
    return {key: _keyed(child) for key, child in _items(value)} if isinstance(value, dict | list) and value else value


def _length(value: Any, most: int) -> int:
    """Return about how long the JSON text of `value` is; beyond `most` it is not counted on."""
    length = 0
    waiting = [value]
    while waiting and length <= most:
        found = waiting.pop()
        if isinstance(found, dict | list) and found:
            for key, child in _items(found):
                length += len(key) + 6
                waiting.append(child)
                if length > most:
                    break
        else:
            length += len(_dump(found))
    return length


def _dump(value: Any) -> str:
    return _FRACTION.sub(r"\1", json.dumps(value, ensure_ascii=False))
