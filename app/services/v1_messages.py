"""Rules of `messages` under `/v1` (openai.md 3.2): roles, parts, pictures, tool pairing; for assistants too."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from app.domain.errors import BadArgument, Invalid, WrongType

ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "function"})
_PARTS: Mapping[str, frozenset[str]] = {
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "tool": frozenset({"text"}),
    "function": frozenset({"text"}),
    "assistant": frozenset({"text", "refusal"}),
}
_DETAILS = ("auto", "low", "high", "original")
_DATA_URL = re.compile(r"data:([a-z]+/[a-z0-9.+-]+)(?:;[a-z0-9=._-]+)*;base64,", re.IGNORECASE)
_STARTS: Mapping[str, tuple[bytes, ...]] = {
    "image/png": (b"\x89PNG\r\n\x1a\n",),
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/webp": (b"RIFF",),
}
_MOST_IMAGE_BYTES = 20 << 20


def check_messages(messages: Any, *, model: str, sees: bool) -> None:
    """Return when `messages` can be sent to `model`; `sees` says whether it takes pictures.

    Raises:
        Invalid: they cannot; `param` is the dotted path of what is at fault.
    """
    if messages is None:
        raise Invalid("Missing required parameter: `messages`.", param="messages", code="missing_required_parameter")
    if not isinstance(messages, list):
        raise WrongType("`messages` must be a list.", param="messages")
    if not messages:
        raise BadArgument("`messages` must have at least one element.", param="messages")
    for index, message in enumerate(messages):
        _check_message(message, f"messages.{index}", model=model, sees=sees)
    check_pairing(messages)


def check_pairing(messages: list[dict[str, Any]]) -> None:
    """Return when every tool message answers a call of the assistant message before it, and every call is answered.

    Raises:
        BadArgument: that is not so.
    """
    waiting: dict[str, None] = {}
    asked_at = 0
    is_open = False
    for index, message in enumerate(messages):
        path = f"messages.{index}"
        if message["role"] == "tool":
            call_id = message["tool_call_id"]
            if not is_open or call_id not in waiting:
                raise BadArgument(
                    f"`{path}` answers the call `{call_id[:64]}`, which the assistant message before it did not make, "
                    "or which was answered already.",
                    param=path,
                )
            del waiting[call_id]
            continue
        _check_answered(waiting, asked_at)
        waiting, asked_at = _calls(message, path), index
        is_open = bool(waiting)
    _check_answered(waiting, asked_at)


def _check_answered(waiting: Mapping[str, None], asked_at: int) -> None:
    if waiting:
        missing = ", ".join(one[:64] for one in waiting)
        raise BadArgument(
            f"Every call of `messages.{asked_at}.tool_calls` needs a tool message after it; without one: {missing}.",
            param=f"messages.{asked_at}",
        )


def _calls(message: Mapping[str, Any], path: str) -> dict[str, None]:
    found: dict[str, None] = {}
    calls: list[Any] = (message.get("tool_calls") or []) if message["role"] == "assistant" else []
    for number, call in enumerate(calls):
        where = f"{path}.tool_calls.{number}"
        call_id: Any = call.get("id") if isinstance(call, dict) else None
        if not isinstance(call_id, str) or not call_id:
            raise Invalid(f"`{where}.id` is missing.", param=f"{where}.id", code="missing_required_parameter")
        if call_id in found:
            raise BadArgument(f"`{where}.id` is there twice.", param=f"{where}.id")
        found[call_id] = None
    return found


def _check_message(message: Any, path: str, *, model: str, sees: bool) -> None:
    if not isinstance(message, dict):
        raise WrongType(f"`{path}` must be an object.", param=path)
    role = message.get("role")
    if role is None:
        raise Invalid(f"`{path}.role` is missing.", param=f"{path}.role", code="missing_required_parameter")
    if not isinstance(role, str) or role not in ROLES:
        raise BadArgument(f"`{path}.role` must be one of {', '.join(sorted(ROLES))}.", param=f"{path}.role")
    if role == "tool":
        _need_text(message, "tool_call_id", path)
    calls = message.get("tool_calls")
    if calls is not None and not isinstance(calls, list):
        raise WrongType(f"`{path}.tool_calls` must be a list.", param=f"{path}.tool_calls")
    content = message.get("content")
    if isinstance(content, str):
        return
    if content is None:
        if role == "assistant" and any(message.get(key) for key in ("tool_calls", "function_call", "refusal", "audio")):
            return
        raise Invalid(f"`{path}.content` is missing.", param=f"{path}.content", code="missing_required_parameter")
    if not isinstance(content, list):
        raise WrongType(f"`{path}.content` must be a text or a list of parts.", param=f"{path}.content")
    if not content:
        raise BadArgument(f"`{path}.content` must have at least one part.", param=f"{path}.content")
    for number, part in enumerate(content):
        _check_part(part, role, f"{path}.content.{number}", model=model, sees=sees)


def _check_part(part: Any, role: str, path: str, *, model: str, sees: bool) -> None:
    if not isinstance(part, dict):
        raise WrongType(f"`{path}` must be an object.", param=path)
    kind = part.get("type")
    if not isinstance(kind, str) or kind not in _PARTS[role]:
        allowed = ", ".join(sorted(_PARTS[role]))
        raise BadArgument(f"`{path}.type` must be one of {allowed} in a message of {role}.", param=f"{path}.type")
    if kind in ("text", "refusal"):
        _need_text(part, kind, path)
        return
    inner = part.get(kind)
    if not isinstance(inner, dict):
        raise Invalid(f"`{path}.{kind}` is missing.", param=f"{path}.{kind}", code="missing_required_parameter")
    if kind == "input_audio":
        _need_text(inner, "data", f"{path}.{kind}")
        _need_text(inner, "format", f"{path}.{kind}")
    elif kind == "image_url":
        _check_image(inner, f"{path}.image_url", model=model, sees=sees)


def _check_image(image: dict[str, Any], path: str, *, model: str, sees: bool) -> None:
    _need_text(image, "url", path)
    if image.get("detail") not in (None, *_DETAILS):
        raise BadArgument(f"`{path}.detail` must be one of {', '.join(_DETAILS)}.", param=f"{path}.detail")
    if not sees:
        raise BadArgument(f"The model `{model}` takes no images.", param=path, code="unsupported_value")
    check_image_url(image["url"], f"{path}.url")


def check_image_url(url: str, path: str) -> None:
    """Return when `url` is a web address, which is passed on unread, or a data URL that holds a picture.

    Raises:
        BadArgument: it is neither (`invalid_image`).
    """
    if url.startswith(("https://", "http://")):
        return
    head = _DATA_URL.match(url)
    if head is None:
        raise _no_image(f"`{path}` must be an https address or a base64 data URL.", path)
    if (len(url) - head.end()) * 3 // 4 > _MOST_IMAGE_BYTES:
        raise _no_image(f"The image at `{path}` is over the limit of {_MOST_IMAGE_BYTES} bytes.", path)
    kind = head.group(1).lower()
    if not kind.startswith("image/"):
        raise _no_image(f"`{path}` declares {kind}, which is no image.", path)
    try:
        data = base64.b64decode(url[head.end() :], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _no_image(f"The image at `{path}` is not valid base64.", path) from error
    starts = _STARTS.get("image/jpeg" if kind == "image/jpg" else kind)
    if not data or (starts is not None and not data.startswith(starts)):
        raise _no_image(f"The image at `{path}` is not what it declares, {kind}.", path)


def _no_image(message: str, path: str) -> BadArgument:
    return BadArgument(message, param=path, code="invalid_image")


def _need_text(holder: Mapping[str, Any], key: str, path: str) -> None:
    value = holder.get(key)
    if value is None:
        raise Invalid(f"`{path}.{key}` is missing.", param=f"{path}.{key}", code="missing_required_parameter")
    if not isinstance(value, str):
        raise WrongType(f"`{path}.{key}` must be a text.", param=f"{path}.{key}")
