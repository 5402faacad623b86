"""What providers are sent, as JSON."""

from typing import Any

import orjson


def encode(value: object) -> bytes:
    """Return `value` as JSON; a lone surrogate, which no provider could read, becomes `?`."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        return orjson.dumps(_cleaned(value))


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_cleaned(key): _cleaned(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_cleaned(inner) for inner in value]
        case _:
            return value
