"""From an ask and what was found to the messages a model is sent, within its context (conversations.md 10.7, 10.8)."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.domain.models import ChatMessage
from app.domain.references import Reference
from app.llm.base import TokenCounter
from app.retrieval.knowledge import CITATION_INSTRUCTIONS, KnowledgeChunk, render_knowledge

KNOWLEDGE = "{knowledge}"
DEFAULT_CONTEXT_TOKENS = 8192
_PROMPT_SHARE = 0.95
_KNOWLEDGE_SHARE = 0.97
_SYSTEM_SHARE = 0.8
_MESSAGE_OVERHEAD = 4  # tokens a message costs beside its text, roughly


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


def system_text(template: str, references: Sequence[Reference], *, is_quoting: bool) -> str:
    """Return the system text with what was found in its place, or behind it when it names no place (2.3)."""
    knowledge = render_knowledge(
        [KnowledgeChunk(content=one.content, title=one.document_name, url=one.url) for one in references]
    )
    text = template
    if KNOWLEDGE in template:
        text = template.replace(KNOWLEDGE, knowledge)
    elif knowledge:
        text = f"{template}\n\n{knowledge}".lstrip()
    if references and is_quoting:
        text = f"{text}\n\n{CITATION_INSTRUCTIONS}"
    return text


def build_prompt(
    system: str, history: Sequence[ChatMessage], question: str, context_tokens: int | None, counter: TokenCounter
) -> Prompt:
    """Return system text, history and question, cut to 95 % of the context.

    Oldest turns go first, one by one; then what is longer of system text and question is cut (10.8).
    """
    first = [ChatMessage(role="system", content=system)] if system.strip() else []
    last = [ChatMessage(role="user", content=question)]
    past = list(history)
    while past and past[0].role == "assistant":
        del past[0]  # the opener and its like are not the model's (10.1)
    limit = int((context_tokens or DEFAULT_CONTEXT_TOKENS) * _PROMPT_SHARE)
    whole = [*first, *past, *last]
    if sum(len(message.content.encode()) + _MESSAGE_OVERHEAD for message in whole) <= limit:
        return Prompt(messages=whole, tokens=None)
    costs = [counter.count(message.content) + _MESSAGE_OVERHEAD for message in past]
    system_cost = counter.count(system) + _MESSAGE_OVERHEAD if first else 0
    question_cost = counter.count(question) + _MESSAGE_OVERHEAD
    while past and system_cost + sum(costs) + question_cost > limit:
        drop = 2 if len(past) > 1 and past[1].role == "assistant" else 1
        del past[:drop], costs[:drop]
    total = system_cost + sum(costs) + question_cost
    if total <= limit:
        return Prompt(messages=[*first, *past, *last], tokens=total)
    if first and system_cost > _SYSTEM_SHARE * (system_cost + question_cost):
        first = [ChatMessage(role="system", content=cut(system, max(0, limit - question_cost), counter))]
    else:
        last = [ChatMessage(role="user", content=cut(question, max(0, limit - system_cost), counter))]
    return Prompt(messages=[*first, *last], tokens=limit)


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
