"""What a turn stands on, looked up in the unit that opens it: its chat, its session, what it may search."""

from datetime import UTC, datetime

import orjson

from app.domain.chats import Chat, ChatMissing
from app.domain.datasets import DocumentMissing
from app.domain.errors import Missing
from app.domain.ids import ChatId, DatasetId, DocumentId, SessionId, new_id, new_turn_id
from app.domain.principals import Caller
from app.domain.sessions import Session, SessionMissing
from app.engine.ask import NewSession, Recognition
from app.services.prompts import opener
from app.services.questions import Opened, Question
from app.services.sessions import user_id_of
from repositories.unit_of_work import UnitOfWork


async def owned_chat(unit: UnitOfWork, chat_id: ChatId) -> Chat:
    """Return the chat.

    Raises:
        ChatMissing: it is not the caller's.
    """
    chat = await unit.chats.for_turn(chat_id)
    if chat is None:
        raise ChatMissing(f"You don't own the chat {chat_id}")
    return chat


async def session_of_chat(unit: UnitOfWork, chat: Chat, session_id: str | None) -> Session | None:
    """Return the session that is named, None where none is.

    Raises:
        SessionMissing: it is not of that chat, or has ended (4.2).
    """
    if not session_id:
        return None
    session = await unit.sessions.get(SessionId(session_id), chat_id=chat.id)
    if session is None:
        if await unit.session_retention.has_ended(SessionId(session_id), chat.id):
            raise SessionMissing("Session does not exist")
        raise SessionMissing(f"You don't own the session {session_id}")
    return session


async def check_ground(unit: UnitOfWork, chat: Chat, question: Question) -> None:
    """Return when the question may search where it wants to.

    Raises:
        Missing: a dataset is not the caller's.
        DocumentMissing: a document is in none of the datasets searched.
    """
    if question.dataset_ids:
        owned = await unit.chats.datasets_of(question.dataset_ids)
        for dataset_id in question.dataset_ids:
            if dataset_id not in owned:
                raise Missing(f"You don't own the dataset {dataset_id}", param="kb_ids")
    searched = [*(one for one, _ in chat.datasets), *map(DatasetId, question.dataset_ids)]
    if question.document_ids and searched:
        found = await unit.chunk_search.owned(searched, [DocumentId(each) for each in question.document_ids])
        for document_id in question.document_ids:
            if document_id not in found:
                raise DocumentMissing(f"The datasets don't own the document {document_id}", param="doc_ids")


def beginning(chat: Chat, question: Question) -> NewSession:
    """Return the session that begins with a question, or with none.

    Raises:
        Invalid: the user id is too long.
    """
    now = datetime.now(UTC)
    session = Session(
        id=SessionId(new_id()),
        chat_id=chat.id,
        name=question.session_name,
        user_id=user_id_of(question.user_id) or "",
        variables=dict(question.variables),
        created_at=now,
        updated_at=now,
    )
    return NewSession(session=session, opener=opener(chat.prompt_config, question.variables))


async def open_session(
    unit: UnitOfWork, caller: Caller, chat_id: ChatId, question: Question, recognition: Recognition
) -> Opened:
    """Make a session without a question (4.3); a repeated call with the same Idempotency-Key gets the first one's.

    Raises:
        ChatMissing: the chat is not the caller's.
        KeyReused: the key came with another request.
    """
    key = recognition.idempotency_key
    chat = await owned_chat(unit, chat_id)
    if key is not None:
        kept = await unit.idempotency.claim(
            api_key_id=caller.key_id, key=key, route=recognition.route, body_hash=recognition.body_hash
        )
        if kept is not None and kept.body is not None:
            return Opened(**orjson.loads(kept.body))
    new = beginning(chat, question)
    await unit.sessions.add(new.session, next_position=1)
    await unit.messages.add_opener(new.session.id, new_turn_id(), new.opener)
    opened = Opened(session_id=new.session.id, opener=new.opener)
    if key is not None:
        body = orjson.dumps({"session_id": opened.session_id, "opener": opened.opener})
        await unit.idempotency.keep(api_key_id=caller.key_id, key=key, status=200, body=body)
    return opened
