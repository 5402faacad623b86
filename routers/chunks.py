"""Routes of chunks."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.domain.ids import DatasetId, DocumentId
from app.services.documents import list_chunks
from app.wire import knowledge
from app.wire.envelope import success
from routers.deps import KeyedRoute, Unit
from routers.responses import ERRORS
from schemas.bodies import UrlText

router = APIRouter(prefix="/api/v1", route_class=KeyedRoute, tags=["chunks"], responses=ERRORS)

_PAGE_SIZE_OF_ZERO = 10  # what the search engine upstream makes of it (knowledge.md 3.2)
_MOST = 2**62
_PAGE_MOST = 2**31


@router.get("/datasets/{dataset_id}/documents/{document_id}/chunks")
async def list_document_chunks(
    dataset_id: UrlText,
    document_id: UrlText,
    unit: Unit,
    keywords: UrlText = "",
    chunk_id: Annotated[UrlText, Query(alias="id")] = "",
    page: UrlText = "1",
    page_size: UrlText = "30",
) -> dict[str, Any]:
    """List a document's chunks in reading order; with `keywords` those found, as snippets with `<em>`."""
    most = _number(page_size, 30) or _PAGE_SIZE_OF_ZERO
    found = await list_chunks(
        unit,
        DatasetId(dataset_id),
        DocumentId(document_id),
        chunk_id=chunk_id or None,
        keywords=keywords,
        most=min(most, _PAGE_MOST),
        skip=min((max(1, _number(page, 1)) - 1) * most, _MOST),
    )
    chunks = [
        knowledge.chunk(chunk, found.document.name, marked)
        for chunk, marked in zip(found.chunks, found.highlights, strict=True)
    ]
    return success({"total": found.total, "chunks": chunks, "doc": knowledge.document(found.document)})


def _number(value: str, default: int) -> int:
    """Read a number; what is none, or negative, counts as the default (knowledge.md 3.2)."""
    digits = value.strip()
    if not (digits.isascii() and digits.isdigit()):
        return default
    return int(digits) if len(digits) <= 18 else _MOST
