"""Names of uploaded files (knowledge.md 2.1, 2.2)."""

import unicodedata

from app.domain.errors import BadArgument
from app.ingest.file_types import DocumentType, document_type

MAX_NAME_BYTES = 255

_DROPPED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # would show another name than the true one


def check_length(name: str) -> None:
    """Return when a file may have a name of this length.

    Raises:
        BadArgument: it is too long.
    """
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise BadArgument("File name must be 255 bytes or less.")


def check_name(name: str) -> None:
    """Return when a file may be uploaded under this name.

    Raises:
        BadArgument: it is empty or too long.
    """
    if not clean_name(name):
        raise BadArgument("No file selected!")
    check_length(name)


def clean_name(name: str) -> str:
    """Return `name` as it can be stored and shown: no folders, no control characters, no lone surrogates."""
    last = name.replace("\\", "/").rpartition("/")[2].encode("utf-8", "replace").decode()
    kept = (each for each in last if unicodedata.category(each) not in _DROPPED and each not in _TURNS)
    return "".join(kept).strip()


def is_supported(name: str) -> bool:
    """Tell whether files of this name are taken in."""
    return document_type(name) is not DocumentType.OTHER
