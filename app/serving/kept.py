"""What a service keeps in its data directory, and where it is reached: all that small commands need to know."""

import os
import secrets
import tempfile
import uuid
from pathlib import Path

from app.db.embedded_home import make_folder
from app.domain.ids import TenantId
from app.settings import Settings

DEFAULT_TENANT = TenantId(uuid.uuid5(uuid.NAMESPACE_URL, "parley:tenant:default").hex)
"""The same everywhere, so that replicas which start together make one."""


def key_file(settings: Settings) -> Path:
    """Return where the first key is kept."""
    return settings.data_dir.absolute() / "api-key"


def pepper_of(settings: Settings) -> bytes:
    """Return the secret that keys are hashed with: the setting, or what `<data>/secret-key` holds, made once."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value().encode()
    path = make_folder(settings.data_dir) / "secret-key"
    if not path.exists():
        write_once(path, secrets.token_urlsafe(48))
    return path.read_text().strip().encode()


def address_of(host: str, port: int) -> str:
    """Return the URL at which this machine reaches the service."""
    if host in ("", "0.0.0.0", "::"):  # noqa: S104  compared, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def write_once(path: Path, text: str) -> None:
    """Write a file only its owner can read, unless there is one: the first of several writers wins."""
    temporary = _private_copy(path, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was first; whoever needs the text reads the file
    finally:
        temporary.unlink()


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner can read, in place of any that is there."""
    _private_copy(path, text).replace(path)


def _private_copy(path: Path, text: str) -> Path:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
    return Path(name)
