"""Sessions of a chat and their messages, as the default dialect shows them (conversations.md 3.1 to 3.4)."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from app.domain.references import count_documents, shown
from app.domain.sessions import Message, MessageRange, Session
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


def listed_session(session: Session, said: MessageRange | None) -> dict[str, Any]:
    """Return a session as lists show it; without `said`, without messages."""
    if said is None:
        return session_object(session, None)
    shown = session_object(session, [message_with_list(message) for message in said.messages])
    return shown | _cut(said)


def full_session(session: Session, said: MessageRange, avatar: str) -> dict[str, Any]:
    """Return a session as its own route shows it: references as objects, and once more beside the messages.

    The `reference` array has one entry per answer; the opener rests on nothing and has none.
    """
    messages = said.messages
    answers = [message for message in messages if message.role == "assistant" and message.state is not None]
    return session_object(session, [message_with_object(message) for message in messages]) | {
        "avatar": avatar,
        "reference": [reference_object(message) for message in answers],
        **_cut(said),
    }


def messages_before(said: MessageRange) -> dict[str, str]:
    """Return the header of a session that is shown without its first messages: those before this position."""
    return {"X-Messages-Before": str(said.messages[0].position)} if said.has_before and said.messages else {}


def _cut(said: MessageRange) -> dict[str, Any]:
    return {"messages_before": said.messages[0].position} if said.has_before and said.messages else {}


def message_stretch(said: MessageRange) -> dict[str, Any]:
    """Return a stretch of messages, and from where those on either side are asked for; null: there are none."""
    shown = said.messages
    return {
        "messages": [placed_message(message) for message in shown],
        "before": shown[0].position if shown and said.has_before else None,
        "after": shown[-1].position if shown and said.has_after else None,
    }


def placed_message(message: Message) -> dict[str, Any]:
    """Return a message with its references and its position in the session."""
    return message_with_object(message) | {"position": message.position}


def export_head(session: Session) -> bytes:
    """Return the beginning of an exported session, up to its first message."""
    head = {"format": "parley.session/1", **session_object(session, None), "variables": session.variables}
    return orjson.dumps(head)[:-1] + b',"messages":['


def export_part(messages: Sequence[Message], *, is_first: bool) -> bytes:
    """Return some messages of an exported session; `]}` ends it."""
    told = orjson.dumps([placed_message(message) for message in messages])[1:-1]
    return told if is_first else b"," + told


def message_with_list(message: Message) -> dict[str, Any]:
    """Return a message as lists show it: an answer's reference is a list of chunks."""
    if message.role != "assistant":
        return bare_message(message)
    return bare_message(message) | {"reference": [chunk_7(each) for each in shown(message.references or ())]}


def message_with_object(message: Message) -> dict[str, Any]:
    """Return a message as a session's own route shows it: an answer's reference has chunks and documents."""
    if message.role != "assistant":
        return bare_message(message)
    return bare_message(message) | {"reference": reference_object(message)}


def reference_object(message: Message) -> dict[str, Any]:
    """Return what an answer rests on."""
    references = message.references or ()
    return {
        "chunks": [chunk_12(each) for each in shown(references)],
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
    elif message.extras:
        shown |= _sent_along(message.extras)
    return shown


def _sent_along(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return what came with a question (conversations.md 3.1)."""
    return {key: extras[key] for key in ("files", "doc_ids") if key in extras}
