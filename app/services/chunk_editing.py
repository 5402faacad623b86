"""Chunks added and changed through the API, vectors and lexemes included (knowledge.md 3.1, 3.3).

A model is asked outside of any transaction; what is written afterwards is checked to be about the same chunk.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import PurePath
from typing import Any

import anyio.to_thread

from app.domain.datasets import Dataset, Document, StoredChunk
from app.domain.errors import Conflict, Invalid, Missing
from app.domain.ids import ChunkId, DatasetId, DocumentId, KeyId, TenantId
from app.domain.retrieval import ModelCall
from app.ingest.blobs import BlobStore
from app.ingest.chunking import chunk_id
from app.ingest.embedding import ChunkEmbedder, blend, embedded_text, gathered, name_share, without_table_tags
from app.ingest.images import image_id, image_key
from app.ingest.methods.qa import labelled
from app.llm.base import TokenCounter
from app.llm.catalogue import ModelCatalogue
from app.retrieval.text_index import tsvector
from app.services.chunk_fields import ChunkFields, read_addition, read_change
from app.services.chunks import document_missing, own_document
from repositories.chunk_edits import ChangedChunk, PutChunk
from repositories.stray_blobs import UPLOAD_GRACE_S
from repositories.unit_of_work import Database

_TRIES = 5
_PAIR = re.compile(r"[\n\t]")
_HAN = re.compile("[\u4e00-\u9fff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedChunk:
    """A chunk as it was added."""

    id: ChunkId
    dataset_id: DatasetId
    document_id: DocumentId
    fields: ChunkFields
    created_at: datetime


class ChunkEditor:
    """Adds and changes chunks for one caller."""

    def __init__(
        self,
        database: Database,
        catalogue: ModelCatalogue,
        tokens: TokenCounter,
        blobs: BlobStore,
        *,
        tenant_id: TenantId,
        key_id: KeyId,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._tokens = tokens
        self._blobs = blobs
        self._tenant_id = tenant_id
        self._key_id = key_id

    async def add(self, dataset_id: DatasetId, document_id: DocumentId, sent: Mapping[str, Any]) -> AddedChunk:
        """Add a chunk, or overwrite the one of the same text; either way the counters grow by one chunk.

        Raises:
            DatasetMissing: there is no such dataset.
            DocumentMissing: there is no such document in it.
            Invalid: a field is wrong; see `read_addition`.
            UpstreamFailed: the embedding model could not answer.
        """
        async with self._database.unit(self._tenant_id) as unit:
            dataset, document = await own_document(unit, dataset_id, document_id)
        fields = read_addition(sent)
        content = fields.content or ""
        calls: list[ModelCall] = []
        vector = await self._vector(dataset, document, embedded_text(content, fields.questions or ()), calls)
        put = await anyio.to_thread.run_sync(self._put, document, fields, vector)
        key = await self._store_picture(dataset_id, put.id, fields.picture) if fields.picture is not None else None
        async with self._database.unit(self._tenant_id) as unit:
            is_there = document_id in await unit.documents.lock(dataset_id, [document_id])
            created_at = document.created_at
            if is_there:
                created_at, more_tokens = await unit.chunk_edits.put(dataset_id, document_id, put)
                await unit.chunk_edits.add_counts(document_id, chunks=1, tokens=more_tokens)
                await unit.stray_blobs.clear([key] if key is not None else [])
            await unit.usage.add(gathered(calls), api_key_id=self._key_id)
        if not is_there:
            raise document_missing(document_id)
        return AddedChunk(
            id=put.id, dataset_id=dataset_id, document_id=document_id, fields=fields, created_at=created_at
        )

    async def _store_picture(self, dataset_id: DatasetId, wanted_id: ChunkId, picture: bytes) -> str:
        """Noted as a stray before it is written: it goes again if the chunk comes to nothing."""
        key = image_key(self._tenant_id, dataset_id, wanted_id)
        async with self._database.unit(self._tenant_id) as unit:
            await unit.stray_blobs.add([key], due_in_s=UPLOAD_GRACE_S)
        await self._blobs.put(key, picture)
        return key

    def _put(self, document: Document, fields: ChunkFields, vector: list[float]) -> PutChunk:
        content = fields.content or ""
        keywords, questions = fields.important_keywords or [], fields.questions or []
        searched = without_table_tags(content)
        made_id = ChunkId(chunk_id(content, document.id))
        return PutChunk(
            id=made_id,
            content=content,
            lexemes=tsvector(searched, "", keywords, questions),
            titled=tsvector(searched, _title(document), keywords, questions),
            embedding=vector,
            token_count=self._tokens.count(content),
            important_keywords=keywords,
            questions=questions,
            tags=fields.tags or [],
            tag_weights=fields.tag_weights or {},
            image_id=image_id(document.dataset_id, made_id) if fields.picture is not None else "",
            doc_type="image" if fields.picture is not None else "",
        )

    async def change(
        self, dataset_id: DatasetId, document_id: DocumentId, wanted_id: str, sent: Mapping[str, Any]
    ) -> None:
        """Change the fields that were sent; the id stays.

        Raises:
            Missing: no document of the tenant has such a chunk.
            DatasetMissing: there is no such dataset.
            DocumentMissing: there is no such document in it.
            Invalid: a field is wrong, or the two parts of a question and answer are not told apart.
            Conflict: others change the chunk all the time.
            UpstreamFailed: the embedding model could not answer.
        """
        for _ in range(_TRIES):
            dataset, document, before = await self._found(dataset_id, document_id, wanted_id)
            fields = read_change(sent)
            if fields == ChunkFields():
                return
            if await self._change(dataset, document, before, fields):
                return
        raise Conflict(f"The chunk {wanted_id} is being changed by others; please try again.")

    async def _found(
        self, dataset_id: DatasetId, document_id: DocumentId, wanted_id: str
    ) -> tuple[Dataset, Document, StoredChunk]:
        unknown = Missing(f"Can't find this chunk {wanted_id}")
        async with self._database.unit(self._tenant_id) as unit:
            before = await unit.chunks.get(document_id, wanted_id)
            if before is None and not await unit.chunk_edits.is_anywhere(wanted_id):
                raise unknown
            dataset, document = await own_document(unit, dataset_id, document_id)
        if before is None:
            raise unknown
        return dataset, document, before

    async def _change(self, dataset: Dataset, document: Document, before: StoredChunk, fields: ChunkFields) -> bool:
        content, searched = _worded(document, before, fields)
        after = replace(
            before,
            content=content,
            important_keywords=_sent(fields.important_keywords, before.important_keywords),
            questions=_sent(fields.questions, before.questions),
            tags=_sent(fields.tags, before.tags),
            tag_weights=fields.tag_weights if fields.tag_weights is not None else before.tag_weights,
            is_available=fields.is_available if fields.is_available is not None else before.is_available,
            positions=_sent(fields.positions, before.positions),
        )
        calls: list[ModelCall] = []
        vector: list[float] | None = None
        if fields.content is not None or fields.questions is not None:
            asked = () if document.chunk_method == "qa" else fields.questions or ()
            vector = await self._vector(dataset, document, embedded_text(content, asked), calls)
        changed = await anyio.to_thread.run_sync(self._changed, document, after, searched, vector)
        async with self._database.unit(self._tenant_id) as unit:
            more_tokens = None
            if document.id in await unit.documents.lock(dataset.id, [document.id]):
                more_tokens = await unit.chunk_edits.change(before, changed)
            if more_tokens:
                await unit.chunk_edits.add_counts(document.id, tokens=more_tokens)
            await unit.usage.add(gathered(calls), api_key_id=self._key_id)
        return more_tokens is not None

    def _changed(
        self, document: Document, after: StoredChunk, searched: str, vector: list[float] | None
    ) -> ChangedChunk:
        title = "" if after.ordinal < 0 else _title(document)
        return ChangedChunk(
            after=after,
            lexemes=tsvector(without_table_tags(searched), title, after.important_keywords, after.questions),
            token_count=self._tokens.count(after.content),
            embedding=vector,
        )

    async def _vector(self, dataset: Dataset, document: Document, wanted: str, calls: list[ModelCall]) -> list[float]:
        embedder = ChunkEmbedder(self._catalogue.embedding(dataset.embedding_model), calls, tokens=self._tokens)
        name, own = await embedder.vectors([document.name, wanted])
        return blend(name, own, name_share(document.parser_config))


def _title(document: Document) -> str:
    return PurePath(document.name).stem


def _worded(document: Document, before: StoredChunk, fields: ChunkFields) -> tuple[str, str]:
    """Return the content a chunk gets, and what the text search sees of it: of a pair, the question only.

    Raises:
        Invalid: a pair was sent that is none.
    """
    content = fields.content if fields.content is not None else before.content
    if document.chunk_method != "qa":
        return content, content
    parts = [part for part in _PAIR.split(content) if part.strip()]
    if len(parts) == 2:
        worded, question = labelled(*parts, is_english=_HAN.search(content) is None)
        return (worded if fields.content is not None else content), question
    if fields.content is not None:
        raise Invalid("Q&A must be separated by TAB/ENTER key.", param="content")
    return content, content


def _sent(value: "list[Any] | None", stored: "list[Any]") -> "list[Any]":
    return value if value is not None else stored
