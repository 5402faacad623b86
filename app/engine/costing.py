"""What a turn may cost, before it is answered: enough to keep many turns at once within a quota."""

from collections.abc import Sequence

from app.domain.models import ChatMessage
from app.engine.ask import Ask
from app.security.quotas import estimate

_PASSAGE_TOKENS = 256  # of each passage that is put before the model


def estimated_tokens(ask: Ask, history: Sequence[ChatMessage]) -> int:
    """Return about how many tokens the turn will cost: prompt, history, passages and answer."""
    texts = [ask.system, ask.question, *(message.content for message in history)]
    passages = ask.chat.top_n * _PASSAGE_TOKENS if ask.is_searching else 0
    return estimate(texts, ask.options.max_tokens, more=passages)
