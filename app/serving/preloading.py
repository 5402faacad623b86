"""Loads the models that run on this machine before anybody asks (PARLEY_PRELOAD)."""

from contextlib import aclosing

import anyio
import structlog

from app.domain.errors import ParleyError
from app.domain.models import ChatMessage, GenerationOptions
from app.llm.catalogue import ModelCatalogue

log = structlog.get_logger()

_DEADLINE_S = 120.0


async def preload(catalogue: ModelCatalogue) -> None:
    """Ask the default models one thing each, if they are embedded; a failure is told, and no more."""
    until_s = anyio.current_time() + _DEADLINE_S
    try:
        if catalogue.entry("embedding").is_builtin:
            await catalogue.embedding().embed(["ready?"], deadline_s=until_s)
        if catalogue.entry("chat").is_builtin:
            prompt = [ChatMessage(role="user", content="ready?")]
            answer = catalogue.chat().stream(prompt, GenerationOptions(max_tokens=1), deadline_s=until_s)
            async with aclosing(answer) as batches:
                async for _ in batches:
                    pass
    except ParleyError as error:
        log.warning("models_not_preloaded", error=error.message)
    else:
        log.info("models_preloaded")
