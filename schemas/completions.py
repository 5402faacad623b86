"""Bodies of questions: in a session, and as OpenAI clients send them."""

from typing import Any, Literal

from pydantic import ConfigDict, Field

from app.domain.errors import Invalid
from app.domain.models import ChatMessage
from schemas.bodies import LooseBody
from schemas.fields import RequestBody

VariableValue = str | int | float | bool | None


class CompletionCreate(LooseBody):
    """Body of `POST /chats/{chat_id}/completions` (conversations.md 4.1). Every other key is a prompt variable."""

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra={"examples": [{"question": "How?"}]})

    question: str | None = Field(default=None, description="The user's text; empty opens a session.")
    stream: bool | None = Field(default=None, description="SSE (default) or one JSON answer.")
    session_id: str | None = Field(default=None, description="Continue this session; else a new one begins.")
    user_id: str | None = Field(default=None, description="Kept on a new session.")
    name: str | None = Field(default=None, max_length=255, description="Name of a new session.")
    quote: bool | None = Field(default=None, description="Citations, if the assistant has them on too.")
    doc_ids: str | list[str] | None = Field(default=None, description="Search these documents only.")
    kb_ids: list[str] | None = Field(default=None, description="Datasets searched besides the assistant's.")
    metadata_condition: dict[str, Any] | None = None
    messages: list[dict[str, Any]] | None = Field(default=None, description="The last one is the question.")
    llm_id: str | None = Field(default=None, description="Model for this call.")
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    legacy: bool | None = Field(default=None, description="Each event holds the whole text so far.")
    stream_mode: Literal["cumulative", "incremental"] | None = None
    on_disconnect: Literal["finish", "stop"] | None = Field(default=None, description="When the caller goes away.")

    @property
    def is_streaming(self) -> bool:
        """SSE unless refused."""
        return self.stream is not False

    @property
    def is_cumulative(self) -> bool:
        """Whether each event holds the whole text so far (4.5)."""
        return self.legacy is True or self.stream_mode == "cumulative"

    def text(self) -> str | None:
        """Return the question, from `question` or the last of `messages`."""
        if self.question is not None or self.messages is None:
            return self.question
        if not self.messages:
            raise Invalid("`messages` must be a non-empty list.", param="messages")
        for message in self.messages:
            if "role" not in message or "content" not in message:
                raise Invalid("Every item in `messages` must include `role` and `content`.", param="messages")
        if self.messages[-1]["role"] != "user":
            raise Invalid("The last message must be from user.", param="messages")
        return content_text(self.messages[-1]["content"])

    def session_name(self) -> str:
        """Return the name of a session that begins with this call."""
        if self.name is not None and not self.name.strip():
            raise Invalid("`name` can not be empty.", param="name")
        return self.name or "New session"

    def documents(self) -> tuple[str, ...]:
        """Return the documents searched, from a list or a comma-separated string."""
        given = self.doc_ids.split(",") if isinstance(self.doc_ids, str) else self.doc_ids or []
        return tuple(one.strip() for one in given if one.strip())

    def variables(self) -> dict[str, VariableValue]:
        """Return the prompt variables: every key that means nothing else."""
        extra = self.model_extra or {}
        return {key: value for key, value in extra.items() if key not in RESERVED}

    def options(self) -> dict[str, Any]:
        """Return the generation settings of this call."""
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


RESERVED = frozenset({
    "tenant_id", "dialog", "tools", "toolcall_session", "knowledge", "date", "pass_all_history_messages",
    "pass_all_history", "store_history_messages", "store_history", "files", "reasoning", "internet", "chat_id",
    "conversation_id",
})  # fmt: skip
"""Keys that are never variables (conversations.md 4.1)."""


class StreamOptions(RequestBody):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


class OpenAIChatCreate(LooseBody):
    """Body of `POST /chats_openai/{chat_id}/chat/completions` (conversations.md 5.1)."""

    model: str | None = Field(default=None, description="`model` or unknown: the assistant's own.", examples=["model"])
    messages: list[Any] | None = Field(default=None, examples=[[{"role": "user", "content": "How?"}]])
    stream: bool | None = Field(default=None, description="SSE (default) or one JSON answer.")
    stream_options: StreamOptions | None = None
    reference: bool | None = Field(default=None, description="Citations and references in the reply.")
    extra_body: dict[str, Any] | None = None
    metadata_condition: dict[str, Any] | None = None
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
        return self.reference is True or (self.extra_body or {}).get("reference") is True

    def condition(self) -> dict[str, Any] | None:
        """Return the metadata condition, at top level or in a literal `extra_body`."""
        nested = (self.extra_body or {}).get("metadata_condition")
        if nested is not None and not isinstance(nested, dict):
            raise Invalid("metadata_condition must be an object.", param="metadata_condition")
        return self.metadata_condition or nested

    def conversation(self) -> list[ChatMessage]:
        """Return what was said, without system messages and leading answers; the last is the question.

        Raises:
            Invalid: something is missing or of a wrong shape.
        """
        missing = [name for name in ("model", "messages") if getattr(self, name) is None]
        if missing:
            raise Invalid(f"required argument are missing: {','.join(missing)}; ", param=missing[0])
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


def content_text(content: Any, param: str = "messages") -> str:
    """Return a message's text: a string, or its `text` parts joined by line ends; other parts are ignored (5.1)."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Invalid("messages[].content must be a string or an array of content parts.", param=param)
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return "\n".join(text for text in texts if isinstance(text, str))
