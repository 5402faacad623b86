"""What the chunks of one completion have in common, and the usage and end that close them (openai.md 3.3, 3.4)."""

import secrets
import time
from typing import Any

import orjson

from app.llm.passthrough import Tally
from app.wire.openai_finish import usage_told

DONE = b"data: [DONE]\n\n"


class Head:
    """What all chunks of a completion have in common. `model` is echoed as the caller named it."""

    def __init__(self, model: str, *, prefix: str = "chatcmpl-", has_usage: bool = False) -> None:
        self.id = f"{prefix}{secrets.token_urlsafe(18)}"
        self.created = int(time.time())
        self.model = model
        self.has_usage = has_usage
        self.fingerprint: str | None = None
        self.is_marked = False  # the fingerprint was told, and is the same from here on

    def mark(self, chunk: dict[str, Any]) -> None:
        """Take the fingerprint from the first chunk of the answer."""
        if not self.is_marked:
            self.is_marked = True
            told = chunk.get("system_fingerprint")
            self.fingerprint = told if isinstance(told, str) else None

    def chunk(self, kind: str, choices: list[dict[str, Any]], more: dict[str, Any] | None = None) -> bytes:
        """Return one event."""
        body: dict[str, Any] = {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            "system_fingerprint": self.fingerprint,
        }
        if self.has_usage:
            body["usage"] = None
        return b"data: " + orjson.dumps(body | (more or {})) + b"\n\n"

    def tail(self, kind: str, tally: Tally) -> bytes:
        """Return the end of a stream that went well: the usage chunk if it is wanted, and `[DONE]`."""
        if not self.has_usage:
            return DONE
        return self.chunk(kind, [], {"usage": usage_told(tally)}) + DONE

    def body(self, kind: str, choices: list[dict[str, Any]], more: dict[str, Any], tally: Tally) -> bytes:
        """Return an answer in one piece."""
        told: dict[str, Any] = {"id": self.id, "object": kind, "created": self.created, "model": self.model}
        told |= {"choices": choices, "usage": usage_told(tally), "system_fingerprint": self.fingerprint}
        return orjson.dumps(more | told)
