"""Copying what was said in a session into a new one, in stretches: nobody waits for it, however long it is."""

from app.domain.ids import ChatId, KeyId, SessionId, TenantId
from app.domain.sessions import Session
from repositories.statements import Driver, Statement

AT_ONCE = 2000
"""Positions of a session that are copied by one statement."""

# Of no chat until it is complete: what belongs to a chat holds back whoever changes the chat.
_BEGIN = Statement("""
    INSERT INTO sessions (tenant_id, id, kind, chat_id, name, user_id, source, variables, next_position, deleted_at)
    SELECT tenant_id, :to_id, kind, NULL, :name, :user_id, source, variables, CAST(:place AS int) + 1,
        clock_timestamp()
    FROM sessions WHERE tenant_id = :tenant AND id = :from_id
""")

# New ids for all; what the turns cost stays with those they were. A turn is copied with its first message.
_COPY = Statement("""
    WITH copied AS (
        SELECT old.turn_id AS old_id, gen_random_uuid()::text AS new_id FROM (
            SELECT DISTINCT m.turn_id FROM messages m
            WHERE m.tenant_id = :tenant AND m.session_id = :from_id AND m.position > :after AND m.position <= :until
              AND NOT EXISTS (SELECT FROM messages before
                  WHERE before.tenant_id = :tenant AND before.turn_id = m.turn_id AND before.position <= :after)
        ) old
    ), copied_turns AS (
        INSERT INTO turns (tenant_id, id, session_id, chat_id, api_key_id, state, owner, route, body_hash, request_id,
            delivered_at, model, prompt_version, finish_reason, error_kind, error, reference_total, created_at,
            ended_at)
        SELECT t.tenant_id, c.new_id, :to_id, t.chat_id, :api_key_id, t.state, t.owner, 'fork', '', '',
            t.delivered_at, t.model, t.prompt_version, t.finish_reason, t.error_kind, t.error, t.reference_total,
            t.created_at, t.ended_at
        FROM copied c JOIN turns t ON t.tenant_id = :tenant AND t.id = c.old_id AND t.state <> 'running'
    ), copied_references AS (
        INSERT INTO message_references (tenant_id, turn_id, number, chunk_id, document_id, document_name, dataset_id,
            content, positions, image_id, url, doc_type, similarity, vector_similarity, term_similarity, is_cited)
        SELECT r.tenant_id, c.new_id, r.number, r.chunk_id, r.document_id, r.document_name, r.dataset_id, r.content,
            r.positions, r.image_id, r.url, r.doc_type, r.similarity, r.vector_similarity, r.term_similarity,
            r.is_cited
        FROM copied c JOIN message_references r ON r.tenant_id = :tenant AND r.turn_id = c.old_id
    )
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content, reasoning, tool_calls, extras,
        created_at)
    SELECT m.tenant_id, c.new_id, m.role, :to_id, m.position, m.content, m.reasoning, m.tool_calls, m.extras,
        m.created_at
    FROM copied c JOIN messages m ON m.tenant_id = :tenant AND m.turn_id = c.old_id
""")

_SHOW = Statement("""
    WITH shown AS (
        UPDATE sessions SET chat_id = :chat_id, deleted_at = NULL, updated_at = clock_timestamp(),
            created_at = GREATEST(clock_timestamp(), (SELECT sessions_since + interval '1 microsecond' FROM chats
                WHERE tenant_id = :tenant AND id = :chat_id))
        WHERE tenant_id = :tenant AND id = :to_id RETURNING id, name
    )
    INSERT INTO session_labels (tenant_id, session_id, chat_id, label)
    SELECT :tenant, id, :chat_id, name || chr(1) || id FROM shown
""")


class SessionForks:
    """Copies of sessions of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def begin(self, from_id: SessionId, copy: Session, *, place: int) -> None:
        """Insert `copy`, of no chat yet; kind, source and variables are those of the session it comes from."""
        values = {"from_id": from_id, "to_id": copy.id, "name": copy.name, "user_id": copy.user_id, "place": place}
        await self._driver.run(_BEGIN, {"tenant": self._tenant_id, **values})

    async def copy(self, from_id: SessionId, to_id: SessionId, *, place: int, api_key_id: KeyId) -> None:
        """Copy the messages up to `place`, with turns and references.

        The session they come from is not locked: messages may go while they are copied.
        """
        values = {"tenant": self._tenant_id, "from_id": from_id, "to_id": to_id, "api_key_id": api_key_id}
        for begin in range(0, place + 1, AT_ONCE):
            until = min(begin + AT_ONCE - 1, place)
            await self._driver.run(_COPY, values | {"after": begin - 1, "until": until})

    async def show(self, session_id: SessionId, chat_id: ChatId) -> None:
        """Make the copy a session of its chat."""
        await self._driver.run(_SHOW, {"tenant": self._tenant_id, "to_id": session_id, "chat_id": chat_id})
