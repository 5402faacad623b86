"""From the caller's words to what is searched for (conversations.md 10.3, 10.4); helpers that fail change nothing."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog

from app.domain.errors import UpstreamFailed
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.retrieval import ModelCall
from app.engine.ask import Ask
from app.engine.draft import Draft
from app.llm.asking import ask_text
from app.retrieval.rephrasing import BUILTIN, LANGUAGES_MOST, rephrased

log = structlog.get_logger()

_REFINE = """\
Rewrite the last question of this conversation as one question that can be understood without the conversation. \
Keep its language, resolve pronouns and words that refer back, add nothing. Write relative dates as dates: today is \
{today}, yesterday was {yesterday}, tomorrow is {tomorrow}. If the question is complete already, repeat it. Answer \
with the question only.

{conversation}"""
_USER_MESSAGES = 3  # 10.3: the last ones, this question among them
_REFINED_TOKENS = 300
_MESSAGE_CHARS = 4000
_HELPER_S = 30.0


async def standalone_question(ask: Ask, history: Sequence[ChatMessage], draft: Draft, *, deadline_s: float) -> str:
    """Return the question as one that needs no conversation; as it is when nothing was asked before."""
    said = _last_exchanges([message for message in history if message.role != "tool" and message.content])
    if not ask.is_refining or ask.model.provider == BUILTIN or not said:
        return ask.question
    spoken = [*said, ChatMessage(role="user", content=ask.question)]
    conversation = "\n".join(f"{message.role}: {message.content[:_MESSAGE_CHARS]}" for message in spoken)
    now = datetime.now(UTC)
    prompt = _REFINE.format(
        today=_day(now),
        yesterday=_day(now - timedelta(days=1)),
        tomorrow=_day(now + timedelta(days=1)),
        conversation=conversation,
    )
    options = GenerationOptions(temperature=0.0, max_tokens=_REFINED_TOKENS)
    messages = [ChatMessage(role="user", content=prompt)]
    calls: list[ModelCall] = []
    with draft.step("refine"):
        try:
            by_s = soon(deadline_s)
            refined = await ask_text(ask.model, messages, options, purpose="refine", calls=calls, deadline_s=by_s)
        except UpstreamFailed as error:
            log.info("refine_failed", error=error.kind)
            return ask.question
        finally:
            for call in calls:
                draft.spent(call)
    return refined.strip() or ask.question


async def searched_text(ask: Ask, question: str, draft: Draft, *, deadline_s: float) -> str:
    """Return the question with its translations and keywords, as the assistant is set."""
    settings = ask.chat.prompt_config
    named = settings.get("cross_languages")
    languages = [each for each in named if isinstance(each, str) and each.strip()] if isinstance(named, list) else []
    wants_keywords = settings.get("keyword") is True
    if not languages and not wants_keywords:
        return question
    calls: list[ModelCall] = []
    with draft.step("rephrase"):
        try:
            return await rephrased(
                question,
                languages=languages[:LANGUAGES_MOST],
                wants_keywords=wants_keywords,
                model=ask.model,
                calls=calls,
                deadline_s=soon(deadline_s),
                keeps_question=True,
            )
        finally:
            for call in calls:
                draft.spent(call)


def soon(deadline_s: float) -> float:
    """Return the loop time at which a helper must have answered."""
    return min(deadline_s, asyncio.get_running_loop().time() + _HELPER_S)


def _last_exchanges(history: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """Return what was said since the third last question, the one now asked being the last."""
    asked = [index for index, message in enumerate(history) if message.role == "user"]
    return history[asked[-(_USER_MESSAGES - 1) :][0] :] if asked else ()


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d, a %A}"
