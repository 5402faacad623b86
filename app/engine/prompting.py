"""From an ask and what was found to the messages a model is sent, within its context (conversations.md 10.7, 10.8)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.domain.models import ChatMessage
from app.domain.references import Reference
from app.engine.turn_prompt import MESSAGE_OVERHEAD, PROMPT_SHARE, oldest_turn, paired
from app.llm.base import TokenCounter
from app.retrieval.knowledge import CITATION_INSTRUCTIONS, NOTES_INSTRUCTIONS, KnowledgeChunk, render_knowledge

KNOWLEDGE = "{knowledge}"
DEFAULT_CONTEXT_TOKENS = 8192
_KNOWLEDGE_SHARE = 0.97
_SYSTEM_SHARE = 0.8
_OLD_MARKER = re.compile(r"\s?##\d+\$\$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is sent; `tokens` is None when a glance at its length was enough to know that it fits."""

    messages: list[ChatMessage]
    tokens: int | None


def keep_within(references: Sequence[Reference], context_tokens: int | None, counter: TokenCounter) -> list[Reference]:
    """Return the first references whose texts fit 97 % of the context together; always at least one."""
    limit = int((context_tokens or DEFAULT_CONTEXT_TOKENS) * _KNOWLEDGE_SHARE)
    if sum(len(reference.content.encode()) for reference in references) <= limit:
        return list(references)  # no token is shorter than a byte
    kept: list[Reference] = []
    used = 0
    for reference in references:
        used += counter.count(reference.content)
        if kept and used > limit:
            break
        kept.append(reference)
    return kept


def system_text(template: str, passages: Sequence[KnowledgeChunk], *, is_quoting: bool, notes: str = "") -> str:
    """Return the system text with what was found in its place, or behind it when it names no place (2.3).

    Notes that were made of the passages stand for them (10.9).
    """
    knowledge = notes or render_knowledge(passages)
    text = template
    if KNOWLEDGE in template:
        text = template.replace(KNOWLEDGE, knowledge)
    elif knowledge:
        text = f"{template}\n\n{knowledge}".lstrip()
    if passages and is_quoting:
        text = f"{text}\n\n{NOTES_INSTRUCTIONS if notes else CITATION_INSTRUCTIONS}"
    return text


def build_prompt(
    system: str, history: Sequence[ChatMessage], question: str, context_tokens: int | None, counter: TokenCounter
) -> Prompt:
    """Return system text, history and question, cut to 95 % of the context.

    Oldest turns go first, one by one; then system text or question is cut, and never to nothing (10.8).
    """
    first = [ChatMessage(role="system", content=system)] if system.strip() else []
    last = [ChatMessage(role="user", content=question)]
    past = [_without_old_markers(message) for message in paired(history)]
    while past and past[0].role == "assistant":
        del past[0]  # the opener and its like are not the model's (10.1)
    limit = int((context_tokens or DEFAULT_CONTEXT_TOKENS) * PROMPT_SHARE)
    whole = [*first, *past, *last]
    if sum(len(message.content.encode()) + MESSAGE_OVERHEAD for message in whole) <= limit:
        return Prompt(messages=whole, tokens=None)
    costs = [counter.count(message.content) + MESSAGE_OVERHEAD for message in past]
    system_cost = counter.count(system) + MESSAGE_OVERHEAD if first else 0
    question_cost = counter.count(question) + MESSAGE_OVERHEAD
    while past and system_cost + sum(costs) + question_cost > limit:
        drop = oldest_turn(past)
        del past[:drop], costs[:drop]
    total = system_cost + sum(costs) + question_cost
    if total <= limit:
        return Prompt(messages=[*first, *past, *last], tokens=total)
    system_room, question_room = _rooms(system_cost, question_cost, limit)
    if system_cost > system_room:
        first = [ChatMessage(role="system", content=cut(system, system_room - MESSAGE_OVERHEAD, counter))]
    if question_cost > question_room:
        last = [ChatMessage(role="user", content=cut(question, question_room - MESSAGE_OVERHEAD, counter))]
    return Prompt(messages=[*first, *last], tokens=limit)


def _rooms(system_cost: int, question_cost: int, limit: int) -> tuple[int, int]:
    """Return how many of `limit` tokens system text and question may have, which are more together (10.8).

    One is cut to what the other leaves; where that is next to nothing both are, and the system text has four fifths.
    """
    if system_cost > _SYSTEM_SHARE * (system_cost + question_cost):
        rooms = limit - question_cost, question_cost
    else:
        rooms = system_cost, limit - system_cost
    if system_cost and min(rooms) <= MESSAGE_OVERHEAD:
        of_system = min(system_cost, int(limit * _SYSTEM_SHARE))
        rooms = of_system, limit - of_system
    return rooms


def might_not_fit(prompt: Prompt, context_tokens: int | None, most_tokens: int | None) -> bool:
    """Say whether an answer of `most_tokens` might be more than the context leaves, going by lengths alone."""
    if context_tokens is None or most_tokens is None:
        return False
    size = sum(len(message.content.encode()) + MESSAGE_OVERHEAD for message in prompt.messages)
    return size + most_tokens > context_tokens


def counted(prompt: Prompt, counter: TokenCounter) -> int:
    """Return the tokens of a prompt."""
    return sum(counter.count(message.content) + MESSAGE_OVERHEAD for message in prompt.messages)


def prompt_note(messages: Sequence[ChatMessage]) -> str:
    """Return the debug text of a prompt: its system text, and the question."""
    system = "\n".join(message.content for message in messages if message.role == "system")
    query = next((message.content for message in reversed(messages) if message.role == "user"), "")
    return f"{system}\n\n### Query:\n{query}".strip()


def _without_old_markers(message: ChatMessage) -> ChatMessage:
    """Return the message without `##n$$`, as citations were written once (10.8)."""
    if "$$" not in message.content:
        return message
    return replace(message, content=_OLD_MARKER.sub("", message.content))


def cut(text: str, tokens: int, counter: TokenCounter) -> str:
    """Return the longest beginning of `text` of at most `tokens` tokens, to within a sixteenth."""
    low, high = 0, len(text)
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        if counter.count(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle
    return text[:low]
