"""Fragments of tool calls, brought to the one order clients can join (openai.md 3.4)."""

import secrets
from typing import Any

import orjson


class CallFragments:
    """The tool calls of one choice: ids and names once, then arguments only, numbered from 0."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}
        self._latest: Any = None
        self.has_calls = False

    def deltas(self, calls: Any) -> list[dict[str, Any]]:
        """Return the deltas that tell of a provider's `tool_calls`; each has one fragment."""
        found: list[dict[str, Any]] = []
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                found += [{"tool_calls": [fragment]} for fragment in self._fragments(call)]
        return found

    def _fragments(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        kind = "custom" if isinstance(call.get("custom"), dict) else "function"
        words = "input" if kind == "custom" else "arguments"
        inner = call.get(kind)
        told: dict[str, Any] = inner if isinstance(inner, dict) else {}
        text = _text(told.get(words))
        key = self._key(call)
        is_first = key not in self._numbers
        number = self._numbers.setdefault(key, len(self._numbers))
        self._latest = key
        self.has_calls = True
        fragments: list[dict[str, Any]] = []
        if is_first:
            first = {"name": told.get("name") or "", words: ""}
            fragments.append({"index": number, "id": call.get("id") or new_call_id(), "type": kind, kind: first})
        if text:
            fragments.append({"index": number, kind: {words: text}})
        return fragments

    def _key(self, call: dict[str, Any]) -> Any:
        """Return what tells a call from others: its index, else its id; a fragment with neither goes on."""
        index, call_id = call.get("index"), call.get("id")
        if isinstance(index, int):
            return index
        if isinstance(call_id, str) and call_id:
            return call_id
        inner = call.get("function")
        if self._latest is None or (isinstance(inner, dict) and inner.get("name")):
            return object()
        return self._latest


def whole_calls(calls: Any) -> list[dict[str, Any]]:
    """Return the tool calls of an answer in one piece; missing ids are made."""
    found: list[dict[str, Any]] = []
    for call in calls if isinstance(calls, list) else ():
        if not isinstance(call, dict):
            continue
        told = {key: value for key, value in call.items() if key != "index"}
        told["id"] = call.get("id") or new_call_id()
        told["type"] = call.get("type") or "function"
        if isinstance(inner := call.get("function"), dict):
            told["function"] = {**inner, "arguments": _text(inner.get("arguments"))}
        found.append(told)
    return found


def new_call_id() -> str:
    """Return a fresh id of a tool call."""
    return f"call_{secrets.token_urlsafe(18)}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value).decode()  # some send the arguments as an object
