"""Bodies of questions as OpenAI clients send them to an assistant (conversations.md 5.1)."""

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from app.domain.errors import BadArgument, Invalid
from app.domain.models import ChatMessage
from schemas.bodies import LooseBody
from schemas.completions import AnyObject, content_text, metadata_condition
from schemas.fields import RequestBody


class StreamOptions(RequestBody):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


class OpenAIChatCreate(LooseBody):
    """Body of `POST /chats_openai/{chat_id}/chat/completions` (conversations.md 5.1)."""

    model: str | None = Field(default=None, description="`model` or unknown: the assistant's own.", examples=["model"])
    messages: Annotated[Any, WithJsonSchema({"type": ["array", "null"], "items": {"type": "object"}})] = Field(
        default=None, examples=[[{"role": "user", "content": "How?"}]]
    )
    stream: bool | None = Field(default=None, description="SSE (default) or one JSON answer.")
    stream_options: StreamOptions | None = None
    reference: bool | None = Field(default=None, description="Citations and references in the reply.")
    extra_body: AnyObject = None
    reference_metadata: AnyObject = None
    metadata_condition: AnyObject = None
    variables: dict[str, Any] | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = None
    stop: str | list[str] | None = None

    @property
    def is_streaming(self) -> bool:
        """SSE unless refused: this route's default since the seeds (S0)."""
        return self.stream is not False

    @property
    def has_reference(self) -> bool:
        """Whether citations are wanted, at top level or in a literal `extra_body`."""
        return self.reference is True or self._nested("reference") is True

    def shown_metadata(self) -> frozenset[str] | None:
        """Return which metadata of documents stands beside references; None shows none, empty shows all.

        Raises:
            Invalid: it is of a wrong shape.
        """
        wanted = self.reference_metadata if self.reference_metadata is not None else self._nested("reference_metadata")
        if wanted is None:
            return None
        if not isinstance(wanted, dict):
            raise Invalid("reference_metadata must be an object.", param="reference_metadata")
        fields = wanted.get("fields")
        if fields is not None and not isinstance(fields, list):
            raise Invalid("reference_metadata.fields must be an array.", param="reference_metadata.fields")
        if wanted.get("include") is not True:
            return None
        return frozenset(each for each in fields or () if isinstance(each, str))

    def condition(self) -> dict[str, Any] | None:
        """Return the metadata condition, at top level or in a literal `extra_body`."""
        return metadata_condition(self.metadata_condition) or metadata_condition(self._nested("metadata_condition"))

    def _nested(self, name: str) -> Any:
        if self.extra_body is not None and not isinstance(self.extra_body, dict):
            raise Invalid("extra_body must be an object.", param="extra_body")
        return (self.extra_body or {}).get(name)

    def conversation(self) -> list[ChatMessage]:
        """Return what was said, without system messages and leading answers; the last is the question.

        Raises:
            Invalid: something is missing or of a wrong shape.
        """
        missing = [name for name in ("model", "messages") if getattr(self, name) is None]
        if missing:
            raise BadArgument(f"required argument are missing: {','.join(missing)}; ", param=missing[0])
        if not isinstance(self.messages, list):
            raise Invalid("messages must be an array.", param="messages")
        if not self.messages:
            raise Invalid("You have to provide messages.", param="messages")
        if self.n is not None and self.n != 1:
            raise Invalid("`n` must be 1: an assistant gives one answer.", param="n")
        said = [_message(index, message) for index, message in enumerate(self.messages)]
        if said[-1].role != "user":
            raise Invalid("The last content of this conversation is not from user.", param="messages")
        spoken = [message for message in said if message.role != "system"]
        while spoken[0].role == "assistant":
            del spoken[0]
        return spoken

    def options(self) -> dict[str, Any]:
        """Return the generation settings of this call."""
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens", "stop")
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.max_completion_tokens is not None:
            found["max_tokens"] = self.max_completion_tokens
        return found


def _message(index: int, message: Any) -> ChatMessage:
    if not isinstance(message, dict):
        raise Invalid("Each message must be an object.", param=f"messages.{index}")
    role = message.get("role")
    if role == "developer":
        role = "system"
    if role not in ("system", "user", "assistant"):
        shown = "missing" if role is None else f"not one of system, user, assistant: {str(role)[:40]}"
        raise Invalid(f"messages[{index}].role is {shown}.", param=f"messages.{index}.role")
    return ChatMessage(role=role, content=content_text(message.get("content"), f"messages.{index}.content"))
