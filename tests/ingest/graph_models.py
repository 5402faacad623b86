"""A chat model for graphs that answers by rule, and an asker that needs no database."""

import re
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from app.domain.models import (
    ChatMessage,
    FinishReason,
    GenerationOptions,
    ModelFinish,
    ModelItem,
    ModelText,
    ModelUsage,
    Usage,
)

Answer = Callable[[Sequence[ChatMessage]], str | Exception]


def saying(answer: str | Exception) -> Answer:
    """Return what gives the same answer to all."""

    def say(_: Sequence[ChatMessage]) -> str | Exception:
        return answer

    return say


def records_in_the_text(messages: Sequence[ChatMessage]) -> str:
    """Answer an extraction with the records that stand in the text; lines with `@1` or `@2` are for follow-ups."""
    follow_ups = sum(message.role == "assistant" for message in messages)
    text = next(message.content for message in messages if message.role == "user")
    mark = f"@{follow_ups} " if follow_ups else ""
    lines = re.findall(rf"^{mark}((?:ENTITY|RELATION)<\|>.*)$", text, re.MULTILINE)
    return "\n".join(lines) or "NO"


def by_rule(messages: Sequence[ChatMessage]) -> str | Exception:
    """Answer whatever a graph job asks: names alike are the same, reports are JSON, summaries count their notes."""
    asked = messages[-1].content
    if messages[0].role == "system":
        return records_in_the_text(messages)
    if "pairs of names" in asked:
        return "\n".join(f"{number}: yes" for number in re.findall(r"^(\d+): \(", asked, re.MULTILINE))
    if "JSON" in asked:
        return '{"title": "The engine people", "summary": "They built it.", "rating": 7, "findings": ["It ran."]}'
    if asked.startswith("Below are notes about"):
        return f"Summary of {len(re.findall('^- ', asked, re.MULTILINE))} notes."
    return "TYPES:\nENTITIES:"


class RuleChatModel:
    """A `ChatModel` whose answers are made by `answer`; `asked` keeps the prompts. One token a word."""

    name = "rules"
    provider = "builtin"
    context_tokens: int | None = None

    def __init__(self, answer: Answer = by_rule) -> None:
        self.answer = answer
        self.asked: list[list[ChatMessage]] = []
        self.options: list[GenerationOptions] = []

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        options: GenerationOptions,
        *,
        deadline_s: float,
    ) -> AsyncGenerator[Sequence[ModelItem], None]:
        """Answer; see `ChatModel.stream`."""
        self.asked.append(list(messages))
        self.options.append(options)
        await self.before()
        answer = self.answer(messages)
        if isinstance(answer, Exception):
            raise answer
        if answer:
            yield [ModelText(answer)]
        usage = Usage(prompt_tokens=sum(len(one.content.split()) for one in messages), completion_tokens=7)
        yield [
            ModelFinish(FinishReason.STOP),
            ModelUsage(usage=usage, model=self.name, provider=self.provider, attempt=1),
        ]

    async def before(self) -> None:
        """Do nothing; others wait here."""


class DirectAsker:
    """What `Asker` is to extraction, with nothing kept."""

    def __init__(self, answer: Answer = by_rule, context_tokens: int | None = None) -> None:
        self._answer = answer
        self.context_tokens = context_tokens
        self.asked: list[list[ChatMessage]] = []

    async def ask(self, messages: Sequence[ChatMessage], options: GenerationOptions) -> str:
        self.asked.append(list(messages))
        answer = self._answer(messages)
        if isinstance(answer, Exception):
            raise answer
        return answer


def asker(answer: Answer = by_rule, context_tokens: int | None = None) -> Any:
    """Return a `DirectAsker` that passes for an `Asker`."""
    return DirectAsker(answer, context_tokens)
