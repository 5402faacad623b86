"""Rows of very many sessions, made in SQL: one assistant's sessions, and one session of very many messages."""

import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.domain.ids import ChatId, SessionId, TenantId

if TYPE_CHECKING:
    import asyncpg

TENANT = TenantId("sessions")
CHAT = ChatId("c" * 32)
LONG_CHAT = ChatId("d" * 32)
LONG = SessionId("f" * 32)
USERS = 5000

RARE, MEDIUM, OLD = "xylographer", "quillwork", "bygonewise"
"""Words that stand in twenty sessions, in one of a hundred, and in the oldest fifth of all."""

_SENTENCES = 4000
_WORDS = 5000
_SYLLABLES = ("ta", "ri", "mo", "lek", "un", "sa", "por", "ne", "vi", "dol", "che", "gar", "is", "bel", "ku", "ent")

_TENANT = "INSERT INTO tenants (tenant_id, name) VALUES ($1, $1) ON CONFLICT DO NOTHING"
_CHAT = """
    INSERT INTO chats (tenant_id, id, name, llm_setting, prompt_config, similarity_threshold,
        vector_similarity_weight, top_n, top_k)
    VALUES ($1, $2, $2, '{}', '{}', 0.2, 0.3, 6, 1024)
"""

_SESSIONS = """
    INSERT INTO sessions (tenant_id, id, kind, chat_id, name, user_id, next_position, round, tokens, duration_s,
        created_at, updated_at)
    SELECT $1, md5(i::text), 'chat', $2, CASE WHEN i % 3 = 0 THEN ($6::text[])[1 + i % 4000] ELSE 'New session' END,
        'user' || i % $5::int, 3, 1, 100 + i % 50, 0.5, now() - ($4::int - i) * interval '1 second',
        now() - ($4::int - i) * interval '1 second' + interval '5 minutes' * (i % 7)
    FROM generate_series($3::int, $7::int) i
"""
_TURNS = """
    INSERT INTO turns (tenant_id, id, session_id, chat_id, api_key_id, state, owner, route, body_hash, created_at)
    SELECT $1, md5(i::text) || '-1', md5(i::text), $2, 'k', 'done', 'p', 'r', '', now()
    FROM generate_series($3::int, $4::int) i
"""
_SAID = """
    INSERT INTO messages (tenant_id, turn_id, role, session_id, session_hour, position, content)
    SELECT $1, md5(i::text) || m.suffix, m.role, md5(i::text), hour_of(own.created_at), m.position,
        CASE m.position
            WHEN 0 THEN 'Hi! What can I do for you?'
            WHEN 1 THEN s.s[1 + (hashint4(i) & 2147483647) % 4000]
            ELSE s.s[1 + (hashint4(i + 7) & 2147483647) % 4000]
                || ' ' || s.s[1 + (hashint4(i + 77) & 2147483647) % 4000]
                || ' ' || s.s[1 + (hashint4(i + 777) & 2147483647) % 4000]
                || CASE WHEN i % $6::int = 1 THEN ' xylographer' ELSE '' END
                || CASE WHEN i % 100 = 2 THEN ' Quillwork' ELSE '' END
                || CASE WHEN i < $5::int / 5 THEN ' bygonewise' ELSE '' END
        END
    FROM generate_series($2::int, $3::int) i JOIN sessions own ON own.tenant_id = $1 AND own.id = md5(i::text),
        (SELECT $4::text[] AS s) s,
        (VALUES ('-0', 'assistant', 0), ('-1', 'user', 1), ('-1', 'assistant', 2)) AS m(suffix, role, position)
"""
_LABELS = """
    INSERT INTO session_labels (tenant_id, session_id, chat_id, label, session_hour)
        SELECT tenant_id, id, chat_id, name || chr(1) || id, hour_of(created_at) FROM sessions WHERE tenant_id = $1
"""
_COUNTS = """
    INSERT INTO session_counts (tenant_id, chat_id, slot, sessions)
        SELECT tenant_id, chat_id, 0, count(*) FROM sessions WHERE tenant_id = $1 GROUP BY 1, 2
"""
_DAYS = """
    INSERT INTO session_days (tenant_id, day, source, chat_id, user_id, slot, sessions, tokens, duration_s, rounds,
        thumb_up)
    SELECT tenant_id, (created_at AT TIME ZONE 'UTC')::date, '', chat_id, user_id, 0, count(*), sum(tokens),
        sum(duration_s), sum(round), sum(thumb_up)
    FROM sessions WHERE tenant_id = $1 GROUP BY 1, 2, 4, 5
"""
_LONG_SESSION = """
    INSERT INTO sessions (tenant_id, id, kind, chat_id, name, next_position)
    VALUES ($1, $2, 'chat', $3, 'Long', $4)
"""
_LONG_TURNS = """
    INSERT INTO turns (tenant_id, id, session_id, chat_id, api_key_id, state, owner, route, body_hash)
    SELECT $1, 'long-' || i, $2, $3, 'k', 'done', 'p', 'r', '' FROM generate_series(0, $4::int / 2 - 1) i
"""
_LONG_SAID = """
    INSERT INTO messages (tenant_id, turn_id, role, session_id, session_hour, position, content)
    SELECT $1, 'long-' || i / 2, CASE WHEN i % 2 = 0 THEN 'user' ELSE 'assistant' END, $2, hour_of(now()), i,
        ($3::text[])[1 + i % 4000]
    FROM generate_series(0, $4::int - 1) i
"""
_INDEXES = ("ix_messages_content", "ix_session_labels_label")
_AT_ONCE = 50_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much there is: sessions of one assistant, three messages each, and messages of one more session."""

    sessions: int = 1_000_000
    messages: int = 100_000
    rounds: int = 300  # how often each operation is measured


FULL = Plan()
SHORT = Plan(sessions=50_000, messages=20_000, rounds=100)
TINY = Plan(sessions=2_000, messages=2_000, rounds=3)


def sentences() -> list[str]:
    """Return sentences of made-up words, the first words much more frequent than the last; always the same ones."""
    drawn = random.Random(8)  # noqa: S311  the same rows each time
    words = ["".join(drawn.choices(_SYLLABLES, k=drawn.randint(2, 4))) for _ in range(_WORDS)]
    return [" ".join(words[int(_WORDS * drawn.random() ** 3)] for _ in range(10)) for _ in range(_SENTENCES)]


def frequent_word() -> str:
    """Return the word that stands in most sentences."""
    return Counter(word for sentence in sentences() for word in set(sentence.split())).most_common(1)[0][0]


async def fill(connection: "asyncpg.Connection[asyncpg.Record]", plan: Plan) -> None:
    """Make all rows, as a superuser; indexes of words are built after the rows, and the planner knows of all."""
    pool = sentences()
    definitions = [await _dropped(connection, name) for name in _INDEXES]
    await connection.execute("SET session_replication_role = replica; SET synchronous_commit = off")
    await connection.execute(_TENANT, TENANT)
    for chat in (CHAT, LONG_CHAT):
        await connection.execute(_CHAT, TENANT, chat)
    for first in range(0, plan.sessions, _AT_ONCE):
        last = min(plan.sessions, first + _AT_ONCE) - 1
        await connection.execute(_SESSIONS, TENANT, CHAT, first, plan.sessions, USERS, pool, last)
        await connection.execute(_TURNS, TENANT, CHAT, first, last)
        await connection.execute(_SAID, TENANT, first, last, pool, plan.sessions, max(1, plan.sessions // 20))
    await connection.execute(_LONG_SESSION, TENANT, LONG, LONG_CHAT, plan.messages)
    await connection.execute(_LONG_TURNS, TENANT, LONG, LONG_CHAT, plan.messages)
    await connection.execute(_LONG_SAID, TENANT, LONG, pool, plan.messages)
    for statement in (_LABELS, _COUNTS, _DAYS):
        await connection.execute(statement, TENANT)
    await connection.execute("SET session_replication_role = origin; SET maintenance_work_mem = '1GB'")
    for definition in definitions:
        await connection.execute(definition)
    for table in ("sessions", "messages", "turns", "session_labels", "session_counts", "session_days", "chats"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")


async def _dropped(connection: Any, index: str) -> str:
    definition = await connection.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = $1", index)
    await connection.execute(f"DROP INDEX {index}")
    return str(definition)
