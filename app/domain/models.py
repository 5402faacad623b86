"""What is said to models and what they say back: messages, options, pieces, usage."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

import msgspec

from app.domain.documents import Picture

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks; `tool` is what a caller's tool gave back."""


class FinishReason(StrEnum):
    """Why a model stopped; vendor words are mapped to these (openai.md 3.3)."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """What a model asks its caller to do; `arguments` are the model's own words, mostly JSON."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLink:
    """A picture by its address: https, or a data URL that holds it. `detail` is the caller's wish, "" for none."""

    url: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatMessage:
    """One message of a prompt; `pictures` and `images` stand after its text, for models that see.

    `tool_calls` are an assistant's; `tool_call_id` says which of them a tool's message answers. `name` tells speakers
    of one role apart, "" for none.
    """

    role: Role
    content: str
    pictures: tuple[Picture, ...] = ()
    images: tuple[ImageLink, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationOptions:
    """How to generate; None leaves the choice to the model. `extra` goes to the provider as it is."""

    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call, or of a turn as the sum of its calls.

    `completion_tokens` includes `reasoning_tokens`; `prompt_tokens` includes `cached_tokens`.
    `is_estimated` is true when any part was counted by us and not by the provider.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    is_estimated: bool = False

    @property
    def total_tokens(self) -> int:
        """Prompt plus completion: the sum law, by construction."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Usage") -> "Usage":
        """Sum of two usages; estimated if either is."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            is_estimated=self.is_estimated or other.is_estimated,
        )


class ModelText(msgspec.Struct, frozen=True):
    """A piece of the visible answer, never empty. A struct: there is one for every token, and it is made quickly.

    `logprobs` are of its tokens, as OpenAI writes them, where they were asked for. `is_refusal` says that the model
    tells why it will not answer.
    """

    text: str
    logprobs: tuple[dict[str, Any], ...] = ()
    is_refusal: bool = False


class ModelReasoning(msgspec.Struct, frozen=True):
    """A piece of the model's thinking, never empty, without tags."""

    text: str


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What the call cost; exactly one, after the last piece. `attempt` is 1 for the first upstream tried."""

    usage: Usage
    model: str
    provider: str
    attempt: int


@dataclass(frozen=True, slots=True)
class ModelFinish:
    """Why the model stopped; exactly one, before `ModelUsage`."""

    reason: FinishReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelToolCall:
    """A fragment of a call to one of the caller's tools.

    `number` tells the calls of an answer apart, as the provider counts them. `id` and `name` come with a call's first
    fragment, and are empty after it or when the provider gave none.
    """

    number: int
    id: str = ""
    name: str = ""
    arguments: str = ""


ModelItem = ModelText | ModelReasoning | ModelToolCall | ModelFinish | ModelUsage


@dataclass(frozen=True, slots=True, kw_only=True)
class Embeddings:
    """Vectors of some texts in their order: each of length `dimensions`, L2-normalised."""

    vectors: list[list[float]]
    model: str
    provider: str
    usage: Usage
