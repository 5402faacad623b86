"""`messages` of `/v1` as an assistant's turn sees them: history, what is new, the question (openai.md 3.2, 3.9)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.domain.errors import BadArgument, Invalid, ParleyError
from app.domain.models import ChatMessage, ImageLink, ToolCall
from app.services.v1_messages import check_messages

_INDEX = re.compile(r"messages\.(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """What a caller sent. `said` begins with the question, or with what tools of the session's last answer gave back.

    `results` are those; `question` is None when there are only they. `image_path` is where the first picture stands.
    """

    instructions: str
    history: tuple[ChatMessage, ...]
    said: tuple[ChatMessage, ...]
    question: str | None
    results: tuple[ChatMessage, ...] = ()
    image_path: str | None = None

    @property
    def answered_call(self) -> str | None:
        """The id of the last call that a tool of the caller has answered since the question."""
        return next((message.tool_call_id for message in reversed(self.said) if message.role == "tool"), None)


def read_messages(messages: Any, *, assistant: str, in_session: bool) -> Spoken:
    """Return what `messages` say, checked; `in_session` they may begin with what tools gave back.

    Raises:
        Invalid: they break a rule; `param` is the dotted path.
    """
    leading = _leading_results(messages) if in_session else 0
    if leading:
        _check_after(messages, leading, assistant)
    else:
        check_messages(messages, model=assistant, sees=True)
    for index, message in enumerate(messages):
        _check_for_assistant(message, f"messages.{index}")
    instructions = [_text(one["content"]) for one in messages if one["role"] in ("system", "developer")]
    spoken = [(at, _message(one)) for at, one in enumerate(messages) if one["role"] not in ("system", "developer")]
    asked = max((place for place, (_, one) in enumerate(spoken) if one.role == "user"), default=None)
    told = [one for _, one in spoken]
    results = tuple(told[:leading])
    if asked is None and not results:
        raise BadArgument("`messages` must have at least one message of the user.", param="messages")
    said = tuple(told if results else told[asked:])
    image_path = next((f"messages.{at}.content" for at, one in spoken if one.images), None)
    return Spoken(
        instructions="\n\n".join(text for text in instructions if text.strip()),
        history=() if results else tuple(told[:asked]),
        said=said,
        question=told[asked].content if asked is not None else None,
        results=results,
        image_path=image_path,
    )


def _leading_results(messages: Any) -> int:
    if not isinstance(messages, list):
        return 0
    spoken = [one for one in messages if not (isinstance(one, dict) and one.get("role") in ("system", "developer"))]
    found = 0
    while found < len(spoken) and isinstance(spoken[found], dict) and spoken[found].get("role") == "tool":
        found += 1
    return found


def _check_after(messages: list[Any], leading: int, assistant: str) -> None:
    """Check messages that go on after calls which the session's last answer made; the session is looked at later."""
    tools = [one for one in messages if isinstance(one, dict) and one.get("role") == "tool"][:leading]
    calls = [{"id": one.get("tool_call_id") or "?", "type": "function"} for one in tools]
    answered: set[str] = set()
    for index, call in enumerate(calls):
        call_id: Any = call["id"]
        if isinstance(call_id, str) and call_id in answered:
            raise BadArgument(f"`messages.{index}` answers a call twice.", param=f"messages.{index}")
        if isinstance(call_id, str):
            answered.add(call_id)
    asking = {"role": "assistant", "content": None, "tool_calls": calls}
    place = next(at for at, one in enumerate(messages) if one is tools[0])
    try:
        check_messages([*messages[:place], asking, *messages[place:]], model=assistant, sees=True)
    except Invalid as error:
        raise _shifted(error, place) from error


def _shifted(error: ParleyError, place: int) -> Invalid:
    def back(found: re.Match[str]) -> str:
        at = int(found[1])
        return f"messages.{at - (at > place)}"

    param = _INDEX.sub(back, error.param or "messages")
    shifted = BadArgument(_INDEX.sub(back, error.message), param=param)
    shifted.code = error.code
    return shifted


def _check_for_assistant(message: Mapping[str, Any], path: str) -> None:
    if message["role"] == "function":
        raise BadArgument(
            f"`{path}.role`: an assistant takes no messages of the legacy role function.", param=f"{path}.role"
        )
    content = message.get("content")
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if part["type"] in ("input_audio", "file"):
            where = f"{path}.content.{number}"
            raise BadArgument(f"`{where}`: an assistant takes text and images.", param=where, code="unsupported_value")
    for number, call in enumerate(message.get("tool_calls") or ()):
        function: Any = call.get("function")
        is_named = isinstance(function, dict) and isinstance(function.get("name"), str)
        if message["role"] == "assistant" and not is_named:
            where = f"{path}.tool_calls.{number}.function.name"
            raise Invalid(f"`{where}` is missing.", param=where, code="missing_required_parameter")


def _message(message: Mapping[str, Any]) -> ChatMessage:
    content = message.get("content")
    is_assistant = message["role"] == "assistant"
    return ChatMessage(
        role=message["role"],
        content=_text(content) or (str(message.get("refusal") or "") if is_assistant else ""),
        images=_images(content),
        tool_calls=_calls(message.get("tool_calls") or ()) if is_assistant else (),
        tool_call_id=message["tool_call_id"] if message["role"] == "tool" else "",
        name=message["name"] if isinstance(message.get("name"), str) else "",
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = [part.get("text") or part.get("refusal") or "" for part in content or () if part["type"] != "image_url"]
    return "\n".join(parts)


def _images(content: Any) -> tuple[ImageLink, ...]:
    if not isinstance(content, list):
        return ()
    links = [part["image_url"] for part in content if part["type"] == "image_url"]
    return tuple(ImageLink(url=link["url"], detail=link.get("detail") or "") for link in links)


def _calls(calls: Sequence[Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(id=call["id"], name=call["function"]["name"], arguments=str(call["function"].get("arguments") or ""))
        for call in calls
    )
