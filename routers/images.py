"""Routes of pictures. They want a key like all others: pictures are a tenant's own (knowledge.md 8)."""

from fastapi import APIRouter, Response

from app.ingest.blobs import BlobMissing
from app.ingest.images import picture_media_type
from app.services.images import find_image, image_missing
from routers.blobs import Blobs
from routers.deps import Caller, DatabaseDep, KeyedRoute
from routers.responses import BYTES, ENVELOPE
from schemas.bodies import UrlText

router = APIRouter(route_class=KeyedRoute, tags=["chunks"], responses=ENVELOPE)


@router.get("/api/v1/documents/images/{image_id}", response_class=Response, responses=BYTES)
@router.get("/v1/document/image/{image_id}", response_class=Response, responses=BYTES)
async def get_image(image_id: UrlText, caller: Caller, database: DatabaseDep, blobs: Blobs) -> Response:
    """Send the picture of a chunk, or the thumbnail of a document."""
    async with database.unit(caller.tenant_id) as unit:
        key = await find_image(unit, image_id)
    try:
        data = await blobs.get(key)
    except BlobMissing as error:
        raise image_missing() from error
    headers = {
        "Cache-Control": "private, no-cache",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type=picture_media_type(data) or "application/octet-stream", headers=headers)
