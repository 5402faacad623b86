"""Routes of chunks, and of the pictures that belong to them."""

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request

from app.domain.errors import WrongType
from app.domain.ids import DatasetId, DocumentId
from app.services import chunk_fields, chunks
from app.services.chunk_editing import ChunkEditor
from app.wire import chunks as wire
from app.wire import knowledge
from app.wire.envelope import success
from routers.blobs import Blobs
from routers.deps import Caller, DatabaseDep, KeyedRoute, Unit
from routers.responses import ENVELOPE
from schemas.bodies import LooseBody, UrlText
from schemas.chunks import ChunkAddition, ChunkChange, ChunkDeletion, ChunkSwitch

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["chunks"], responses=ENVELOPE)

_CHUNKS = "/datasets/{dataset_id}/documents/{document_id}/chunks"
_PAGE_SIZE_OF_ZERO = 10  # what the search engine upstream makes of it (knowledge.md 3.2)
_MOST = 2**62
_PAGE_MOST = 2**31


async def _editor(request: Request, caller: Caller, database: DatabaseDep) -> ChunkEditor:
    state = request.app.state
    return ChunkEditor(
        database, state.catalogue, state.tokens, state.blobs, tenant_id=caller.tenant_id, key_id=caller.key_id
    )


Editor = Annotated[ChunkEditor, Depends(_editor)]


@router.post(_CHUNKS)
async def add_chunk(
    dataset_id: UrlText, document_id: UrlText, editor: Editor, body: Annotated[ChunkAddition | None, Body()] = None
) -> dict[str, Any]:
    """Add a chunk to a document; searches find it when this answers."""
    added = await editor.add(DatasetId(dataset_id), DocumentId(document_id), _sent(body) if body is not None else {})
    return success({"chunk": wire.added(added)})


@router.get(_CHUNKS)
async def list_document_chunks(
    dataset_id: UrlText,
    document_id: UrlText,
    caller: Caller,
    database: DatabaseDep,
    keywords: UrlText = "",
    chunk_id: Annotated[UrlText, Query(alias="id")] = "",
    chunk_ids: UrlText = "",
    available: UrlText = "",
    page: UrlText = "1",
    page_size: UrlText = "30",
) -> dict[str, Any]:
    """List a document's chunks in reading order; with `keywords` those found, as snippets with `<em>`."""
    most = _number(page_size, 30) or _PAGE_SIZE_OF_ZERO
    asked = chunks.ChunkQuery(
        chunk_id=chunk_id or None,
        keywords=keywords,
        chunk_ids=chunk_fields.read_listed_ids(chunk_ids),
        is_available=chunk_fields.read_listed_flag(available),
        most=min(most, _PAGE_MOST),
        skip=min((max(1, _number(page, 1)) - 1) * most, _MOST),
    )
    found = await chunks.list_chunks(database, caller.tenant_id, DatasetId(dataset_id), DocumentId(document_id), asked)
    shown = [
        wire.listed(chunk, found.document.name, marked)
        for chunk, marked in zip(found.chunks, found.highlights, strict=True)
    ]
    return success({"total": found.total, "chunks": shown, "doc": knowledge.document(found.document)})


@router.delete(_CHUNKS)
async def delete_chunks(
    dataset_id: UrlText,
    document_id: UrlText,
    caller: Caller,
    database: DatabaseDep,
    blobs: Blobs,
    body: Annotated[ChunkDeletion | None, Body()] = None,
) -> dict[str, Any]:
    """Delete chunks of a document; all of them when no ids are named."""
    sent = _sent(body)
    ids = chunk_fields.read_ids(sent)
    if not ids and sent.get("delete_all", True) is not True:
        return success()
    done = await chunks.delete_chunks(
        database, blobs, caller.tenant_id, DatasetId(dataset_id), DocumentId(document_id), ids
    )
    return success({"success_count": done.count, "errors": done.errors} if done.errors else None)


@router.patch(_CHUNKS)
async def switch_chunks(
    dataset_id: UrlText, document_id: UrlText, unit: Unit, body: Annotated[ChunkSwitch | None, Body()] = None
) -> dict[str, Any]:
    """Make chunks available to searches, or not."""
    ids, is_available = chunk_fields.read_switch(_sent(body))
    await chunks.switch_chunks(unit, DatasetId(dataset_id), DocumentId(document_id), ids, is_available=is_available)
    return success(data=True)


@router.get(_CHUNKS + "/{chunk_id}")
async def get_chunk(dataset_id: UrlText, document_id: UrlText, chunk_id: UrlText, unit: Unit) -> dict[str, Any]:
    """Return one chunk."""
    document, chunk = await chunks.get_chunk(unit, DatasetId(dataset_id), DocumentId(document_id), chunk_id)
    return success(wire.listed(chunk, document.name))


@router.patch(_CHUNKS + "/{chunk_id}")
@router.put(_CHUNKS + "/{chunk_id}")
async def change_chunk(
    dataset_id: UrlText,
    document_id: UrlText,
    chunk_id: UrlText,
    editor: Editor,
    body: Annotated[ChunkChange | None, Body()] = None,
) -> dict[str, Any]:
    """Change fields of a chunk; searches see it when this answers."""
    await editor.change(DatasetId(dataset_id), DocumentId(document_id), chunk_id, _sent(body))
    return success()


def _sent(body: LooseBody | None) -> dict[str, Any]:
    """Return the fields of a body.

    Raises:
        WrongType: there is none; nothing is done to everything because a body was lost.
    """
    if body is None:
        raise WrongType("The body must be a JSON object.")
    return body.sent()


def _number(value: str, default: int) -> int:
    """Read a number; what is none, or negative, counts as the default (knowledge.md 3.2)."""
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit()):
        return default
    return int(digits) if len(digits) <= 18 else _MOST
