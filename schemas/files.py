"""Bodies of files. Loose: what matters is checked in order, the rest is ignored (knowledge.md 6)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from app.domain.errors import BadArgument, WrongType
from schemas.bodies import LooseBody

Ids = Annotated[Any, WithJsonSchema({"type": "array", "items": {"type": "string"}})]
Text = Annotated[Any, WithJsonSchema({"type": "string"})]


class FolderBody(LooseBody):
    """Body of `POST /file/create` and, as JSON, of `POST /files`."""

    name: Text = None
    parent_id: Text = None
    type: Annotated[Any, WithJsonSchema({"type": "string", "description": "`folder`, or anything else."})] = None


class FileIdsBody(LooseBody):
    """Body of `POST /file/rm`."""

    file_ids: Ids = None


class FileDeletion(LooseBody):
    """Body of `DELETE /files`."""

    ids: Ids = None


class RenameBody(LooseBody):
    """Body of `POST /file/rename`."""

    file_id: Text = None
    name: Text = None


class MoveBody(LooseBody):
    """Body of `POST /file/mv` and `POST /files/move`."""

    src_file_ids: Ids = None
    dest_file_id: Text = None
    new_name: Text = None


class LinkBody(LooseBody):
    """Body of `POST /file/convert` and `POST /files/link-to-datasets`."""

    file_ids: Ids = None
    kb_ids: Ids = None


def needed_text(body: LooseBody | None, name: str) -> str:
    """Return a text that must be there.

    Raises:
        BadArgument: it is not.
        WrongType: it is no text.
    """
    value = optional_text(body, name)
    if value is None:
        raise BadArgument(f"`{name}` is required.", param=name)
    return value


def optional_text(body: LooseBody | None, name: str) -> str | None:
    """Return a text, None when it is absent or null.

    Raises:
        WrongType: it is no text.
    """
    value = body.sent().get(name) if body is not None else None
    if value is not None and not isinstance(value, str):
        raise WrongType(f"`{name}` should be a string.", param=name)
    return value


def needed_ids(body: LooseBody | None, name: str, *, least: int = 0) -> list[str]:
    """Return a list of ids that must be there.

    Raises:
        BadArgument: it is not, or has fewer than `least`.
        WrongType: it is no list of strings.
    """
    value = body.sent().get(name) if body is not None else None
    if value is None:
        raise BadArgument(f"`{name}` is required.", param=name)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise WrongType(f"`{name}` should be a list of strings.", param=name)
    if len(value) < least:
        raise BadArgument(f"`{name}` should name at least {least}.", param=name)
    return list(value)
