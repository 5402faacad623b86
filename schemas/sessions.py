"""Bodies of the sessions of a chat (conversations.md 3.2)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from schemas.bodies import LooseBody

_Name = Annotated[Any, WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 255})]
_Text = Annotated[Any, WithJsonSchema({"type": "string"})]
_Bool = Annotated[Any, WithJsonSchema({"type": "boolean"})]
_UserId = Annotated[Any, WithJsonSchema({"type": "string", "description": "Your own name for who is talking."})]


class SessionCreate(LooseBody):
    """Body of `POST /chats/{chat_id}/sessions`. Every other key is a variable of the assistant's prompt."""

    name: _Name = "New session"
    user_id: _UserId = ""


class SessionUpdate(LooseBody):
    """Body of `PUT` and `PATCH /chats/{chat_id}/sessions/{session_id}`. Other keys are ignored."""

    name: _Name = None
    user_id: _UserId = None


class FeedbackBody(LooseBody):
    """Body of `PUT /chats/{chat_id}/sessions/{session_id}/messages/{message_id}/feedback`."""

    thumbup: _Bool = None
    feedback: _Text = None


class ForkBody(LooseBody):
    """Body of `POST /chats/{chat_id}/sessions/{session_id}/fork`: where the new session begins, and its name."""

    message_id: _Text = None
    name: _Name = None
    user_id: _UserId = None


class MessageDeletion(LooseBody):
    """Body of `POST /v1/conversation/delete_msg`."""

    conversation_id: _Text = None
    message_id: _Text = None


class MessageVote(MessageDeletion):
    """Body of `POST /v1/conversation/thumbup`."""

    thumbup: _Bool = None
    feedback: _Text = None
