"""Asking a chat model for a whole text at once, and what that cost."""

import time
from collections.abc import Sequence
from contextlib import aclosing

from app.domain.errors import UpstreamFailed
from app.domain.models import ChatMessage, FinishReason, GenerationOptions, ModelFinish, ModelText, ModelUsage
from app.domain.retrieval import ModelCall
from app.llm.base import ChatModel


async def ask_text(
    model: ChatModel,
    messages: Sequence[ChatMessage],
    options: GenerationOptions,
    *,
    purpose: str,
    calls: list[ModelCall],
    deadline_s: float,
) -> str:
    """Return the model's answer without its thinking; the call is added to `calls` for the ledger.

    `deadline_s` is a loop time. An answer that the token limit cut short is returned as far as it came.

    Raises:
        UpstreamFailed: or one of its kinds; also when a content filter took the answer away.
    """
    begun = time.perf_counter()
    parts: list[str] = []
    is_filtered = False
    async with aclosing(model.stream(messages, options, deadline_s=deadline_s)) as stream:
        async for batch in stream:
            for item in batch:
                match item:
                    case ModelText():
                        parts.append(item.text)
                    case ModelFinish():
                        is_filtered = item.reason is FinishReason.CONTENT_FILTER
                    case ModelUsage():
                        calls.append(chat_call(purpose, item, begun))
                    case _:
                        pass
    if is_filtered and not parts:
        raise UpstreamFailed(f"The content filter of {model.name} withheld its answer.")
    return "".join(parts).strip()


def chat_call(purpose: str, told: ModelUsage, begun_s: float) -> ModelCall:
    """Return the ledger's line of a chat call that has ended; `begun_s` is of the performance counter."""
    return ModelCall(
        kind="chat",
        purpose=purpose,
        model=told.model,
        provider=told.provider,
        attempt=told.attempt,
        usage=told.usage,
        duration_ms=(time.perf_counter() - begun_s) * 1000,
    )
