"""Bodies of the sessions of a chat (conversations.md 3.2)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from schemas.bodies import LooseBody

_Name = Annotated[Any, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255})]
_UserId = Annotated[Any, WithJsonSchema({"type": "string", "description": "Your own name for who is talking."})]


class SessionCreate(LooseBody):
    """Body of `POST /chats/{chat_id}/sessions`. Every other key is a variable of the assistant's prompt."""

    name: _Name = "New session"
    user_id: _UserId = ""


class SessionUpdate(LooseBody):
    """Body of `PUT` and `PATCH /chats/{chat_id}/sessions/{session_id}`. Other keys are ignored."""

    name: _Name = None
    user_id: _UserId = None
