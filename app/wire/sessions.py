"""Sessions of a chat and their messages, as the default dialect shows them (conversations.md 3.1 to 3.4)."""

from collections.abc import Sequence
from typing import Any

from app.domain.references import count_documents
from app.domain.sessions import Message, Session
from app.wire.envelope import times
from app.wire.references import chunk_7, chunk_12, doc_aggs


def session_object(session: Session, messages: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """Return a session; `messages` in the form the route gives them, None to leave them out."""
    shown: dict[str, Any] = {} if messages is None else {"messages": list(messages)}
    return {
        "id": session.id,
        "chat_id": session.chat_id,
        "name": session.name,
        "user_id": session.user_id,
        **shown,
        **times(session.created_at, session.updated_at),
    }


def full_session(session: Session, messages: Sequence[Message], avatar: str) -> dict[str, Any]:
    """Return a session as its own route shows it: references as objects, and once more beside the messages.

    The `reference` array has one entry per answer; the opener rests on nothing and has none.
    """
    answers = [message for message in messages if message.role == "assistant" and message.state is not None]
    return session_object(session, [message_with_object(message) for message in messages]) | {
        "avatar": avatar,
        "reference": [reference_object(message) for message in answers],
    }


def message_with_list(message: Message) -> dict[str, Any]:
    """Return a message as lists show it: an answer's reference is a list of chunks."""
    if message.role != "assistant":
        return bare_message(message)
    return bare_message(message) | {"reference": [chunk_7(each) for each in message.references or ()]}


def message_with_object(message: Message) -> dict[str, Any]:
    """Return a message as a session's own route shows it: an answer's reference has chunks and documents."""
    if message.role != "assistant":
        return bare_message(message)
    return bare_message(message) | {"reference": reference_object(message)}


def reference_object(message: Message) -> dict[str, Any]:
    """Return what an answer rests on."""
    references = message.references or ()
    return {
        "chunks": [chunk_12(each) for each in references],
        "doc_aggs": doc_aggs(count_documents(references, message.cited)),
    }


def bare_message(message: Message) -> dict[str, Any]:
    """Return a message without its reference; keys that say nothing are left out."""
    shown: dict[str, Any] = {
        "id": message.turn_id,
        "role": message.role,
        "content": message.content,
        "created_at": message.created_at.timestamp(),
    }
    if message.role == "assistant":
        more = {
            "state": message.state,
            "error": message.error,
            "reasoning": message.reasoning,
            "thumbup": message.thumbup,
            "feedback": message.feedback,
        }
        shown |= {key: value for key, value in more.items() if value is not None}
    return shown
