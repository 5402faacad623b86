"""Asking the embedded chat model, whichever process of this machine runs it."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol, TypeVar

from app.llm.base import Patience
from app.llm.embedded_server import MODEL_NAME, SLOT_TOKENS
from app.llm.openai_chat import OpenAIChatConfig
from app.net.http import UpstreamBroken, UpstreamUnreachable

BUILTIN = "builtin"
PATIENCE = Patience(first_token_s=120.0, piece_s=60.0)
"""Calls beyond four wait for a slot."""

B = TypeVar("B")  # a batch of the answer


class EmbeddedServerPlace(Protocol):
    """Finds the embedded chat model."""

    async def ready(self) -> tuple[str, str]:
        """Return base URL and key of a model process that answers."""
        ...

    def forget(self) -> None:
        """Look for the process anew at the next `ready`."""
        ...


async def asked(
    server: EmbeddedServerPlace, ask: Callable[[OpenAIChatConfig], AsyncGenerator[B, None]]
) -> AsyncGenerator[B, None]:
    """Yield the batches that `ask` gets where the model is; a process found dead is started again, once.

    Raises:
        UpstreamFailed: or one of its kinds.
    """
    for is_last in (False, True):
        has_begun = False
        try:
            base_url, key = await server.ready()
            config = OpenAIChatConfig(
                name=MODEL_NAME,
                provider=BUILTIN,
                base_url=base_url,
                api_key=key,
                context_tokens=SLOT_TOKENS,
                patience=PATIENCE,
            )
            async with aclosing(ask(config)) as batches:
                async for batch in batches:
                    has_begun = True
                    yield batch
            return
        except (UpstreamUnreachable, UpstreamBroken):
            server.forget()
            if is_last or has_begun:
                raise
