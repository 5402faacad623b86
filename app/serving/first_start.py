"""What exists before the first call: the secret key, the first tenant, its key, and an assistant to talk to."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from app.building.models import models
from app.db.engine import create_engine
from app.llm.catalogue import ModelCatalogue
from app.llm.tokens import BpeTokenCounter
from app.security.keys import hash_secret, make_key
from app.security.sealing import Sealer
from app.services.chats import CatalogueModels, ChatRules, ChatService
from app.services.prompts import SYSTEM
from app.serving.kept import DEFAULT_TENANT, key_file, write_private
from app.settings import Settings
from repositories.unit_of_work import Database

ASSISTANT = "Assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """What a first start made; `key` is known in full at this moment only."""

    key: str
    key_file: Path
    chat_id: str
    chat_model: str
    embedding_model: str
    is_builtin_chat: bool


async def prepare(settings: Settings, database_url: str, pepper: bytes, *, is_alone: bool) -> Welcome | None:
    """Make what is missing; return what there is to tell when this is the first start.

    `is_alone`: no other service works on this database, so whatever ran on it before is gone.
    """
    database = Database(create_engine(database_url, pool_size=1))
    try:
        if is_alone:
            async with database.service() as service:
                await service.forget_all()
        async with models(settings, BpeTokenCounter()) as catalogue:
            return await _first_things(settings, database, pepper, catalogue)
    finally:
        await database.close()


async def _first_things(
    settings: Settings, database: Database, pepper: bytes, catalogue: ModelCatalogue
) -> Welcome | None:
    chat_id = await _first_tenant(database, catalogue, Sealer(pepper), settings.default_system_prompt)
    chosen = settings.api_key.get_secret_value() if settings.api_key is not None else None
    key = await _first_key(database, pepper, chosen)
    if key is None:
        return None
    path = key_file(settings)
    if chosen is None:
        write_private(path, key)
    chat, embedding = catalogue.entry("chat"), catalogue.entry("embedding")
    return Welcome(
        key=key,
        key_file=path,
        chat_id=chat_id or "",
        chat_model=chat.wire_name,
        embedding_model=embedding.wire_name,
        is_builtin_chat=chat.is_builtin,
    )


async def _first_tenant(
    database: Database, catalogue: ModelCatalogue, sealer: Sealer, system: str | None
) -> str | None:
    """Make the first tenant with an assistant; return the assistant's id, None when there are tenants already."""
    async with database.dispatch() as dispatch:
        if any(tenant.id == DEFAULT_TENANT for tenant in await dispatch.tenants()):
            return None
    try:
        async with database.unit(DEFAULT_TENANT) as unit:
            await unit.tenants.add("default")
            chats = ChatService(unit, CatalogueModels(catalogue), sealer, ChatRules(default_system=system or SYSTEM))
            chat = await chats.create({"name": ASSISTANT})
    except IntegrityError:  # another replica was first
        return None
    return chat.id


async def _first_key(database: Database, pepper: bytes, chosen: str | None) -> str | None:
    """See that the first tenant has the chosen key, or any; return the one that was made now."""
    async with database.dispatch() as dispatch:
        if chosen is not None and await dispatch.find_keys([hash_secret(chosen, pepper)]):
            return None
    try:
        async with database.unit(DEFAULT_TENANT) as unit:
            if chosen is None and await unit.keys.all():
                return None
            made = make_key(
                tenant_id=DEFAULT_TENANT, pepper=pepper, now=datetime.now(UTC), name="first key", secret=chosen
            )
            await unit.keys.add(made.stored, made.hash)
    except IntegrityError:  # another replica was first
        return None
    return made.secret
