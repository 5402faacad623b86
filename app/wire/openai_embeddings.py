"""Answers of `/v1/embeddings` (openai.md 4)."""

import base64
import math
import sys
from array import array
from collections.abc import Sequence
from typing import Any

import orjson

from app.domain.errors import UpstreamFailed
from app.services.embeddings_api import Embedded


def embeddings_body(embedded: Embedded) -> bytes:
    """Return the `list` of `embedding` objects in input order.

    Raises:
        UpstreamFailed: a number is too large for the form that was asked for.
    """
    found = embedded.embeddings
    data = [
        {"object": "embedding", "index": at, "embedding": _packed(one) if embedded.encoding == "base64" else one}
        for at, one in enumerate(found.vectors)
    ]
    usage: dict[str, Any] = {"prompt_tokens": found.usage.prompt_tokens, "total_tokens": found.usage.prompt_tokens}
    if found.usage.is_estimated:
        usage["estimated"] = True
    return orjson.dumps({"object": "list", "data": data, "model": embedded.model, "usage": usage})


def _packed(vector: Sequence[float]) -> str:
    """Return base64 of little-endian float32."""
    packed = array("f", vector)
    if not math.isfinite(sum(packed)):
        raise UpstreamFailed("The embedding provider sent a number that no float32 can hold.")
    if sys.byteorder == "big":
        packed.byteswap()
    return base64.b64encode(packed.tobytes()).decode("ascii")
