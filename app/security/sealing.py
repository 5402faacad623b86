"""Secrets of callers, such as the key of a web search: stored sealed, opened only where they are used."""

import base64
import os
from collections.abc import Mapping

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from app.domain.errors import Invalid
from app.domain.ids import ChatId, TenantId

SHOWN = "***"
"""What is shown instead of a secret; sent back it leaves the secret as it is."""

_PURPOSE = b"parley sealed secrets 1"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Unsealable(Invalid):
    """A sealed secret was made with another pepper, or for another object."""


class Sealer:
    """Seals texts with AES-256-GCM, under a key that HKDF-SHA-256 derives from the pepper.

    A seal holds for one secret of one chat of one tenant: moved elsewhere it does not open.
    """

    def __init__(self, pepper: bytes) -> None:
        key = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=_PURPOSE).derive(pepper)
        self._cipher = AESGCM(key)

    def changed(
        self, sealed: bytes | None, changes: Mapping[str, str | None], *, tenant_id: TenantId, chat_id: ChatId
    ) -> bytes | None:
        """Return a chat's sealed secrets after `changes`, in which None takes one away; None when none is left."""
        kept: dict[str, str] = orjson.loads(sealed) if sealed else {}
        for name, secret in changes.items():
            kept.pop(name, None)
            if secret is not None:
                kept[name] = self._seal(secret, _owner(tenant_id, chat_id, name))
        return orjson.dumps(kept) if kept else None

    def opened(self, sealed: bytes | None, *, tenant_id: TenantId, chat_id: ChatId) -> dict[str, str]:
        """Return a chat's secrets by the names of `prompt_config`.

        Raises:
            Unsealable: they were sealed with another pepper, or for another chat.
        """
        kept: dict[str, str] = orjson.loads(sealed) if sealed else {}
        return {name: self._open(name, token, _owner(tenant_id, chat_id, name)) for name, token in kept.items()}

    def _seal(self, secret: str, owner: bytes) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, secret.encode("utf-8", "surrogatepass"), owner)
        return base64.b64encode(nonce + sealed).decode()

    def _open(self, name: str, token: str, owner: bytes) -> str:
        raw = base64.b64decode(token)
        try:
            secret = self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], owner)
        except InvalidTag as error:
            raise Unsealable(f"The stored `{name}` cannot be read any more; send it again.", param=name) from error
        return secret.decode("utf-8", "surrogatepass")


def _owner(tenant_id: TenantId, chat_id: ChatId, name: str) -> bytes:
    return orjson.dumps([tenant_id, chat_id, name])
