"""Questions to an assistant, and what is stored of them."""

from app.domain.chats import Chat
from app.domain.ids import SessionId
from app.domain.sessions import Message
from tests.conftest import Tenant
from tests.service import Service
from tests.upstream.fixtures import ScriptedUpstream

END = [{"code": 0, "message": "", "data": True}, "[DONE]"]
"""The two events at the end of every stream of the default dialect."""


def path(chat: Chat) -> str:
    """Return where an assistant is asked."""
    return f"/api/v1/chats/{chat.id}/completions"


def told(upstream: ScriptedUpstream) -> list[tuple[str, str]]:
    """Return role and text of each message of the last call that the model got."""
    return [(one["role"], one["content"]) for one in upstream.calls()[-1]["body"]["messages"]]


async def stored(service: Service, tenant: Tenant, session_id: str) -> list[Message]:
    """Return the messages of a session, the oldest first."""
    async with service.database.unit(tenant.id) as unit:
        return (await unit.session_messages.last([SessionId(session_id)], most=5000))[SessionId(session_id)].messages
