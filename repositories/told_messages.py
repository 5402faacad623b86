"""Rewriting what was said in a session, by a caller who brings the whole of it (conversations.md 4.6)."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.domain.ids import SessionId, TenantId, new_turn_id
from app.domain.models import ChatMessage
from repositories.statements import Driver, Statement

if TYPE_CHECKING:
    from asyncpg import Record

_LOCK = Statement("""
    SELECT s.next_position, EXISTS (SELECT FROM turns t
        WHERE t.tenant_id = :tenant AND t.session_id = :session_id AND t.state = 'running') AS is_busy
    FROM sessions s WHERE s.tenant_id = :tenant AND s.id = :session_id AND s.deleted_at IS NULL FOR UPDATE OF s
""")

_SAID = Statement("""
    SELECT m.role, m.content, m.position, m.turn_id, t.state
    FROM messages m LEFT JOIN turns t ON t.tenant_id = m.tenant_id AND t.id = m.turn_id
    WHERE m.tenant_id = :tenant AND m.session_id = :session_id ORDER BY m.position LIMIT :most
""")

# As when a turn is deleted: a vote goes with its answer, what it rests on with its turn; what it cost stays counted.
_FORGET = Statement("""
    WITH gone AS (
        DELETE FROM messages
        WHERE tenant_id = :tenant AND session_id = :session_id AND position >= :place RETURNING turn_id, thumbup
    ), of_turns AS (
        DELETE FROM turns WHERE tenant_id = :tenant AND session_id = :session_id AND state <> 'running'
            AND id IN (SELECT turn_id FROM gone)
    )
    UPDATE sessions SET thumb_up = thumb_up - (SELECT count(*) FROM gone WHERE thumbup), next_position = :following
    WHERE tenant_id = :tenant AND id = :session_id
""")

_ADD = Statement("""
    INSERT INTO messages (tenant_id, turn_id, role, session_id, position, content)
    SELECT :tenant, s.turn_id, s.role, :session_id, CAST(:place AS int) + s.number - 1, s.content
    FROM unnest(CAST(:turn_ids AS text[]), CAST(:roles AS text[]), CAST(:contents AS text[]))
        WITH ORDINALITY AS s(turn_id, role, content, number)
""")

_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARKER = re.compile(r"[\[(【（]\s*(?:ID|ref)\s*[:：#]?\s*\d[\d\s,;，、&]*[\])】）]", re.IGNORECASE)


class ToldMessages:
    """Histories that callers bring, of one tenant. Never commits."""

    def __init__(self, driver: Driver, tenant_id: TenantId) -> None:
        self._driver = driver
        self._tenant_id = tenant_id

    async def replace(self, session_id: SessionId, said: Sequence[ChatMessage]) -> bool:
        """Make `said` what was said in a session; false, and nothing written, while an answer is made in it.

        Turns that are there already, from the first on, stay as they are, with all that is theirs; those that failed
        were never told to a model and are replaced. The assistant's opener stays where `said` begins with the user.
        The session is locked until the unit ends.
        """
        own = {"tenant": self._tenant_id, "session_id": session_id}
        session = await self._driver.first(_LOCK, own)
        if session is None:
            return True  # whoever opens the turn will find that out
        if session["is_busy"]:
            return False
        stored = await self._driver.all(_SAID, own | {"most": len(said) + 2})
        opener = int(bool(stored) and _is_opener(stored[0]) and not (said and said[0].role == "assistant"))
        same = _same(stored[opener:], said)
        kept = opener + same
        place = int(stored[kept]["position"]) if kept < len(stored) else int(session["next_position"])
        new = said[same:]
        await self._driver.run(_FORGET, own | {"place": place, "following": place + len(new)})
        if new:
            roles, contents = [one.role for one in new], [one.content for one in new]
            more = {"place": place, "turn_ids": _turn_ids(new), "roles": roles, "contents": contents}
            await self._driver.run(_ADD, own | more)
        return True


def _is_opener(row: "Record") -> bool:
    return bool(row["role"] == "assistant" and row["state"] is None)


def _same(stored: "Sequence[Record]", said: Sequence[ChatMessage]) -> int:
    """Return how many of the first messages may stay; never only the question of a turn that has an answer."""
    same = 0
    for row, message in zip(stored, said, strict=False):
        if row["state"] == "failed" or not _is_same(row["role"], row["content"], message):
            break
        same += 1
    while 0 < same < len(stored) and stored[same]["turn_id"] == stored[same - 1]["turn_id"]:
        same -= 1
    return same


def _is_same(role: str, content: str, message: ChatMessage) -> bool:
    """Say whether a message is the stored one; an answer may come as it was streamed, thinking and all, uncited."""
    if role != message.role:
        return False
    return content == message.content or (role == "assistant" and _bare(content) == _bare(message.content))


def _bare(answer: str) -> str:
    return "".join(_MARKER.sub("", _THINKING.sub("", answer)).split())


def _turn_ids(said: Sequence[ChatMessage]) -> list[str]:
    """Return an id for each message; a question and the answer after it share one."""
    ids: list[str] = []
    for number, message in enumerate(said):
        is_answer = message.role == "assistant" and number > 0 and said[number - 1].role == "user"
        ids.append(ids[-1] if is_answer else new_turn_id())
    return ids
