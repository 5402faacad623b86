"""What was found, as far as a prompt of which nothing may be cut has room for it (openai.md 3.2, CC-22)."""

from collections.abc import Sequence
from functools import partial

from anyio import to_thread

from app.domain.models import ChatMessage
from app.engine.ask import NATIVE, Ask
from app.engine.finding import Findings
from app.engine.turn_prompt import MESSAGE_OVERHEAD, PROMPT_SHARE, written
from app.llm.base import TokenCounter
from app.retrieval.knowledge import CITATION_INSTRUCTIONS, SEPARATOR, render_knowledge


async def fitted(ask: Ask, history: Sequence[ChatMessage], found: Findings, counter: TokenCounter) -> Findings:
    """Return the first of what was found, so many that the caller's messages fit beside them; at least one.

    Only for turns asked for under `/v1`: of a native one the prompt is cut where it is built. The history of a session
    does not count: its oldest turns go first.
    """
    if ask.skin is NATIVE or ask.model.context_tokens is None or not found.references:
        return found
    said = ask.skin.said or (ChatMessage(role="user", content=ask.question),)
    spoken = [*said] if ask.session_id is not None else [*history, *ask.skin.before, *said]
    around = [ask.system, ask.skin.instructions, CITATION_INSTRUCTIONS, *(written(message) for message in spoken)]
    return await to_thread.run_sync(partial(_first_of, found, around, ask.model.context_tokens, counter))


def _first_of(found: Findings, around: Sequence[str], context_tokens: int, counter: TokenCounter) -> Findings:
    room = int(context_tokens * PROMPT_SHARE)
    blocks = [render_knowledge([passage]) + SEPARATOR for passage in found.passages()]
    if sum(len(text.encode("utf-8", "replace")) + MESSAGE_OVERHEAD for text in [*around, *blocks]) <= room:
        return found  # no token is shorter than a byte
    room -= sum(counter.count(text) + MESSAGE_OVERHEAD for text in around)
    kept = 0
    for block in blocks:
        room -= counter.count(block)
        if room < 0:
            break
        kept += 1
    return Findings(references=found.references[: max(1, kept)], total=found.total)
