"""Asking chat models in background jobs: what was heard is kept, so that a job that starts over goes on for free."""

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace

import orjson

from app.domain.ids import TenantId
from app.domain.models import ChatMessage, GenerationOptions
from app.domain.retrieval import ModelCall
from app.ingest.charging import charge
from app.llm.asking import ask_text
from app.llm.base import ChatModel
from repositories.unit_of_work import Database

Prompt = tuple[list[ChatMessage], GenerationOptions]
"""What is asked, and how it is to be answered."""

_THINKING = 1024  # tokens that a model may think
_SMALL_CONTEXT = 4096  # tokens; models with less do not think
_CONTEXT = 8192  # tokens, where the catalogue does not say


class Asker:
    """Asks one model for one tenant; call it outside of any unit. Each call is in the ledger when `ask` returns."""

    def __init__(
        self, database: Database, model: ChatModel, tenant_id: TenantId, *, purpose: str, timeout_s: float = 180.0
    ) -> None:
        self._database = database
        self._model = model
        self._tenant_id = tenant_id
        self._purpose = purpose
        self._timeout_s = timeout_s

    @property
    def context_tokens(self) -> int | None:
        """Tokens that prompt and answer may have together, if known."""
        return self._model.context_tokens

    @property
    def model_name(self) -> str:
        """`name@provider` of the model."""
        return f"{self._model.name}@{self._model.provider}"

    async def ask(self, messages: Sequence[ChatMessage], options: GenerationOptions) -> str:
        """Return the answer, from what is kept if the same was asked before.

        Raises:
            UpstreamFailed: the model could not answer; nothing is kept, what was used is in the ledger.
        """
        key = self._key(messages, options)
        async with self._database.unit(self._tenant_id) as unit:
            kept = await unit.model_answers.find(key)
        if kept is not None:
            return kept
        calls: list[ModelCall] = []
        answer: str | None = None
        deadline_s = asyncio.get_running_loop().time() + self._timeout_s
        try:
            said = await ask_text(
                self._model, messages, options, purpose=self._purpose, calls=calls, deadline_s=deadline_s
            )
            answer = said.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()  # Postgres keeps neither
            return answer
        finally:
            if calls:
                heard = {key: answer} if answer is not None else None
                await charge(self._database, self._tenant_id, calls, kept=heard)

    async def ask_with_room(self, prompt: Prompt) -> str:
        """As `ask`, with room for a model to think before it answers, if its window is not a small one."""
        messages, options = prompt
        if (self.context_tokens or _CONTEXT) > _SMALL_CONTEXT and options.max_tokens is not None:
            options = replace(options, max_tokens=options.max_tokens + _THINKING)
        return await self.ask(messages, options)

    def _key(self, messages: Sequence[ChatMessage], options: GenerationOptions) -> bytes:
        asked = {
            "model": self.model_name,
            "messages": [asdict(message) for message in messages],
            "options": asdict(options),
        }
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS, default=_plain)).digest()


def _plain(value: object) -> str:
    """Tell pictures in a message apart by their bytes."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"{type(value)} is no part of a prompt")
