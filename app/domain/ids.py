"""Names of things: typed ids, and how new ones are made."""

import secrets
import uuid
from typing import NewType

TenantId = NewType("TenantId", str)
KeyId = NewType("KeyId", str)
ChatId = NewType("ChatId", str)
SessionId = NewType("SessionId", str)
TurnId = NewType("TurnId", str)
DatasetId = NewType("DatasetId", str)
DocumentId = NewType("DocumentId", str)
SectionId = NewType("SectionId", str)
ChunkId = NewType("ChunkId", str)
JobId = NewType("JobId", str)
ProcessId = NewType("ProcessId", str)


def new_id() -> str:
    """Return 32 lower-case hex digits of a version 1 UUID (conversations.md 1.5, knowledge.md 0.5).

    The node part is random, so an id tells nothing about the machine.
    """
    return uuid.uuid1(node=secrets.randbits(48) | (1 << 40)).hex


def new_turn_id() -> TurnId:
    """Return a dashed version 4 UUID; question and answer of a turn share it (conversations.md 1.5)."""
    return TurnId(str(uuid.uuid4()))
