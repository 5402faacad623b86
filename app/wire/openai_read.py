"""Reading what a provider sends, whatever it leaves out or writes in another form."""

from typing import Any

import orjson

from app.domain.errors import UpstreamFailed
from app.llm.passthrough import Tally
from app.llm.replies import stream_error
from app.wire.openai_finish import read_usage

OURS = frozenset({"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "error", "obfuscation"})
"""Keys of a chunk or an answer that are written anew; others are passed on."""


def parsed(payload: bytes, api_key: str | None) -> dict[str, Any]:
    """Return a provider's JSON object.

    Raises:
        UpstreamFailed: it is none, or tells of an error.
    """
    try:
        chunk: Any = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise UpstreamFailed("The model provider sent something that is not JSON.") from error
    if not isinstance(chunk, dict):
        raise UpstreamFailed("The model provider sent a chunk that is not an object.")
    if chunk.get("error"):
        raise stream_error(chunk["error"], api_key=api_key)
    return chunk


def take_usage(chunk: dict[str, Any], tally: Tally) -> bool:
    """Keep the usage that a chunk or answer tells; say whether it tells one."""
    usage = read_usage(chunk.get("usage"))
    if usage is None:
        return False
    tally.usage, tally.told = usage, chunk["usage"]
    return True


def text_of(value: Any) -> str:
    """Return a text, or the texts of a list of content parts, joined."""
    if isinstance(value, str):
        return value
    return "".join(str(part.get("text") or "") for part in list_of(value) if isinstance(part, dict))


def list_of(value: Any) -> list[Any]:
    """Return a list as it is, and an empty one for anything else."""
    return value if isinstance(value, list) else []
