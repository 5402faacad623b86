"""The pictures that parsing a document makes: those of its chunks, and its thumbnail."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from app.domain.datasets import Document, NewChunk
from app.domain.ids import TenantId
from app.ingest.blobs import BlobStore
from app.ingest.enriching import EnrichedChunk
from app.ingest.images import image_key, thumbnail_name


class Announce(Protocol):
    """Notes blobs before they are written, so that they go again if nothing comes to name them."""

    async def __call__(self, tenant_id: TenantId, keys: Sequence[str]) -> None:
        """Note `keys` of a tenant."""
        ...


class PictureStore:
    """Stores pictures; `announce` is told of them before their bytes are written."""

    def __init__(self, blobs: BlobStore, announce: Announce | None) -> None:
        self._blobs = blobs
        self._announce = announce

    async def keep(self, document: Document, chunks: Sequence[NewChunk], enriched: Sequence[EnrichedChunk]) -> None:
        """Store the pictures of chunks, `chunks` and `enriched` being the same ones, under their image ids."""
        pictures = {
            image_key(document.tenant_id, document.dataset_id, chunk.id): source.picture.data
            for chunk, source in zip(chunks, enriched, strict=True)
            if source.picture is not None
        }
        await self._put(document, pictures)

    async def keep_thumbnail(self, document: Document, data: bytes | None) -> str:
        """Store the thumbnail, and return its name; empty for none."""
        if data is None:
            return ""
        name = thumbnail_name(document.id)
        await self._put(document, {image_key(document.tenant_id, document.dataset_id, name): data})
        return name

    async def _put(self, document: Document, blobs: Mapping[str, bytes]) -> None:
        if blobs and self._announce is not None:
            await self._announce(document.tenant_id, list(blobs))
        for key, data in blobs.items():
            await self._blobs.put(key, data)
