"""Bodies of questions in a session; every key that means nothing else is a prompt variable."""

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from app.domain.errors import BadArgument, Invalid
from app.domain.models import ChatMessage
from schemas.bodies import LooseBody

AnyObject = Annotated[Any, WithJsonSchema({"type": ["object", "null"]})]
"""An object that is checked where it is read."""


class AnswerForm(LooseBody):
    """In what form an answer is wanted, and what becomes of it when nobody waits for it any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"question": "How?"}]})

    stream: bool | None = Field(default=None, description="SSE (default) or one JSON answer.")
    legacy: bool | None = Field(default=None, description="Each event holds the whole text so far.")
    stream_mode: Literal["cumulative", "incremental"] | None = Field(
        default=None, description="`cumulative` is another word for `legacy`."
    )
    on_disconnect: Literal["finish", "stop"] | None = Field(
        default=None, description="What becomes of the answer when the caller goes away."
    )

    @property
    def is_streaming(self) -> bool:
        """SSE unless refused."""
        return self.stream is not False

    @property
    def is_cumulative(self) -> bool:
        """Whether each event holds the whole text so far (4.5)."""
        return self.legacy is True or self.stream_mode == "cumulative"


class CompletionCreate(AnswerForm):
    """Body of `POST /chats/{chat_id}/completions` (conversations.md 4.1). Every other key is a prompt variable."""

    question: str | None = Field(default=None, description="The user's text; empty opens a session.")
    session_id: str | None = Field(default=None, description="Continue this session; else a new one begins.")
    user_id: str | None = Field(default=None, description="Kept on a new session.")
    name: str | None = Field(default=None, max_length=255, description="Name of a new session.")
    quote: bool | None = Field(default=None, description="Citations, if the assistant has them on too.")
    doc_ids: str | list[str] | None = Field(default=None, description="Search these documents only.")
    kb_ids: list[str] | None = Field(default=None, description="Datasets searched besides the assistant's.")
    metadata_condition: AnyObject = None
    messages: Annotated[Any, WithJsonSchema({"type": ["array", "null"], "items": {"type": "object"}})] = Field(
        default=None, description="The last one is the question; it may name its own `doc_ids`."
    )
    conversation_id: str | None = Field(default=None, description="Another word for `session_id`.")
    chat_id: str | None = Field(default=None, description="The assistant, where the path does not name it.")
    pass_all_history_messages: bool | None = Field(
        default=None, description="`messages` replace what was said in the session."
    )
    pass_all_history: bool | None = None
    store_history_messages: bool | None = Field(
        default=None, description="False: the session learns nothing of this call; needs `pass_all_history_messages`."
    )
    store_history: bool | None = None
    files: Annotated[Any, WithJsonSchema({"type": ["array", "null"], "items": {}})] = Field(
        default=None, description="Kept beside the question."
    )
    reasoning: Annotated[Any, WithJsonSchema({"type": ["boolean", "integer", "null"]})] = Field(
        default=None, description="Research before the answer: a boolean, or a degree from 0 to 4."
    )
    internet: bool | None = Field(default=None, description="False keeps the assistant off the web.")
    llm_id: str | None = Field(default=None, description="Model for this call.")
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = Field(default=None, ge=1)

    @property
    def session(self) -> str | None:
        """The session that goes on, under either name."""
        return self.session_id or self.conversation_id

    @property
    def is_empty(self) -> bool:
        """Whether there is neither a question nor a list of messages."""
        return self.question is None and self.messages is None

    def text(self) -> str | None:
        """Return the question, from `question` or the last of `messages`.

        Raises:
            BadArgument: the messages are of a wrong shape.
        """
        if self.question is not None or self.messages is None:
            return self.question
        return content_text(self._messages()[-1]["content"])

    def said_before(self) -> tuple[ChatMessage, ...]:
        """Return what `messages` say before the question, from the first question on; without system messages.

        Answers may come as they were streamed: the thinking before them is left out.

        Raises:
            BadArgument: the messages are of a wrong shape.
        """
        if self.messages is None or self.question is not None:
            return ()
        said = [
            ChatMessage(role=message["role"], content=_spoken(message))
            for message in self._messages()[:-1]
            if message["role"] in ("user", "assistant")
        ]
        first = next((index for index, message in enumerate(said) if message.role == "user"), len(said))
        return tuple(said[first:])

    def history(self) -> tuple[ChatMessage, ...] | None:
        """Return what replaces the history of the session; None keeps it.

        Raises:
            BadArgument: the session shall learn nothing, and go on from what it holds.
        """
        is_whole = self._either(self.pass_all_history_messages, self.pass_all_history, default=False)
        if not is_whole and not self.is_stored:
            message = "`pass_all_history_messages` must be true when `store_history_messages` is false."
            raise BadArgument(message, param="pass_all_history_messages")
        return self.said_before() if is_whole and self.messages is not None and self.question is None else None

    @property
    def is_stored(self) -> bool:
        """Whether the session keeps question and answer."""
        return self._either(self.store_history_messages, self.store_history, default=True)

    def research(self) -> bool | int | None:
        """Return the degree of reasoning; None leaves it to the assistant."""
        if self.reasoning is not None and (not isinstance(self.reasoning, bool | int) or not 0 <= self.reasoning <= 4):
            raise Invalid("`reasoning` must be a boolean or an integer from 0 to 4.", param="reasoning")
        found: bool | int | None = self.reasoning
        return found

    def condition(self) -> dict[str, Any] | None:
        """Return the metadata condition."""
        return metadata_condition(self.metadata_condition)

    def extras(self) -> dict[str, Any] | None:
        """Return what is kept beside the question: its files, and the documents it was about."""
        files = self._last().get("files") if self.files is None else self.files
        if files is not None and not isinstance(files, list):
            raise Invalid("`files` should be a list.", param="files")
        kept: dict[str, Any] = {"files": files or [], "doc_ids": list(self.documents())}
        return {name: value for name, value in kept.items() if value} or None

    def _messages(self) -> list[dict[str, Any]]:
        messages: Any = self.messages
        if not isinstance(messages, list) or not messages:
            raise BadArgument("`messages` must be a non-empty list.", param="messages")
        if not all(isinstance(message, dict) for message in messages):
            raise BadArgument("Every item in `messages` must be an object.", param="messages")
        if not all(message.get("role") and message.get("content") is not None for message in messages):
            raise BadArgument("Every item in `messages` must include `role` and `content`.", param="messages")
        if not any(message["role"] == "user" for message in messages):
            raise BadArgument("`messages` must contain a user message.", param="messages")
        if messages[-1]["role"] != "user":
            raise BadArgument("The last message must be from user.", param="messages")
        return messages

    def _last(self) -> dict[str, Any]:
        return self._messages()[-1] if self.messages is not None and self.question is None else {}

    def _either(self, long: bool | None, short: bool | None, *, default: bool) -> bool:
        return next((value for value in (long, short) if value is not None), default)

    def session_name(self) -> str:
        """Return the name of a session that begins with this call."""
        if self.name is not None and not self.name.strip():
            raise Invalid("`name` can not be empty.", param="name")
        return self.name or "New session"

    def documents(self) -> tuple[str, ...]:
        """Return the documents searched: those of the last message, else the call's; a list, or joined by commas."""
        given = self._last().get("doc_ids") or self.doc_ids or []
        if isinstance(given, str):
            given = given.split(",")
        if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
            raise Invalid("`doc_ids` should be a list of ids, or ids joined by commas.", param="doc_ids")
        return tuple(dict.fromkeys(one.strip() for one in given if one.strip()))

    def variables(self) -> dict[str, Any]:
        """Return the prompt variables: every key that means nothing else, whatever its value."""
        extra = self.model_extra or {}
        return {key: value for key, value in extra.items() if key not in RESERVED}

    def options(self) -> dict[str, Any]:
        """Return the generation settings of this call."""
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


_THOUGHT = re.compile(r"\A(?:\s*<think>.*?</think>)+\s*", re.DOTALL)


def _spoken(message: dict[str, Any]) -> str:
    text = content_text(message["content"])
    return _THOUGHT.sub("", text) if message["role"] == "assistant" else text


RESERVED = frozenset({"tenant_id", "dialog", "tools", "toolcall_session", "knowledge", "date"})
"""Keys that are never variables, beside the fields of the body (conversations.md 4.1)."""


def metadata_condition(sent: Any) -> dict[str, Any] | None:
    """Return a metadata condition as it was sent.

    Raises:
        Invalid: it is no object.
    """
    if sent is not None and not isinstance(sent, dict):
        raise Invalid("metadata_condition must be an object.", param="metadata_condition")
    return sent


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
