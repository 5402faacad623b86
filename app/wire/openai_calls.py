"""Fragments of tool calls, brought to the one order clients can join (openai.md 3.4)."""

import secrets
from typing import Any

import orjson

Fragment = dict[str, Any]


class CallFragments:
    """The tool calls of one choice: numbered from 0, ids and names once, each call whole before the next begins.

    The first call is passed on as it comes. Fragments of later ones are kept until `flush`, since some providers go
    back and forth between calls. A new id under a known number begins a new call: some number every call 0.
    """

    def __init__(self) -> None:
        self._keys: list[tuple[int | None, str]] = []  # number and id of each call, as the provider told them
        self._kept: list[list[Fragment]] = []  # of the calls after the first

    @property
    def has_calls(self) -> bool:
        """Whether any call came."""
        return bool(self._keys)

    def deltas(self, calls: Any) -> list[dict[str, Any]]:
        """Return the deltas that can be told of a provider's `tool_calls` now; each has one fragment."""
        found: list[dict[str, Any]] = []
        for call in calls if isinstance(calls, list) else ():
            if isinstance(call, dict):
                found += self._take(call)
        return found

    def flush(self) -> list[dict[str, Any]]:
        """Return the deltas that were kept; call once, at the end."""
        kept, self._kept = self._kept, []
        return [{"tool_calls": [fragment]} for fragments in kept for fragment in fragments]

    def _take(self, call: dict[str, Any]) -> list[dict[str, Any]]:
        kind = "custom" if isinstance(call.get("custom"), dict) else "function"
        words = "input" if kind == "custom" else "arguments"
        inner = call.get(kind)
        told: dict[str, Any] = inner if isinstance(inner, dict) else {}
        text = _text(told.get(words))
        known = len(self._keys)
        at = self._place(call, has_name=bool(told.get("name")))
        fragments: list[Fragment] = []
        if at == known:
            first = {"name": told.get("name") or "", words: ""}
            fragments.append({"index": at, "id": call.get("id") or new_call_id(), "type": kind, kind: first})
        if text:
            fragments.append({"index": at, kind: {words: text}})
        if at == 0:
            return [{"tool_calls": [fragment]} for fragment in fragments]
        if at == known:
            self._kept.append([])
        self._kept[at - 1] += fragments
        return []

    def _place(self, call: dict[str, Any], *, has_name: bool) -> int:
        """Return which call a fragment is of: by its number, else its id; one with neither goes on, or begins anew."""
        told, call_id = call.get("index"), call.get("id")
        number = told if isinstance(told, int) and not isinstance(told, bool) else None
        name = call_id if isinstance(call_id, str) else ""
        for at in reversed(range(len(self._keys))):
            known_number, known_id = self._keys[at]
            if number is not None and known_number == number:
                if name and has_name and known_id and known_id != name:
                    break
                return at
            if number is None and (name == known_id if name else not has_name):
                return at
        self._keys.append((number, name))
        return len(self._keys) - 1


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
