"""Finished turns for the tests of sessions, as the engine leaves them."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from app.domain.ids import ChatId, ChunkId, DatasetId, DocumentId, KeyId, SessionId, TurnId, new_turn_id
from app.domain.models import Usage
from app.domain.references import Reference
from app.domain.retrieval import ModelCall
from app.domain.turns import TurnState
from repositories.turns import NewTurn, TurnClosing
from tests.chats.world import Api, World

_DATASET = text("""
    INSERT INTO datasets (tenant_id, id, name, embedding_model, parser_config)
    VALUES (:tenant, :dataset, :dataset, 'mini@Builtin', '{}') ON CONFLICT DO NOTHING
""")
_DOCUMENT = text("""
    INSERT INTO documents (tenant_id, id, dataset_id, name, location, blob_key, type, suffix, size_bytes, chunk_method,
        parser_config)
    VALUES (:tenant, :id, :dataset, :id || '.txt', '', '', 'doc', 'txt', 1, 'naive', '{}') ON CONFLICT DO NOTHING
""")


def reference(number: int, document: str = "doc", **fields: Any) -> Reference:
    """A reference to chunk `chunk{number}`."""
    return Reference(
        chunk_id=ChunkId(f"chunk{number}"),
        content=f"text {number}",
        document_id=DocumentId(document),
        document_name=f"{document}.txt",
        dataset_id=DatasetId("set"),
        positions=[[1, 2, 3, 4, 5]],
        **fields,
    )


async def add_documents(world: World, api: Api, *references: Reference) -> None:
    """Store the documents that references name, where they are not stored yet."""
    for one in references:
        in_set = {"tenant": api.tenant_id, "dataset": one.dataset_id, "id": one.document_id}
        for statement in (_DATASET, _DOCUMENT):
            await world.sql(api, statement.bindparams(**{name: in_set[name] for name in statement.compile().params}))


async def add_turn(
    world: World,
    api: Api,
    chat_id: str,
    session_id: str,
    *,
    question: str = "Why?",
    answer: str = "Because.",
    state: TurnState = TurnState.DONE,
    references: tuple[Reference, ...] | None = None,
    cited: tuple[int, ...] = (),
    calls: tuple[ModelCall, ...] = (),
    duration_s: float = 0,
) -> TurnId:
    """Store a turn, and the documents it rests on; one that is running has no answer yet."""
    await add_documents(world, api, *references or ())
    turn_id = new_turn_id()
    async with world.database.unit(api.tenant_id) as unit:
        await unit.turns.open(
            NewTurn(
                id=turn_id,
                session_id=SessionId(session_id),
                chat_id=ChatId(chat_id),
                api_key_id=KeyId("k"),
                owner="p",
                route="r",
                body_hash=b"",
                request_id="",
                question=question,
                model="gpt-4o",
                prompt_version="1",
                created_at=datetime.now(UTC),
            )
        )
    if state is TurnState.RUNNING:
        return turn_id
    await end_turn(
        world,
        api,
        turn_id,
        answer,
        state=state,
        references=references,
        cited=cited,
        calls=calls,
        duration_s=duration_s,
    )
    return turn_id


async def end_turn(
    world: World,
    api: Api,
    turn_id: TurnId,
    answer: str,
    *,
    state: TurnState = TurnState.DONE,
    references: tuple[Reference, ...] | None = None,
    cited: tuple[int, ...] = (),
    calls: tuple[ModelCall, ...] = (),
    duration_s: float = 0,
) -> bool:
    """Store the end of a turn that runs; false when it does not."""
    failed = state is TurnState.FAILED
    async with world.database.unit(api.tenant_id) as unit:
        return await unit.turns.close(
            TurnClosing(
                id=turn_id,
                fence=1,
                state=state,
                finish_reason="stop",
                error_kind="upstream" if failed else None,
                error="The model went away." if failed else None,
                usage=sum((call.usage for call in calls if call.kind == "chat"), Usage()),  # as the engine tells it
                calls=calls,
                reference_total=len(references) if references is not None else None,
                references=references or (),
                cited=cited,
                timings_ms={},
                duration_s=duration_s,
                first_number=1,
                last_number=1,
                events=b"[]",
                content=answer,
            )
        )
