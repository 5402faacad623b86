"""What a model is sent where nothing of the caller may be cut, and the pairing of calls with what they gave back."""

from collections.abc import Sequence
from dataclasses import replace

from app.domain.errors import Invalid
from app.domain.models import ChatMessage
from app.llm.base import TokenCounter

PROMPT_SHARE = 0.95
"""How much of a context a prompt may fill where something can be left out of it; the rest is the answer's."""

MESSAGE_OVERHEAD = 4
"""Tokens a message costs beside its text, roughly."""


def turn_messages(
    system: str,
    history: Sequence[ChatMessage],
    said: Sequence[ChatMessage],
    context_tokens: int | None,
    counter: TokenCounter,
    *,
    is_dropping: bool,
) -> tuple[list[ChatMessage], int | None]:
    """Return system text, history and what the turn says, as they are, and their tokens where those were counted.

    With `is_dropping` the opener, and the oldest turns as far as must be for an answer to have room, are left out of
    the history.

    Raises:
        Invalid: they are over the model's context (openai.md, CC-22).
    """
    first = [ChatMessage(role="system", content=system)] if system.strip() else []
    past = paired(history, said)
    while is_dropping and past and past[0].role == "assistant":
        del past[0]
    whole = [*first, *past, *said]
    if context_tokens is None or sum(_most_tokens(message) for message in whole) < context_tokens:
        return whole, None
    costs = [counter.count(written(message)) + MESSAGE_OVERHEAD for message in past]
    used = sum(costs) + sum(counter.count(written(message)) + MESSAGE_OVERHEAD for message in [*first, *said])
    while is_dropping and past and used >= int(context_tokens * PROMPT_SHARE):
        drop = oldest_turn(past)
        used -= sum(costs[:drop])
        del past[:drop], costs[:drop]
    if used >= context_tokens:
        message = f"This model's context is {context_tokens} tokens; the messages and their instructions have {used}."
        raise Invalid(message, param="messages", code="context_length_exceeded")
    return [*first, *past, *said], used


def oldest_turn(past: Sequence[ChatMessage]) -> int:
    """Return how many messages the oldest turn has: up to the next question."""
    return next((at for at in range(1, len(past)) if past[at].role == "user"), len(past))


def written(message: ChatMessage) -> str:
    """Return what of a message costs tokens."""
    return message.content + "".join(call.name + call.arguments for call in message.tool_calls)


def paired(history: Sequence[ChatMessage], said: Sequence[ChatMessage] = ()) -> list[ChatMessage]:
    """Return history without calls that were not answered, there or in what is `said` now: no model takes those."""
    answered = {message.tool_call_id for message in [*history, *said] if message.role == "tool"}
    made: set[str] = set()
    kept: list[ChatMessage] = []
    for message in history:
        if message.tool_calls and not all(call.id in answered for call in message.tool_calls):
            if message.content:
                kept.append(replace(message, tool_calls=()))
        elif message.role != "tool" or message.tool_call_id in made:
            made.update(call.id for call in message.tool_calls)
            kept.append(message)
    return kept


def _most_tokens(message: ChatMessage) -> int:
    return len(written(message).encode("utf-8", "replace")) + MESSAGE_OVERHEAD  # no token is shorter than a byte
